/** A `PubSub` of pages, the sinks and streams that read from it, and their close. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { Predicate } from "effect/Predicate"
import * as Stream from "effect/Stream"
import type { Dropped, Undelivered } from "../../Dropped.ts"
import { refuseStoreBelow } from "../acknowledgement.ts"
import { makeAges } from "../ages.ts"
import { withoutConstruction } from "../context.ts"
import { defaultDrainTimeout } from "../deadline.ts"
import { logLine } from "../failureLog.ts"
import { endAccount, noteError, notify } from "../node.ts"
import { count } from "../options.ts"
import type { TraceMode } from "../processSpan.ts"
import { makeSendSpan } from "../sendSpan.ts"
import { makeShutdown } from "../shutdown.ts"
import { type EventSink, makePart, makeSink, type SinkClosed } from "../sink.ts"
import { leading, maxTurn } from "../turns.ts"
import { hasTracer, type WriterSpan } from "../writerSpan.ts"
import { limitLag } from "./lag.ts"
import { makeShared, type SharedDrainer } from "./sharedDrainer.ts"
import { makeMember, type Member, type Shared } from "./member.ts"
import { makeTopic, type Offer, route } from "./topic.ts"

/**
 * An event that a sink of a closed broadcaster did not get.
 *
 * @category models
 * @since 0.1.0
 */
export interface UndeliveredTo<out A> extends Undelivered<A> {
  /** The name of the sink. */
  readonly sink: string
}

/**
 * The subscriber fell further behind than its `maxLag`: the end of its subscription. What it had not read is gone for it.
 *
 * @category errors
 * @since 0.1.0
 */
export class SubscriberLagged extends Data.TaggedError("SubscriberLagged")<{
  readonly broadcaster: string
  /** The name of the sink; nothing for a stream. */
  readonly sink: string | undefined
  /** How many events it had not read. */
  readonly missed: number
}> {
  override get message(): string {
    return `${this.sink === undefined ? "a stream" : `"${this.sink}"`} fell ${this.missed} events behind "${this.broadcaster}"`
  }
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** The `drainTimeout` of sinks that are added without their own: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How the spans of deliveries know that of their write, see `EventQueue.Options`: by a link, the default, or as its parent. */
  readonly trace?: TraceMode | undefined
}

/**
 * Options of adding a sink.
 *
 * @category options
 * @since 0.1.0
 */
export interface AddOptions<in A> {
  /** How long removing or closing goes on delivering to it. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * The sink gets what it holds for: what it refuses is neither queued nor counted for this sink. It runs in the write; an
   * event that it throws at is dropped for this sink, with reason `Died`.
   */
  readonly filter?: Predicate<A> | undefined
}

/**
 * Options of adding a sink that can lose events: it needs `onDropped`.
 *
 * @category options
 * @since 0.1.0
 */
export interface LossyAddOptions<in A, in E> extends AddOptions<A> {
  /**
   * How many events it may be behind before it is evicted; unlimited by default. It is judged after it had a turn, so that
   * a burst evicts no sink that keeps up: evicted is one that is further behind than this and whose lag did not shrink in
   * that turn. A write that waits for a receiver lasts for many turns, so a sink with such writes needs a limit above the
   * largest burst.
   */
  readonly maxLag?: number | undefined
  /** Takes what the sink failed on, and what it did not get, in place of a line in the log. */
  readonly onDropped: (dropped: Dropped<A, E>) => Effect.Effect<void>
  /** Runs when it is evicted, in place of a line in the log at level error. */
  readonly onEvicted?: ((lagged: SubscriberLagged) => Effect.Effect<void>) | undefined
}

/**
 * Options of a subscription that is read as a stream.
 *
 * @category options
 * @since 0.1.0
 */
export interface SubscribeOptions {
  /** How many events the stream may be behind before it fails; unlimited by default. It is judged as `LossyAddOptions` says. */
  readonly maxLag?: number | undefined
}

/** The options of `add` and of `subscribe`, whichever their overloads. */
export type AnyAddOptions<A, E> = Partial<LossyAddOptions<A, E>>
export type AnySubscribeOptions<A> = SubscribeOptions & Pick<AddOptions<A>, "filter">

/** What the functions of the module do to a broadcaster. */
export type Members<A> = Effect.Success<ReturnType<typeof makeBroadcaster<A>>>["operations"]

const unlimited = Number.POSITIVE_INFINITY

export const makeBroadcaster = Effect.fnUntraced(function* <A>(options: Options) {
  const context = withoutConstruction(yield* Effect.context<never>())
  const clock = Context.get(context, Clock.Clock)
  const topic = makeTopic<A>(context)
  const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
  /** Those that have been removed stay until they are gone. */
  const members = new Map<EventSink<A, unknown>, Member<A>>()
  /** What ends the subscription of each stream. */
  const streams = new Set<() => void>()
  /** What judges published events for those that have a filter. */
  const filters = new Set<Offer<A>>()
  /** What judges the lag of those that have a limit, after each publish. */
  const limits = new Set<() => void>()
  let sharedDrainer: SharedDrainer<A> | undefined

  const { account, closed, node } = makePart({
    kind: "Broadcaster",
    name: options.name,
    acknowledges: "memory",
    taps: ["accepted"],
    downstream: () => Array.from(members.values(), ({ node }) => ({ node, acknowledges: false }))
  })
  const ages = makeAges(context, () => [...members.values()].reduce((most, one) => Math.max(most, one.behind()), 0))

  /** A published event is delivered as far as the broadcaster goes: each sink keeps an account of its own. */
  const published = (n: number) => {
    account.accepted += n
    account.delivered += n
    ages.offer(n)
  }
  const sendSpan = makeSendSpan(() => node.name, context)
  const isTraced = hasTracer(context)
  const publish = (event: A, writer: WriterSpan | undefined): Effect.Effect<void, SinkClosed> => {
    if (account.state !== "open") return closed
    published(1)
    topic.publish(event, writer)
    if (filters.size > 0) for (const offer of filters) offer(event, writer)
    if (limits.size > 0) for (const look of limits) look()
    if (account.observers !== undefined) notify(account.observers, "accepted", [event])
    return Effect.void
  }
  // Nothing is left for deliveries that have no spans.
  const write = (event: A) =>
    Effect.withFiber((fiber) =>
      sendSpan.mayTrace(fiber)
        ? sendSpan.one((_, writer) => publish(event, isTraced ? writer : undefined), fiber)
        : publish(event, undefined)
    )
  /** How often filters have judged an event of a batch since the event loop had a turn for it. */
  let judged = 0
  const publishSome = (
    events: Arr.NonEmptyReadonlyArray<A>,
    writer: WriterSpan | undefined
  ): Effect.Effect<number, SinkClosed> =>
    Effect.suspend(() => {
      if (account.state !== "open") return closed
      // Filters are the user's functions: of a large batch they judge a part a turn, all of them counted together.
      const { size } = filters
      const most = size === 0 ? events.length : Math.floor((maxTurn - judged) / size)
      if (most < 1 && judged > 0) {
        judged = 0
        return Effect.andThen(Effect.yieldNow, publishSome(events, writer))
      }
      const some = leading(events, Math.max(1, most))
      judged += size * some.length
      published(some.length)
      topic.publishAll(some, writer)
      for (const offer of filters) for (const event of some) offer(event, writer)
      for (const look of limits) look()
      if (account.observers !== undefined) notify(account.observers, "accepted", some)
      return Effect.succeed(some.length)
    })
  const writeSome = (events: Arr.NonEmptyReadonlyArray<A>) =>
    Effect.withFiber((fiber) =>
      sendSpan.mayTrace(fiber)
        ? sendSpan.some((_, writer) => publishSome(events, isTraced ? writer : undefined), fiber)
        : publishSome(events, undefined)
    )

  const shared: Shared<A> = {
    node,
    trace: options.trace,
    topic,
    ages,
    context,
    filters,
    limits,
    drainer: () => {
      if (sharedDrainer === undefined || sharedDrainer.isEnded()) sharedDrainer = makeShared(topic, context)
      return sharedDrainer
    }
  }
  const lagging = (sink: string | undefined, missed: number) => {
    const lagged = new SubscriberLagged({ broadcaster: node.name, sink, missed })
    noteError(account, lagged, clock)
    return lagged
  }
  const run = Effect.runForkWith(context)
  /** Answers the new member, or nothing when the sink was there. */
  const add = <E>(
    sink: EventSink<A, E>,
    options: AnyAddOptions<A, E>
  ): Effect.Effect<Member<A> | undefined, SinkClosed> =>
    Effect.suspend(() => {
      if (account.state !== "open") return closed
      const there = members.get(sink)
      if (there?.node.isOpen() === true) return Effect.succeed(undefined)
      refuseStoreBelow(node, sink.node)
      const { filter, onDropped, onEvicted } = options
      const maxLag = count("Broadcaster.add", "maxLag", options.maxLag ?? unlimited, 1)
      if (there !== undefined) return Effect.andThen(Fiber.await(there.finish()), add(sink, options))
      const member = makeMember<A, E>(
        {
          sink,
          filter,
          maxLag,
          onDropped,
          drainTimeout: Duration.fromInputUnsafe(options.drainTimeout ?? drainTimeout),
          onEvicted: (missed) => {
            const lagged = lagging(sink.node.name, missed)
            // The subscription ends whatever the callback does.
            const line = (cause?: Cause.Cause<unknown>) =>
              logLine(node, "Error", `evicted a sink: ${lagged.message}`, { events: missed }, cause)
            run(
              onEvicted === undefined
                ? line()
                : Effect.catchCause(
                    Effect.suspend(() => onEvicted(lagged)),
                    line
                  )
            )
          },
          onGone: () => {
            // A broadcaster that has closed shows the sinks that it had.
            if (account.state !== "open") return
            members.delete(sink)
            node.figures.changed()
          }
        },
        shared
      )
      members.set(sink, member)
      node.figures.changed(member.node)
      return Effect.succeed(member)
    })
  /** Ends the membership, and waits until the sink is gone. */
  const end = (member: Member<A>): Effect.Effect<void> =>
    Effect.suspend(() => Effect.asVoid(Fiber.await(member.finish())))
  const remove = (sink: EventSink<A, unknown>): Effect.Effect<ReadonlyArray<Undelivered<A>>> =>
    Effect.suspend(() => {
      const member = members.get(sink)
      if (member === undefined) return Effect.succeed([])
      const gone = member.finish()
      return Effect.tap(member.shutdown.awaited, () => Fiber.await(gone))
    })

  const subscribe = Effect.fnUntraced(function* (options: AnySubscribeOptions<A>) {
    if (account.state !== "open") return yield* closed
    const { filter } = options
    const maxLag = count("Broadcaster.subscribe", "maxLag", options.maxLag ?? unlimited, 1)
    // What the filter lets through is a topic of its own. What it throws is logged, as a lost event.
    const source = filter === undefined ? topic : makeTopic<A>(context)
    const subscription = source.subscribe()
    const died = (_: A, defect: unknown) => {
      noteError(account, defect, clock)
      run(logLine(node, "Error", "has a stream that misses an event, on which its filter died", { events: 1 }))
    }
    const unroute = filter && route(filters, filter, source.publish, died)
    let lagged: SubscriberLagged | undefined
    const unlimit = limitLag(limits, context, {
      maxLag,
      lag: subscription.size,
      evict: () => {
        lagged = lagging(undefined, subscription.size())
        end()
        // What it has not read is left to the collector, page by page.
        while (subscription.size() > 0) subscription.poll(1, maxTurn)
      }
    })
    const end = () => {
      streams.delete(end)
      unroute?.()
      unlimit()
      subscription.cut()
    }
    streams.add(end)
    yield* Effect.addFinalizer(() => Effect.sync(end))
    const pull: Effect.Effect<Arr.NonEmptyReadonlyArray<A>, SubscriberLagged | Cause.Done> = Effect.suspend(() => {
      if (lagged !== undefined) return Effect.fail(lagged)
      // One event at a pull: a run that stops early leaves what it did not read to the next.
      const events = subscription.poll(1, 1)
      if (events === undefined) return Effect.andThen(subscription.wait, pull)
      return Arr.isReadonlyArrayNonEmpty(events) ? Effect.succeed(events) : Cause.done()
    })
    return Stream.fromPull(Effect.succeed(pull))
  }, Effect.uninterruptible)

  const drain = Effect.gen(function* () {
    const undelivered: Array<UndeliveredTo<A>> = []
    for (const { node, shutdown } of members.values()) {
      const sink = node.name
      for (const { event, inFlight } of yield* shutdown.drained) {
        undelivered.push({ event, inFlight, sink })
        if (undelivered.length % maxTurn === 0) yield* Effect.yieldNow
      }
    }
    return undelivered
  })
  const over = Latch.makeUnsafe()
  const finish = () =>
    Effect.map(Fiber.awaitAll(Array.from(members.values(), ({ finish }) => finish())), () => {
      endAccount(account)
      over.openUnsafe()
    })
  /** All drain side by side, and when the last has, what no call took is reported. */
  const shutdown = makeShutdown<UndeliveredTo<A>>(context, finish, () => {
    account.state = "closing"
    for (const end of streams) end()
    for (const { shutdown } of members.values()) shutdown.begin()
    // A call that waits takes all lists or, when it was interrupted, none.
    Effect.runForkWith(context)(shutdown.finished)
    return drain
  })
  yield* Effect.addFinalizer(() => Effect.andThen(shutdown.drained, over.await))
  return {
    sink: makeSink<A, never>({ node, write, writeSome }),
    operations: { add, end, remove, subscribe },
    shutdown: Effect.map(shutdown.drained, (undelivered) => {
      // Taking all lists is one step: an interrupted call takes none, and they are reported.
      for (const { shutdown } of members.values()) shutdown.take()
      return undelivered
    })
  }
})
