/** The laws of closing: 1, 2 and 13. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type Law, range, sameInOrder, show, writeEach } from "./law.ts"
import type { Mode } from "./receiver.ts"
import type { Scenario } from "./run.ts"
import type { Call, Left, World, Write } from "./world.ts"

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

/** What was accepted, and is neither delivered nor given up already, nor, by a durable part, kept. */
const backlog = (world: World) => {
  const settled = new Set([
    ...world.receiver.received,
    ...labelsOf(world.dropped.filter(({ reason }) => reason !== "Undelivered")),
    ...world.kept.waiting,
    ...world.kept.deadLetters
  ])
  return world.accepted.filter((label) => !settled.has(label))
}

/**
 * What a close behind a receiver that hangs must return: all that is not delivered; or of what a durable part keeps, the
 * part that the receiver may have.
 */
const leftBy = (world: World, hanging: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  const left = backlog(world)
  if (!world.subject.keeps) return left
  world.expect(left.length === 0, () => `${show(left)} was not delivered, and is not kept`)
  return hanging
}

const manyCalls: Scenario = (world) =>
  Effect.gen(function* () {
    yield* fillBehindHanging(world)
    const hanging = [...world.receiver.inFlight]
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
    yield* world.findKept
    const lists = calls.map((call) => listOf(world, call))
    const expected = leftBy(world, hanging)
    for (const list of lists) {
      if (list === undefined) continue
      world.expect(
        sameInOrder(world.subject, labelsOf(list), expected),
        () => `a call of shutdown returned ${show(labelsOf(list))} when ${show(expected)} was not delivered`
      )
    }
    const [first, ...others] = calls.slice(0, -1)
    for (const call of [...others, close]) {
      world.expect(
        call.ended >= first!.ended,
        () => `another call came back ${first!.ended - call.ended} ms before the first, while the flush was going on`
      )
    }
    const again = labelsOf(lists[0] ?? []).filter((label) => labelsOf(world.dropped).includes(label))
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
    const close = world.beginClose("interruption")
    for (const call of [second, close, first]) {
      if (!(yield* world.ends(call, world.closeLimit))) return
      // The reader of a stream has taken the last event by now, and looks at it next.
      if (world.subject.hasStream) yield* world.rest
      yield* world.findKept
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
    yield* world.findKept
    const left = backlog(world)
    const reported = labelsOf(world.dropped.filter(({ reason }) => reason === "Undelivered"))
    if (cut.exit !== undefined && Exit.isSuccess(cut.exit)) {
      world.expect(reported.length === 0, () => `${show(reported)} was returned by shutdown and reported by the close`)
    } else {
      world.expect(
        sameInOrder(world.subject, reported, left) || (reported.length === 0 && world.admits(left.length)),
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
    const refused: Array<readonly [when: string, write: Write]> = [["during the close", world.write(10)]]
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

/** A write that is under way when the close comes ends in a failure of some kind. */
const failsDuringClose =
  (mode: Mode, by: "shutdown" | "close" | "interruption"): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { receiver } = world
      // One that fails before the close may be put aside.
      receiver.mode = (attempt) => (attempt === 1 ? "fail" : mode)
      receiver.before = (label) => (label === 1 ? Effect.void : Effect.sleep(50))
      world.write(1)
      yield* Effect.sleep(10)
      for (const label of range(2, 5)) world.write(label)
      yield* Effect.sleep(20)
      if (by === "shutdown") {
        const call = world.call(world.part.shutdown)
        if (!(yield* world.ends(call, world.closeLimit))) return
      }
      if (!(yield* world.closeBy(by === "interruption" ? by : "call"))) return
      const { deadLetters, waiting } = world.kept
      const aside = deadLetters.filter((label) => label !== 1)
      world.expect(aside.length === 0, () => `${show(aside)} failed during the close, and was put aside`)
      const dropped = new Set([1, ...labelsOf(world.dropped)])
      const expected = world.accepted.filter((label) => !dropped.has(label))
      world.expect(
        sameInOrder(
          world.subject,
          waiting.filter((label) => label !== 1),
          expected
        ),
        () =>
          `${show(expected)} was under way or waiting when the close came, and kept for delivery is ${show(waiting)}`
      )
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
        : [{ title: "calls of shutdown are interrupted", play: interruptedCalls, times: 12 }])
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
    number: 13,
    title: "a failure during shutdown keeps the event",
    concerns: (subject) => subject.keeps && !subject.synchronous,
    scenarios: (subject) =>
      (["fail", "die", "interrupt", "kill", "closed"] as const).flatMap((mode) =>
        (["shutdown", "close", "interruption"] as const)
          .filter((by) => by !== "shutdown" || subject.hasShutdown)
          .map((by) => ({ title: `the receiver's way is "${mode}", in a ${by}`, play: failsDuringClose(mode, by) }))
      )
  }
]
