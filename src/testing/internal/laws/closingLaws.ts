/** The laws of closing and releasing: 1, 2, 3, 5, 11 and 13. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { defaultDrainTimeout } from "../../../internal/deadline.ts"
import {
  accepted,
  admits,
  expectSame,
  inFlight,
  isClosed,
  isReceived,
  labelsOf,
  outcome,
  range,
  show,
  unsettled
} from "./sinkAccount.ts"
import type { Call, GivenUp, Law, Scenario, World, Write } from "./sinkWorld.ts"
import type { Mode } from "./target.ts"

const modes: ReadonlyArray<Mode> = ["commit", 50, "hang", "refuse", "fail", "die", "interrupt", "kill", "closed"]

export const closingLaws: ReadonlyArray<Law> = [
  {
    number: 1,
    title: "every call of shutdown waits for the same flush and gets the same list; the close reports the rest",
    concerns: (subject) => subject.shutdown !== undefined,
    scenarios: ({ synchronous }) => [
      ...(synchronous ? [] : [{ title: "shutdown is called five times", play: manyCalls }]),
      { title: "shutdown and close while a flush goes on", play: slowFlush },
      ...(synchronous ? [] : [{ title: "calls of shutdown are interrupted", play: interruptedCalls, times: 12 }])
    ]
  },
  {
    number: 2,
    title: "a write after the close, or waiting when it came, fails with SinkClosed",
    concerns: () => true,
    scenarios: () => [
      { title: "writes come late", play: afterClose },
      { title: "writes wait behind a receiver that hangs", play: waiting("hang") },
      { title: "writes wait behind a receiver that is slow", play: waiting(100) },
      { title: "writes wait behind a receiver that fails", play: waiting("fail") }
    ]
  },
  {
    number: 3,
    title: "a close releases each part once, after its own flush and before what it wraps",
    // The reader of a queue that the part does not own is not the part's to wait for.
    concerns: (subject) => subject.stream === undefined || subject.shutdown !== undefined,
    scenarios: () => [
      { title: "the close comes while writes are under way", play: releasedInOrder, times: 8 },
      { title: "two parts stand over one receiver", play: twoWrappers }
    ]
  },
  {
    number: 5,
    title: "a close returns within its deadline, whatever the receiver does",
    concerns: () => true,
    scenarios: ({ queued }) => [
      ...modes.map((mode) => ({ title: `the receiver's mode is "${mode}"`, play: closeUnder(mode, "call") })),
      ...modes.map((mode) => ({
        title: `the receiver's mode is "${mode}", and an interruption closes the scope`,
        play: closeUnder(mode, "interruption")
      })),
      ...(queued ? (["hangs", "refuses"] as const) : []).map((report) => ({
        title: `the receiver hangs, and onDropped ${report}`,
        play: closeUnder("hang", "call", report)
      }))
    ]
  },
  {
    number: 11,
    title: "no fiber is left after the close, but one whose write refuses interruption",
    concerns: () => true,
    scenarios: () => [
      ...modes.map((mode) => ({ title: `the receiver's mode is "${mode}"`, play: leavesNoFiber(mode) })),
      { title: "the receiver hangs, and so does onDropped", play: leavesNoFiber("hang", { report: "hangs" }) },
      {
        title: "the receiver hangs, and so does onDropped, and an interruption closes the scope",
        play: leavesNoFiber("hang", { by: "interruption", report: "hangs" })
      },
      { title: "the receiver hangs for two minutes", play: leavesNoFiber("hang", { before: 120_000 }) },
      {
        title: "the receiver hangs, and an interruption closes the scope",
        play: leavesNoFiber("hang", { by: "interruption" })
      }
    ]
  },
  {
    number: 13,
    title: "a failure during shutdown keeps the event",
    concerns: (subject) => subject.remaining !== undefined && !subject.synchronous && subject.targets === undefined,
    scenarios: (subject) =>
      (["fail", "die", "interrupt", "kill", "closed"] as const).flatMap((mode) =>
        (["shutdown", "close", "interruption"] as const)
          .filter((by) => by !== "shutdown" || subject.shutdown !== undefined)
          .map((by) => ({ title: `the receiver's mode is "${mode}", in a ${by}`, play: failsDuringClose(mode, by) }))
      )
  }
]

// internals

type Shutdown = Call<ReadonlyArray<GivenUp>>

const reportedByClose = ({ dropped }: World) => labelsOf(dropped.filter(({ reason }) => reason === "Undelivered"))
/** What was accepted, and is neither delivered nor given up before the close, nor kept by a durable part. */
const backlog = (world: World) =>
  unsettled(
    world,
    world.dropped.filter(({ reason }) => reason !== "Undelivered")
  )

/** Writes until something is accepted that the hanging receiver does not get. */
const fillBehindHanging = Effect.fnUntraced(function* (world: World) {
  world.receiver.mode = () => "hang"
  for (const label of range(1, 5)) {
    world.write(label)
    yield* world.rest
  }
})

const manyCalls: Scenario = Effect.fnUntraced(function* (world) {
  yield* fillBehindHanging(world)
  const hanging = inFlight(world)
  const calls: Array<Shutdown> = [world.call(world.shutdown), world.call(world.shutdown)]
  yield* Effect.sleep(10)
  calls.push(world.call(world.shutdown))
  const close = world.beginClose()
  yield* Effect.sleep(500)
  calls.push(world.call(world.shutdown))
  yield* Effect.sleep(world.closeLimit())
  calls.push(world.call(world.shutdown))
  yield* world.rest
  if (close.exit === undefined) return
  yield* world.readRemaining
  let expected = backlog(world)
  if (world.subject.remaining !== undefined) {
    world.expect(expected.length === 0, `${show(expected)} was not delivered, and is not kept`)
    // Of what a durable part keeps, it returns what the receiver may have.
    expected = hanging
  }
  const [first, ...others] = calls.slice(0, -1)
  for (const call of calls) {
    if (call.exit === undefined || Exit.isFailure(call.exit)) {
      world.expect(false, `a call of shutdown ${outcome(call)}`)
      continue
    }
    const list = labelsOf(call.exit.value)
    expectSame(world, list, expected, "a call of shutdown returned other than was not delivered")
    if (call !== calls[0]) continue
    const again = list.filter((label) => labelsOf(world.dropped).includes(label))
    world.expect(again.length === 0, `${show(again)} was returned by shutdown and reported by the close too`)
  }
  for (const call of [...others, close]) {
    const early = first!.ended - call.ended
    world.expect(!(early > 0), `another call came back ${early} ms before the first, while the flush was going on`)
  }
})

const slowFlush: Scenario = Effect.fnUntraced(function* (world) {
  world.receiver.mode = () => 50
  for (const label of range(1, 5)) world.write(label)
  yield* world.rest
  const first = world.call(world.shutdown)
  yield* Effect.sleep(20)
  const second = world.call(world.shutdown)
  const close = world.beginClose("interruption")
  for (const call of [second, close, first]) {
    if (!(yield* world.ends(call, world.closeLimit()))) return
    // The reader of a stream has taken the last event by now, and commits it next.
    if (world.subject.stream !== undefined) yield* world.rest
    yield* world.readRemaining
    const rest = backlog(world)
    world.expect(rest.length === 0, `a close came back before ${show(rest)} was delivered`)
  }
})

/** Calls that are interrupted return nothing, and what no call returned is reported: once. */
const interruptedCalls: Scenario = Effect.fnUntraced(function* (world) {
  yield* fillBehindHanging(world)
  // In the drain, or at the very moment when its time is up.
  const deadline = Duration.toMillis(world.subject.deadline ?? defaultDrainTimeout)
  const at = world.pick(0, 1) === 0 ? world.pick(0, 50) : deadline
  const turns = world.pick(0, 12)
  const call = world.call(world.shutdown)
  const cut = world.call(world.shutdown)
  call.fiber.interruptUnsafe()
  yield* Effect.sleep(at)
  for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
  const close = world.pick(0, 1) === 0 ? world.beginClose() : undefined
  cut.fiber.interruptUnsafe()
  yield* Effect.sleep(world.closeLimit())
  if (!(yield* world.ends(close ?? world.beginClose(), world.closeLimit()))) return
  yield* world.rest
  yield* world.readRemaining
  const undelivered = backlog(world)
  const reported = reportedByClose(world)
  if (cut.exit !== undefined && Exit.isSuccess(cut.exit)) {
    world.expect(reported.length === 0, `${show(reported)} was returned by shutdown and reported by the close`)
  } else if (reported.length > 0 || !admits(world, undelivered.length)) {
    expectSame(world, reported, undelivered, `no call returned, interrupted after ${at} ms, and the close reported`)
  }
})

const afterClose: Scenario = Effect.fnUntraced(function* (world) {
  world.receiver.mode = () => 50
  for (const label of range(1, 3)) world.write(label)
  yield* world.rest
  const close = world.beginClose()
  yield* world.rest
  const refused: Array<readonly [when: string, write: Write]> = [["during the close", world.write(10)]]
  yield* world.ends(close, world.closeLimit())
  refused.push(["after the close", world.write(11)], ["after the close, as a batch", world.write(12, 13)])
  yield* Effect.sleep(5_000)
  for (const [when, { call }] of refused)
    world.expect(isClosed(call), `a write ${when} ${outcome(call)} instead of failing with SinkClosed`)
  const { filtered } = world.subject
  if (filtered === undefined) return
  const late = world.call(world.sink().write(filtered()))
  yield* Effect.sleep(1_000)
  world.expect(isClosed(late), `after the close, a write of an event that is filtered out ${outcome(late)}`)
})

const waiting = (mode: Mode): Scenario =>
  Effect.fnUntraced(function* (world) {
    world.receiver.mode = () => mode
    for (const label of range(1, (world.subject.capacity ?? 0) + 4)) world.write(label)
    yield* Effect.sleep(20)
    const inside = new Set(inFlight(world))
    const waiting = world.writes.filter(({ call, labels }) => call.exit === undefined && !inside.has(labels[0]))
    const close = world.beginClose()
    yield* world.rest
    yield* world.ends(close, world.closeLimit())
    yield* world.rest
    for (const { call, labels } of waiting)
      world.expect(isClosed(call), `the write of ${show(labels[0])} was waiting at the close, and ${outcome(call)}`)
  })

const releasedInOrder: Scenario = Effect.fnUntraced(function* (world) {
  const trouble = world.subject.delays !== undefined && world.pick(0, 1) === 0
  world.receiver.mode = (attempt) => (trouble && attempt % 2 === 0 ? "fail" : 50)
  for (const label of range(1, 4)) world.write(label)
  yield* Effect.sleep(world.pick(1, 120))
  const close = world.beginClose(world.pick(0, 1) === 0 ? "call" : "interruption")
  if (!(yield* world.ends(close, world.closeLimit()))) return
  yield* Effect.sleep("1 minute")
  for (const { attempts, received, releases } of world.targets) {
    const [at = { inFlight: 0, received: 0, attempts: 0 }] = releases
    world.expect(releases.length === 1, `a receiver was released ${releases.length} times`)
    world.expect(at.inFlight === 0, `a receiver was released with ${at.inFlight} writes in flight`)
    const late = attempts.length - at.attempts
    world.expect(late === 0, `${late} writes came to a receiver after it was released`)
    const events = received.length - at.received
    world.expect(events === 0, `a receiver was released before the flush: ${events} events came later`)
  }
})

const twoWrappers: Scenario = Effect.fnUntraced(function* (world) {
  const releases = () => Math.max(...world.targets.map(({ releases }) => releases.length))
  world.receiver.mode = () => 50
  const scope = yield* Scope.make()
  const other = yield* world.make(scope)
  for (const label of range(1, 3)) {
    world.write(label)
    world.writeTo(other, [label + 10])
  }
  yield* world.rest
  // The part in the other scope closes, and the receiver goes on for the first.
  const closed = world.call(Scope.close(scope, Exit.void))
  if (!(yield* world.ends(closed, world.closeLimit()))) return
  world.expect(releases() === 0, "the receiver was released with the first of its two wrappers")
  // What this one has not delivered yet may fill it.
  yield* Effect.sleep(1_000)
  const { call } = world.write(4)
  yield* Effect.sleep(1_000)
  const arrived = isReceived(world, 4)
  world.expect(arrived, `one of two wrappers closed, and a write through the other ${outcome(call)} and did not arrive`)
  yield* world.close()
  world.expect(releases() === 1, `the receiver was released ${releases()} times`)
})

const closeUnder = (mode: Mode, by: "call" | "interruption", report?: "hangs" | "refuses"): Scenario =>
  Effect.fnUntraced(function* (world) {
    const { queued, remaining, stream } = world.subject
    world.receiver.mode = () => mode
    if (report === "hangs") world.onDropped = Effect.never
    if (report === "refuses") world.onDropped = Effect.uninterruptible(Effect.never)
    for (const label of range(1, 3)) world.write(label)
    yield* Effect.sleep(20)
    const held = mode === "refuse" && queued && stream === undefined ? inFlight(world) : []
    const began = world.now()
    const close = world.beginClose(by)
    const inTime = yield* world.ends(close, world.closeLimit())
    world.expect(inTime, `the close ${outcome(close)} after ${world.now() - began} ms`)
    if (!inTime || held.length === 0) return
    const names = world
      .books()
      .map(({ name }) => name)
      .concat("receiver")
    const named = world.logs.some(({ level, text }) => level === "Warn" && names.some((name) => text.includes(name)))
    world.expect(named, `no warning names the write that refuses interruption; the log: ${show(world.logs)}`)
    const marked = labelsOf(world.dropped.filter(({ inFlight }) => inFlight))
    world.expect(
      world.dropped.length === 0 || remaining !== undefined || held.every((label) => marked.includes(label)),
      `${show(held)} was in flight, and ${show(marked)} was reported so`
    )
  })

const leavesNoFiber = (
  mode: Mode,
  options: { readonly by?: "interruption"; readonly before?: number; readonly report?: "hangs" } = {}
): Scenario =>
  Effect.fnUntraced(function* (world) {
    world.receiver.mode = () => mode
    if (options.report === "hangs") world.onDropped = Effect.never
    for (const label of range(1, 4)) world.write(label)
    yield* Effect.sleep(options.before ?? 20)
    world.writes[3]?.call.fiber.interruptUnsafe()
    if (world.subject.sinks !== undefined && mode !== "refuse") {
      const extra = world.record("extra").sink.reliable
      for (let n = 0; n < 3; n++) yield* Effect.andThen(world.add(extra), world.remove(extra))
    }
    if (!(yield* world.close(options.by))) return
    for (const { call } of world.writes) call.fiber.interruptUnsafe()
    yield* world.rest
    const abandoned = mode === "refuse" ? inFlight(world).length : 0
    world.expect(
      world.live <= abandoned,
      `${world.live} fibers are left after the close, and ${abandoned} writes that refuse interruption`
    )
    world.release()
    yield* world.rest
    world.expect(world.live === 0, `${world.live} fibers are left after the last write has ended`)
  })

/** A write that is under way when the close comes ends in a failure of some kind. */
const failsDuringClose = (mode: Mode, by: "shutdown" | "close" | "interruption"): Scenario =>
  Effect.fnUntraced(function* (world) {
    const { receiver } = world
    // One that fails before the close may be a dead letter.
    receiver.mode = (attempt) => (attempt === 1 ? "fail" : mode)
    receiver.before = (label) => (label === 1 ? Effect.void : Effect.sleep(50))
    world.write(1)
    yield* Effect.sleep(10)
    for (const label of range(2, 5)) world.write(label)
    yield* Effect.sleep(20)
    if (by === "shutdown" && !(yield* world.ends(world.call(world.shutdown), world.closeLimit()))) return
    if (!(yield* world.close(by === "interruption" ? by : "call"))) return
    const others = (labels: ReadonlyArray<unknown>) => labels.filter((label) => label !== 1)
    const dead = others(world.remaining.deadLetters)
    world.expect(dead.length === 0, `${show(dead)} failed during the close, and was dead-lettered`)
    const dropped = labelsOf(world.dropped)
    const expected = others(accepted(world)).filter((label) => !dropped.includes(label))
    expectSame(world, others(world.remaining.waiting), expected, "what was pending at the close is not what remains")
  })
