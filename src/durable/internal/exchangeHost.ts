/**
 * Serves an exchange whole: whichever of its subscriptions have something due, so many of them at a time as there are slots.
 * What a process pays for is what is due, and not how many subscriptions there are. A subscription whose receiver is slow holds
 * its own slot, and one that waits holds none.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { describeCause } from "../../internal/describeCause.ts"
import { monotonicMillis } from "../../internal/monotonic.ts"
import { makeAccount, type SinkNode } from "../../internal/node.ts"
import type { Claimed, Subscription, SubscriptionId } from "../EventStore.ts"
import { makeDeliveries } from "./deliveries.ts"
import { makeDurableLog } from "./durableLog.ts"
import { type Options as SlotOptions, openSlot, type Receiver, type Slot } from "./slot.ts"

export interface Options<in out A> extends SlotOptions<A> {
  /** How many subscriptions are delivered at once, but those whose attempts take long; and for how long while others may wait. */
  readonly slots: number
  /** The kind of the node of its deliveries. */
  readonly nodeKind: string
  readonly slice: Duration.Duration
  readonly drainTimeout: Duration.Duration
  /** Makes what delivers to a subscription, for the time of a lease. Where it fails, the subscription waits, and it is tried again. */
  readonly receiver: (
    subscription: Subscription
  ) => Effect.Effect<Receiver<A>, { readonly message: string }, Scope.Scope>
  /** The receiver of a subscription could not be made. */
  readonly unready: (subscription: Subscription, cause: Cause.Cause<{ readonly message: string }>) => void
}

export interface ExchangeHost {
  readonly slots: () => ReadonlyArray<Slot>
  /** The deliveries of this process, to whichever subscription. */
  readonly node: SinkNode
  readonly close: Effect.Effect<void>
}

/** An attempt that takes longer leaves its slot to another subscription, in milliseconds; so many times as many are open at most. */
const [slow, most] = [1_000, 4]
/** How long a slot waits for more, in milliseconds: a subscription that gets its events one by one needs no claim for each. */
const linger = 1_000
/** How often slots are looked at while there are some. */
const interval = "250 millis"
/**
 * How often the definitions are asked for of those whose attempts take long, in milliseconds: no store notifies an owner of a drop,
 * and a settlement that shows it comes after an attempt, when the next one has begun.
 */
const recheck = 1_000
/** How many receivers are made at once: what one of them waits for, such as a decryption, others need not wait for. */
const together = 16
/** How long a subscription waits at most whose receiver cannot be made, and half of that at least: many do not wait for the same time. */
const untilReady = Duration.seconds(30)
/** The delay before the definitions are asked for again; and that before leases are given back that have none. */
const [again, afterFailure] = ["250 millis", "1 second"] as const

export const makeExchangeHost = <A>(options: Options<A>): ExchangeHost => {
  const { context, exchange, server } = options
  const { store } = server
  const clock = Context.get(context, Clock.Clock)
  const random = Context.get(context, Random.Random)
  const now = () => monotonicMillis(clock)
  const slice = Duration.toMillis(options.slice)
  const slots = new Map<SubscriptionId, Slot>()
  const deliveries = makeDeliveries(options, slots)
  const log = makeDurableLog({ kind: options.kind, name: exchange }, makeAccount(), clock)
  /** Leases that are acquired, and not served yet. */
  let opening = 0
  /** How many leases the last claim was for, and whether it found as many: others may be due. */
  let asked = 0
  let isMore = false
  /** Subscriptions whose definitions may be others. */
  const woken = new Set<SubscriptionId>()
  let checkedAt = Number.NEGATIVE_INFINITY
  const used = Latch.makeUnsafe()
  const checking = Latch.makeUnsafe()
  let isClosing = false

  const run = (effect: Effect.Effect<void>) => Effect.runForkWith(context)(effect)
  const isSlow = (slot: Slot) => now() - (slot.attemptingSince() ?? Number.POSITIVE_INFINITY) > slow
  const free = () => {
    if (isClosing) return 0
    let busy = opening
    for (const slot of slots.values()) if (slot.restingSince() === undefined && !isSlow(slot)) busy++
    return Math.max(0, Math.min(options.slots - busy, options.slots * most - slots.size - opening))
  }
  const end = (slot: Slot, timeout: Duration.Duration, isShared = false): Effect.Effect<void> =>
    Effect.andThen(
      slot.end(timeout),
      Effect.sync(() => {
        if (slots.get(slot.subscription.id) !== slot) return
        deliveries.ended(slot)
        slots.delete(slot.subscription.id)
        // What is given up for other processes is claimed once the store says so to all of them.
        if (!isShared) server.claimSoon()
      })
    )
  const endSoon = (slot: Slot, timeout = options.drainTimeout, isShared = false) =>
    void run(end(slot, timeout, isShared))

  const open = Effect.fnUntraced(function* (lease: Claimed, subscription: Subscription) {
    const scope = Scope.makeUnsafe()
    const made = yield* Effect.exit(Scope.provide(options.receiver(subscription), scope))
    if (Exit.isFailure(made)) {
      yield* Scope.close(scope, made)
      options.unready(subscription, made.cause)
      // Another process may be able to, or this one when it is configured anew: no receiver has failed.
      const delay = Duration.times(untilReady, 1 - random.nextDoubleUnsafe() / 2)
      return yield* server.defer(lease, delay, describeCause(made.cause))
    }
    // It ended before this one was claimed.
    const last = slots.get(subscription.id)
    if (last !== undefined) yield* last.end(Duration.zero)
    if (isClosing) {
      yield* Scope.close(scope, Exit.void)
      return server.giveBack(lease)
    }
    const slot: Slot = yield* openSlot(options, subscription, lease, made.value, scope, deliveries.watch, {
      progressed: () => {
        // A lease that is given back or lost has no use for its slot, and one that waits for a time of the store needs none; nor
        // does one at rest while others are due.
        if (!slot.hasLease() || slot.isWaiting() || (isMore && slot.restingSince() !== undefined)) endSoon(slot)
      },
      woken: () => {
        woken.add(subscription.id)
        checking.openUnsafe()
      }
    })
    // It is replaced, and not removed, where its end and this one came together.
    const replaced = slots.get(subscription.id)
    if (replaced !== undefined) deliveries.ended(replaced)
    slots.set(subscription.id, slot)
    used.openUnsafe()
  })
  /** Serves leases that were acquired together. */
  const serve = Effect.fnUntraced(function* (leases: ReadonlyArray<Claimed>) {
    const found = yield* Effect.result(list(leases.map(({ subscription }) => subscription)))
    // They are due at once when they are given back.
    if (found._tag === "Failure") yield* Effect.andThen(log.troubled(found.failure), Effect.sleep(afterFailure))
    else yield* log.storeRecovered
    const definitions = new Map(
      found._tag === "Success" ? found.success.map((one) => [one.id, one] as const) : undefined
    )
    const one = (lease: Claimed) =>
      Effect.suspend(() => {
        opening--
        const subscription = definitions.get(lease.subscription)
        return subscription === undefined ? Effect.sync(() => server.giveBack(lease)) : open(lease, subscription)
      })
    yield* Effect.forEach(leases, one, { concurrency: together, discard: true })
  }, Effect.uninterruptible)
  const list = (ids: ReadonlyArray<SubscriptionId>) => store.list({ exchange, ids })

  /** Ends those slots whose definitions are others now: an attempt that is under way is no failure of the receiver. */
  const check = Effect.gen(function* () {
    yield* checking.await
    checking.closeUnsafe()
    const asked = new Map(
      [...woken].flatMap((id) => {
        const slot = slots.get(id)
        return slot === undefined ? [] : [[id, { slot, isSame: slot.asking() }] as const]
      })
    )
    woken.clear()
    const ids = [...asked.keys()]
    if (ids.length === 0) return
    const found = yield* Effect.result(list(ids))
    if (found._tag === "Failure") {
      for (const id of ids) woken.add(id)
      checking.openUnsafe()
      return yield* Effect.andThen(log.troubled(found.failure), Effect.sleep(again))
    }
    yield* log.storeRecovered
    const definitions = new Map(found.success.map((one) => [one.id, one]))
    for (const [id, { slot, isSame }] of asked) {
      if (isSameAs(slot.subscription, definitions.get(id))) isSame()
      else endSoon(slot, Duration.zero)
    }
  })
  const look = Effect.gen(function* () {
    yield* used.await
    yield* Effect.sleep(interval)
    const isFull = free() === 0
    const isCheckDue = now() - checkedAt >= recheck
    let isSharing = false
    for (const slot of slots.values()) {
      const restingSince = slot.restingSince()
      const isDone = restingSince !== undefined && (isFull || now() - restingSince >= linger)
      if (isDone || !slot.hasLease()) endSoon(slot)
      else if (isFull && now() - slot.openedAt >= slice) endSoon(slot)
      // One at a time: another process may have room, of which this one does not know.
      else if (!isSharing && !slot.isEnding() && !isSlow(slot) && now() - slot.openedAt >= slice) {
        isSharing = true
        endSoon(slot, Duration.infinity, true)
      } else if (isCheckDue && isSlow(slot)) woken.add(slot.subscription.id)
    }
    if (isCheckDue && woken.size > 0) {
      checkedAt = now()
      checking.openUnsafe()
    }
    if (slots.size === 0) used.closeUnsafe()
  })
  const loops = [check, look].map((loop) => run(Effect.forever(loop)))
  const leave = server.host({
    exchange,
    leaseTtl: options.leaseTtl,
    free: () => (asked = free()),
    acquired: (leases) => {
      if (asked > 0) isMore = leases.length >= asked
      if (leases.length === 0) return
      opening += leases.length
      run(serve(leases))
    }
  })

  const host: ExchangeHost = {
    slots: () => [...slots.values()],
    node: deliveries.node,
    close: Effect.gen(function* () {
      isClosing = true
      for (const loop of loops) loop.interruptUnsafe()
      const all = [...slots.values()]
      yield* Effect.forEach(all, (slot) => end(slot, options.drainTimeout), { concurrency: "unbounded", discard: true })
      yield* leave
      deliveries.close()
    })
  }
  return host
}

// internals

const isSameAs = (one: Subscription, other: Subscription | undefined): boolean =>
  other !== undefined && Equal.equals(one.topics, other.topics) && Equal.equals(one.data, other.data)
