/** Writers that come to a full part just as it closes, by a scheduler that parts every two of their operations. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, References, type Scope } from "effect"
import { EventChannel, EventQueue, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { open, settle } from "./support/virtual.ts"

interface Closing extends EventSink.EventSink<number> {
  readonly shutdown: Effect.Effect<ReadonlyArray<unknown>>
}
const hanging = Effect.map(open(TestSink.hanging<number>()), ({ part }) => part)

/** How many operations a fiber has before it yields, and how many there are before the write: any two of its own are parted. */
const allowance = 10
const paddings = Array.from({ length: 2 * allowance }, (_, n) => n)

describe("a writer that comes to wait when the close has begun", () => {
  const parts: ReadonlyArray<readonly [part: string, room: number, make: Effect.Effect<Closing, never, Scope.Scope>]> =
    [
      ["a queue", 2, EventQueue.make(hanging, { capacity: 2, drainTimeout: 0 })],
      [
        "a queue with keys",
        2,
        EventQueue.make(hanging, { capacity: 2, concurrency: 2, drainTimeout: 0, partitionBy: (n) => n })
      ],
      ["a channel", 2, EventChannel.make<number>({ capacity: 2, drainTimeout: 0 })],
      ["a channel without room", 0, EventChannel.make<number>({ drainTimeout: 0 })]
    ]

  it.effect.each(parts)("fails with SinkClosed, and does not wait for ever: %s", ([, room, make]) =>
    Effect.gen(function* () {
      let waited = 0
      for (const padding of paddings) {
        for (let turns = 0; turns < 4; turns++) {
          const when = `with ${padding} operations before it, closed after ${turns} turns`
          const { part } = yield* open(make)
          for (let n = 0; n < room; n++) yield* part.write(n)
          const write = paddings
            .slice(0, padding)
            .reduce((write, _) => Effect.andThen(Effect.void, write), part.write(9))
          const writer = yield* Effect.forkChild(
            Effect.provideService(Effect.exit(write), References.MaxOpsBeforeYield, allowance),
            { startImmediately: true }
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          if (writer.pollUnsafe() === undefined) waited++
          const shutdown = yield* Effect.forkChild(part.shutdown, { startImmediately: true })
          yield* settle
          assert.isDefined(writer.pollUnsafe(), when)
          const exit = yield* Fiber.join(writer)
          assert.instanceOf(Exit.isFailure(exit) && Cause.squash(exit.cause), EventSink.SinkClosed, when)
          assert.strictEqual((yield* Fiber.join(shutdown)).length, room, when)
          const { counts, pending } = part.node.health(0)
          assert.deepStrictEqual([counts.accepted, pending], [room, 0], when)
        }
      }
      // The writers were there when it closed, most of them not yet among those that wait.
      assert.strictEqual(waited, 4 * paddings.length)
    })
  )

  it.effect.each(parts)("and so does each that comes later: %s", ([, , make]) =>
    Effect.gen(function* () {
      const { close, part } = yield* open(make)
      yield* close
      for (let n = 0; n < 5; n++) {
        assert.instanceOf(yield* Effect.flip(part.write(n)), EventSink.SinkClosed)
        assert.instanceOf(yield* Effect.flip(EventSink.writeAll(part, [n, n])), EventSink.SinkClosed)
      }
      assert.strictEqual(part.node.health(0).counts.accepted, 0)
    })
  )
})
