/** The laws of getting in, and of trying again: 6, 9, 12 and 16. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { expectNothingLost, type Law, range, show } from "./law.ts"
import type { Scenario } from "./run.ts"
import type { Call } from "./world.ts"

/** Failures that are watched through the sink; the original's backoff is gone after 56. */
const failures = 160

const delaysStayWithin: Scenario = (world) =>
  Effect.gen(function* () {
    const { delays } = world.subject
    if (delays === undefined) return
    const max = Duration.toMillis(Duration.fromInputUnsafe(delays.max))
    const { bound } = delays
    if (bound !== undefined) {
      let before = 0
      for (let n = 1; n <= 10_000; n++) {
        const now = Duration.toMillis(Duration.fromInputUnsafe(bound(n)))
        const holds = now >= before && now <= max
        if (!holds)
          return world.violate(`after ${n} failures the backoff is ${now} ms; before ${before}, at most ${max}`)
        before = now
      }
    }
    const { attempts } = world.receiver
    world.receiver.mode = (attempt) => (attempt > failures ? "commit" : "fail")
    world.write(1)
    yield* Effect.sleep(failures * (max + 100))
    if (attempts.length <= failures) return world.violate(`after ${attempts.length} failed attempts there was no other`)
    const gaps = attempts.slice(1).map((time, i) => time - attempts[i]!)
    const longest = Math.max(...gaps)
    // The clock counts whole milliseconds.
    world.expect(longest <= max + 1, () => `a backoff took ${longest} ms, and its maximum is ${max}`)
    const late = gaps.slice(-60)
    const mean = late.reduce((sum, gap) => sum + gap, 0) / late.length
    world.expect(
      mean >= max / 10,
      () => `after ${failures} failures a backoff takes ${Math.round(mean)} ms on average, and its maximum is ${max}`
    )
  })

/** Writes and groups are interrupted at odd moments: each group must be taken whole, or not at all. */
const interrupted: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver, subject } = world
    const hangs = world.pick(0, 1) === 0
    const takes = world.pick(1, 5)
    const trouble = subject.delays === undefined ? 0 : world.pick(0, 8)
    receiver.mode = (attempt) => (hangs && attempt === 1 ? "hang" : attempt <= trouble ? "fail" : takes)
    const groups: Array<ReadonlyArray<number>> = []
    for (let n = 0; n < 8; n++) {
      const labels = world.pick(0, 1) === 0 ? [n * 10] : range(n * 10, n * 10 + 2)
      groups.push(labels)
      const write = labels.length === 1 ? world.write(labels[0]) : world.writeGroup(labels)
      if (world.pick(0, 1) === 0) continue
      // At once, after some turns of the scheduler, when room comes, or some time later.
      const turns = world.pick(0, 6)
      for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
      if (world.pick(0, 2) === 0) yield* Effect.sleep(world.pick(1, 12))
      if (world.pick(0, 3) === 0) receiver.release()
      write.call.fiber.interruptUnsafe()
    }
    yield* Effect.sleep(world.pick(1, 20))
    receiver.release()
    yield* Effect.sleep("1 minute")
    // Who was interrupted has left nothing behind that others wait for.
    const { call } = world.write(1_000)
    yield* Effect.sleep("1 minute")
    world.expect(
      receiver.received.includes(1_000),
      () => `after interruptions the receiver is well, and a write ${call.outcome} and did not arrive`
    )
    if (!(yield* world.close)) return
    const taken = new Set([...receiver.received, ...world.dropped.map(({ label }) => label)])
    const whole = world.part.sink.writeSome !== undefined
    for (const labels of groups) {
      const n = labels.filter((label) => taken.has(label)).length
      world.expect(
        !whole || n === 0 || n === labels.length || (world.dropped.length === 0 && world.admits(1)),
        () => `of the interrupted group ${show(labels)} only ${n} were taken`
      )
    }
    if (subject.queued) expectNothingLost(world, "after interruptions")
  })

/** Writing to the queue from inside its own delivery. */
const reentrant =
  (how: "event" | "group" | "fork"): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { receiver, subject } = world
      const inner: Array<Call<unknown>> = []
      receiver.mode = (attempt) => (attempt === 1 ? "hang" : "commit")
      receiver.before = (label) =>
        label !== 1
          ? Effect.void
          : Effect.suspend(() => {
              const { sink } = world.part
              const write =
                how === "group" && sink.writeSome !== undefined
                  ? sink.writeSome([subject.event(101), subject.event(102), subject.event(103)])
                  : sink.write(subject.event(101))
              const call = Effect.onExit(Effect.delay(write, 10), (exit) =>
                Effect.sync(() => void inner.push(world.call(exit)))
              )
              return Effect.exit(how === "fork" ? Effect.flatMap(Effect.forkChild(call), Fiber.join) : call)
            })
      // It fills up while its first event is being delivered.
      world.write(1)
      yield* world.rest
      for (const label of range(2, (subject.capacity ?? 1) + 2)) world.write(label)
      receiver.release()
      yield* Effect.sleep("1 minute")
      const [call] = inner
      if (call === undefined) return world.violate("a write from inside the queue's own delivery has not ended")
      world.expect(
        call.exit !== undefined && !hasDefect(call.exit),
        () => `a write from inside its own delivery ${call.outcome}`
      )
      yield* Effect.sleep("1 minute")
      const waiting = world.writes.filter(({ call }) => call.exit === undefined)
      world.expect(waiting.length === 0, () => `${waiting.length} other writes have not ended then`)
      yield* world.findKept
      expectNothingLost(world, "then")
    })

const hasDefect = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) && exit.cause.reasons.some(({ _tag }) => _tag === "Die")

const tooLarge =
  (filled: boolean): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { receiver, subject } = world
      receiver.mode = () => 5
      const before = filled ? [world.write(1), world.write(2)] : []
      const labels = range(10, 10 + 3 * (subject.capacity ?? 1))
      const group = world.writeGroup(labels)
      const after = filled ? [world.write(3)] : []
      yield* Effect.sleep("1 minute")
      for (const { call, labels } of [...before, group, ...after]) {
        if (call.exit === undefined)
          return world.violate(`the write of ${show(labels)} at capacity ${subject.capacity} hangs`)
      }
      const taken = [...receiver.received, ...world.dropped.map(({ label }) => label)]
      const n = labels.filter((label) => taken.includes(label)).length
      const whole = world.part.sink.writeSome !== undefined && (world.dropped.length > 0 || !world.admits(1))
      world.expect(
        !whole || n === 0 || n === labels.length,
        () => `${n} of ${labels.length} events of the group were taken`
      )
      world.expect(
        group.call.exit !== undefined &&
          (Exit.isFailure(group.call.exit) ? !hasDefect(group.call.exit) : n === labels.length || world.admits(1)),
        () => `a group of ${labels.length} ${group.call.outcome}, and ${n} were taken`
      )
    })

export const admission: ReadonlyArray<Law> = [
  {
    number: 6,
    title: "a backoff is at most its maximum and never collapses, however many failures there were",
    concerns: (subject) => subject.delays !== undefined,
    scenarios: () => [{ title: `the receiver fails ${failures} times`, play: delaysStayWithin, minutes: 10_000 }]
  },
  {
    number: 9,
    title: "interrupting a write leaves it accepted or not; a group is taken whole or not at all",
    concerns: () => true,
    scenarios: () => [{ title: "writes are interrupted at odd moments", play: interrupted, times: 12 }]
  },
  {
    number: 12,
    title: "writing from inside a queue's own delivery to that queue never deadlocks",
    concerns: (subject) => subject.queued && !subject.hasStream && !subject.synchronous,
    scenarios: () =>
      (["event", "group", "fork"] as const).map((how) => ({
        title: `it is ${{ event: "an event", group: "a group", fork: "a fiber forked there" }[how]}`,
        play: reentrant(how)
      }))
  },
  {
    number: 16,
    title: "a group larger than the capacity enters when there is nothing else, or fails typed; it never hangs",
    concerns: (subject) => subject.capacity !== undefined,
    scenarios: () => [
      { title: "the queue is empty", play: tooLarge(false) },
      { title: "the queue is not empty", play: tooLarge(true) }
    ]
  }
]
