/** The laws of delivery: 4, 7, 8 and 10. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { SinkClosed } from "../../internal/sink.ts"
import { expectNothingLost, type Law, range, sameInOrder, show, writeEach } from "./law.ts"
import type { Mode, Record } from "./receiver.ts"
import type { Scenario } from "./run.ts"
import type { World } from "./world.ts"

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
        sameInOrder(world.subject, record.received, labels),
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
      sameInOrder(world.subject, world.receiver.received, expected),
      () => `written were ${show(expected)}, and received ${show(world.receiver.received)}`
    )
  })

/** Odd values that a part gives up must be reported as ordinary ones are. */
const anyValueLeft: Scenario = (world) =>
  Effect.gen(function* () {
    world.receiver.mode = (attempt) => (attempt <= 2 ? "die" : "hang")
    for (const label of ["ordinary", ...anything, "ordinary too"]) world.write(label)
    world.look()
    if (!(yield* world.close)) return
    world.receiver.release()
    yield* Effect.sleep(100)
    // A part that loses any event breaks another law.
    if (world.missing.some((label) => String(label).startsWith("ordinary"))) return
    expectNothingLost(world, "closed with odd values waiting")
  })

const secret = (n: number) => ({ id: `id-${n}`, content: `secret-${n}` })

/** Whether the log tells at error of each of `lost`, by a count of all or by id. */
const tells = (world: World, lost: ReadonlyArray<unknown>): boolean => {
  const says = (what: string) => world.errors.some((text) => new RegExp(`(?<![\\w-])${what}(?![\\w-])`).test(text))
  const ids = lost.flatMap((label) =>
    typeof label === "object" && label !== null && "id" in label ? [String(label.id)] : []
  )
  return says(String(lost.length)) || (ids.length === lost.length ? ids.every(says) : world.admits(lost.length))
}

const nothingLost =
  (
    mode: (attempt: number) => Mode,
    options: { readonly report?: "dies" | "hangs"; readonly burst?: number; readonly by?: "interruption" } = {}
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
      world.look()
      if (!(yield* world.closeBy(options.by ?? "call"))) return
      world.receiver.release()
      yield* Effect.sleep(100)
      const { missing } = world
      world.expect(
        missing.length === 0 || tells(world, missing),
        () =>
          `${show(missing)} were accepted and neither delivered nor reported nor told to the log by count or id: ${show(world.logs)}`
      )
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
      sameInOrder(world.subject, received, [1, 3, 5, 7, 8]),
      () => `2, 4 and 6 met a defect, and of the others only ${show(received)} arrived`
    )
    if (!world.subject.hasSinks) return
    world.expect(
      sameInOrder(world.subject, sibling.received, range(1, 8)),
      () => `one sink had defects, and its sibling got ${show(sibling.received)}`
    )
  })

export const delivery: ReadonlyArray<Law> = [
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
      // All at once: what is written when a sink has left a broadcaster is not for that sink.
      {
        title: "the receiver closes",
        play: nothingLost((attempt) => (attempt > 1 ? "closed" : "commit"), { burst: 4 })
      },
      { title: "a burst", play: nothingLost(() => 10, { burst: 6 }) },
      { title: "onDropped dies", play: nothingLost((attempt) => (attempt === 2 ? "die" : "hang"), { report: "dies" }) },
      { title: "onDropped hangs at the close", play: nothingLost(() => "hang", { report: "hangs" }) },
      { title: "an interruption closes the scope", play: nothingLost(() => "hang", { by: "interruption" }) },
      {
        title: "an interruption closes the scope, and onDropped hangs",
        play: nothingLost(() => "hang", { report: "hangs", by: "interruption" })
      }
    ]
  },
  {
    number: 10,
    title: "a defect or an interruption of a sink's own making stops neither the worker nor a sibling",
    concerns: (subject) => !subject.hasStream && !subject.synchronous,
    scenarios: () => [{ title: "three writes meet a defect", play: defects }]
  }
]
