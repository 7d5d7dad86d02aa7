/** Whether an append fits a queue's limits. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { monotonicNow } from "../../../internal/monotonic.ts"
import type { Limits } from "../../EventStore.ts"

/** How long a count is cached, in milliseconds; and at most how long the next one waits. */
const cacheTtl = 1_000
const longestPause = 5_000

/**
 * How much a queue holds, as one process counts it. A row with the count would be exact, and every append's transaction
 * would hold its lock until it commits: one outbox transaction could stop all the others. So the rows are counted, at
 * most every second, and what this process adds and removes in between is added to the count. What other processes add
 * in that second, and what transactions have not committed, is not seen; several processes may so pass a limit by what
 * they write in a second.
 *
 * An append is refused only by a count that began after its request, since a refused writer waits for a change that may
 * have come already. Concurrent requests share one count. So that the server has time for other work, the next count
 * waits for nine times as long as the last one took, at most 5 seconds.
 *
 * An append in a transaction of the caller's takes no part in this. It counts for itself, at once, since the
 * transaction may hold locks, and its count is not cached, since its snapshot may be an old one. That count has what
 * the transaction itself has added. It has not what others, of this process too, have not committed yet or, from
 * REPEATABLE READ on, have committed since the transaction's first statement; nor does it have what has been removed
 * since. What the transaction adds is noted here when it has committed, and not at all when it rolls back.
 */
export class CountedCapacity {
  private rows = 0
  private bytes = 0
  private readonly underWay = { rows: 0, bytes: 0 }
  private countedAt = Number.NEGATIVE_INFINITY
  private pause = 0
  /** Numbers the requests and the counts. */
  private last = 0
  private counting = 0
  private readonly turn = Semaphore.makeUnsafe(1)

  /** Adds, if that fits; answers whether it does. */
  admit<E, R>(
    limits: Limits,
    more: Limits,
    count: Effect.Effect<Limits, E, R>,
    add: Effect.Effect<unknown, E, R>
  ): Effect.Effect<boolean, E, R> {
    return Effect.uninterruptibleMask((restore) => {
      const asked = ++this.last
      const decided = Effect.onExit(restore(this.decide(asked, limits, more, count)), (exit) =>
        Effect.suspend(() => {
          if (exit._tag === "Success" && exit.value) this.book(more, 1)
          return this.turn.release(1)
        })
      )
      const added = Effect.onExit(restore(add), ({ _tag }) =>
        Effect.sync(() => {
          this.book(more, -1)
          // an append that failed and was committed all the same is found by the next count
          if (_tag === "Success") this.added(more)
        })
      )
      return restore(this.turn.take(1)).pipe(
        Effect.andThen(decided),
        Effect.tap((fits) => (fits ? added : Effect.void))
      )
    })
  }

  /** Notes an addition that a cached count has not seen. */
  added({ bytes, rows }: Limits): void {
    this.removed(-rows, -bytes)
  }

  /** Notes what was removed from the queue. */
  removed(rows: number, bytes: number): void {
    this.rows -= rows
    this.bytes -= bytes
  }

  private decide<E, R>(
    asked: number,
    limits: Limits,
    more: Limits,
    count: Effect.Effect<Limits, E, R>
  ): Effect.Effect<boolean, E, R> {
    return Effect.gen({ self: this }, function* () {
      const now = yield* monotonicNow
      const isCached = now - this.countedAt < Math.max(cacheTtl, this.pause)
      if (isCached && this.fits(limits, more)) return true
      if (this.counting < asked) {
        yield* Effect.sleep(Math.max(0, this.countedAt + this.pause - now))
        const from = yield* monotonicNow
        this.counting = ++this.last
        const { bytes, rows } = yield* count
        this.rows = rows
        this.bytes = bytes
        this.countedAt = yield* monotonicNow
        this.pause = Math.min(longestPause, 9 * (this.countedAt - from))
      }
      return this.fits(limits, more)
    })
  }

  private fits(limits: Limits, more: Limits): boolean {
    return fits(limits, { rows: this.rows + this.underWay.rows, bytes: this.bytes + this.underWay.bytes }, more)
  }

  private book({ bytes, rows }: Limits, sign: 1 | -1): void {
    this.underWay.rows += sign * rows
    this.underWay.bytes += sign * bytes
  }
}

/** Whether more fits beside what is held: anything when the queue is empty. */
export const fits = (limits: Limits, held: Limits, more: Limits): boolean =>
  held.rows <= 0 || (held.rows + more.rows <= limits.rows && held.bytes + more.bytes <= limits.bytes)
