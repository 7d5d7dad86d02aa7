/** The laws of closing: 1, 2, 3, 5 and 11. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { type Law, range, same, show, writeEach } from "./law.ts"
import type { Mode } from "./receiver.ts"
import type { Scenario } from "./run.ts"
import type { Call, Left, World } from "./world.ts"

type Shutdown = Call<ReadonlyArray<Left>>

const labelsOf = (left: ReadonlyArray<Left>) => left.map(({ label }) => label)

const listOf = (world: World, call: Shutdown): ReadonlyArray<Left> | undefined => {
  if (call.exit === undefined || Exit.isFailure(call.exit)) {
    world.violate(`a call of shutdown ${call.outcome}`)
    return undefined
  }
  return call.exit.value
}

/** Writes until something is accepted that the hanging receiver does not get. */
const fillBehindHanging = (world: World) => {
  world.receiver.mode = () => "hang"
  return writeEach(world, range(1, 5))
}

/** What was accepted and is not delivered. */
const backlog = (world: World) => world.accepted.filter((label) => !world.receiver.received.includes(label))

const manyCalls: Scenario = (world) =>
  Effect.gen(function* () {
    yield* fillBehindHanging(world)
    const calls: Array<Shutdown> = []
    calls.push(world.call(world.part.shutdown))
    calls.push(world.call(world.part.shutdown))
    yield* Effect.sleep(10)
    calls.push(world.call(world.part.shutdown))
    const close = world.beginClose()
    yield* Effect.sleep(500)
    calls.push(world.call(world.part.shutdown))
    yield* Effect.sleep(world.closeLimit)
    calls.push(world.call(world.part.shutdown))
    yield* world.rest
    if (close.exit === undefined) return
    const lists = calls.map((call) => listOf(world, call))
    for (const list of lists) {
      if (list === undefined) continue
      world.expect(
        same(labelsOf(list), backlog(world)),
        () => `a call of shutdown returned ${show(labelsOf(list))} when ${show(backlog(world))} was not delivered`
      )
    }
    const [first, ...others] = calls.slice(0, -1)
    for (const call of [...others, close]) {
      world.expect(
        call.ended >= first!.ended,
        () => `another call came back ${first!.ended - call.ended} ms before the first, while the flush was going on`
      )
    }
    const again = labelsOf(lists[0] ?? []).filter((label) => world.dropped.some((one) => Object.is(one.label, label)))
    world.expect(again.length === 0, () => `${show(again)} was returned by shutdown and reported by the close too`)
  })

const slowFlush: Scenario = (world) =>
  Effect.gen(function* () {
    world.receiver.mode = () => 50
    for (const label of range(1, 5)) world.write(label)
    yield* world.rest
    const first = world.call(world.part.shutdown)
    yield* Effect.sleep(20)
    const second = world.call(world.part.shutdown)
    const close = world.beginClose()
    for (const call of [second, close, first]) {
      if (!(yield* world.ends(call, world.closeLimit))) return
      const rest = backlog(world)
      world.expect(rest.length === 0, () => `a close came back before ${show(rest)} was delivered`)
    }
  })

/** Calls that are interrupted return nothing, and what no call returned is reported: once. */
const interruptedCalls: Scenario = (world) =>
  Effect.gen(function* () {
    yield* fillBehindHanging(world)
    // In the drain, or at the very moment when its time is up.
    const at = world.pick(0, 1) === 0 ? world.pick(0, 50) : Duration.toMillis(world.subject.deadline)
    const turns = world.pick(0, 12)
    const call = world.call(world.part.shutdown)
    const cut = world.call(world.part.shutdown)
    call.fiber.interruptUnsafe()
    yield* Effect.sleep(at)
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
    const close = world.pick(0, 1) === 0 ? world.beginClose() : undefined
    cut.fiber.interruptUnsafe()
    yield* Effect.sleep(world.closeLimit)
    if (!(yield* world.ends(close ?? world.beginClose(), world.closeLimit))) return
    yield* world.rest
    const left = backlog(world)
    const reported = labelsOf(world.dropped)
    if (cut.exit !== undefined && Exit.isSuccess(cut.exit)) {
      world.expect(reported.length === 0, () => `${show(reported)} was returned by shutdown and reported by the close`)
    } else {
      world.expect(
        same(reported, left) || (reported.length === 0 && world.logged(left)),
        () => `no call returned ${show(left)} (interrupted after ${at} ms), and the close reported ${show(reported)}`
      )
    }
  })

const afterClose: Scenario = (world) =>
  Effect.gen(function* () {
    world.receiver.mode = () => 50
    for (const label of range(1, 3)) world.write(label)
    yield* world.rest
    const close = world.beginClose()
    yield* world.rest
    const refused = [["during the close", world.write(10)] as const]
    yield* world.ends(close, world.closeLimit)
    refused.push(["after the close", world.write(11)], ["after the close, as a group", world.writeGroup([12, 13])])
    yield* Effect.sleep(5_000)
    for (const [when, { call }] of refused) {
      world.expect(call.isClosed, () => `a write ${when} ${call.outcome} instead of failing with SinkClosed`)
    }
    const { filtered } = world.subject
    if (filtered === undefined) return
    const kept = world.call(world.part.sink.write(filtered()))
    yield* Effect.sleep(1_000)
    world.expect(kept.isClosed, () => `after the close, a write of an event that is filtered out ${kept.outcome}`)
  })

const waiting =
  (mode: Mode): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { receiver } = world
      receiver.mode = () => mode
      for (const label of range(1, (world.subject.capacity ?? 0) + 4)) world.write(label)
      yield* Effect.sleep(20)
      const inside = new Set(receiver.inFlight)
      const waiting = world.writes.filter(({ call, labels }) => call.exit === undefined && !inside.has(labels[0]))
      const close = world.beginClose()
      yield* world.rest
      yield* world.ends(close, world.closeLimit)
      yield* world.rest
      for (const { call, labels } of waiting) {
        world.expect(
          call.isClosed,
          () => `the write of ${show(labels[0])} was waiting when the close came, and ${call.outcome}`
        )
      }
    })

const releasedInOrder: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver } = world
    const trouble = world.subject.delays !== undefined && world.pick(0, 1) === 0
    receiver.mode = (attempt) => (trouble && attempt % 2 === 0 ? "fail" : 50)
    for (const label of range(1, 4)) world.write(label)
    yield* Effect.sleep(world.pick(1, 120))
    if (!(yield* world.ends(world.beginClose(), world.closeLimit))) return
    yield* Effect.sleep("1 minute")
    const { attempts, attemptsAtRelease, inFlightAtRelease, receivedAtRelease, received, releases } = receiver
    world.expect(releases === 1, () => `the receiver was released ${releases} times`)
    world.expect(inFlightAtRelease === 0, () => `the receiver was released with ${inFlightAtRelease} writes in flight`)
    const late = attempts.length - attemptsAtRelease
    world.expect(late === 0, () => `${late} writes came to the receiver after it was released`)
    world.expect(
      received.length === receivedAtRelease,
      () => `the receiver was released before the flush: ${received.length - receivedAtRelease} events came later`
    )
  })

const twoWrappers: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver } = world
    receiver.mode = () => 50
    const scope = yield* Scope.make()
    const other = yield* world.make(receiver, scope)
    for (const label of range(1, 3)) {
      world.write(label)
      world.write(label + 10, other)
    }
    yield* world.rest
    // The one above the receiver in another scope closes, and the receiver goes on for the first.
    const closed = world.call(Scope.close(scope, Exit.void))
    if (!(yield* world.ends(closed, world.closeLimit))) return
    world.expect(receiver.releases === 0, () => "the receiver was released with the first of its two wrappers")
    const after = world.write(4)
    yield* Effect.sleep(1_000)
    world.expect(
      receiver.received.includes(4),
      () => `one of two wrappers closed, and then a write through the other ${after.call.outcome} and came to nobody`
    )
    yield* world.close
    world.expect(receiver.releases === 1, () => `the receiver was released ${receiver.releases} times`)
  })

const closeUnder =
  (mode: Mode, report: "taken" | "hangs" | "refuses" = "taken"): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { receiver, subject } = world
      receiver.mode = () => mode
      if (report === "hangs") world.onDropped = Effect.never
      if (report === "refuses") world.onDropped = Effect.uninterruptible(Effect.never)
      for (const label of range(1, 3)) world.write(label)
      yield* Effect.sleep(20)
      const held = mode === "refuse" && subject.queued && !subject.hasStream ? [...receiver.inFlight] : []
      const began = world.now
      const close = world.beginClose()
      if (!(yield* world.ends(close, world.closeLimit))) {
        return world.violate(`the close ${close.outcome} after ${world.now - began} ms`)
      }
      if (held.length === 0) return
      const names = world.counts.map(({ name }) => name).concat("receiver")
      const named = world.logs.some(({ level, text }) => level === "Warn" && names.some((name) => text.includes(name)))
      world.expect(named, () => `no warning names the write that refuses interruption; the log: ${show(world.logs)}`)
      const marked = world.dropped.filter(({ inFlight }) => inFlight).map(({ label }) => label)
      world.expect(
        world.dropped.length === 0 || same(marked, held),
        () => `${show(held)} was in flight, and ${show(marked)} was reported so`
      )
    })

const leavesNoFiber =
  (mode: Mode, before = 20): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { receiver } = world
      receiver.mode = () => mode
      for (const label of range(1, 4)) world.write(label)
      yield* Effect.sleep(before)
      world.writes[3]?.call.fiber.interruptUnsafe()
      if (world.subject.hasSinks && mode !== "refuse") {
        const extra = world.record("extra").sink.reliable
        for (let n = 0; n < 3; n++) {
          yield* world.part.add(extra)
          yield* world.part.remove(extra)
        }
      }
      if (!(yield* world.close)) return
      for (const { call } of world.writes) call.fiber.interruptUnsafe()
      yield* world.rest
      const abandoned = mode === "refuse" ? receiver.inFlight.length : 0
      world.expect(
        world.live <= abandoned,
        () => `${world.live} fibers are left after the close, and ${abandoned} writes that refuse interruption`
      )
      receiver.release()
      yield* world.rest
      world.expect(world.live === 0, () => `${world.live} fibers are left after the last write has ended`)
    })

export const closing: ReadonlyArray<Law> = [
  {
    number: 1,
    title: "every call of shutdown waits for the same flush and gets the same list; the close reports the rest",
    concerns: (subject) => subject.hasShutdown,
    scenarios: (subject) => [
      ...(subject.synchronous ? [] : [{ title: "shutdown is called five times", play: manyCalls }]),
      { title: "shutdown and close while a flush goes on", play: slowFlush },
      ...(subject.synchronous
        ? []
        : [{ title: "calls of shutdown are interrupted", play: interruptedCalls, times: 24 }])
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
    concerns: () => true,
    scenarios: () => [
      { title: "the close comes while writes are under way", play: releasedInOrder, times: 8 },
      { title: "two parts stand over one receiver", play: twoWrappers }
    ]
  },
  {
    number: 5,
    title: "a close returns within its deadline, whatever the receiver does",
    concerns: () => true,
    scenarios: (subject) => [
      ...(["commit", 50, "hang", "refuse", "fail", "die", "interrupt", "kill", "closed"] as const).map((mode) => ({
        title: `the receiver's way is "${mode}"`,
        play: closeUnder(mode)
      })),
      ...(subject.queued
        ? (["hangs", "refuses"] as const).map((report) => ({
            title: `the receiver hangs, and onDropped ${report}`,
            play: closeUnder("hang", report)
          }))
        : [])
    ]
  },
  {
    number: 11,
    title: "no fiber is left after the close, but one whose write refuses interruption",
    concerns: () => true,
    scenarios: () => [
      ...(["commit", 50, "hang", "refuse", "fail", "die", "interrupt", "kill", "closed"] as const).map((mode) => ({
        title: `the receiver's way is "${mode}"`,
        play: leavesNoFiber(mode)
      })),
      { title: "the receiver hangs for two minutes", play: leavesNoFiber("hang", 120_000) }
    ]
  }
]
