/** A subscription of a broadcaster, served by this process. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { refuseMemoryBelow } from "../../internal/acknowledgement.ts"
import { controlledBy } from "../../internal/controls.ts"
import { edgeTo, endAccount, makeNode, type SinkNode } from "../../internal/node.ts"
import { makeProcessSpan, type TraceMode } from "../../internal/processSpan.ts"
import type { Definition, EventStoreError, State, SubscriptionId } from "../EventStore.ts"
import { makeControls } from "./makeControls.ts"
import type { DeliveryServer, SubscriberOptions } from "./serving.ts"
import { makeDurableAccount } from "./durableAccount.ts"
import { makeDurableLog } from "./durableLog.ts"
import type { NotDelivering } from "./error.ts"
import { makeServed } from "./served.ts"

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

export interface Options<in out A, out E> extends Omit<
  SubscriberOptions<A, E>,
  "id" | "node" | "account" | "log" | "disable" | "changed" | "found" | "onSinkClosed" | "before" | "processSpan"
> {
  readonly server: DeliveryServer
  readonly exchange: string
  readonly definition: Definition
  readonly drainTimeout: Duration.Duration
  readonly trace: TraceMode | undefined
  /** Runs after each settlement, by this process or perhaps by another. */
  readonly settled: () => void
  /** Runs at the end of the close, also of one that the sink below has begun. */
  readonly closed: () => void
}

export interface MadeSubscription<out A> {
  readonly node: SinkNode
  readonly id: Effect.Effect<SubscriptionId, EventStoreError>
  readonly serves: () => boolean
  /** This process has changed its state in the store. */
  readonly noted: (state: State) => void
  readonly flush: Effect.Effect<void, EventStoreError | NotDelivering>
  readonly shutdown: Effect.Effect<Remaining<A>>
  /** Begins the shutdown, and does not wait. */
  readonly begin: () => void
}

export const makeSubscription = <A, E>(options: Options<A, E>): MadeSubscription<A> => {
  const { context, definition, drainTimeout, sink } = options
  const account = makeDurableAccount()
  const { counts } = account
  const node = makeNode({
    kind: "Subscription",
    name: definition.name,
    account: counts,
    acknowledges: "store",
    taps: ["delivered", "deadLettered"],
    update: account.update,
    filters: true,
    isTimed: true,
    attempts: account.attempts,
    stored: () => served.stored(),
    refresh: Effect.suspend(() => served.refresh),
    downstream: () => [edgeTo(sink, false)],
    breaker: () => (served.serving()?.isWaiting() === true ? "open" : "closed"),
    oldestAge: (now) => served.oldestAge(now)
  })
  controlledBy(
    node,
    makeControls({
      store: options.server.store,
      which: { exchange: options.exchange, tenant: definition.tenant ?? "", name: definition.name },
      id: Effect.suspend(() => served.id),
      subscriber: () => served.serving()?.subscriber
    })
  )
  refuseMemoryBelow(node, sink.node)
  const log = makeDurableLog<A>(node, counts, Context.get(context, Clock.Clock))
  const closing = Deferred.makeUnsafe<Remaining<A>>()
  const spans = {
    destination: () => options.exchange,
    subscription: () => definition.name,
    mode: options.trace
  }
  const served = makeServed<A, E>({
    ...options,
    processSpan: makeProcessSpan(spans, context),
    account,
    node,
    log,
    onSinkClosed: () => begin(),
    before: undefined
  })
  const close = Effect.gen(function* () {
    const inFlight = yield* served.close(drainTimeout, Effect.void)
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
        options.closed()
        return Deferred.done(closing, exit)
      })
    )
  }
  return {
    node,
    begin,
    id: served.id,
    serves: served.serves,
    noted: served.noted,
    flush: served.flush,
    shutdown: Effect.suspend(() => {
      begin()
      return Deferred.await(closing)
    })
  }
}
