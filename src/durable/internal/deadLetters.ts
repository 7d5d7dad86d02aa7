/** The dead letters of a queue. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type { EventStoreError, Key, Operations, Page, StoredDeadLetter } from "../EventStore.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import type { Codec } from "./eventCodec.ts"

/**
 * An event that could not be delivered, or not be decoded: what is stored of it, and what it decodes to now.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetter<out A> extends StoredDeadLetter {
  readonly event: Result.Result<A, EnvelopeError>
}

/**
 * Some dead letters: one, several, or all that there are when they are asked for.
 *
 * @category models
 * @since 0.1.0
 */
export type Letters = "all" | Pick<StoredDeadLetter, "key"> | ReadonlyArray<Pick<StoredDeadLetter, "key">>

/**
 * The dead letters of a queue. They stay until they are replayed or purged.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetters<out A> {
  /** A page of them, in the order in which they were dead-lettered: the first 100 by default. */
  readonly list: (page?: Partial<Page>) => Effect.Effect<ReadonlyArray<DeadLetter<A>>, EventStoreError>
  /**
   * Puts letters at the end of the line again, in the order given, as the bytes that they are: they are decoded anew when
   * their turn comes. Answers how many that were. When it fails, some of many may have been replayed.
   */
  readonly replay: (letters: Letters) => Effect.Effect<number, EventStoreError>
  /** Forgets letters for good. Answers how many that were. When it fails, some of many may be gone. */
  readonly purge: (letters: Letters) => Effect.Effect<number, EventStoreError>
}

/** How many letters one step of the store is about, at most. */
const pageSize = 500

export const makeLetters = <A>(queue: string, store: Operations, codec: Codec<A>): DeadLetters<A> => {
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

  /** As many as there are now: those that come meanwhile, replayed ones among them, are behind these. */
  const all = (step: Step): Effect.Effect<number, EventStoreError> =>
    Effect.flatMap(store.size(queue), ({ deadLetters }) => {
      let left = deadLetters
      let done = 0
      return Effect.map(
        Effect.whileLoop({
          while: () => left > 0,
          body: () =>
            Effect.flatMap(store.list(queue, { limit: Math.min(left, pageSize) }), (letters) =>
              Effect.map(
                some(
                  letters.map(({ key }) => key),
                  step
                ),
                (n) => ({ listed: letters.length, n })
              )
            ),
          step: ({ listed, n }) => {
            left = listed === 0 ? 0 : left - listed
            done += n
          }
        }),
        () => done
      )
    })

  const which = (letters: Letters, step: Step): Effect.Effect<number, EventStoreError> => {
    if (letters === "all") return all(step)
    const list = "key" in letters ? [letters] : letters
    return some(
      list.map(({ key }) => key),
      step
    )
  }

  return {
    list: (page) =>
      Effect.flatMap(store.list(queue, { after: page?.after, limit: page?.limit ?? 100 }), (letters) =>
        Effect.forEach(letters, (letter) =>
          Effect.map(Effect.result(codec.decode(letter.payload)), (event) => ({ ...letter, event }))
        )
      ),
    replay: (letters) => which(letters, store.replay),
    purge: (letters) => which(letters, store.purge)
  }
}
