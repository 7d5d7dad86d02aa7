/** The lives of owners, and their leases. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { monotonicNow } from "../../../internal/monotonic.ts"
import type { Claimed, Claims, Operations, Owner, SubscriptionId } from "../../EventStore.ts"
import { claimStatements, few, most } from "./claimStatements.ts"
import { type Horizon, ofArrivals } from "./horizon.ts"
import type { Parts } from "./parts.ts"
import type { Presence } from "./presence.ts"
import { array, milliseconds, type Numeric, numberOf, numbersOf } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

/** A time that is over. */
const atOnce = Number.NEGATIVE_INFINITY

interface ClaimRow {
  readonly subscription: Numeric | null
  readonly epoch: Numeric | null
  readonly attempts: Numeric
  readonly first_failed_at: Numeric | null
  readonly failing_since: Numeric | null
  readonly lanes: string | null
  readonly firsts: string | null
  readonly inactive: string | null
  readonly wait: Numeric | null
  readonly first: Numeric | null
  readonly last: Numeric | null
  readonly turned: Numeric
  readonly brought: Numeric
  readonly next: Numeric | null
  readonly coming: Numeric | null
  readonly at: Numeric
  readonly others: boolean
}

/** Two arrays of the same length. */
const lanesOf = (lanes: string | null, firsts: string | null): Claimed["lanes"] => {
  const positions = numbersOf(firsts ?? undefined)
  return numbersOf(lanes ?? undefined).map((lane, i) => ({ lane, first: positions[i] ?? 0 }))
}

export const claiming = (run: Runner, parts: Parts, horizon: Horizon, presence: Presence) => {
  const text = claimStatements(parts)
  /** What this process has, by the answers to its claims. */
  const held = new Set<SubscriptionId>()
  /** A claim may have been committed whose answer did not come: what it acquired and woke is in the next answer. */
  let inDoubt = false
  /** When what is scheduled is next to be put in its place, by this process's clock. */
  let bringAt = atOnce
  const turn = Semaphore.makeUnsafe(1)

  const renew: Operations["renew"] = (owner, ttl) =>
    Effect.flatMap(
      run.prepared<{ readonly id: Numeric }>("renew", text.renew, [
        "id" in owner ? owner.id : null,
        owner.name,
        milliseconds(ttl)
      ]),
      ([row]) => {
        const id = Number(row?.id)
        if (!("id" in owner) || owner.id !== id) held.clear()
        return Effect.as(presence.become(id), { id, name: owner.name } satisfies Owner)
      }
    )

  const claimOnce = Effect.fnUntraced(function* (
    brings: boolean,
    ...[owner, which, limit]: Parameters<Operations["claim"]>
  ) {
    const from = yield* monotonicNow
    const gone = yield* presence.gone(owner.id)
    const before = yield* horizon.current("claim")
    const known = inDoubt ? array([...held]) : null
    inDoubt = true
    const isWhole = "exchange" in which
    const { bring, claim } = isWhole ? text.whole : which.length <= few ? text.few : text.many
    const rows = yield* run.prepared<ClaimRow>("claim", brings ? bring : claim, [
      owner.id,
      isWhole ? which.exchange : array([...new Set(which)]),
      limit,
      horizon.from(ofArrivals),
      array(gone),
      known,
      horizon.dueFrom()
    ])
    inDoubt = false
    const { at = 0, brought = 0, coming = null, first = null, inactive = null, last = null } = rows[0] ?? {}
    const { next = null, others = false, turned = 0, wait = null } = rows[0] ?? {}
    horizon.read(ofArrivals, numberOf(first), before)
    horizon.given(Number(last ?? 0))
    horizon.readDue(numberOf(coming), before)
    horizon.seen(Number(at))
    // the server's time was read after this process's
    bringAt = Number(brought) === most ? atOnce : from + Number(next ?? Infinity) - Number(at)
    horizon.removed(Number(turned) + Number(brought))
    const acquired: Array<Claimed> = []
    const woken: Array<SubscriptionId> = []
    for (const { attempts, epoch, failing_since, first_failed_at, firsts, lanes, ...row } of rows) {
      if (row.subscription === null) continue
      const subscription = Number(row.subscription)
      if (epoch === null) woken.push(subscription)
      else {
        held.add(subscription)
        acquired.push({
          subscription,
          epoch: Number(epoch),
          attempts: Number(attempts),
          firstFailedAt: numberOf(first_failed_at),
          failingSince: numberOf(failing_since),
          lanes: lanesOf(lanes, firsts)
        })
      }
    }
    const soon = presence.others(others)
    const due = Math.min(Number(wait ?? Infinity), soon ?? Infinity)
    const claims = {
      acquired,
      woken,
      inactive: numbersOf(inactive ?? undefined),
      wait: Number.isFinite(due) ? Math.max(0, due) : undefined
    } satisfies Claims
    return { claims, isComing: !brings && next !== null && Number(next) <= Number(at) }
  })

  const claimAlone: Operations["claim"] = Effect.fnUntraced(function* (owner, which, limit) {
    const { claims, isComing } = yield* claimOnce((yield* monotonicNow) >= bringAt, owner, which, limit)
    if (!isComing) return claims
    // what has come due was written by another process, or the clocks differ
    const { acquired, woken } = claims
    const { claims: last } = yield* Effect.onError(claimOnce(true, owner, which, limit - acquired.length), () =>
      Effect.sync(() => {
        // the caller gets none of what the first has acquired and woken: it is in the next answer
        for (const { subscription } of acquired) held.delete(subscription)
        inDoubt = true
      })
    )
    return {
      ...last,
      acquired: [...acquired, ...last.acquired],
      woken: [...new Set([...woken, ...last.woken])]
    }
  })

  const release: Operations["release"] = (owner, leases) => {
    const given = leases === "all" ? undefined : leases
    return Effect.map(
      run.prepared("release", text.release, [
        owner.id,
        given === undefined ? null : array(given.map(({ subscription }) => subscription)),
        given === undefined ? null : array(given.map(({ epoch }) => epoch))
      ]),
      () => {
        if (given === undefined) held.clear()
        else for (const { subscription } of given) held.delete(subscription)
      }
    )
  }

  const claim: Operations["claim"] = (...args) => turn.withPermit(claimAlone(...args))

  return { renew, claim, release, lost: (subscription: SubscriptionId) => held.delete(subscription) }
}
