/** Closing a queue in which 100,000 events wait: all of them are delivered. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as Cause from "effect/Cause"
import * as Scope from "effect/Scope"
import * as EventQueue from "effect-events/EventQueue"
import * as EventSink from "effect-events/EventSink"
import { duration, event, times } from "../measure.ts"
import { goSide, type Row, type Sample } from "../model.ts"

/** A receiver that holds the first event until the close begins. */
const receiver = () => {
  const latch = Latch.makeUnsafe()
  let isOpen = false
  let count = 0
  const counted = Effect.sync(() => void count++)
  return {
    take: (_event: string): Effect.Effect<void> =>
      isOpen ? Effect.sync(() => void count++) : Effect.andThen(latch.await, counted),
    open: Effect.sync(() => {
      isOpen = true
      latch.openUnsafe()
    }),
    /** A close that lost something is not worth a figure. */
    check: (n: number) => Effect.suspend(() => (count === n ? Effect.void : Effect.die(`${count} of ${n} delivered`)))
  }
}

const inScope = (make: (scope: Scope.Closeable) => Sample): Sample =>
  Effect.suspend(() => {
    const scope = Scope.makeUnsafe()
    return Effect.tap(make(scope), () => Scope.close(scope, Exit.void))
  })

export const closing: ReadonlyArray<Row> = [
  {
    name: "close",
    question: "Closing a queue in which 100,000 events wait, over an effectful sink (`Effect.sync`)",
    n: 100_000,
    metrics: [
      { key: "wall", label: "wall", unit: "ms" },
      { key: "cpu", label: "CPU", unit: "ms" }
    ],
    sides: [
      {
        label: "ours",
        run: ({ n }) =>
          Effect.succeed(
            inScope((scope) =>
              Effect.gen(function* () {
                const { check, open, take } = receiver()
                const queue = yield* Scope.provide(Effect.flatMap(EventSink.make(take), EventQueue.make()), scope)
                yield* Effect.orDie(times(n, () => queue.write(event)))
                const figures = yield* duration(Effect.andThen(open, queue.shutdown))
                yield* check(n)
                return figures
              })
            )
          )
      },
      goSide("close"),
      {
        label: "Effect Queue, take, Queue.end",
        run: ({ n }) =>
          Effect.succeed(
            inScope((scope) =>
              Effect.gen(function* () {
                const { check, open, take } = receiver()
                const queue = yield* Queue.unbounded<string, Cause.Done>()
                const drainer = yield* Effect.forever(Effect.flatMap(Queue.take(queue), take), {
                  disableYield: true
                }).pipe(Effect.ignore, Effect.forkIn(scope))
                yield* times(n, () => Queue.offer(queue, event))
                const ended = Effect.andThen(Queue.end(queue), Fiber.await(drainer))
                const figures = yield* duration(Effect.andThen(open, ended))
                yield* check(n)
                return figures
              })
            )
          )
      }
    ]
  }
]
