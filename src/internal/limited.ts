/** A wrapper whose writes may have to wait before they go on: its lifetime, its account, and its close, which ends the waits. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { defaultDrainTimeout } from "./deadline.ts"
import { edgeTo, noteError, type SinkNode } from "./node.ts"
import { type Begun, type EventSink, makePart, makeSink, runWrite, SinkClosed } from "./sink.ts"
import { leading } from "./turns.ts"
import { makeWrites } from "./writes.ts"

/** The way of one write through the limit. */
export interface Passage<out F> {
  /** Completes when the write may go on. `undefined` where there is nothing to wait for. */
  readonly wait: Effect.Effect<void, F | SinkClosed> | undefined
  /** How many of the events the write may have, from the first on. To be called once, after the wait. */
  readonly most: () => number
  /**
   * The write is over, however it ended, also before it went on: of what was admitted, so many events were not tried, and
   * infinitely many of a write that has not begun. Answers what is left to be run.
   */
  readonly end: (untried: number) => Effect.Effect<unknown> | undefined
}

export interface LimitedOptions {
  readonly name?: string | undefined
  readonly drainTimeout?: Duration.Input | undefined
}

/** Runs a wait until the close, which fails it. */
export type UntilClosed = <B, F>(wait: Effect.Effect<B, F>) => Effect.Effect<B, F | SinkClosed>

/** What a limit knows of the wrapper. */
export interface Limited {
  readonly node: SinkNode
  readonly clock: Clock.Clock
  readonly untilClosed: UntilClosed
}

/** Makes the wrapper. What `limit` answers is called as each write begins; what that throws is a defect of the write. */
export const makeLimited = <A, E, F>(
  kind: string,
  sink: EventSink<A, E>,
  options: LimitedOptions,
  limit: (limited: Limited) => (events: NonEmptyReadonlyArray<A>) => Passage<F>
): Effect.Effect<EventSink<A, E | F>, never, Scope.Scope> =>
  Clock.clockWith((clock) => {
    const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    const { account, node } = makePart({
      kind,
      name: options.name,
      downstream: () => [edgeTo(sink, true)],
      // Nothing is held: an event that waits belongs to its write.
      update: () => void (account.accepted = account.delivered)
    })
    const writes = makeWrites(account, node)
    const closing = Deferred.makeUnsafe<never, SinkClosed>()
    const closed = Deferred.await(closing)
    const enter = limit({ node, clock, untilClosed: (wait) => Effect.raceFirst(wait, closed) })
    const { writeSome } = sink
    const refused = (error: F | SinkClosed) =>
      Effect.sync(() => {
        if (!(error instanceof SinkClosed)) noteError(account, error, clock)
      })

    const begins =
      <I, B>(
        eventsOf: (input: I) => NonEmptyReadonlyArray<A>,
        write: (input: I, most: number) => Effect.Effect<B, E | SinkClosed>,
        committed: (b: B) => number
      ) =>
      (input: I): Begun<E | F, B> | undefined => {
        if (account.state !== "open") return undefined
        const passage = enter(eventsOf(input))
        let admitted = 0
        let hasBegun = false
        account.inFlight++
        const go: Effect.Effect<B, E | SinkClosed> = Effect.suspend(() => {
          admitted = passage.most()
          // The close may have come between the end of the wait and this.
          if (account.state !== "open") return closed
          hasBegun = true
          return write(input, admitted)
        })
        const { wait } = passage
        return {
          effect: wait === undefined ? go : Effect.andThen(Effect.tapError(wait, refused), go),
          end: (exit) => {
            const n = Exit.isSuccess(exit) ? committed(exit.value) : 0
            account.delivered += n
            // A write that has failed may have been seen by the receiver; one that has not begun was not, whatever was admitted.
            const rest = passage.end(Exit.isSuccess(exit) ? admitted - n : hasBegun ? 0 : Number.POSITIVE_INFINITY)
            writes.end()
            return rest && Effect.asVoid(rest)
          }
        }
      }
    const beginOne = begins<A, void>(
      (event) => [event],
      (event) => sink.write(event),
      () => 1
    )
    const beginSome =
      writeSome &&
      begins<NonEmptyReadonlyArray<A>, number>(
        (events) => events,
        (events, most) => writeSome(leading(events, most)),
        (n) => n
      )
    const close = Effect.suspend(() => {
      // First the state, then the waits: waking one runs it at once, and it may write again.
      account.state = "closing"
      return Effect.andThen(Deferred.fail(closing, new SinkClosed({ sink: node.name })), writes.close(drainTimeout))
    })
    return Effect.as(
      Effect.addFinalizer(() => close),
      makeSink<A, E | F>({
        node,
        begin: beginOne,
        write: (event) => runWrite(event, beginOne, closed),
        writeSome: beginSome && ((events) => runWrite(events, beginSome, closed))
      })
    )
  })
