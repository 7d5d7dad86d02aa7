/** The laws of delivery: conservation, order, and what one sink, one event or one defect may cost. 0, 4, 7, 8, 10 and 17. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { SinkClosed } from "../../../internal/sink.ts"
import {
  accepted,
  admits,
  errors,
  expectNothingLost,
  expectReceived,
  expectSame,
  isSame,
  missing,
  outcome,
  range,
  show,
  views
} from "./sinkAccount.ts"
import type { Law, Scenario, World } from "./sinkWorld.ts"
import type { Mode, Target } from "./target.ts"

const on =
  (attempt: number, mode: Mode) =>
  (n: number): Mode =>
    n === attempt ? mode : "commit"
const after =
  (attempt: number, mode: Mode, before: Mode = "commit") =>
  (n: number): Mode =>
    n > attempt ? mode : before

export const deliveryLaws: ReadonlyArray<Law> = [
  {
    number: 0,
    title: "conservation: every accepted event has exactly one fate, and the books balance",
    concerns: () => true,
    scenarios: () => [
      { title: "everything is well", play: deliversAll },
      { title: "any life", play: anyLife, times: 12 }
    ]
  },
  {
    number: 4,
    title: "removing, failing or closing one sink leaves the sequence of every other unchanged",
    concerns: (subject) => subject.sinks !== undefined || subject.targets === "both",
    scenarios: (subject) => [
      ...(subject.sinks === undefined ? [] : [{ title: "sinks come, go and misbehave", play: siblings, times: 8 }]),
      ...(subject.targets !== "both" ? [] : (["fail", "die", "interrupt", "hang", "closed"] as const)).map((mode) => ({
        title: `the mode of one receiver is "${mode}" for a while`,
        play: otherTarget(mode)
      }))
    ]
  },
  {
    number: 7,
    title: "any value is an event",
    concerns: (subject) => subject.event === undefined,
    scenarios: () => [
      { title: "odd values are written", play: anyValue },
      { title: "odd values are undelivered", play: anyValueUndelivered }
    ]
  },
  {
    number: 8,
    title: "an accepted event is never lost without a report, and its content is never logged",
    concerns: () => true,
    scenarios: () => [
      { title: "one write dies", play: nothingLost(on(2, "die")) },
      { title: "one write fails", play: nothingLost(on(2, "fail")) },
      { title: "one write is interrupted", play: nothingLost(on(2, "kill")) },
      { title: "every write dies", play: nothingLost(() => "die", { burst: 3 }) },
      { title: "the receiver hangs", play: nothingLost(after(1, "hang")) },
      { title: "the receiver refuses interruption", play: nothingLost(after(1, "refuse", 1)) },
      // All at once: what is written when a sink has left a broadcaster is not for that sink.
      { title: "the receiver closes", play: nothingLost(after(1, "closed"), { burst: 4 }) },
      { title: "a burst", play: nothingLost(() => 10, { burst: 6 }) },
      { title: "onDropped dies", play: nothingLost((n) => (n === 2 ? "die" : "hang"), { report: "dies" }) },
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
    concerns: (subject) => subject.stream === undefined && !subject.synchronous,
    scenarios: () => [{ title: "three writes meet a defect", play: defects }]
  },
  {
    number: 17,
    title: "what one fiber wrote in order arrives in order at each sink",
    concerns: (subject) => subject.order !== "none",
    scenarios: () => [{ title: "three fibers write", play: inOrder, times: 6 }]
  }
]

// internals

const anyMode: ReadonlyArray<Mode> = ["commit", "commit", 5, 20, "fail", "die", "interrupt", "kill"]

/** Any life: writes and batches, some interrupted, a receiver with moods, and a close at some moment. */
const anyLife: Scenario = Effect.fnUntraced(function* (world) {
  const hangsAt = world.pick(1, 40)
  world.receiver.mode = (attempt) => (attempt === hangsAt ? "hang" : anyMode[world.pick(0, anyMode.length - 1)]!)
  let next = 1
  for (let turn = world.pick(1, 12); turn > 0; turn--) {
    const size = world.pick(1, 3)
    const write = world.write(...range(next, next + size - 1))
    next += size
    if (world.pick(0, 2) === 0) yield* Effect.sleep(world.pick(1, 30))
    if (world.pick(0, 4) === 0) write.call.fiber.interruptUnsafe()
  }
  world.noteNodes()
  if (world.subject.shutdown !== undefined && world.pick(0, 1) === 0) {
    const call = world.call(world.shutdown)
    if (!(yield* world.ends(call, world.closeLimit()))) return
    if (call.exit !== undefined && Exit.isSuccess(call.exit)) world.returned = call.exit.value
  }
  if (!(yield* world.close())) return
  for (const { call } of world.writes) call.fiber.interruptUnsafe()
  world.release()
  yield* Effect.sleep("5 seconds")
  balance(world)
})

/** At rest, every accepted event has had one fate, and the books of every node say so. */
const balance = (world: World): void => {
  const { remaining, returned, subject } = world
  for (const { counts, kind, name } of world.books()) {
    const { accepted, deadLettered, delivered, dropped, filtered, remaining, undelivered } = counts
    const sum = delivered + filtered + dropped + deadLettered + undelivered + remaining
    world.expect(accepted === sum, `${kind} "${name}" settled other than it accepted: ${show(counts)}`)
  }
  if (subject.remaining !== undefined) balanceRemaining(world)
  const certain = new Set(accepted(world))
  // What a durable part returns is what may have arrived of all that it keeps.
  const given = subject.remaining === undefined ? [...world.dropped, ...returned] : world.dropped
  const inStore = [...remaining.waiting, ...remaining.deadLetters]
  const found = [...certain, ...views(world).flat(), ...given.map(({ label }) => label), ...inStore]
  for (const label of new Set(found)) {
    const is = (other: unknown) => Object.is(other, label)
    const delivered = views(world).map((received) => received.filter(is).length)
    const drops = given.filter((one) => is(one.label))
    const stored = inStore.filter(is).length
    const fates = drops.length + stored
    const isReturned = returned.some((one) => is(one.label))
    const isDoubtful = drops.some(({ inFlight }) => inFlight) || (stored > 0 && isReturned)
    const sum = delivered.reduce((a, b) => a + b, 0)
    world.expect(
      Math.max(...delivered) <= 1 && (isDoubtful ? fates : sum + fates) <= delivered.length,
      `${show(label)} was delivered ${sum} times, given up ${drops.length} times and kept ${stored} times`
    )
    if (certain.has(label) || !subject.queued || subject.targets === "both") continue
    // Of a batch that failed a part may have been taken in a batch of its own.
    const write = world.writes.find(({ labels }) => labels.length === 1 && labels[0] === label)
    const exit = write?.call.exit
    const refused = exit !== undefined && Exit.isFailure(exit) && !Cause.hasInterrupts(exit.cause)
    if (refused) world.expect(false, `${show(label)} was refused (${outcome(write!.call)}) and taken all the same`)
  }
  expectNothingLost(world, "at rest")
}

/** What a durable part keeps was written, what may have arrived is among it, and its books know how much it is. */
const balanceRemaining = (world: World): void => {
  const { deadLetters, waiting } = world.remaining
  const written = new Set(world.writes.flatMap(({ labels }) => labels))
  const foreign = [...waiting, ...deadLetters].filter((label) => !written.has(label))
  world.expect(foreign.length === 0, `${show(foreign)} is kept and was never written`)
  const gone = world.returned.flatMap(({ label }) => (waiting.includes(label) ? [] : [label]))
  world.expect(gone.length === 0, `${show(gone)} was returned as in flight, and is not kept`)
  const sum = (key: "deadLettered" | "remaining") => world.books().reduce((sum, { counts }) => sum + counts[key], 0)
  const counted = [sum("remaining"), sum("deadLettered")]
  const kept = [waiting.length, deadLetters.length]
  // A part may have no books of it.
  const agrees = counted.every((n) => n === 0) || show(counted) === show(kept)
  world.expect(agrees, `the books count ${show(counted)} remaining and dead-lettered, and the store has ${show(kept)}`)
}

const deliversAll: Scenario = Effect.fnUntraced(function* (world) {
  world.receiver.mode = () => 1
  for (const label of range(1, 20)) {
    yield* world.ends(world.write(label).call, 1_000)
    yield* Effect.sleep(2)
  }
  yield* Effect.sleep(100)
  world.noteNodes()
  if (!(yield* world.close())) return
  expectReceived(world, accepted(world), "everything was well")
  balance(world)
})

const inOrder: Scenario = Effect.fnUntraced(function* (world) {
  const { capacity = 3, delays } = world.subject
  const failures = delays === undefined ? 0 : 30
  world.receiver.mode = () =>
    world.pick(1, 100) <= failures ? "fail" : world.pick(0, 1) === 0 ? "commit" : world.pick(1, 20)
  const largest = Math.min(3, Math.max(1, capacity))
  const writer = Effect.fnUntraced(function* (first: number) {
    for (let written = 0, next = first; written < 12;) {
      const size = world.pick(1, largest)
      // Gaps, so that neighbours have one key now and another then.
      const write = world.write(...range(1, size).map(() => (next += world.pick(1, 4))))
      written += size
      yield* world.ends(write.call, 600_000)
      if (world.pick(0, 3) === 0) yield* Effect.sleep(world.pick(1, 20))
    }
  })
  yield* Effect.all([writer(100), writer(200), writer(300)], { concurrency: "unbounded" })
  yield* Effect.sleep(5_000)
  for (const { received } of world.targets) {
    for (const first of [100, 200, 300]) {
      const got = received.map(Number).filter((n) => n >= first && n < first + 100)
      const isOrdered = got.every((n, i) => got.slice(0, i).every((before) => n > before || !world.together(before, n)))
      world.expect(isOrdered, `what one fiber wrote in order arrived as ${show(got)}`)
    }
  }
})

/** What the sinks that stay get must be all that was written, once and in order. */
const siblings: Scenario = Effect.fnUntraced(function* (world) {
  const others = range(1, 7).map((n) => world.record(`sink-${n}`))
  // There are seven.
  const [removed, closing, dying, slow, hanging, flickering, last] = others as [Target, ...Array<Target>]
  closing!.mode = (attempt) => (attempt >= 3 ? "closed" : "commit")
  dying!.mode = (attempt) => (attempt % 3 === 0 ? "die" : attempt % 3 === 1 ? "interrupt" : "kill")
  slow!.mode = () => world.pick(1, 30)
  hanging!.mode = (attempt) => (attempt >= 2 ? "hang" : "commit")
  for (const { sink } of others) yield* world.add(sink.reliable)
  const moments = [world.pick(2, 10), world.pick(2, 10), world.pick(2, 10)] as const
  const written = range(1, 12)
  for (const label of written) {
    world.write(label)
    if (world.pick(0, 1) === 0) yield* world.rest
    if (label === moments[0]) world.call(world.remove(removed.sink.reliable))
    if (label === moments[1]) world.call(world.remove(hanging!.sink.reliable))
    if (label !== moments[2]) continue
    yield* world.remove(flickering!.sink.reliable)
    yield* world.add(flickering!.sink.reliable)
  }
  yield* Effect.sleep("5 seconds")
  const expected: ReadonlyArray<readonly [string, Target | undefined, ReadonlyArray<unknown>]> = [
    ["a sink that stayed", world.receiver, written],
    ["the last sink, which stayed", last, written],
    ["a slow sink that stayed", slow, written],
    ["a removed sink", removed, range(1, moments[0])],
    ["a sink that was removed and added again", flickering, written],
    ["a sink that closed", closing, range(1, 2)]
  ]
  for (const [name, target, labels] of expected) expectSame(world, target!.received, labels, `${name} got`)
})

/** One of two receivers misbehaves: the other gets all that was accepted, and does not wait for the end of that. */
const otherTarget = (mode: Mode): Scenario =>
  Effect.fnUntraced(function* (world) {
    const { capacity = 8, queued } = world.subject
    world.receiver.mode = (attempt) => (attempt === 2 || attempt === 3 ? mode : "commit")
    for (const label of range(1, Math.min(8, capacity))) {
      world.write(label)
      yield* world.rest
    }
    yield* Effect.sleep("1 second")
    const { received } = world.targets.find((target) => target !== world.receiver)!
    const expectOther = (when: string) => {
      const expected = accepted(world)
      // Without a queue a failed write may have reached this receiver, and writes of several fibers overtake each other.
      const found = queued ? received : received.filter((label) => expected.includes(label))
      const what = `the receiver that is well has ${show(found)} ${when}, instead of ${show(expected)}`
      world.expect(isSame(world, found, expected, queued === true), what)
    }
    expectOther("beside one that misbehaves")
    world.release()
    yield* Effect.sleep("1 minute")
    yield* world.close()
    expectOther("after the close")
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

const anyValue: Scenario = Effect.fnUntraced(function* (world) {
  for (const label of anything) {
    const { call } = world.write(label)
    yield* Effect.sleep(50)
    const succeeded = call.exit !== undefined && Exit.isSuccess(call.exit)
    world.expect(succeeded, `a write of ${show(label)} ${outcome(call)}`)
  }
  const batch = world.write(...anything.slice(0, 3))
  yield* Effect.sleep(500)
  const { exit } = batch.call
  const isWhole = exit === undefined || Exit.isSuccess(exit) || batch.accepted === 0
  world.expect(isWhole, `a batch of odd values ${outcome(batch.call)}`)
  expectReceived(world, accepted(world), "odd values were written")
})

/** Odd values that a part gives up must be reported as ordinary ones are. */
const anyValueUndelivered: Scenario = Effect.fnUntraced(function* (world) {
  world.receiver.mode = (attempt) => (attempt <= 2 ? "die" : "hang")
  for (const label of ["ordinary", ...anything, "ordinary too"]) world.write(label)
  world.noteNodes()
  if (!(yield* world.close())) return
  world.release()
  yield* Effect.sleep(100)
  // A part that loses any event breaks another law.
  if (missing(world).some((label) => String(label).startsWith("ordinary"))) return
  expectNothingLost(world, "closed with odd values waiting")
})

/** Whether the log names each of `lost` at error, by a count of all or by id. */
const logsLoss = (world: World, lost: ReadonlyArray<unknown>): boolean => {
  const says = (what: string) => errors(world).some((text) => new RegExp(`(?<![\\w-])${what}(?![\\w-])`).test(text))
  const ids = lost.flatMap((label) =>
    typeof label === "object" && label !== null && "id" in label ? [String(label.id)] : []
  )
  return says(String(lost.length)) || (ids.length === lost.length ? ids.every(says) : admits(world, lost.length))
}

const nothingLost = (
  mode: (attempt: number) => Mode,
  options: { readonly report?: "dies" | "hangs"; readonly burst?: number; readonly by?: "interruption" } = {}
): Scenario =>
  Effect.fnUntraced(function* (world) {
    const { capacity = 0, event } = world.subject
    world.receiver.mode = mode
    if (options.report === "dies") world.onDropped = Effect.die(new Error("onDropped died"))
    if (options.report === "hangs") world.onDropped = Effect.never
    for (const n of range(1, capacity + (options.burst ?? 4))) {
      world.write(event === undefined ? { id: `id-${n}`, content: `secret-${n}` } : n)
      if (options.burst === undefined) yield* world.rest
    }
    yield* Effect.sleep(100)
    world.noteNodes()
    if (!(yield* world.close(options.by))) return
    world.release()
    yield* Effect.sleep(100)
    const lost = missing(world)
    world.expect(
      lost.length === 0 || logsLoss(world, lost),
      `${show(lost)} were accepted and neither delivered nor reported nor logged by count or id: ${show(world.logs)}`
    )
    const secret = world.logs.find(({ text }) => text.includes("secret-"))
    world.expect(secret === undefined, `the log has the content of an event: ${secret?.text}`)
  })

const defects: Scenario = Effect.fnUntraced(function* (world) {
  const { receiver, subject } = world
  const bad: { readonly [attempt: number]: Mode } = { 2: "die", 4: "interrupt", 6: "kill" }
  receiver.mode = (attempt) => bad[attempt] ?? "commit"
  const sibling = world.record("sibling")
  yield* world.add(sibling.sink.reliable)
  for (const label of range(1, 8)) {
    world.write(label)
    yield* world.rest
  }
  yield* Effect.sleep(1_000)
  const { troubled } = receiver
  const expected = range(1, 8).filter((label) => !troubled.includes(label))
  // The other of two receivers may have got an event that met a defect.
  const isCertain = (label: unknown) => subject.targets === undefined || !troubled.includes(label)
  for (const received of views(world)) {
    const holds = isSame(world, received.filter(isCertain), expected, subject.targets !== "one")
    world.expect(holds, `${show(troubled)} met a defect, and of the others only ${show(received)} arrived`)
  }
  if (subject.sinks === undefined) return
  expectSame(world, sibling.received, range(1, 8), "one sink had defects, and its sibling got")
})
