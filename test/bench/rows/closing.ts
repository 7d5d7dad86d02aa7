/** Closing a queue in which many events wait, all of which are delivered: what it costs, and how long it holds up others. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Api from "../api.ts"
import { delays, duration, event, inOneTurn, times } from "../measure.ts"
import { cpuAndWallOfAct, delaysOfAct, goSide, type Row, type Sample, type Side, speed } from "../model.ts"

/** A receiver that counts. Its effect holds the first event until the close begins. */
class Receiver {
  private count = 0
  private isOpen = false
  private readonly latch = Latch.makeUnsafe()

  readonly take = (_event: string): void => {
    this.count++
  }

  private readonly counted = Effect.sync(() => void this.count++)

  readonly taken = (_event: string): Effect.Effect<void> =>
    this.isOpen ? Effect.sync(() => void this.count++) : Effect.andThen(this.latch.await, this.counted)

  readonly open = Effect.sync(() => {
    this.isOpen = true
    this.latch.openUnsafe()
  })

  /** A close that does not find all of them waiting, or loses some, is not worth a figure. */
  has(n: number): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.count === n ? Effect.void : Effect.die(new Error(`${this.count} delivered, and not ${n}`))
    )
  }
}

interface Closing {
  readonly receiver: Receiver
  readonly write: () => Effect.Effect<unknown, unknown>
  readonly close: Effect.Effect<unknown, unknown>
}

/** Fills what is to be closed, and measures the close. */
type Closed = (n: number, measured: typeof duration, closing: Closing) => Sample

/** Over a plain function, which takes what there is as soon as it has a turn: the close begins in the turn of the writes. */
const inThatTurn: Closed = (n, measured, { close, receiver, write }) => {
  const filled = Effect.orDie(times(n, write))
  const closed = Effect.andThen(receiver.has(0), measured(Effect.orDie(close)))
  return Effect.tap(inOneTurn(filled, closed), () => receiver.has(n))
}

const aTurn = 100

/** Over an effect that holds the first event: the others are written in many turns. */
const whileHeld: Closed = (n, measured, { close, receiver, write }) => {
  const filled = times(n / aTurn, () => Effect.andThen(times(aTurn, write), Effect.yieldNow))
  const closed = Effect.andThen(receiver.has(0), measured(Effect.andThen(receiver.open, Effect.orDie(close))))
  return Effect.andThen(
    Effect.orDie(filled),
    Effect.tap(closed, () => receiver.has(n))
  )
}

const inScope = (make: (scope: Scope.Closeable) => Sample): Sample =>
  Effect.suspend(() => {
    const scope = Scope.makeUnsafe()
    return Effect.tap(make(scope), () => Scope.close(scope, Exit.void))
  })

const ours = (measured: typeof duration, isSync: boolean): Side => ({
  label: "ours",
  before: {},
  run: ({ n }) =>
    Effect.succeed(
      inScope((scope) =>
        Effect.gen(function* () {
          const receiver = new Receiver()
          const sink = isSync ? Api.sync(receiver.take) : Api.effectful(receiver.taken)
          const made = Effect.flatMap(sink, (sink) => Api.queue(sink))
          const queue = yield* Scope.provide(made, scope)
          const closed = isSync ? inThatTurn : whileHeld
          return yield* closed(n, measured, { receiver, write: () => queue.write(event), close: queue.shutdown })
        })
      )
    )
})

const byHand = (
  label: string,
  turn: (queue: Queue.Dequeue<string, Cause.Done>, receiver: Receiver) => Effect.Effect<void, Cause.Done>,
  closed: Closed
): Side => ({
  label,
  run: ({ n }) =>
    Effect.succeed(
      inScope((scope) =>
        Effect.gen(function* () {
          const receiver = new Receiver()
          const queue = yield* Queue.unbounded<string, Cause.Done>()
          const drainer = yield* Effect.forever(turn(queue, receiver), { disableYield: true }).pipe(
            // The end of the queue is the end of the loop.
            Effect.catch(() => Effect.void),
            Effect.forkIn(scope)
          )
          yield* Effect.yieldNow
          const close = Effect.andThen(Queue.end(queue), Fiber.await(drainer))
          return yield* closed(n, duration, { receiver, write: () => Queue.offer(queue, event), close })
        })
      )
    )
})

const sync = "All are written in one turn, and the close begins in the same."
const effectful = `They are written ${aTurn} a turn, and the sink holds the first until the close.`
const late = "Of a timer that is due each millisecond."

export const closing: ReadonlyArray<Row> = [
  {
    name: "close",
    question: "Closing a queue in which 100,000 events wait, over a synchronous sink",
    n: 100_000,
    metrics: cpuAndWallOfAct,
    note: `${sync} go-events' sink holds the first until then.`,
    sides: [
      ours(duration, true),
      goSide("close", speed(0.6)),
      byHand(
        "Effect Queue, takeAll, Queue.end",
        (queue, receiver) => Effect.map(Queue.takeAll(queue), (events) => events.forEach(receiver.take)),
        inThatTurn
      )
    ]
  },
  {
    name: "close-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n: 100_000,
    metrics: cpuAndWallOfAct,
    note: effectful,
    sides: [
      ours(duration, false),
      goSide("close"),
      byHand(
        "Effect Queue, take, Queue.end",
        (queue, receiver) => Effect.flatMap(Queue.take(queue), receiver.taken),
        whileHeld
      )
    ]
  },
  {
    name: "delay-close",
    question: "How late timers are while a queue with 1,000,000 events waiting closes, over a synchronous sink",
    n: 1_000_000,
    metrics: delaysOfAct,
    note: `${late} ${sync}`,
    sides: [ours(delays, true)]
  },
  {
    name: "delay-close-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n: 1_000_000,
    metrics: delaysOfAct,
    note: `${late} ${effectful}`,
    sides: [ours(delays, false)]
  }
]
