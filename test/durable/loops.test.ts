import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { pass, quiet, settle, withLogs } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { type Name, Spy } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** A process over a store of which some operations are broken for 20 seconds: what is delivered, and the errors until then. */
const lives = (names: ReadonlyArray<Name>, broken: Effect.Effect<never>) =>
  withLogs((logs) =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const spy = new Spy()
      const { close, queue } = yield* start(receiver, { spy, drainTimeout: 0 })
      yield* queue.write(1)
      yield* queue.flush
      spy.act = (name, run) => (names.includes(name) ? broken : run)
      yield* queue.write(2)
      yield* pass(10)
      yield* queue.write(3)
      yield* pass(10)
      const errors = logs.filter(({ level }) => level === "ERROR").length
      spy.heal()
      yield* pass(10)
      const soon = [...receiver.received]
      yield* queue.write(4)
      yield* TestClock.adjust("1 second")
      yield* settle
      yield* close
      return { soon, received: receiver.received, errors }
    })
  )

const asking = ["claim", "take", "renew"] as const
const itself = Effect.withFiber((fiber) => {
  fiber.interruptUnsafe()
  return Effect.yieldNow as Effect.Effect<never>
})
/** An answer that no store may give, of which the loop dies in its own code. */
const nothing = Effect.succeed(undefined as never)

describe("the loops of a process", () => {
  it.effect.each<readonly [string, ReadonlyArray<Name>, Effect.Effect<never>, number]>([
    ["dies of a defect", asking, Effect.die("broken"), 1],
    ["answers no claim as it may", ["claim"], nothing, 0],
    ["answers no take as it may", ["take"], nothing, 1],
    ["answers no renewal as it may", ["renew"], nothing, 1],
    ["answers no settlement as it may", ["acknowledge"], nothing, 1],
    ["interrupts itself at once", asking, itself, 0],
    ["is interrupted", asking, Effect.interrupt, 0]
  ])("go on after a store that %s, with one error a second at most", ([, names, broken, least]) =>
    Effect.gen(function* () {
      const { errors, received, soon } = yield* lives(names, broken)
      assert.deepStrictEqual([soon, received], [range(1, 3), range(1, 4)])
      assert.isAtLeast(errors, least)
      assert.isAtMost(errors, 21)
    })
  )

  it.effect.each<readonly [string, ReadonlyArray<Name>, Effect.Effect<never>]>([
    ["dies of a defect", ["claim", "take", "renew"], Effect.die("broken")],
    ["answers no claim as it may", ["claim"], nothing],
    ["answers no take as it may", ["take"], nothing],
    ["answers no renewal as it may", ["renew"], nothing],
    ["interrupts itself at once", ["claim", "take", "renew"], itself]
  ])("deliver what was written while a store %s at the beginning, without another write", ([, names, broken]) =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const spy = new Spy()
      spy.act = (name, run) => (names.includes(name) ? broken : run)
      const { close, queue } = yield* start(receiver, { spy, drainTimeout: 0 })
      yield* pass(2)
      yield* queue.write(1)
      yield* pass(20)
      spy.heal()
      yield* pass(60)
      const received = [...receiver.received]
      yield* close
      assert.deepStrictEqual(received, [1])
    }).pipe(quiet)
  )
})
