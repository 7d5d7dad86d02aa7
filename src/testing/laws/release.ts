/** The laws of releasing what a part holds: 3, 5 and 11. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { type Law, range, show } from "./law.ts"
import type { Mode } from "./receiver.ts"
import type { Scenario } from "./run.ts"

const releasedInOrder: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver } = world
    const trouble = world.subject.delays !== undefined && world.pick(0, 1) === 0
    receiver.mode = (attempt) => (trouble && attempt % 2 === 0 ? "fail" : 50)
    for (const label of range(1, 4)) world.write(label)
    yield* Effect.sleep(world.pick(1, 120))
    const close = world.beginClose(world.pick(0, 1) === 0 ? "call" : "interruption")
    if (!(yield* world.ends(close, world.closeLimit))) return
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
    // What this one has not delivered yet may fill it.
    yield* Effect.sleep(1_000)
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
  (mode: Mode, by: "call" | "interruption", report: "taken" | "hangs" | "refuses" = "taken"): Scenario =>
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
      const close = world.beginClose(by)
      if (!(yield* world.ends(close, world.closeLimit))) {
        return world.violate(`the close ${close.outcome} after ${world.now - began} ms`)
      }
      if (held.length === 0) return
      const names = world.counts.map(({ name }) => name).concat("receiver")
      const named = world.logs.some(({ level, text }) => level === "Warn" && names.some((name) => text.includes(name)))
      world.expect(named, () => `no warning names the write that refuses interruption; the log: ${show(world.logs)}`)
      const marked = world.dropped.filter(({ inFlight }) => inFlight).map(({ label }) => label)
      world.expect(
        world.dropped.length === 0 || subject.keeps || held.every((label) => marked.includes(label)),
        () => `${show(held)} was in flight, and ${show(marked)} was reported so`
      )
    })

const leavesNoFiber =
  (
    mode: Mode,
    options: { readonly by?: "interruption"; readonly before?: number; readonly report?: "hangs" } = {}
  ): Scenario =>
  (world) =>
    Effect.gen(function* () {
      const { receiver } = world
      receiver.mode = () => mode
      if (options.report === "hangs") world.onDropped = Effect.never
      for (const label of range(1, 4)) world.write(label)
      yield* Effect.sleep(options.before ?? 20)
      world.writes[3]?.call.fiber.interruptUnsafe()
      if (world.subject.hasSinks && mode !== "refuse") {
        const extra = world.record("extra").sink.reliable
        for (let n = 0; n < 3; n++) {
          yield* world.part.add(extra)
          yield* world.part.remove(extra)
        }
      }
      if (!(yield* world.closeBy(options.by ?? "call"))) return
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

const ways: ReadonlyArray<Mode> = ["commit", 50, "hang", "refuse", "fail", "die", "interrupt", "kill", "closed"]

export const release: ReadonlyArray<Law> = [
  {
    number: 3,
    title: "a close releases each part once, after its own flush and before what it wraps",
    // Who reads a queue that the part does not own is not the part's to wait for.
    concerns: (subject) => !subject.hasStream || subject.hasShutdown,
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
      ...ways.map((mode) => ({ title: `the receiver's way is "${mode}"`, play: closeUnder(mode, "call") })),
      ...ways.map((mode) => ({
        title: `the receiver's way is "${mode}", and an interruption closes the scope`,
        play: closeUnder(mode, "interruption")
      })),
      ...(subject.queued
        ? (["hangs", "refuses"] as const).map((report) => ({
            title: `the receiver hangs, and onDropped ${report}`,
            play: closeUnder("hang", "call", report)
          }))
        : [])
    ]
  },
  {
    number: 11,
    title: "no fiber is left after the close, but one whose write refuses interruption",
    concerns: () => true,
    scenarios: () => [
      ...ways.map((mode) => ({ title: `the receiver's way is "${mode}"`, play: leavesNoFiber(mode) })),
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
  }
]
