/**
 * What delivers for a process: one loop that claims and takes, one that settles, one renewal and one listener, whatever the
 * number of subscriptions that the process serves. A subscription costs nothing while it is idle.
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { reportTimeout, within } from "../../internal/deadline.ts"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type {
  Change,
  Claims,
  EventStoreError,
  Lease,
  Operations,
  Owner,
  SubscriptionId,
  Wanted
} from "../EventStore.ts"
import { makeLoops } from "./loops.ts"
import type { DeliveryServer, Host, Subscriber } from "./serving.ts"
import { makeSettlements } from "./settlements.ts"
import { makeSweeping } from "./sweeping.ts"

/** How long the loops wait after a failure of the store, at first and at most, in milliseconds. */
const [minRetryDelay, maxRetryDelay] = [100, 5_000]
/** The delay after a failure before changes are listened to again. */
const listenAgain = "1 second"
/** How often expired leases of other processes are looked for at least, in milliseconds. */
const standbyInterval = 1_000
/**
 * After so many claims in a row that found nothing, a commit brings a process without a lease to another one only after this
 * many milliseconds.
 */
const [fruitless, standbyPause] = [8, 250]
/** A process that serves no more than these, and has all their leases, takes after a commit without a claim before. */
const few = 8
/** How often it claims all the same while there are commits, in milliseconds: a claim shows what is not active any more. */
const claimInterval = 1_000
/** The least time between claims that commits bring to what serves an exchange whole, in milliseconds: a burst of them is one claim. */
const hostPause = 10
/** How many subscriptions one take is for at most, and the bytes that they share, of which each has a part at least. */
const [maxWanted, takeBytes, leastBytes] = [256, 16 * 1024 * 1024, 64 * 1024]
/** The delay before the last settlement under a lease is tried again. */
const flushAgain = "200 millis"
const never = { wall: Number.NEGATIVE_INFINITY, monotonic: Number.NEGATIVE_INFINITY }

export const makeDeliveryServer = (store: Operations, context: Context.Context<never>): DeliveryServer => {
  const clock = Context.get(context, Clock.Clock)
  const subscribers = new Map<SubscriptionId, Subscriber>()
  /** Others of the same subscriptions, made twice in this process: the lease is the process's, so one of them delivers. */
  let standbys: ReadonlyArray<Subscriber> = []
  /** What serves exchanges whole: its subscribers are there while they have a lease. */
  const hosts = new Set<Host>()
  const wanting = new Set<Subscriber>()
  const woken = Latch.makeUnsafe()
  const renewSoon = Latch.makeUnsafe()
  const sweeping = makeSweeping(store)
  const renewTurn = Semaphore.makeUnsafe(1)
  const name = globalThis.crypto.randomUUID()
  let owner: Owner | undefined
  /** When this process was last sure to have its leases: the one clock jumps, the other stands still in a suspension. */
  let renewedAt = never
  let ttl = Duration.toMillis(Duration.infinity)
  let isClaimDue = false
  /** Whether a claim may have been done that was not answered. */
  let isInDoubt = false
  let nextClaim = Number.POSITIVE_INFINITY
  let claimedAt = Number.NEGATIVE_INFINITY
  let inVain = 0
  let hasChanged = false
  /** How long each loop waits after its next failure. */
  const delays = { claim: minRetryDelay, settle: minRetryDelay }
  /** Leases of no more use, until the store has taken them back. */
  let unused: ReadonlyArray<Lease> = []
  /** The loops of before have not ended yet. */
  let isStopping = false

  const now = () => monotonicMillis(clock)
  const isStale = () =>
    owner === undefined ||
    clock.currentTimeMillisUnsafe() - renewedAt.wall >= ttl ||
    monotonicMillis(clock) - renewedAt.monotonic >= ttl
  const all = () => [...subscribers.values()]
  const isUsed = () => subscribers.size + hosts.size > 0
  const wake = () => void woken.openUnsafe()

  const renew: Effect.Effect<Owner, EventStoreError> = renewTurn.withPermits(1)(
    Effect.suspend(() => {
      const asked = { wall: clock.currentTimeMillisUnsafe(), monotonic: now() }
      const before = owner
      return Effect.map(store.renew(before ?? { name }, Duration.millis(ttl)), (found) => {
        // Counted from before the request: the store may have taken its time to answer.
        renewedAt = asked
        owner = found
        const isNew = before?.id !== found.id
        isClaimDue ||= isNew
        for (const one of subscribers.values()) {
          // An owner that is gone has lost its leases.
          if (isNew && one.lease() !== undefined) one.lost()
          one.renewed()
        }
        // What was lost is not lost to this owner.
        renewedAt = asked
        return found
      })
    })
  )
  const renewing = Effect.forever(
    Effect.suspend(() => {
      renewSoon.closeUnsafe()
      return Effect.timeoutOption(renewSoon.await, Duration.millis(ttl / 3))
    }).pipe(
      // The leases go stale after a failure: the loop then renews in its turn, and logs what is wrong.
      Effect.andThen(Effect.suspend(() => (all().some((one) => one.lease()) ? Effect.ignore(renew) : Effect.void)))
    )
  )

  const claim = (owner: Owner): Effect.Effect<void, EventStoreError> =>
    Effect.suspend(() => {
      const isByChange = hasChanged
      isClaimDue = false
      hasChanged = false
      claimedAt = now()
      const open = all().filter((one) => one.isOpen() && !one.isHosted)
      const ids = open.map(({ id }) => id)
      nextClaim = Number.POSITIVE_INFINITY
      const failed = (cause: Cause.Cause<EventStoreError>) =>
        Effect.sync(() => {
          isClaimDue = true
          isInDoubt ||= cause.reasons.some((one) => one._tag !== "Fail" || one.error.maybeCommitted)
        })
      const claimed = (host: Host | undefined, { acquired, inactive, wait, woken }: Claims) => {
        if (acquired.length + woken.length > 0) inVain = 0
        else if (isByChange) inVain++
        if (host !== undefined) host.acquired(acquired)
        else
          for (const one of acquired) {
            const subscriber = subscribers.get(one.subscription)
            // It may have closed meanwhile.
            if (subscriber?.isOpen() === true) subscriber.claimed(one)
            else giveBack(one)
          }
        for (const id of inactive) subscribers.get(id)?.suspend()
        for (const id of woken) subscribers.get(id)?.woken(true)
        const isStandby = host !== undefined || open.some((one) => one.lease() === undefined)
        const delay = Math.min(wait ?? Number.POSITIVE_INFINITY, isStandby ? standbyInterval : Number.POSITIVE_INFINITY)
        nextClaim = Math.min(nextClaim, now() + Math.max(1, delay))
      }
      const wanted: ReadonlyArray<Host | undefined> = ids.length > 0 ? [undefined, ...hosts] : [...hosts]
      const claims = Effect.forEach(
        wanted,
        (host) =>
          Effect.map(
            host === undefined
              ? store.claim(owner, ids, ids.length)
              : store.claim(owner, { exchange: host.exchange }, host.free()),
            (answer) => claimed(host, answer)
          ),
        { discard: true }
      )
      return Effect.onError(claims, failed)
    })
  /** Ends a lease that the store gives nothing for: it is lost, or its subscription is not active any more. */
  const withdraw = Effect.fnUntraced(function* (owner: Owner, subscriber: Subscriber, { epoch, subscription }: Lease) {
    const lease = { subscription, epoch }
    yield* settlements.flush(subscriber)
    const isLost = (yield* store.settle(owner, [{ lease, settled: [] }])).length > 0
    if (subscriber.lease()?.epoch !== epoch) return
    isClaimDue = true
    if (isLost) subscriber.lost()
    else subscriber.suspend()
  })
  const take = (owner: Owner): Effect.Effect<void, EventStoreError> =>
    Effect.gen(function* () {
      const takeOne = (wanted: Wanted) => Effect.map(store.take(owner, [wanted]), ([taken]) => taken)
      // One that fails holds up no take.
      const failures: Array<EventStoreError> = []
      // What one of them wants from here on is for another take.
      const all = [...wanting].slice(0, maxWanted)
      for (const one of all) wanting.delete(one)
      for (const { before } of all) {
        if (before === undefined) continue
        yield* Effect.catch(before(takeOne), (error) => Effect.sync(() => void failures.push(error)))
      }
      const wants: Array<readonly [Subscriber, Wanted]> = []
      for (const one of all) {
        const wanted = one.wanted()
        if (wanted !== undefined) wants.push([one, wanted])
      }
      const most = Math.max(leastBytes, Math.floor(takeBytes / Math.max(1, wants.length)))
      const requests = wants.map(([, { limits, ...wanted }]): Wanted => ({
        ...wanted,
        limits: { ...limits, bytes: Math.min(limits.bytes, most) }
      }))
      const [failure] = failures
      const failed = failure === undefined ? Effect.void : Effect.fail(failure)
      if (!isReadonlyArrayNonEmpty(requests)) return yield* failed
      yield* store.take(owner, requests).pipe(
        Effect.tapError(() => Effect.sync(() => wants.forEach(([one]) => void wanting.add(one)))),
        Effect.flatMap((taken) => {
          const found = new Map(taken.map((one) => [one.subscription, one]))
          const refused: Array<Effect.Effect<void, EventStoreError>> = []
          for (const [one, wanted] of wants) {
            const answer = found.get(one.id)
            // A lease that was given back or lost meanwhile has no use for the answer.
            if (one.lease()?.epoch !== wanted.epoch) continue
            if (answer === undefined) {
              const again = () => void wanting.add(one)
              refused.push(Effect.tapError(withdraw(owner, one, wanted), () => Effect.sync(again)))
            } else one.receive(answer, wanted)
          }
          return Effect.all(refused, { discard: true })
        })
      )
      yield* failed
    })
  const release = (owner: Owner): Effect.Effect<void, EventStoreError> =>
    Effect.suspend(() => {
      const leases = unused
      return Effect.map(store.release(owner, leases), () => {
        unused = unused.filter((lease) => !leases.includes(lease))
      })
    })
  /** The store answers one of the loops, which are troubled by themselves. */
  const answered = (loop: keyof typeof delays) => {
    if (delays[loop] === minRetryDelay) return
    delays[loop] = minRetryDelay
    if (Object.values(delays).every((delay) => delay === minRetryDelay)) for (const one of all()) one.recovered()
  }
  const troubled = (loop: keyof typeof delays) => (error: EventStoreError) =>
    Effect.suspend(() => {
      const delay = delays[loop]
      delays[loop] = Math.min(delay * 2, maxRetryDelay)
      for (const one of all()) one.troubled(error)
      return Effect.sleep(delay)
    })
  /** Begins anew where a claim was done and not answered: its leases are held, and not known. */
  const startOver = Effect.suspend(() =>
    Effect.map(owner === undefined ? Effect.void : store.release(owner, "all"), () => {
      isInDoubt = false
      owner = undefined
      for (const one of all()) if (one.lease() !== undefined) one.lost()
    })
  )
  const settlements = makeSettlements({
    store,
    owner: () => owner,
    subscribers,
    settled: (isWaiting) => {
      isClaimDue ||= isWaiting
      if (isClaimDue) wake()
    },
    answered: () => answered("settle"),
    troubled: (error) => troubled("settle")(error)
  })
  const step = Effect.gen(function* () {
    if (isInDoubt) yield* startOver
    const current = owner === undefined || isStale() ? yield* renew : owner
    if (unused.length > 0) yield* release(current)
    if (isClaimDue) yield* claim(current)
    if (wanting.size > 0) yield* take(current)
    answered("claim")
  })
  const idle = Effect.suspend(() => {
    const isNeeded = isClaimDue || wanting.size > 0 || unused.length > 0
    if (isNeeded || !isUsed() || isStopping) return Effect.yieldNow
    woken.closeUnsafe()
    const rest = Math.max(0, nextClaim - now())
    return Effect.timeoutOrElse(woken.await, {
      duration: Duration.millis(rest),
      orElse: () => Effect.sync(() => void (isClaimDue = true))
    })
  })
  const round = Effect.andThen(Effect.catch(step, troubled("claim")), idle)
  const claiming = Effect.whileLoop({
    while: () => isUsed() && !isStopping,
    body: () => round,
    step: constVoid
  })

  /** Claims at a time at the latest. */
  const claimBy = (at: number) => {
    if (at >= nextClaim) return
    nextClaim = at
    wake()
  }
  /** A listener polls at once, and again when listening broke: the loops log what is wrong with the store. */
  const arrived = () => {
    hasChanged = true
    const open = all().filter((one) => one.isOpen())
    const isSimple = hosts.size === 0 && open.length <= few
    if (isSimple && open.every((one) => one.lease() !== undefined && !one.isSuspended())) {
      claimBy(claimedAt + claimInterval)
      for (const one of open) one.woken(false)
      return
    }
    if (now() < claimedAt + standbyPause && inVain >= fruitless && all().every((one) => one.lease() === undefined))
      return claimBy(claimedAt + standbyPause)
    if (hosts.size > 0 && now() < claimedAt + hostPause) return claimBy(claimedAt + hostPause)
    isClaimDue = true
    wake()
  }
  const changed = (change?: Change) =>
    Effect.sync(() => {
      // What comes due with a settlement is of a lease of the process that settled it, which knows.
      if (change !== "settled") arrived()
      for (const one of subscribers.values()) one.changed()
      for (const one of standbys) one.changed()
    })
  const listening = Effect.suspend(() => Stream.runForEach(store.changes, changed)).pipe(
    Effect.exit,
    Effect.andThen(changed()),
    Effect.andThen(Effect.sleep(listenAgain)),
    Effect.forever
  )

  const loops = makeLoops(context, [claiming, ...settlements.loops, renewing, listening, sweeping.loop])
  const stop = Effect.suspend(() => {
    isStopping = true
    const ended = loops.stop()
    wake()
    // A lease that a claim under way is answered with is released too.
    const released = Effect.flatMap(ended, () => (owner === undefined ? Effect.void : store.release(owner, "all")))
    // One that has begun meanwhile is of another owner.
    const over = Effect.sync(() => {
      owner = undefined
      isStopping = false
      if (isUsed()) loops.start()
    })
    return Effect.ensuring(released, over)
  })

  const giveBack = (lease: Lease) => {
    unused = [...unused, lease]
    wake()
  }
  const register = (subscriber: Subscriber) => {
    if (subscribers.has(subscriber.id)) {
      standbys = [...standbys, subscriber]
      return
    }
    subscribers.set(subscriber.id, subscriber)
    begin()
  }
  const begin = () => {
    const shortest = Math.min(...[...all(), ...hosts].map(({ leaseTtl }) => Duration.toMillis(leaseTtl)))
    const isShorter = shortest < ttl
    ttl = shortest
    isClaimDue = true
    sweeping.soon()
    if (isStopping) return
    if (!loops.isRunning()) loops.start()
    // The store must know of the shorter time before this process counts on it.
    else if (isShorter) renewSoon.openUnsafe()
    wake()
  }
  return {
    store,
    isStale,
    giveBack,
    defer: ({ attempts, epoch, subscription }, delay, reason) =>
      Effect.suspend(() => {
        const lease = { epoch, subscription }
        // A plan that has begun goes on after it, and says itself what went wrong.
        const wait = { delay, attempts, ...(attempts === 0 && { reason }) }
        const waits = owner === undefined ? Effect.void : store.settle(owner, [{ lease, settled: [], wait }])
        return Effect.map(Effect.exit(waits), () => giveBack(lease))
      }),
    register,
    adopt: (subscriber, lease) => {
      subscribers.set(subscriber.id, subscriber)
      subscriber.claimed(lease)
    },
    host: (host) => {
      hosts.add(host)
      begin()
      return Effect.suspend(() => {
        hosts.delete(host)
        return isUsed() ? Effect.void : Effect.asVoid(Effect.exit(within(Effect.exit(stop), reportTimeout)))
      })
    },
    claimSoon: () => {
      isClaimDue = true
      wake()
    },
    flush: settlements.flush,
    lost: () => {
      renewedAt = never
      isClaimDue = true
      wake()
    },
    unregister: (subscriber, last) => {
      /** Answers what is to be released, which an interruption does not end. */
      const leave = (): Effect.Effect<void, EventStoreError> => {
        const lease = subscriber.lease()
        const isStandby = standbys.includes(subscriber)
        standbys = standbys.filter((one) => one !== subscriber)
        if (isStandby) return Effect.void
        subscribers.delete(subscriber.id)
        wanting.delete(subscriber)
        settlements.forget(subscriber)
        const next = standbys.find(({ id }) => id === subscriber.id)
        standbys = standbys.filter((one) => one !== next)
        if (next !== undefined) register(next)
        if (!isUsed()) return stop
        if (lease !== undefined) giveBack(lease)
        return Effect.void
      }
      let isDone = false
      const flush = settlements.flush(subscriber)
      // A slot ends at any time, also while the store fails for a moment: what is given up then is delivered again.
      const settling = subscriber.isHosted ? Effect.retry(flush, Schedule.spaced(flushAgain)) : flush
      const finish = Effect.flatMap(Effect.exit(settling), (settled) =>
        Effect.map(Effect.exit(last), () => void (isDone = settled._tag === "Success"))
      )
      return Effect.gen(function* () {
        const inTime = yield* within(finish, reportTimeout)
        // Leases that the store does not take back run out when this process is gone.
        const leaving = Effect.exit(within(Effect.exit(leave()), reportTimeout))
        if (inTime) yield* leaving
        else Effect.runForkWith(context)(leaving)
        return isDone
      })
    },
    want: (subscriber) => {
      wanting.add(subscriber)
      wake()
    },
    settle: settlements.soon
  }
}
