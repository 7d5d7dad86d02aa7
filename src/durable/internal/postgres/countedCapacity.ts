/** Whether a publish fits the limits of the subscriptions that it matches. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { monotonicNow } from "../../../internal/monotonic.ts"
import type { Limits, SubscriptionId } from "../../EventStore.ts"

/** How long a count is cached, in milliseconds; and at most how long the next one waits. */
const cacheTtl = 1_000
const longestPause = 5_000

/** Topics may be as many as events. */
const mostKinds = 1_000

/** How much one of the subscriptions holds that events of one kind match: of a tenant and topic. */
export interface Held extends Limits {
  readonly kind: string
  readonly subscription: SubscriptionId
}

export interface CountedCapacity {
  /** Commits, if that fits; answers what that answered, or nothing. `more` is what is to be added of each kind. */
  readonly admit: <A, E, R>(
    limits: Limits,
    more: ReadonlyMap<string, Limits>,
    count: Effect.Effect<ReadonlyArray<Held>, E, R>,
    commit: Effect.Effect<A, E, R>
  ) => Effect.Effect<A | undefined, E, R>
  /** Notes an addition that a cached count has not seen. */
  readonly added: (more: ReadonlyMap<string, Limits>) => void
  /** Notes what was removed from a subscription. */
  readonly removed: (subscription: SubscriptionId, sum: Limits) => void
  /** Whether it has counted a subscription. */
  readonly has: (subscription: SubscriptionId) => boolean
}

/**
 * How much the subscriptions of an exchange hold, as one process counts it. A row with the count would be exact, and every
 * writer's transaction would hold its lock until it commits: one outbox transaction could stop all the others. So the rows
 * are counted, at most every second, and what this process adds and removes in between is added to the count. What other
 * processes add in that second, and what transactions have not committed, is not seen; several processes may so pass a
 * limit by what they write in a second.
 *
 * A publish is refused only by a count that began after its request, since a refused writer waits for a change that may
 * have come already. Concurrent requests share one count. So that the server has time for other work, the next count
 * waits for nine times as long as the last one took, at most 5 seconds.
 *
 * A publish in a transaction of the caller's takes no part in this. It counts for itself, at once, since the transaction
 * may hold locks, and its count is not cached, since its snapshot may be an old one. That count has what the transaction
 * itself has added. It has not what others, of this process too, have not committed yet or, from REPEATABLE READ on, have
 * committed since the transaction's first statement; nor does it have what has been removed since. What the transaction
 * adds is noted here when it has committed, and not at all when it rolls back.
 */
export const makeCountedCapacity = (): CountedCapacity => {
  const held: Sums = new Map()
  /** What is being added: no count has it for sure. */
  const underWay: Sums = new Map()
  /** The subscriptions that each kind matches, and which count said so. */
  const kinds = new Map<string, { subscriptions: Array<SubscriptionId>; at: number; counting: number }>()
  const turn = Semaphore.makeUnsafe(1)
  let countedAt = Number.NEGATIVE_INFINITY
  let pause = 0
  /** Numbers the requests and the counts. */
  let last = 0

  const subscriptionsOf = (kind: string) => kinds.get(kind)?.subscriptions ?? []
  const sumsOf = (more: ReadonlyMap<string, Limits>) => sums(more, subscriptionsOf)
  const fitsNow = (limits: Limits, more: Sums) => {
    const both: Sums = new Map()
    for (const all of [held, underWay]) {
      for (const subscription of more.keys()) add(both, subscription, all.get(subscription) ?? nothing)
    }
    return fits(limits, more, both)
  }

  const decide = Effect.fnUntraced(function* <E, R>(
    asked: number,
    limits: Limits,
    more: ReadonlyMap<string, Limits>,
    count: Effect.Effect<ReadonlyArray<Held>, E, R>
  ): Effect.fn.Return<boolean, E, R> {
    const now = yield* monotonicNow
    const ttl = Math.max(cacheTtl, pause)
    const every = (holds: (kind: { readonly at: number; readonly counting: number }) => boolean) =>
      Array.from(more.keys()).every((key) => {
        const kind = kinds.get(key)
        return kind !== undefined && holds(kind)
      })
    if (every(({ at }) => now - at < ttl) && fitsNow(limits, sumsOf(more))) return true
    if (!every(({ counting }) => counting > asked)) {
      yield* Effect.sleep(Math.max(0, countedAt + pause - now))
      const from = yield* monotonicNow
      const counting = ++last
      const rows = yield* count
      countedAt = yield* monotonicNow
      pause = Math.min(longestPause, 9 * (countedAt - from))
      if (kinds.size > mostKinds) kinds.clear()
      for (const kind of more.keys()) kinds.set(kind, { subscriptions: [], at: countedAt, counting })
      for (const { bytes, kind, rows: n, subscription } of rows) {
        kinds.get(kind)?.subscriptions.push(subscription)
        held.set(subscription, { rows: n, bytes })
      }
    }
    return fitsNow(limits, sumsOf(more))
  })

  return {
    admit: (limits, more, count, commit) =>
      Effect.uninterruptibleMask((restore) => {
        const asked = ++last
        let booked: Sums = new Map()
        const decided = Effect.onExit(restore(decide(asked, limits, more, count)), (exit) =>
          Effect.suspend(() => {
            if (exit._tag === "Success" && exit.value) booked = sumsOf(more)
            for (const [subscription, sum] of booked) add(underWay, subscription, sum)
            return turn.release(1)
          })
        )
        const committed = Effect.onExit(restore(commit), ({ _tag }) =>
          Effect.sync(() => {
            for (const [subscription, sum] of booked) {
              add(underWay, subscription, sum, -1)
              // one that failed and was committed all the same is found by the next count
              if (_tag === "Success") add(held, subscription, sum)
            }
          })
        )
        return restore(turn.take(1)).pipe(
          Effect.andThen(decided),
          Effect.flatMap((fits) => (fits ? committed : Effect.undefined))
        )
      }),
    added: (more) => {
      for (const [subscription, sum] of sumsOf(more)) if (held.has(subscription)) add(held, subscription, sum)
    },
    removed: (subscription, sum) => {
      if (held.has(subscription)) add(held, subscription, sum, -1)
    },
    has: (subscription) => held.has(subscription)
  }
}

type Sums = Map<SubscriptionId, Limits>
const nothing: Limits = { rows: 0, bytes: 0 }

const add = (all: Sums, subscription: SubscriptionId, { bytes, rows }: Limits, sign: 1 | -1 = 1): void => {
  const sum = all.get(subscription) ?? nothing
  all.set(subscription, { rows: sum.rows + sign * rows, bytes: sum.bytes + sign * bytes })
}

/** How much comes to each subscription, of what is to be added of each kind. */
export const sums = (
  more: ReadonlyMap<string, Limits>,
  subscriptionsOf: (kind: string) => ReadonlyArray<SubscriptionId>
): Sums => {
  const all: Sums = new Map()
  for (const [kind, sum] of more) for (const subscription of subscriptionsOf(kind)) add(all, subscription, sum)
  return all
}

/** Whether more fits beside what the subscriptions hold: anything where one is empty. */
export const fits = (
  limits: Limits,
  more: ReadonlyMap<SubscriptionId, Limits>,
  held: ReadonlyMap<SubscriptionId, Limits>
) =>
  Array.from(more).every(([subscription, { bytes, rows }]) => {
    const one = held.get(subscription) ?? nothing
    return one.rows <= 0 || (one.rows + rows <= limits.rows && one.bytes + bytes <= limits.bytes)
  })
