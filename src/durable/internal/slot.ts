/** One subscription of an exchange that is served whole, from the claim of its lease until the lease is given back. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type { Watch } from "../../internal/node.ts"
import type { ProcessSpan } from "../../internal/processSpan.ts"
import { type EventSink, makeSink, SinkClosed } from "../../internal/sink.ts"
import type { Claimed, EventStoreError, Subscription } from "../EventStore.ts"
import type { Redelivery } from "../Redelivery.ts"
import { type DurableAccount, makeDurableAccount } from "./durableAccount.ts"
import { type LoggedOf, makeDurableLog } from "./durableLog.ts"
import type { Codec } from "./eventCodec.ts"
import type { ReceiverState } from "./redelivering.ts"
import type { DeliveryServer } from "./serving.ts"
import { makeSubscriber } from "./subscriber.ts"

/** What delivers to a subscription, as its definition says now. */
export interface Receiver<in A> {
  readonly sink: EventSink<A, unknown>
  readonly redelivery: Redelivery
  /** How many attempts may be under way at once: 1 keeps all events in order. */
  readonly concurrency: number
  /** The least time from the begin of an attempt to that of the next, also over processes: of a limited rate. */
  readonly spacing: Duration.Duration | undefined
}

export interface Options<in out A> {
  readonly server: DeliveryServer
  readonly exchange: string
  readonly kind: string
  readonly codec: Codec<A>
  readonly leaseTtl: Duration.Duration
  readonly batchSize: number
  readonly batchBytes: number
  readonly keepsOutcomes: boolean
  readonly context: Context.Context<never>
  readonly processSpan: ((subscription: Subscription) => ProcessSpan | undefined) | undefined
  /** What the lines of the log are about: by default the name of the subscription is in place of that of the exchange. */
  readonly aboutOf?: ((subscription: Subscription) => Readonly<Record<string, string>>) | undefined
  readonly loggedOf?: LoggedOf<A> | undefined
  readonly state: (subscription: Subscription, state: ReceiverState) => void
  /** Disables the subscription in the store, for all processes. */
  readonly disable: (subscription: Subscription, reason: string) => Effect.Effect<unknown, EventStoreError>
}

export interface Slot {
  readonly subscription: Subscription
  readonly account: DurableAccount
  /** How long its oldest delivery has waited that it has read, at `now` of the `Clock`. */
  readonly oldestAge: (now: number) => number | undefined
  /** Since when it has its lease, and since when nothing is left to be done under it, by the monotonic clock. */
  readonly openedAt: number
  readonly restingSince: () => number | undefined
  /** Since when the attempt is under way that has begun last; nothing between attempts. */
  readonly attemptingSince: () => number | undefined
  /** Whether it has the lease still, and makes no attempt before a time that the store knows. */
  readonly hasLease: () => boolean
  readonly isWaiting: () => boolean
  readonly isEnding: () => boolean
  /** Its definition is asked for. Answers what says that it is as that says: until then nothing that was taken after it was woken is delivered. */
  readonly asking: () => () => void
  /** Waits for what is in flight until the time is up, of this call or of another, and releases the lease. */
  readonly end: (timeout: Duration.Duration) => Effect.Effect<void>
}

/** A rate is kept in memory up to this time between attempts, in milliseconds, and in the store above. */
const maxPause = 50

/** `watch` sees its deliveries. `progressed` runs when it may have come to rest, `woken` when its definition may be another. */
export const openSlot = Effect.fnUntraced(function* <A>(
  options: Options<A>,
  subscription: Subscription,
  lease: Claimed,
  receiver: Receiver<A>,
  scope: Scope.Closeable,
  watch: Watch,
  on: { readonly progressed: () => void; readonly woken: () => void }
) {
  const { context, server } = options
  const clock = Context.get(context, Clock.Clock)
  const now = () => monotonicMillis(clock)
  const account = makeDurableAccount(watch)
  const { counts } = account
  const { aboutOf, kind } = options
  const part = aboutOf
    ? { kind, name: options.exchange, about: aboutOf(subscription) }
    : { kind, name: subscription.name }
  // What is above reports and logs that it is disabled, whatever has disabled it.
  const log = { ...makeDurableLog<A>(part, counts, clock, options.loggedOf), disabled: () => Effect.void }
  let restingSince: number | undefined
  let attempting = 0
  let beganAt = Number.NEGATIVE_INFINITY
  let ending: Fiber.Fiber<void> | undefined
  /** Open from the end on; and once the time of one of the calls is up that end it. */
  const [closing, cut] = [Latch.makeUnsafe(), Latch.makeUnsafe()]

  const spacing = receiver.spacing === undefined ? 0 : Duration.toMillis(receiver.spacing)
  const attempt = <B, E>(write: () => Effect.Effect<B, E>): Effect.Effect<B, E | SinkClosed> =>
    Effect.suspend(() => {
      const rest = spacing > 0 ? beganAt + spacing - now() : 0
      if (rest > 0) {
        // Its event is left in the store.
        if (ending !== undefined) return Effect.fail(new SinkClosed({ sink: receiver.sink.node.name }))
        // Another may have begun meanwhile: of all that wait one begins at a time.
        return Effect.andThen(
          Effect.raceFirst(Effect.sleep(Duration.millis(rest)), closing.await),
          Effect.suspend(() => attempt(write))
        )
      }
      attempting++
      beganAt = now()
      return Effect.ensuring(
        write(),
        Effect.sync(() => void attempting--)
      )
    })
  const { node, write, writeSome } = receiver.sink
  const sink = makeSink<A, unknown>({
    node,
    write: (event) => attempt(() => write(event)),
    writeSome: writeSome && ((events) => attempt(() => writeSome(events)))
  })
  let isLimited = false
  const rested = () => {
    const left = spacing > maxPause ? beganAt + spacing - now() : 0
    // It holds no slot while it may make no attempt, and makes none.
    isLimited = left > maxPause && attempting === 0 && !serving.isWaiting()
    if (isLimited) serving.rest(Duration.millis(left), "the limit of its rate")
  }
  const serving = yield* makeSubscriber<A, unknown>(server, {
    ...options,
    ...receiver,
    node,
    maxAge: Duration.zero,
    // What waits for its turn is left in the store.
    batchSize: spacing > maxPause ? 1 : options.batchSize,
    sink,
    id: subscription.id,
    account,
    log,
    partitionBy: undefined,
    onUndecodable: "dead-letter",
    onDisabled: "pause",
    disable: (reason) => options.disable(subscription, reason),
    processSpan: options.processSpan?.(subscription),
    changed: () => {},
    settled: rested,
    found: () => {},
    onSinkClosed: () => {},
    lease,
    progressed: (isWoken) => {
      const isAtRest = serving.isAtRest()
      restingSince = isAtRest ? (restingSince ?? now()) : undefined
      if (isWoken) on.woken()
      if (isAtRest || isLimited || !hasLease()) on.progressed()
    },
    receiver: (state) => options.state(subscription, state)
  })
  /** The next process keeps to the rate too, however soon it has the lease. */
  const pace = Effect.suspend(() => {
    rested()
    return isLimited ? Effect.exit(server.flush(serving.subscriber)) : Effect.void
  })
  const hasLease = () => serving.subscriber.lease() !== undefined
  const slot: Slot = {
    subscription,
    account,
    oldestAge: (at) => {
      const oldest = serving.rows.oldest()
      return oldest === undefined ? undefined : Math.max(0, at - oldest)
    },
    openedAt: now(),
    restingSince: () => restingSince,
    attemptingSince: () => (attempting > 0 ? beganAt : undefined),
    hasLease,
    isEnding: () => ending !== undefined,
    asking: serving.asking,
    isWaiting: () => isLimited || serving.isWaiting(),
    end: (timeout) =>
      Effect.suspend(() => {
        counts.state = "closing"
        // A fiber of its own: each call waits for the same end.
        ending ??= Effect.runForkWith(context)(
          Effect.asVoid(
            Effect.andThen(serving.close(timeout, Effect.void, pace, cut.await), Scope.close(scope, Exit.void))
          )
        )
        closing.openUnsafe()
        const ended = Effect.asVoid(Fiber.await(ending))
        if (!Duration.isFinite(timeout)) return ended
        // It may be less time than a call before has.
        const cutting = Effect.andThen(
          Effect.sync(() => cut.openUnsafe()),
          ended
        )
        return Effect.timeoutOrElse(ended, { duration: timeout, orElse: () => cutting })
      })
  }
  serving.begin()
  return slot
})
