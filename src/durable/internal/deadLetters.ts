/** The dead letters of a queue. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type { EventStoreError, Operations, Page, Position, StoredDeadLetter, SubscriptionId } from "../EventStore.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import type { Codec } from "./eventCodec.ts"

/**
 * An event that could not be delivered, or not be decoded: its stored form, and what it decodes to now.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetter<out A> extends StoredDeadLetter {
  readonly event: Result.Result<A, EnvelopeError>
}

/**
 * Selects dead letters: one, several, or all that there are at the call.
 *
 * @category models
 * @since 0.1.0
 */
export type DeadLetterSelection =
  "all" | Pick<StoredDeadLetter, "position"> | ReadonlyArray<Pick<StoredDeadLetter, "position">>

/**
 * The dead letters of a queue. They stay until they are replayed or purged.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetters<out A> {
  /** A page of dead letters, in the order in which they were dead-lettered: the first 100 by default. */
  readonly list: (page?: Partial<Page>) => Effect.Effect<ReadonlyArray<DeadLetter<A>>, EventStoreError>
  /**
   * Appends dead letters to the end of the queue again, in the order given, as the bytes that they are: they are
   * decoded anew at their delivery. Answers how many were replayed. When it fails, some of many may have been replayed.
   */
  readonly replay: (selection: DeadLetterSelection) => Effect.Effect<number, EventStoreError>
  /** Deletes dead letters for good. Answers how many were deleted. When it fails, some of many may be gone. */
  readonly purge: (selection: DeadLetterSelection) => Effect.Effect<number, EventStoreError>
}

/** How many dead letters one step of the store is about, at most. */
const pageSize = 500

export const makeDeadLetters = <A>(
  subscription: Effect.Effect<SubscriptionId | undefined, EventStoreError>,
  store: Operations,
  codec: Codec<A>
): DeadLetters<A> => {
  type Step = Operations["replay"]

  const some = (id: SubscriptionId, positions: ReadonlyArray<Position>, step: Step) => {
    let from = 0
    let done = 0
    return Effect.map(
      Effect.whileLoop<number, EventStoreError, never>({
        while: () => from < positions.length,
        body: () => {
          const page = positions.slice(from, from + pageSize)
          // Not empty, by the condition of the loop.
          return isReadonlyArrayNonEmpty(page) ? step(id, page) : Effect.succeed(0)
        },
        step: (n) => {
          from += pageSize
          done += n
        }
      }),
      () => done
    )
  }
  /** As many as there are now: dead letters that come meanwhile, replayed ones among them, are behind these. */
  const all = Effect.fnUntraced(function* (id: SubscriptionId, step: Step) {
    let rest = (yield* store.figures(id))?.deadLetters ?? 0
    let done = 0
    while (rest > 0) {
      const page = yield* store.deadLetters(id, { limit: Math.min(rest, pageSize) })
      done += yield* some(
        id,
        page.map(({ position }) => position),
        step
      )
      rest = page.length === 0 ? 0 : rest - page.length
    }
    return done
  })
  const select = (selection: DeadLetterSelection, step: Step): Effect.Effect<number, EventStoreError> =>
    Effect.flatMap(subscription, (id) => {
      if (id === undefined) return Effect.succeed(0)
      if (selection === "all") return all(id, step)
      const list = "position" in selection ? [selection] : selection
      return some(
        id,
        list.map(({ position }) => position),
        step
      )
    })

  return {
    list: (page) =>
      Effect.gen(function* () {
        const id = yield* subscription
        if (id === undefined) return []
        const listed = yield* store.deadLetters(id, { after: page?.after, limit: page?.limit ?? 100 })
        return yield* Effect.forEach(listed, (deadLetter) =>
          Effect.map(Effect.result(codec.decode(deadLetter.payload)), (event) => ({ ...deadLetter, event }))
        )
      }),
    replay: (selection) => select(selection, store.replay),
    purge: (selection) => select(selection, store.purge)
  }
}
