/** A queue's subscription, or one of a broadcaster, as this process defines and serves it, from its construction to its close. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { refuseMemoryBelow } from "../../internal/acknowledgement.ts"
import { Delivering } from "../../internal/context.ts"
import { controlledBy } from "../../internal/controls.ts"
import { monotonicMillis } from "../../internal/monotonic.ts"
import { edgeTo, endAccount, makeNode, type NodeOptions, type SinkNode } from "../../internal/node.ts"
import type { Definition, EventStoreError, Keeping, Millis, State, SubscriptionId } from "../EventStore.ts"
import { definitionRetries, defineOne } from "./defineOne.ts"
import { type DurableAccount, makeDurableAccount } from "./durableAccount.ts"
import { type DurableLog, makeDurableLog } from "./durableLog.ts"
import type { NotDelivering } from "./error.ts"
import { flush } from "./flush.ts"
import { makeControls } from "./makeControls.ts"
import type { DeliveryServer, Serving, Subscriber, SubscriberOptions } from "./serving.ts"
import type { DeliverySettings } from "./settings.ts"
import { makeSubscriber } from "./subscriber.ts"

/**
 * What the close of a durable part leaves in its store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Remaining<out A> {
  /** How many events there are; if the store does not say so at the end, as far as this process has seen. */
  readonly count: number
  /** Those of them that were in flight when the time was up: the receiver may have them. */
  readonly inFlight: ReadonlyArray<A>
}

export interface Options<in out A, out E>
  extends
    DeliverySettings<A>,
    Pick<SubscriberOptions<A, E>, "sink" | "codec" | "keepsOutcomes" | "processSpan" | "context">,
    Pick<NodeOptions, "kind" | "taps" | "drops"> {
  readonly server: DeliveryServer
  readonly exchange: string
  readonly definition: Definition
  readonly drainTimeout: Duration.Duration
  /** What the exchange is to keep, if this part says so. */
  readonly keeping?: Keeping | undefined
  /** Runs after every commit that this process knows of. */
  readonly changed?: (() => void) | undefined
  /** Runs after each settlement, by this process or perhaps by another. */
  readonly settled?: (() => void) | undefined
  /** Comes before each take. */
  readonly before?:
    | ((
        serving: Serving<A>,
        take: Parameters<NonNullable<Subscriber["before"]>>[0]
      ) => Effect.Effect<void, EventStoreError>)
    | undefined
  /** What closes beside the delivery. */
  readonly beside?: Effect.Effect<void> | undefined
  /** Runs at the end of the close, also of one that the sink below has begun. */
  readonly closed?: (() => void) | undefined
}

export interface Served<in out A> {
  readonly node: SinkNode
  readonly account: DurableAccount
  readonly log: DurableLog<A>
  /** The id, once the subscription is defined; an attempt to define it before. */
  readonly id: Effect.Effect<SubscriptionId, EventStoreError>
  readonly serving: () => Serving<A> | undefined
  /** Whether this process delivers it, or will as soon as the store gives it the lease. */
  readonly serves: () => boolean
  /** This process has changed its state in the store. */
  readonly noted: (state: State) => void
  /** Waits until all that was stored before the call is settled, by any process. */
  readonly flush: Effect.Effect<void, EventStoreError | NotDelivering>
  readonly shutdown: Effect.Effect<Remaining<A>>
  /** Begins the shutdown, and does not wait. */
  readonly begin: () => void
}

/** How often at most the size of a subscription is read, in milliseconds: some stores must count. */
const refreshAfter = 5_000
/** The same for one that another process may deliver, and for which nothing is known to be stored. */
const refreshIdleAfter = 30_000

export const makeServed = <A, E>(options: Options<A, E>): Served<A> => {
  const { context, definition, exchange, server, sink } = options
  const { store } = server
  const clock = Context.get(context, Clock.Clock)
  const account = makeDurableAccount()
  const { counts } = account
  const progress = Latch.makeUnsafe()
  let known: SubscriptionId | undefined
  let serving: Serving<A> | undefined
  let refreshedAt = Number.NEGATIVE_INFINITY
  let refreshing: Fiber.Fiber<void> | undefined
  /** Whether nothing has changed since the size was asked for. */
  let isFresh = false
  let isClosing = false
  const isLeased = () => serving?.subscriber.lease() !== undefined

  const which = { exchange, tenant: definition.tenant ?? "", name: definition.name }
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
    if (!isLeased()) progressed()
    options.changed?.()
    if (refreshing !== undefined || isClosing) return
    // What waits is seen to be gone, however soon it goes. Many that are idle ask for nothing.
    if (account.stored() === 0 && (isLeased() || monotonicMillis(clock) - refreshedAt < refreshIdleAfter)) return
    refreshing = Effect.runForkWith(context)(refresh)
    refreshing.addObserver(() => (refreshing = undefined))
  }
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
    const counted = counts.deadLettered
    return Effect.map(Effect.option(Effect.timeout(store.overview(which), refreshAfter)), (answer) => {
      const isOver = counts.deadLettered === counted
      const found = answer._tag === "Some" ? answer.value[0] : undefined
      if (found === undefined || !isOver) return isOver
      state = found.state
      oldest = found.oldest
      deadLetters = { stored: found.deadLetters, counted }
      return isOver
    })
  })
  const serves = () => !isClosing && serving?.subscriber.isOpen() !== false
  const node = makeNode({
    kind: options.kind,
    name: definition.name,
    account: counts,
    acknowledges: "store",
    taps: options.taps,
    drops: options.drops,
    update: account.update,
    filters: true,
    isTimed: true,
    attempts: account.attempts,
    stored: () => ({
      isLeased: isLeased() && !server.isStale(),
      state: serves() || isClosing || serving === undefined ? state : "paused",
      deadLetters: deadLetters && Math.max(0, deadLetters.stored + counts.deadLettered - deadLetters.counted)
    }),
    // What was dead-lettered while the store answered may be in the answer, or not.
    refresh: Effect.asVoid(Effect.repeat(overview, { until: (isOver) => isOver, times: 3 })),
    downstream: () => [edgeTo(sink, false)],
    breaker: () => (serving?.isWaiting() === true ? "open" : "closed"),
    oldestAge: (now) => {
      // What a process delivers that does not wait is not as old as it was.
      const isBehind = !isLeased() || serving?.isWaiting() === true
      const written = serving?.rows.oldest() ?? (isBehind ? oldest : undefined)
      return written === undefined ? undefined : Math.max(0, now - written)
    }
  })
  controlledBy(node, makeControls({ store, which, id, subscriber: () => serving?.subscriber }))
  refuseMemoryBelow(node, sink.node)
  const log = makeDurableLog<A>(node, counts, clock)
  const { before } = options
  const beginning = Effect.gen(function* () {
    // The part that is made around it is whole by then.
    yield* Effect.yieldNow
    const subscription = yield* id
    serving = yield* makeSubscriber<A, E>(server, {
      ...options,
      id: subscription,
      node,
      account,
      log,
      context: Context.add(context, Delivering, node),
      onSinkClosed: () => begin(),
      changed,
      found,
      settled: () => {
        progressed()
        changed()
      },
      before: before && ((take) => (serving === undefined ? Effect.void : before(serving, take))),
      disable
    })
    serving.begin()
  })
  const begun = Effect.runForkWith(context)(Effect.retry(Effect.tapError(beginning, log.troubled), definitionRetries))

  const closing = Deferred.makeUnsafe<Remaining<A>>()
  // What is settled by then is not in the store any more.
  const last = Effect.map(read, (pending) => {
    if (pending !== undefined) account.exactly(pending)
  })
  const close = Effect.gen(function* () {
    isClosing = true
    begun.interruptUnsafe()
    refreshing?.interruptUnsafe()
    const { beside = Effect.void, drainTimeout } = options
    const inFlight =
      serving === undefined ? yield* Effect.as(beside, []) : yield* serving.close(drainTimeout, beside, last)
    const count = account.remain()
    endAccount(counts)
    yield* log.closed(count, inFlight.length)
    return { count, inFlight }
  })
  const begin = () => {
    if (counts.state !== "open") return
    counts.state = "closing"
    // A fiber of its own: interrupting a call interrupts only its waiting.
    Effect.runForkWith(context)(
      Effect.onExit(close, (exit) => {
        options.closed?.()
        return Deferred.done(closing, exit)
      })
    )
  }

  return {
    node,
    account,
    log,
    id,
    serving: () => serving,
    serves,
    noted,
    flush: flush(
      {
        store,
        which,
        progress,
        serves,
        // Without the lease what it has settled is settled by another process.
        holds: (through) => isLeased() && serving?.rows.hasUpTo(through) === true
      },
      Effect.map(id, (subscription) => [subscription])
    ),
    begin,
    shutdown: Effect.suspend(() => {
      begin()
      return Deferred.await(closing)
    })
  }
}
