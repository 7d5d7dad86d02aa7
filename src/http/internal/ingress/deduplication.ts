/**
 * The deduplication window: the ids that were committed within a time, so that a duplicate is not written again. An id
 * counts from its commit on. Until then the id is claimed by one write, and other requests with the id wait for the end of
 * that write.
 */
import * as Clock from "effect/Clock"
import * as Digest from "effect/crypto/Digest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Utf8 from "../../../internal/encoding/utf8.ts"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import { count } from "../../../internal/options.ts"
import type { Verification } from "./verification.ts"

/**
 * For how long, and for how many, ids are kept: a duplicate is answered with 202 and not written again.
 *
 * @category options
 * @since 0.1.0
 */
export interface Deduplication {
  /**
   * How long an id is kept, from its commit on: 10 minutes by default, or twice the tolerance of `verify` if that is
   * longer. With a shorter window, a signed request that is replayed may be written twice. Those of signed requests are kept for a
   * second more, since signatures are judged in whole seconds.
   */
  readonly window?: Duration.Input | undefined
  /**
   * How many ids are kept of each sender, the latest: 100,000 by default, which are about 35 MB at most. The first id that has to
   * leave before its window ends is logged as a warning: a duplicate of it is written again.
   */
  readonly maxIds?: number | undefined
}

export const deduplicationDefaults = { window: "10 minutes", maxIds: 100_000 } as const

export type Deduplicate = Effect.Success<ReturnType<typeof makeDeduplicate>>

/**
 * Makes the function that writes the events of a request which are no duplicates, and answers how many are. `write` calls
 * `committed` with the number of events of each commit. `evicted` is run when an id has left before its time.
 */
export const makeDeduplicate = Effect.fnUntraced(function* (
  options: Deduplication | false,
  verify: Verification | undefined,
  evicted: (maxIds: number) => Effect.Effect<void>
) {
  const { digestHex } = yield* Effect.provide(Digest.Digest, Digest.layerWebCrypto)
  // By default a signed request cannot be replayed: the default window is twice the default tolerance.
  const twice = Duration.times(Duration.fromInputUnsafe(verify?.tolerance ?? 0), 2)
  const byDefault = Duration.max(Duration.fromInputUnsafe(deduplicationDefaults.window), twice)
  const { maxIds = deduplicationDefaults.maxIds, window = byDefault } = options === false ? {} : options
  // A signature is judged in whole seconds, and so passes for up to a second longer than twice its tolerance.
  const windowMillis = Duration.toMillis(Duration.fromInputUnsafe(window)) + (verify === undefined ? 0 : 1000)
  const maxSize = count("EventIngress", "deduplicate.maxIds", maxIds, 1)
  // The tolerance of a signature is judged by the wall clock, so an id that keeps out its replays must expire by that.
  const millisOf = (clock: Clock.Clock) =>
    verify === undefined ? monotonicMillis(clock) : clock.currentTimeMillisUnsafe()
  // JSON keeps lone surrogates apart, and its text is a copy: an id may be a slice that keeps a whole body alive, and a digest
  // is a chain of many pieces. A digest stands in an array, so that no id equals it.
  const keyOf = (id: string) => {
    const text = JSON.stringify(id)
    if (text.length <= maxIdLength) return Effect.succeed(text)
    return Effect.map(digestHex(Digest.sha256, Utf8.encode(text)), (digest) => JSON.stringify([digest]))
  }

  /** The ids of one sender. */
  const makeWindow = () => {
    /** The time at which each id expires, in the order of the commits. */
    const expiries = new Map<string, number>()
    const claims = new Map<string, Latch.Latch>()
    /** Removes what has expired and what is too much, and answers whether an id had time left. */
    const evict = (now: number): boolean => {
      let isEarly = false
      for (const [id, expiry] of expiries) {
        if (expiry > now && expiries.size <= maxSize) break
        isEarly ||= expiry > now
        expiries.delete(id)
      }
      return isEarly
    }
    const writeFresh = <A, E>(ids: ReadonlyArray<string>, events: ReadonlyArray<A>, write: Write<A, E>) =>
      Effect.uninterruptibleMask((restore) =>
        Clock.clockWith((clock): Effect.Effect<number, E> => {
          // A request waits without a claim of its own: no two requests ever wait for each other.
          const claimed = ids.find((id) => claims.has(id))
          if (claimed !== undefined) {
            return restore(Effect.andThen(claims.get(claimed)!.await, writeFresh(ids, events, write)))
          }
          const start = millisOf(clock)
          const fresh = new Map<string, A>()
          ids.forEach((id, place) => {
            const expiry = expiries.get(id) ?? Number.NEGATIVE_INFINITY
            if (expiry <= start && !fresh.has(id)) fresh.set(id, events[place]!)
          })
          const claim = Latch.makeUnsafe()
          for (const id of fresh.keys()) claims.set(id, claim)
          let committed = 0
          const settle = Effect.suspend(() => {
            const end = millisOf(clock)
            for (const id of fresh.keys()) {
              claims.delete(id)
              if (committed-- <= 0) continue
              // An id that had expired moves to the end of the order.
              expiries.delete(id)
              expiries.set(id, end + windowMillis)
            }
            const isEarly = evict(end)
            claim.openUnsafe()
            return isEarly ? evicted(maxSize) : Effect.void
          })
          const writing = Effect.suspend(() => write([...fresh.values()], (n) => void (committed += n)))
          const duplicates = ids.length - fresh.size
          return Effect.onExit(restore(writing), () => settle).pipe(Effect.as(duplicates))
        })
      )
    return writeFresh
  }
  // As many as there are senders: none can suppress or evict an id of another.
  const windows = new Map<string | undefined, ReturnType<typeof makeWindow>>()

  /** `ids` are those of the events, if they have any, and known for their sender alone. */
  return <A, E>(
    ids: ReadonlyArray<string> | undefined,
    sender: string | undefined,
    events: ReadonlyArray<A>,
    write: Write<A, E>
  ): Effect.Effect<number, E> => {
    if (options === false || ids === undefined) return Effect.as(write(events, constVoid), 0)
    const writeFresh = windows.get(sender) ?? makeWindow()
    windows.set(sender, writeFresh)
    return Effect.flatMap(Effect.forEach(ids, keyOf), (keys) => writeFresh(keys, events, write))
  }
})

// internals

type Write<A, E> = (events: ReadonlyArray<A>, committed: (n: number) => void) => Effect.Effect<void, E>

/** A longer id is kept as its digest: senders choose the length of ids, and many are kept. */
const maxIdLength = 128
