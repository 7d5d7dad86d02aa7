/** A subscription of an exchange as this process defines and serves it, from its construction to its close. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { Delivering } from "../../internal/context.ts"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type { StoredHealth } from "../../internal/node.ts"
import type { Definition, EventStoreError, Keeping, Millis, State, SubscriptionId } from "../EventStore.ts"
import { defineOne } from "./defineOne.ts"
import type { NotDelivering } from "./error.ts"
import { flush } from "./flush.ts"
import type { DeliveryServer, Serving, SubscriberOptions } from "./serving.ts"
import { makeSubscriber } from "./subscriber.ts"

export interface Options<in out A, out E> extends Omit<
  SubscriberOptions<A, E>,
  "id" | "context" | "changed" | "settled" | "found" | "before" | "disable"
> {
  readonly server: DeliveryServer
  readonly exchange: string
  readonly definition: Definition
  /** What the exchange is to keep, if this part says so. */
  readonly keeping?: Keeping | undefined
  readonly context: Context.Context<never>
  /** Runs after every commit that this process knows of. */
  readonly changed?: (() => void) | undefined
  /** Runs after each settlement, by this process or perhaps by another. */
  readonly settled?: (() => void) | undefined
  /** Comes before each take. */
  readonly before: ((serving: Serving<A>) => SubscriberOptions<A, E>["before"]) | undefined
}

export interface Served<in out A> {
  /** The id, once the subscription is defined; an attempt to define it before. */
  readonly id: Effect.Effect<SubscriptionId, EventStoreError>
  readonly serving: () => Serving<A> | undefined
  /** Whether this process delivers it, or will as soon as the store gives it the lease. */
  readonly serves: () => boolean
  /** What is known of it in the store, for metrics and health. */
  readonly stored: () => StoredHealth
  /** How long the oldest has waited at `now`: as far as this process has read, or else as the store answered last. */
  readonly oldestAge: (now: Millis) => number | undefined
  /** Asks the store for that. */
  readonly refresh: Effect.Effect<void>
  /** This process has changed its state in the store. */
  readonly noted: (state: State) => void
  /** Waits until all that was stored before the call is settled, by any process. */
  readonly flush: Effect.Effect<void, EventStoreError | NotDelivering>
  /** Closes it and what ends beside it, and answers the events that are in flight still. */
  readonly close: (timeout: Duration.Duration, beside: Effect.Effect<void>) => Effect.Effect<ReadonlyArray<A>>
}

/** How often at most the size of a subscription is read, in milliseconds: some stores must count. */
const refreshAfter = 5_000
/** The same for one that another process may deliver, and for which nothing is known to be stored. */
const refreshIdleAfter = 30_000
/** The delays before another attempt to define it, in milliseconds. */
const [minDelay, maxDelay] = [100, 5_000]

export const makeServed = <A, E>(options: Options<A, E>): Served<A> => {
  const { account, context, definition, exchange, log, server } = options
  const { store } = server
  const clock = Context.get(context, Clock.Clock)
  const progress = Latch.makeUnsafe()
  let known: SubscriptionId | undefined
  let serving: Serving<A> | undefined
  let refreshedAt = Number.NEGATIVE_INFINITY
  let refreshing: Fiber.Fiber<void> | undefined
  /** Whether nothing has changed since the size was asked for. */
  let isFresh = false
  let isClosing = false

  const id: Effect.Effect<SubscriptionId, EventStoreError> = Effect.suspend(() =>
    known !== undefined
      ? Effect.succeed(known)
      : Effect.map(defineOne(store, exchange, definition, options.keeping), (id) => (known = id))
  )
  /** Reads how much the store holds: other processes write and deliver too. */
  const read = Effect.suspend(() => {
    if (known === undefined) return Effect.succeed(undefined)
    refreshedAt = monotonicMillis(clock)
    isFresh = true
    // A store that fails is logged where it is asked for more.
    return Effect.map(Effect.option(store.figures(known)), (found) =>
      // Nothing is stored for one that was dropped.
      found._tag === "Some" ? (found.value?.pending ?? 0) : undefined
    )
  })
  const refresh = Effect.repeat(
    Effect.suspend(() =>
      Effect.map(Effect.delay(read, Math.max(0, refreshedAt + refreshAfter - monotonicMillis(clock))), (pending) => {
        if (pending !== undefined && serving !== undefined) account.exactly(pending - serving.rows.settledSize().rows)
      })
    ),
    // What was settled or stored while the store answered may be in the answer, or not.
    { until: () => isFresh || account.stored() === 0 }
  )
  const progressed = () => {
    progress.openUnsafe()
    options.settled?.()
  }
  const changed = () => {
    isFresh = false
    // It may be a settlement by the process that delivers.
    if (serving?.subscriber.lease() === undefined) progressed()
    options.changed?.()
    if (refreshing !== undefined || isClosing) return
    // What waits is seen to be gone, however soon it goes. Many that are idle ask for nothing.
    const isHeld = serving?.subscriber.lease() !== undefined
    if (account.stored() === 0 && (isHeld || monotonicMillis(clock) - refreshedAt < refreshIdleAfter)) return
    refreshing = Effect.runForkWith(context)(refresh)
    refreshing.addObserver(() => (refreshing = undefined))
  }
  const which = { exchange, tenant: definition.tenant ?? "", name: definition.name }
  const disable = (reason: string) => Effect.map(store.setState(which, "disabled", reason), () => noted("disabled"))

  let state: State | undefined
  /** How many dead letters the store had, and how many this process had dead-lettered before. */
  let deadLetters: { readonly stored: number; readonly counted: number } | undefined
  const noted = (now: State) => void (state = now)
  const found = (isActive: boolean) => {
    // A claim does not tell a subscription that is paused from one that is disabled.
    if (isActive) state = "active"
    else if (state !== "disabled") state = "paused"
  }
  /** When the oldest was written, as the store said. */
  let oldest: Millis | undefined
  /** Asks the store, which may take its time: without an answer the last one stays. Answers whether that is over. */
  const overview = Effect.suspend(() => {
    const counted = account.counts.deadLettered
    return Effect.map(Effect.option(Effect.timeout(store.overview(which), refreshAfter)), (answer) => {
      const isOver = account.counts.deadLettered === counted
      const found = answer._tag === "Some" ? answer.value[0] : undefined
      if (found === undefined || !isOver) return isOver
      state = found.state
      oldest = found.oldest
      deadLetters = { stored: found.deadLetters, counted }
      return isOver
    })
  })
  const begin = Effect.gen(function* () {
    // The part that is made around it is whole by then.
    yield* Effect.yieldNow
    const subscription = yield* id
    const delivering = Context.add(context, Delivering, options.node)
    const before: SubscriberOptions<A, E>["before"] =
      options.before === undefined
        ? undefined
        : (take) => {
            const trimming = serving === undefined ? undefined : options.before?.(serving)
            return trimming === undefined ? Effect.void : trimming(take)
          }
    serving = yield* makeSubscriber<A, E>(server, {
      ...options,
      id: subscription,
      context: delivering,
      changed,
      found,
      settled: () => {
        progressed()
        changed()
      },
      before,
      disable
    })
    serving.begin()
  })
  const serves = () => !isClosing && serving?.subscriber.isOpen() !== false
  let delay = minDelay
  const beginning = Effect.runForkWith(context)(
    Effect.retry(
      Effect.tapError(begin, (error) =>
        Effect.suspend(() => {
          const rest = delay
          delay = Math.min(2 * rest, maxDelay)
          return Effect.andThen(log.troubled(error), Effect.sleep(rest))
        })
      ),
      { while: () => true }
    )
  )

  return {
    id,
    serving: () => serving,
    serves,
    noted,
    stored: () => ({
      isLeased: serving?.subscriber.lease() !== undefined && !server.isStale(),
      state: serves() || isClosing || serving === undefined ? state : "paused",
      deadLetters: deadLetters && Math.max(0, deadLetters.stored + account.counts.deadLettered - deadLetters.counted)
    }),
    oldestAge: (now) => {
      // What a process delivers that does not wait is not as old as it was.
      const isBehind = serving?.subscriber.lease() === undefined || serving.isWaiting()
      const written = serving?.rows.oldest() ?? (isBehind ? oldest : undefined)
      return written === undefined ? undefined : Math.max(0, now - written)
    },
    // What was dead-lettered while the store answered may be in the answer, or not.
    refresh: Effect.asVoid(Effect.repeat(overview, { until: (isOver) => isOver, times: 3 })),
    flush: flush(
      {
        store,
        which,
        progress,
        serves,
        // Without the lease what it has settled is settled by another process.
        holds: (through) => serving?.subscriber.lease() !== undefined && serving.rows.hasUpTo(through)
      },
      Effect.map(id, (subscription) => [subscription])
    ),
    close: (timeout, beside) =>
      Effect.suspend(() => {
        isClosing = true
        beginning.interruptUnsafe()
        refreshing?.interruptUnsafe()
        if (serving === undefined) return Effect.as(beside, [])
        // What is settled by then is not in the store any more.
        const last = Effect.map(read, (pending) => {
          if (pending !== undefined) account.exactly(pending)
        })
        return serving.close(timeout, beside, last)
      })
  }
}
