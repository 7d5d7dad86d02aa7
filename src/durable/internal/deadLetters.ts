/** The dead letters of a queue. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type { EventStoreError, Key, Operations, Page, StoredDeadLetter } from "../EventStore.ts"
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
export type DeadLetterSelection = "all" | Pick<StoredDeadLetter, "key"> | ReadonlyArray<Pick<StoredDeadLetter, "key">>

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

export const makeDeadLetters = <A>(queue: string, store: Operations, codec: Codec<A>): DeadLetters<A> => {
  type Step = Operations["replay"]

  const some = (keys: ReadonlyArray<Key>, step: Step): Effect.Effect<number, EventStoreError> => {
    let from = 0
    let done = 0
    return Effect.map(
      Effect.whileLoop({
        while: () => from < keys.length,
        body: () => {
          const page = keys.slice(from, from + pageSize)
          // Not empty, by the condition of the loop.
          return isReadonlyArrayNonEmpty(page) ? step(queue, page) : Effect.succeed(0)
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
  const all = (step: Step): Effect.Effect<number, EventStoreError> =>
    Effect.flatMap(store.size(queue), ({ deadLetters }) => {
      let remaining = deadLetters
      let done = 0
      return Effect.map(
        Effect.whileLoop({
          while: () => remaining > 0,
          body: () =>
            Effect.flatMap(store.list(queue, { limit: Math.min(remaining, pageSize) }), (page) =>
              Effect.map(
                some(
                  page.map(({ key }) => key),
                  step
                ),
                (n) => ({ listed: page.length, n })
              )
            ),
          step: ({ listed, n }) => {
            remaining = listed === 0 ? 0 : remaining - listed
            done += n
          }
        }),
        () => done
      )
    })

  const select = (selection: DeadLetterSelection, step: Step): Effect.Effect<number, EventStoreError> => {
    if (selection === "all") return all(step)
    const list = "key" in selection ? [selection] : selection
    return some(
      list.map(({ key }) => key),
      step
    )
  }

  return {
    list: (page) =>
      Effect.flatMap(store.list(queue, { after: page?.after, limit: page?.limit ?? 100 }), (listed) =>
        Effect.forEach(listed, (deadLetter) =>
          Effect.map(Effect.result(codec.decode(deadLetter.payload)), (event) => ({ ...deadLetter, event }))
        )
      ),
    replay: (selection) => select(selection, store.replay),
    purge: (selection) => select(selection, store.purge)
  }
}
