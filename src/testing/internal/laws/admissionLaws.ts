/** The laws of admission and of retries: 6, 9, 12 and 16. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { admits, expectNothingLost, isReceived, outcome, range, show, taken } from "./sinkAccount.ts"
import type { Call, Law, Scenario } from "./sinkWorld.ts"

/** Failures that are watched through the sink; the original's backoff is gone after 56. */
const failures = 160

export const admissionLaws: ReadonlyArray<Law> = [
  {
    number: 6,
    title: "a backoff is at most its maximum and never collapses, however many failures there were",
    concerns: (subject) => subject.delays !== undefined,
    scenarios: () => [{ title: `the receiver fails ${failures} times`, play: delaysStayWithin, minutes: 10_000 }]
  },
  {
    number: 9,
    title: "interrupting a write leaves it accepted or not; a batch is taken whole or not at all",
    concerns: () => true,
    scenarios: () => [{ title: "writes are interrupted at odd moments", play: interrupted, times: 12 }]
  },
  {
    number: 12,
    title: "writing from inside a queue's own delivery to that queue never deadlocks",
    concerns: (subject) => subject.queued === true && subject.stream === undefined && !subject.synchronous,
    scenarios: () => [
      { title: "it is an event", play: reentrant("event") },
      { title: "it is a batch", play: reentrant("batch") },
      { title: "it is a fiber forked there", play: reentrant("fork") }
    ]
  },
  {
    number: 16,
    title: "a batch larger than the capacity enters when there is nothing else, or fails typed; it never hangs",
    concerns: (subject) => subject.capacity !== undefined,
    scenarios: () => [
      { title: "the queue is empty", play: tooLarge(false) },
      { title: "the queue is not empty", play: tooLarge(true) }
    ]
  }
]

// internals

const millis = (duration: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(duration))

const delaysStayWithin: Scenario = Effect.fnUntraced(function* (world) {
  const { attempts } = world.receiver
  const { bound = () => 0, max: longest } = world.subject.delays ?? { max: 0 }
  const max = millis(longest)
  for (let n = 1, before = 0; n <= 10_000; n++) {
    const now = millis(bound(n))
    if (now < before || now > max)
      return world.expect(false, `after ${n} failures the backoff is ${now} ms; before ${before}, at most ${max}`)
    before = now
  }
  world.receiver.mode = (attempt) => (attempt > failures ? "commit" : "fail")
  world.write(1)
  yield* Effect.sleep(failures * (max + 100))
  if (attempts.length <= failures)
    return world.expect(false, `after ${attempts.length} failed attempts there was no other`)
  const gaps = attempts.slice(1).map((time, i) => time - attempts[i]!)
  const found = Math.max(...gaps)
  // The clock counts whole milliseconds.
  world.expect(found <= max + 1, `a backoff took ${found} ms, and its maximum is ${max}`)
  const late = gaps.slice(-60)
  const mean = Math.round(late.reduce((sum, gap) => sum + gap, 0) / late.length)
  world.expect(mean >= max / 10, `after ${failures} failures a backoff takes ${mean} ms on average, of ${max} at most`)
})

/** Writes and batches are interrupted at odd moments: each batch must be taken whole, or not at all. */
const interrupted: Scenario = Effect.fnUntraced(function* (world) {
  const { receiver, subject } = world
  const hangs = world.pick(0, 1) === 0
  const takes = world.pick(1, 5)
  const trouble = subject.delays === undefined ? 0 : world.pick(0, 8)
  receiver.mode = (attempt) => (hangs && attempt === 1 ? "hang" : attempt <= trouble ? "fail" : takes)
  const batches: Array<ReadonlyArray<unknown>> = []
  for (let n = 0; n < 8; n++) {
    const labels = range(n * 10, n * 10 + (world.pick(0, 1) === 0 ? 0 : 2))
    batches.push(labels)
    const write = world.write(...labels)
    if (world.pick(0, 1) === 0) continue
    // At once, after some turns of the scheduler, when room comes, or some time later.
    const turns = world.pick(0, 6)
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
    if (world.pick(0, 2) === 0) yield* Effect.sleep(world.pick(1, 12))
    if (world.pick(0, 3) === 0) world.release()
    write.call.fiber.interruptUnsafe()
  }
  yield* Effect.sleep(world.pick(1, 20))
  world.release()
  yield* Effect.sleep("1 minute")
  // An interrupted write has left nothing behind that others wait for.
  const { call } = world.write(1_000)
  yield* Effect.sleep("1 minute")
  const arrived = isReceived(world, 1_000)
  world.expect(arrived, `after interruptions the receiver is well, and a write ${outcome(call)} and did not arrive`)
  if (!(yield* world.close())) return
  const received = taken(world)
  for (const labels of world.sink().writeSome === undefined ? [] : batches) {
    const n = labels.filter((label) => received.has(label)).length
    world.expect(
      n === 0 || n === labels.length || (world.dropped.length === 0 && admits(world, 1)),
      `of the interrupted batch ${show(labels)} only ${n} were taken`
    )
  }
  if (subject.queued) expectNothingLost(world, "after interruptions")
})

/** Writing to the queue from inside its own delivery. */
const reentrant = (how: "event" | "batch" | "fork"): Scenario =>
  Effect.fnUntraced(function* (world) {
    const { capacity = 1, event = (n: number): unknown => n } = world.subject
    const inner: Array<Call<unknown>> = []
    const writeInside = Effect.suspend(() => {
      const { write, writeSome } = world.sink()
      const some = writeSome?.([event(101), event(102), event(103)])
      const call = Effect.onExit(Effect.delay(how === "batch" && some ? some : write(event(101)), 10), (exit) =>
        Effect.sync(() => void inner.push(world.call(exit)))
      )
      return Effect.exit(how === "fork" ? Effect.flatMap(Effect.forkChild(call), Fiber.join) : call)
    })
    for (const target of world.targets) {
      target.mode = (attempt) => (attempt === 1 ? "hang" : "commit")
      target.before = (label) => (label === 1 ? writeInside : Effect.void)
    }
    // It fills up while its first event is being delivered.
    world.write(1)
    yield* world.rest
    for (const label of range(2, capacity + 2)) world.write(label)
    world.release()
    yield* Effect.sleep("1 minute")
    if (inner.length === 0) return world.expect(false, "a write from inside the queue's own delivery has not ended")
    for (const call of inner)
      world.expect(
        call.exit !== undefined && !hasDefect(call.exit),
        `a write from inside its own delivery ${outcome(call)}`
      )
    yield* Effect.sleep("1 minute")
    const waiting = world.writes.filter(({ call }) => call.exit === undefined)
    world.expect(waiting.length === 0, `${waiting.length} other writes have not ended then`)
    yield* world.readRemaining
    expectNothingLost(world, "then")
  })

const hasDefect = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) && exit.cause.reasons.some(({ _tag }) => _tag === "Die")

const tooLarge = (filled: boolean): Scenario =>
  Effect.fnUntraced(function* (world) {
    const { capacity = 1 } = world.subject
    world.receiver.mode = () => 5
    const labels = range(10, 10 + 3 * capacity)
    if (filled) for (const label of [1, 2]) world.write(label)
    const batch = world.write(...labels)
    if (filled) world.write(3)
    yield* Effect.sleep("1 minute")
    const hanging = world.writes.find(({ call }) => call.exit === undefined)
    const { exit } = batch.call
    if (hanging !== undefined || exit === undefined)
      return world.expect(false, `the write of ${show(hanging?.labels)} at capacity ${capacity} hangs`)
    const received = taken(world)
    const n = labels.filter((label) => received.has(label)).length
    const mustBeWhole = world.sink().writeSome !== undefined && (world.dropped.length > 0 || !admits(world, 1))
    const isWhole = n === 0 || n === labels.length
    world.expect(!mustBeWhole || isWhole, `${n} of ${labels.length} events of the batch were taken`)
    const holds = Exit.isFailure(exit) ? !hasDefect(exit) : n === labels.length || admits(world, 1)
    world.expect(holds, `a batch of ${labels.length} ${outcome(batch.call)}, and ${n} were taken`)
  })
