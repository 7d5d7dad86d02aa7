/** The laws of delivery: conservation, 4, 7, 8, 10 and 17. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { SinkClosed } from "../../internal/sink.ts"
import { expectNothingLost, type Law, range, same, show, writeEach } from "./law.ts"
import type { Mode, Record } from "./receiver.ts"
import type { Scenario } from "./run.ts"
import type { World } from "./world.ts"

const modes: ReadonlyArray<Mode> = ["commit", "commit", 5, 20, "fail", "die", "interrupt", "kill"]

/** Any life: writes and groups, some interrupted, a receiver with moods, and a close at some moment. */
const anyLife: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver, subject } = world
    const hangsAt = world.pick(1, 40)
    receiver.mode = (attempt) => (attempt === hangsAt ? "hang" : modes[world.pick(0, modes.length - 1)]!)
    let next = 1
    for (let turn = world.pick(1, 12); turn > 0; turn--) {
      const size = world.pick(1, 3)
      const write = size === 1 ? world.write(next) : world.writeGroup(range(next, next + size - 1))
      next += size
      if (world.pick(0, 2) === 0) yield* Effect.sleep(world.pick(1, 30))
      if (world.pick(0, 4) === 0) write.call.fiber.interruptUnsafe()
    }
    world.look()
    if (subject.hasShutdown && world.pick(0, 1) === 0) {
      const call = world.call(world.part.shutdown)
      if (!(yield* world.ends(call, world.closeLimit))) return
      if (call.exit !== undefined && Exit.isSuccess(call.exit)) world.returned = call.exit.value
    }
    if (!(yield* world.close)) return
    for (const { call } of world.writes) call.fiber.interruptUnsafe()
    receiver.release()
    yield* world.rest
    balance(world)
  })

/** At rest, every accepted event has had one fate, and the books of every node say so. */
const balance = (world: World): void => {
  const { accepted, dropped, receiver, returned, subject } = world
  for (const { counts, kind, name } of world.counts) {
    const { accepted, delivered, dropped, filtered, undelivered } = counts
    world.expect(
      accepted === delivered + filtered + dropped + undelivered,
      () => `${kind} "${name}" says that it settled other than it accepted: ${show(counts)}`
    )
  }
  const certain = new Set(accepted)
  const given = [...dropped, ...returned]
  for (const label of new Set([...accepted, ...receiver.received, ...given.map(({ label }) => label)])) {
    const delivered = receiver.received.filter((one) => Object.is(one, label)).length
    const left = given.filter((one) => Object.is(one.label, label))
    const doubtful = left.some(({ inFlight }) => inFlight)
    world.expect(
      delivered + left.length <= 1 || (doubtful && delivered <= 1 && left.length === 1),
      () => `${show(label)} was delivered ${delivered} times and given up ${left.length} times`
    )
    if (!certain.has(label) && subject.queued) {
      const write = world.writes.find(({ labels }) => labels.includes(label))
      const refused =
        write?.call.exit !== undefined && Exit.isFailure(write.call.exit) && !Cause.hasInterrupts(write.call.exit.cause)
      world.expect(!refused, () => `${show(label)} was refused (${write!.call.outcome}) and taken all the same`)
    }
  }
  expectNothingLost(world, "at rest")
}

const deliversAll: Scenario = (world) =>
  Effect.gen(function* () {
    world.receiver.mode = () => 1
    for (const label of range(1, 20)) {
      const { call } = world.write(label)
      yield* world.ends(call, 1_000)
    }
    yield* Effect.sleep(100)
    world.look()
    if (!(yield* world.close)) return
    world.expect(
      same(world.receiver.received, world.accepted),
      () => `${show(world.accepted)} was accepted and ${show(world.receiver.received)} delivered`
    )
    balance(world)
  })

/** What the sinks that stay get must be all that was written, once and in order. */
const siblings: Scenario = (world) =>
  Effect.gen(function* () {
    const others = range(1, 7).map((n) => world.record(`sink-${n}`))
    const [removed, closing, dying, slow, hanging, flickering, last] = others as [Record, ...Array<Record>]
    closing!.mode = (attempt) => (attempt >= 3 ? "closed" : "commit")
    dying!.mode = (attempt) => (attempt % 3 === 0 ? "die" : attempt % 3 === 1 ? "interrupt" : "kill")
    slow!.mode = () => world.pick(1, 30)
    hanging!.mode = (attempt) => (attempt >= 2 ? "hang" : "commit")
    for (const { sink } of others) yield* world.part.add(sink.reliable)
    const moments = [world.pick(2, 10), world.pick(2, 10), world.pick(2, 10)] as const
    const written = range(1, 12)
    const stays: Array<unknown> = []
    for (const label of written) {
      world.write(label)
      if (world.pick(0, 1) === 0) yield* world.rest
      if (label === moments[0]) world.call(world.part.remove(removed.sink.reliable))
      if (label === moments[1]) world.call(world.part.remove(hanging!.sink.reliable))
      if (label === moments[2]) {
        yield* world.part.remove(flickering!.sink.reliable)
        stays.push(...range(1, label))
        yield* world.part.add(flickering!.sink.reliable)
      }
    }
    yield* Effect.sleep("5 seconds")
    const expected = (name: string, record: Record, labels: ReadonlyArray<unknown>) =>
      world.expect(
        same(record.received, labels),
        () => `${name} got ${show(record.received)} of ${show(labels)} that were written for it`
      )
    expected("a sink that stayed", world.receiver, written)
    expected("the last sink, which stayed,", last!, written)
    expected("a slow sink that stayed", slow!, written)
    expected("a removed sink", removed, range(1, moments[0]))
    expected("a sink that was removed and added again", flickering!, written)
    expected("a sink that closed", closing!, range(1, 2))
  })

const anything: ReadonlyArray<unknown> = [
  undefined,
  null,
  Number.NaN,
  0,
  -0,
  "",
  false,
  Symbol("event"),
  () => "called",
  [],
  {},
  new Error("an error as an event"),
  Promise.resolve("resolved"),
  Effect.die("an event that is an Effect was run"),
  Effect.fail("an event that is an Effect was run"),
  Exit.fail("an event that is an Exit was taken for one"),
  new SinkClosed({ sink: "an event" }),
  { _tag: "Failure", cause: Cause.empty },
  { _tag: "Done" }
]

const anyValue: Scenario = (world) =>
  Effect.gen(function* () {
    for (const label of anything) {
      const { call } = world.write(label)
      yield* Effect.sleep(50)
      world.expect(
        call.exit !== undefined && Exit.isSuccess(call.exit),
        () => `a write of ${show(label)} ${call.outcome}`
      )
    }
    const group = world.writeGroup(anything.slice(0, 3))
    yield* Effect.sleep(500)
    world.expect(
      group.call.exit === undefined || Exit.isSuccess(group.call.exit) || group.accepted === 0,
      () => `a group of odd values ${group.call.outcome}`
    )
    const expected = [...anything, ...anything.slice(0, group.accepted)]
    world.expect(
      same(world.receiver.received, expected),
      () => `written were ${show(expected)}, and received ${show(world.receiver.received)}`
    )
  })

const anyValueLeft: Scenario = (world) =>
  Effect.gen(function* () {
    world.receiver.mode = (attempt) => (attempt === 1 ? "die" : "hang")
    for (const label of anything) world.write(label)
    if (!(yield* world.close)) return
    expectNothingLost(world, "closed with odd values waiting")
  })

const secret = (n: number) => ({ id: `id-${n}`, content: `secret-${n}` })

const nothingLost =
  (
    mode: (attempt: number) => Mode,
    options: { readonly report?: "dies" | "hangs"; readonly burst?: number } = {}
  ): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { subject } = world
      world.receiver.mode = mode
      if (options.report === "dies") world.onDropped = Effect.die(new Error("onDropped died"))
      if (options.report === "hangs") world.onDropped = Effect.never
      for (const n of range(1, (subject.capacity ?? 0) + (options.burst ?? 4))) {
        world.write(subject.takesAnything ? secret(n) : n)
        if (options.burst === undefined) yield* world.rest
      }
      yield* Effect.sleep(100)
      if (!(yield* world.close)) return
      expectNothingLost(world, "closed")
      const told = world.logs.find(({ text }) => text.includes("secret-"))
      world.expect(told === undefined, () => `the log tells the content of an event: ${told?.text}`)
    })

const defects: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver } = world
    const bad: { readonly [attempt: number]: Mode } = { 2: "die", 4: "interrupt", 6: "kill" }
    receiver.mode = (attempt) => bad[attempt] ?? "commit"
    const sibling = world.record("sibling")
    yield* world.part.add(sibling.sink.reliable)
    yield* writeEach(world, range(1, 8))
    yield* Effect.sleep(1_000)
    const { received } = receiver
    world.expect(
      same(received, [1, 3, 5, 7, 8]),
      () => `2, 4 and 6 met a defect, and of the others only ${show(received)} arrived`
    )
    if (!world.subject.hasSinks) return
    world.expect(
      same(sibling.received, range(1, 8)),
      () => `one sink had defects, and its sibling got ${show(sibling.received)}`
    )
  })

const inOrder: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver } = world
    const moods = world.subject.delays === undefined ? 0 : 30
    receiver.mode = () => (world.pick(1, 100) <= moods ? "fail" : world.pick(0, 1) === 0 ? "commit" : world.pick(1, 20))
    const writer = (first: number) =>
      Effect.gen(function* () {
        for (let next = first; next < first + 12;) {
          const size = world.pick(1, 3)
          const write = size === 1 ? world.write(next) : world.writeGroup(range(next, next + size - 1))
          next += size
          yield* world.ends(write.call, 600_000)
          if (world.pick(0, 3) === 0) yield* Effect.sleep(world.pick(1, 20))
        }
      })
    yield* Effect.all([writer(100), writer(200), writer(300)], { concurrency: "unbounded" })
    yield* Effect.sleep(5_000)
    for (const first of [100, 200, 300]) {
      const got = receiver.received.filter((label) => Number(label) >= first && Number(label) < first + 100)
      world.expect(
        got.every((label, i) => i === 0 || Number(label) > Number(got[i - 1])),
        () => `what one fiber wrote in order arrived as ${show(got)}`
      )
    }
  })

export const delivery: ReadonlyArray<Law> = [
  {
    number: 0,
    title: "conservation: every accepted event has exactly one fate, and the books balance",
    concerns: () => true,
    scenarios: () => [
      { title: "everything is well", play: deliversAll },
      { title: "any life", play: anyLife, times: 24 }
    ]
  },
  {
    number: 4,
    title: "removing, failing or closing one sink leaves the sequence of every other unchanged",
    concerns: (subject) => subject.hasSinks,
    scenarios: () => [{ title: "sinks come, go and misbehave", play: siblings, times: 8 }]
  },
  {
    number: 7,
    title: "any value is an event",
    concerns: (subject) => subject.takesAnything,
    scenarios: () => [
      { title: "odd values are written", play: anyValue },
      { title: "odd values are left", play: anyValueLeft }
    ]
  },
  {
    number: 8,
    title: "an accepted event is never lost without a report, and never told to the log",
    concerns: () => true,
    scenarios: () => [
      { title: "one write dies", play: nothingLost((attempt) => (attempt === 2 ? "die" : "commit")) },
      { title: "one write fails", play: nothingLost((attempt) => (attempt === 2 ? "fail" : "commit")) },
      { title: "one write is interrupted", play: nothingLost((attempt) => (attempt === 2 ? "kill" : "commit")) },
      { title: "every write dies", play: nothingLost(() => "die", { burst: 3 }) },
      { title: "the receiver hangs", play: nothingLost((attempt) => (attempt > 1 ? "hang" : "commit")) },
      { title: "the receiver refuses interruption", play: nothingLost((attempt) => (attempt > 1 ? "refuse" : 1)) },
      { title: "the receiver closes", play: nothingLost((attempt) => (attempt > 1 ? "closed" : "commit")) },
      { title: "a burst", play: nothingLost(() => 10, { burst: 6 }) },
      { title: "onDropped dies", play: nothingLost((attempt) => (attempt === 2 ? "die" : "hang"), { report: "dies" }) },
      { title: "onDropped hangs at the close", play: nothingLost(() => "hang", { report: "hangs" }) }
    ]
  },
  {
    number: 10,
    title: "a defect or an interruption of a sink's own making stops neither the worker nor a sibling",
    concerns: (subject) => !subject.hasStream && !subject.synchronous,
    scenarios: () => [{ title: "three writes meet a defect", play: defects }]
  },
  {
    number: 17,
    title: "what one fiber wrote in order arrives in order at each sink",
    concerns: () => true,
    scenarios: () => [{ title: "three fibers write", play: inOrder, times: 6 }]
  }
]
