/** A `PubSub` of pages, the sinks and streams that read from it, and their close. */
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { Predicate } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Dropped, Undelivered } from "../../Dropped.ts"
import { refuseStoreBelow } from "../acknowledgement.ts"
import { makeAges } from "../ages.ts"
import { withoutConstruction } from "../context.ts"
import { defaultDrainTimeout } from "../deadline.ts"
import { logLine } from "../failureLog.ts"
import { endAccount, noteError, notify } from "../node.ts"
import { count } from "../options.ts"
import type { Page } from "../pages.ts"
import type { TraceMode } from "../processSpan.ts"
import { type ReceiptRequest, requestOf } from "../receipt.ts"
import { makeSendSpan } from "../sendSpan.ts"
import { makeShutdown } from "../shutdown.ts"
import { type EventSink, makePart, makeSink, type SinkClosed } from "../sink.ts"
import { leading, maxTurn } from "../turns.ts"
import { hasTracer, type WriterSpan } from "../writerSpan.ts"
import type { SharedDrainer } from "./delivery.ts"
import { makeShared } from "./sharedDrainer.ts"
import { makeMember, type Member, type Shared } from "./member.ts"
import { makeKept, type Replay, ReplayExpired } from "./replay.ts"
import { makeStream, type Streaming } from "./stream.ts"
import { catchUp, judging, makeTopic, type Offer } from "./topic.ts"

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
  /**
   * Where a new subscription goes on: `replay: { since }`. For a stream that is behind the last event that it has read; for a
   * sink, whose `onDropped` gets what it leaves, it is the eviction.
   */
  readonly since: string
}> {
  override get message(): string {
    return `${this.sink === undefined ? "a stream" : `"${this.sink}"`} fell ${this.missed} events behind "${this.broadcaster}"`
  }
}

/**
 * Options of a broadcaster.
 *
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
  /**
   * How many of the last events are kept for the `replay` of sinks and streams that come later: a finite whole number, and 0
   * by default.
   */
  readonly replay?: number | undefined
}

/**
 * What a sink or a stream gets first, of what was published before.
 *
 * @category options
 * @since 0.1.0
 */
export interface ReplayOptions<out R extends Replay | undefined = number | undefined> {
  /**
   * How many of the events that the broadcaster keeps it gets first, a whole number; or `since` which position it gets all, which
   * fails with `ReplayExpired` where the broadcaster has not kept all. None by default. Nothing is missed and nothing repeated
   * between what is kept and what is published from now on, and a filter holds for both. For `maxLag` it
   * is behind by what it gets first.
   */
  readonly replay?: R | undefined
}

/**
 * Options of adding a sink.
 *
 * @category options
 * @since 0.1.0
 */
export interface AddOptions<in A, out R extends Replay | undefined = number | undefined> extends ReplayOptions<R> {
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
export interface LossyAddOptions<in A, in E, out R extends Replay | undefined = number | undefined> extends AddOptions<
  A,
  R
> {
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
export interface SubscribeOptions<out R extends Replay | undefined = number | undefined> extends ReplayOptions<R> {
  /** How many events the stream may be behind before it fails; unlimited by default. It is judged as `LossyAddOptions` says. */
  readonly maxLag?: number | undefined
}

/** The options of `add` and of `subscribe`, whichever their overloads. */
export type AnyAddOptions<A, E> = Partial<LossyAddOptions<A, E, Replay | undefined>>
export type AnySubscribeOptions<A> = SubscribeOptions<Replay | undefined> & Pick<AddOptions<A>, "filter">

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
  const keeps = count("Broadcaster.make", "replay", options.replay ?? 0, 0)
  if (keeps === unlimited) throw new RangeError("Broadcaster.make: replay must be finite")
  const kept = makeKept<A>(() => node.name, keeps, topic.published)
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
  /** Each sink that gets what is published next has an outcome of its own. */
  const expected = (request: ReceiptRequest, n: number) => {
    for (const { expect } of members.values()) expect(request, n)
    return request.hold(0)
  }
  const publish = (
    event: A,
    writer: WriterSpan | undefined,
    request: ReceiptRequest | undefined
  ): Effect.Effect<void, SinkClosed> => {
    if (account.state !== "open") return closed
    const receipt = request && expected(request, 1)
    published(1)
    if (keeps > 0) kept.keep([event])
    topic.publish(event, writer, receipt)
    if (filters.size > 0) for (const offer of filters) offer(event, topic.published(), writer, receipt)
    if (limits.size > 0) for (const look of limits) look()
    if (account.observers !== undefined) notify(account.observers, "accepted", [event])
    return Effect.void
  }
  // Nothing is left for deliveries that have no spans.
  const write = (event: A) =>
    Effect.withFiber((fiber) =>
      sendSpan.mayTrace(fiber)
        ? sendSpan.one((fiber, writer) => publish(event, isTraced ? writer : undefined, requestOf(fiber)), fiber)
        : publish(event, undefined, requestOf(fiber))
    )
  /** How often filters have judged an event of a batch since the event loop had a turn for it. */
  let judged = 0
  const publishSome = (
    events: Arr.NonEmptyReadonlyArray<A>,
    writer: WriterSpan | undefined,
    request: ReceiptRequest | undefined
  ): Effect.Effect<number, SinkClosed> =>
    Effect.suspend(() => {
      if (account.state !== "open") return closed
      // Filters are the user's functions: of a large batch they judge a part a turn, all of them counted together.
      const { size } = filters
      const most = size === 0 ? events.length : Math.floor((maxTurn - judged) / size)
      if (most < 1 && judged > 0) {
        judged = 0
        return Effect.andThen(Effect.yieldNow, publishSome(events, writer, request))
      }
      const some = leading(events, Math.max(1, most))
      judged += size * some.length
      published(some.length)
      kept.keep(some)
      const before = topic.published()
      const receipt = request && expected(request, some.length)
      topic.publishAll(some, writer, receipt)
      for (const offer of filters) some.forEach((event, i) => offer(event, before + i + 1, writer, receipt))
      for (const look of limits) look()
      if (account.observers !== undefined) notify(account.observers, "accepted", some)
      return Effect.succeed(some.length)
    })
  const writeSome = (events: Arr.NonEmptyReadonlyArray<A>) =>
    Effect.withFiber((fiber) =>
      sendSpan.mayTrace(fiber)
        ? sendSpan.some((fiber, writer) => publishSome(events, isTraced ? writer : undefined, requestOf(fiber)), fiber)
        : publishSome(events, undefined, requestOf(fiber))
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
  const lagging = (sink: string | undefined, missed: number, position: number) => {
    const lagged = new SubscriberLagged({ broadcaster: node.name, sink, missed, since: kept.token(position) })
    noteError(account, lagged, clock)
    return lagged
  }
  const run = Effect.runForkWith(context)
  /** The position that a replay begins at; nothing without one. */
  const begin = (where: string, replay: Replay | undefined): number | ReplayExpired | undefined => {
    if (replay === undefined) return undefined
    return kept.begin(typeof replay === "number" ? count(where, "replay", replay, 0) : replay)
  }
  /** Makes a sink a member, which gets the events on the pages first. */
  const enter = <E>(
    sink: EventSink<A, E>,
    { drainTimeout: ownTimeout = drainTimeout, filter, maxLag = unlimited, onDropped, onEvicted }: AnyAddOptions<A, E>,
    earlier: ReadonlyArray<Page<A>>
  ): Member<A> => {
    const member = makeMember<A, E>(
      {
        sink,
        filter,
        maxLag,
        onDropped,
        earlier,
        drainTimeout: Duration.fromInputUnsafe(ownTimeout),
        onEvicted: (missed) => {
          const lagged = lagging(sink.node.name, missed, topic.published())
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
    return member
  }
  /** Answers the new member, or nothing when the sink was there. */
  const add = <E>(
    sink: EventSink<A, E>,
    options: AnyAddOptions<A, E>
  ): Effect.Effect<Member<A> | undefined, SinkClosed | ReplayExpired> =>
    Effect.suspend(() => {
      if (account.state !== "open") return closed
      const there = members.get(sink)
      if (there?.node.isOpen() === true) return Effect.succeed(undefined)
      refuseStoreBelow(node, sink.node)
      count("Broadcaster.add", "maxLag", options.maxLag ?? unlimited, 1)
      if (there !== undefined) return Effect.andThen(Fiber.await(there.finish()), add(sink, options))
      const { filter, replay } = options
      const from = begin("Broadcaster.add", replay)
      if (from instanceof ReplayExpired) return Effect.fail(from)
      const earlier = from === undefined ? [] : kept.from(from)
      if (filter === undefined || earlier.length === 0) return Effect.succeed(enter(sink, options, earlier))
      const passed: Array<A> = []
      const deaths: Array<readonly [event: A, defect: unknown]> = []
      const judge = judging(
        filter,
        (event) => void passed.push(event),
        (event, defect) => void deaths.push([event, defect])
      )
      return catchUp(topic.subscribe(earlier), judge, () => {
        // Filters take turns, in which the broadcaster may have closed, or got the sink by another call.
        if (account.state !== "open") return closed
        if (members.has(sink)) return add(sink, options)
        const member = enter(sink, options, [passed])
        for (const [event, defect] of deaths) member.died(event, defect)
        return Effect.succeed(member)
      })
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

  const streaming: Streaming<A, SubscriberLagged> = {
    topic,
    kept,
    context,
    filters,
    limits,
    streams,
    refused: () => (account.state === "open" ? undefined : closed),
    lagging: (missed, position) => lagging(undefined, missed, position),
    died: (defect) => {
      noteError(account, defect, clock)
      run(logLine(node, "Error", "has a stream that misses an event, on which its filter died", { events: 1 }))
    }
  }
  const subscribe = <B>(
    { filter, maxLag, replay }: AnySubscribeOptions<A>,
    show?: (event: A, position: string) => B
  ): Effect.Effect<Stream.Stream<A | B, SubscriberLagged>, SinkClosed | ReplayExpired, Scope.Scope> =>
    Effect.uninterruptible(
      Effect.suspend(
        (): Effect.Effect<Stream.Stream<A | B, SubscriberLagged>, SinkClosed | ReplayExpired, Scope.Scope> => {
          if (account.state !== "open") return closed
          const most = count("Broadcaster.subscribe", "maxLag", maxLag ?? unlimited, 1)
          const from = begin("Broadcaster.subscribe", replay)
          if (from instanceof ReplayExpired) return Effect.fail(from)
          return makeStream({ filter, maxLag: most, from, show }, streaming)
        }
      )
    )

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
    operations: { add, end, remove, subscribe, position: Effect.sync(() => kept.token(topic.published())) },
    shutdown: Effect.map(shutdown.drained, (undelivered) => {
      // Taking all lists is one step: an interrupted call takes none, and they are reported.
      for (const { shutdown } of members.values()) shutdown.take()
      return undelivered
    })
  }
})
