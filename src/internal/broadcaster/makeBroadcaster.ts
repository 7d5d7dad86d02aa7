/** A `PubSub` of pages, the sinks and streams that read from it, and their close. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Predicate } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { OnDropped, Undelivered } from "../../Dropped.ts"
import { refuseStoreBelow } from "../acknowledgement.ts"
import { makeAges } from "../ages.ts"
import { withoutConstruction } from "../context.ts"
import { defaultDrainTimeout } from "../deadline.ts"
import { annotate } from "../failureLog.ts"
import { makeAccount, makeNode } from "../node.ts"
import { count } from "../options.ts"
import { type EventSink, makeSink, SinkClosed } from "../sink.ts"
import { leading, maxTurn } from "../turns.ts"
import { makeShared, type SharedDrainer } from "./sharedDrainer.ts"
import { makeLagGuard } from "./lag.ts"
import { makeMember, type Member } from "./member.ts"
import { makeTopic, type Subscription } from "./topic.ts"

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

/** The options of `add`, whichever its overload. */
export interface AnyAddOptions<in A, in E> {
  readonly drainTimeout?: Duration.Input | undefined
  readonly filter?: Predicate<A> | undefined
  readonly maxLag?: number | undefined
  readonly onDropped?: OnDropped<A, E> | undefined
  readonly onEvicted?: ((lagged: SubscriberLagged) => Effect.Effect<void>) | undefined
}

/** The options of `subscribe`, whichever its overload. */
export interface AnySubscribeOptions<in A> {
  readonly filter?: Predicate<A> | undefined
  readonly maxLag?: number | undefined
}

/** What the functions of the module do to a broadcaster. */
export interface Members<in out A> {
  /** Answers the new member, or nothing when the sink was there. */
  readonly add: <E>(
    sink: EventSink<A, E>,
    options: AnyAddOptions<A, E>
  ) => Effect.Effect<Member<A> | undefined, SinkClosed>
  /** Ends the membership, unless the sink has been added anew since. */
  readonly end: (sink: EventSink<A, unknown>, member: Member<A>) => Effect.Effect<void>
  readonly remove: (sink: EventSink<A, unknown>) => Effect.Effect<ReadonlyArray<Undelivered<A>>>
  readonly subscribe: (
    options: AnySubscribeOptions<A>
  ) => Effect.Effect<Stream.Stream<A, SubscriberLagged>, SinkClosed, Scope.Scope>
}

/** A member that gets no more, and the fiber that ends when it is gone. */
interface Leaving<in out A> {
  readonly member: Member<A>
  readonly gone: Fiber.Fiber<void>
}

/** A stream's subscription, and what takes a published event where it has a filter. */
interface Reader<in out A> {
  readonly subscription: Subscription<A>
  readonly offer: ((event: A) => void) | undefined
}

/** The close: the members that were there when it began. */
interface Ended<in out A> {
  readonly members: ReadonlyArray<Member<A>>
  /** What all of them left. */
  readonly drained: Deferred.Deferred<ReadonlyArray<UndeliveredTo<A>>>
  gone: Fiber.Fiber<void> | undefined
}

const unlimited = Number.POSITIVE_INFINITY

export const makeBroadcaster = Effect.fnUntraced(function* <A>(options: {
  readonly name?: string | undefined
  readonly drainTimeout?: Duration.Input | undefined
}) {
  const context = withoutConstruction(yield* Effect.context<never>())
  const topic = makeTopic<A>(context)
  const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
  const members = new Map<EventSink<A, unknown>, Member<A>>()
  const leaving = new Map<EventSink<A, unknown>, Leaving<A>>()
  const readers = new Set<Reader<A>>()
  /** What takes published events by itself, since it has a filter. */
  const filtered = new Set<(event: A) => void>()
  const lagGuard = makeLagGuard(context)
  let sharedDrainer: SharedDrainer<A> | undefined
  let ended: Ended<A> | undefined

  const all = () => ended?.members ?? [...members.values(), ...Array.from(leaving.values(), ({ member }) => member)]
  const account = makeAccount()
  const node = makeNode({
    kind: "Broadcaster",
    name: options.name,
    account,
    acknowledges: "memory",
    downstream: () => all().map(({ node }) => ({ node, acknowledges: false }))
  })
  const ages = makeAges(context, () => all().reduce((most, one) => Math.max(most, one.behind()), 0))
  const closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: node.name })))

  /** A published event is delivered as far as the broadcaster goes: each sink keeps an account of its own. */
  const published = (n: number) => {
    account.accepted += n
    account.delivered += n
    ages.offer(n)
  }
  const write = (event: A) =>
    Effect.suspend(() => {
      if (account.state !== "open") return closed
      published(1)
      topic.publish(event)
      if (filtered.size > 0) for (const offer of filtered) offer(event)
      lagGuard.look()
      return Effect.void
    })
  /** How often filters have judged an event of a batch since the event loop had a turn for it. */
  let judged = 0
  const writeSome = (events: Arr.NonEmptyReadonlyArray<A>): Effect.Effect<number, SinkClosed> =>
    Effect.suspend(() => {
      if (account.state !== "open") return closed
      // Filters are the user's functions: of a large batch they judge a part a turn, all of them counted together.
      const { size } = filtered
      const most = size === 0 ? events.length : Math.floor((maxTurn - judged) / size)
      if (most < 1 && judged > 0) {
        judged = 0
        return Effect.andThen(Effect.yieldNow, writeSome(events))
      }
      const some = leading(events, Math.max(1, most))
      judged += size * some.length
      published(some.length)
      topic.publishAll(some)
      for (const offer of filtered) some.forEach(offer)
      lagGuard.look()
      return Effect.succeed(some.length)
    })

  const leave = (sink: EventSink<A, unknown>, member: Member<A>): Leaving<A> => {
    members.delete(sink)
    if (member.offer !== undefined) filtered.delete(member.offer)
    lagGuard.remove(sink)
    member.begin()
    const gone = Effect.runForkWith(context)(member.gone)
    const one = { member, gone }
    leaving.set(sink, one)
    gone.addObserver(() => {
      if (leaving.get(sink) === one) leaving.delete(sink)
    })
    return one
  }
  const shared = {
    topic,
    ages,
    context,
    drainer: () => {
      if (sharedDrainer === undefined || sharedDrainer.isEnded()) sharedDrainer = makeShared(topic, context)
      return sharedDrainer
    }
  }
  const evicted = (lagged: SubscriberLagged, onEvicted: AnyAddOptions<A, never>["onEvicted"]) => {
    account.lastError = lagged
    const report =
      onEvicted === undefined
        ? Effect.logError(lagged.message)
        : Effect.catchCause(
            Effect.suspend(() => onEvicted(lagged)),
            (cause) => Effect.logError(lagged.message, cause)
          )
    // The subscription ends whatever the callback does.
    Effect.runForkWith(context)(report.pipe(annotate(node.kind, node.name)))
  }
  const add = <E>(
    sink: EventSink<A, E>,
    options: AnyAddOptions<A, E>
  ): Effect.Effect<Member<A> | undefined, SinkClosed> =>
    Effect.suspend(() => {
      if (account.state !== "open") return closed
      if (members.has(sink)) return Effect.succeed(undefined)
      refuseStoreBelow(node, sink.node)
      const maxLag = count("Broadcaster.add", "maxLag", options.maxLag ?? unlimited, 1)
      const before = leaving.get(sink)
      if (before !== undefined) return Effect.andThen(Fiber.await(before.gone), add(sink, options))
      const added: Member<A> = makeMember(
        {
          sink,
          drainTimeout:
            options.drainTimeout === undefined ? drainTimeout : Duration.fromInputUnsafe(options.drainTimeout),
          filter: options.filter,
          onDropped: options.onDropped,
          onSinkClosed: () => leave(sink, added)
        },
        shared
      )
      members.set(sink, added)
      if (added.offer !== undefined) filtered.add(added.offer)
      if (maxLag !== unlimited) {
        lagGuard.add(sink, {
          maxLag,
          lag: added.lag,
          rounds: added.rounds,
          evict: () => {
            const lagged = new SubscriberLagged({ broadcaster: node.name, sink: sink.node.name, missed: added.lag() })
            added.evict()
            leave(sink, added)
            evicted(lagged, options.onEvicted)
          }
        })
      }
      return Effect.succeed(added)
    })
  const end = (sink: EventSink<A, unknown>, member: Member<A>) =>
    Effect.suspend(() => {
      const one = members.get(sink) === member ? leave(sink, member) : leaving.get(sink)
      return one === undefined ? Effect.void : Effect.asVoid(Fiber.await(one.gone))
    })
  const remove = (sink: EventSink<A, unknown>): Effect.Effect<ReadonlyArray<Undelivered<A>>> =>
    Effect.suspend(() => {
      const member = members.get(sink)
      const one = member === undefined ? leaving.get(sink) : leave(sink, member)
      return one === undefined
        ? Effect.succeed([])
        : Effect.tap(one.member.shutdown.awaited, () => Fiber.await(one.gone))
    })

  /** A subscription of its own; with a filter, to what that lets through. What the filter throws is logged, as a lost event. */
  const reader = (filter: Predicate<A> | undefined): Reader<A> => {
    if (filter === undefined) return { subscription: topic.subscribe(), offer: undefined }
    const own = makeTopic<A>(context)
    const offer = (event: A) => {
      try {
        if (filter(event)) own.publish(event)
      } catch (defect) {
        account.lastError = defect
        Effect.runForkWith(context)(
          Effect.logError(`a stream of "${node.name}" misses an event that its filter died on`).pipe(
            annotate(node.kind, node.name)
          )
        )
      }
    }
    return { subscription: own.subscribe(), offer }
  }
  const subscribe = (
    options: AnySubscribeOptions<A>
  ): Effect.Effect<Stream.Stream<A, SubscriberLagged>, SinkClosed, Scope.Scope> =>
    Effect.gen(function* () {
      if (account.state !== "open") return yield* closed
      const maxLag = count("Broadcaster.subscribe", "maxLag", options.maxLag ?? unlimited, 1)
      let lagged: SubscriberLagged | undefined
      const unread = (one: Reader<A>) => {
        readers.delete(one)
        if (one.offer !== undefined) filtered.delete(one.offer)
        lagGuard.remove(one)
        one.subscription.cut()
      }
      const { subscription } = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const one = reader(options.filter)
          const { subscription } = one
          readers.add(one)
          if (one.offer !== undefined) filtered.add(one.offer)
          if (maxLag === unlimited) return one
          lagGuard.add(one, {
            maxLag,
            lag: subscription.size,
            rounds: undefined,
            evict: () => {
              lagged = new SubscriberLagged({ broadcaster: node.name, sink: undefined, missed: subscription.size() })
              account.lastError = lagged
              unread(one)
              // What it has not read is left to the collector, page by page.
              while (subscription.size() > 0) subscription.poll(1, maxTurn)
            }
          })
          return one
        }),
        (one) => Effect.sync(() => unread(one))
      )
      const pull: Effect.Effect<Arr.NonEmptyReadonlyArray<A>, SubscriberLagged | Cause.Done> = Effect.suspend(() => {
        if (lagged !== undefined) return Effect.fail(lagged)
        // One event at a pull: a run that stops early leaves what it did not read to the next.
        const events = subscription.poll(1, 1)
        if (events === undefined) return Effect.andThen(subscription.wait, pull)
        return Arr.isReadonlyArrayNonEmpty(events) ? Effect.succeed(events) : Cause.done()
      })
      return Stream.fromPull(Effect.succeed(pull))
    })

  /** Begins the close, once: all drain side by side, and when the last has, what no call took is reported. */
  const begin = () => {
    if (ended !== undefined) return ended
    account.state = "closing"
    for (const one of readers) {
      // What is published no more needs no limit.
      lagGuard.remove(one)
      one.subscription.cut()
    }
    for (const sink of members.keys()) lagGuard.remove(sink)
    const staying = [...members.values()]
    const going = [...leaving.values()]
    for (const member of staying) member.begin()
    const last = [...staying, ...going.map(({ member }) => member)]
    const drained = Deferred.makeUnsafe<ReadonlyArray<UndeliveredTo<A>>>()
    ended = { members: last, drained, gone: undefined }
    ended.gone = Effect.runForkWith(context)(
      Effect.gen(function* () {
        const undelivered: Array<UndeliveredTo<A>> = []
        for (const { node, shutdown } of last) {
          const sink = node.name
          for (const { event, inFlight } of yield* shutdown.drained) {
            undelivered.push({ event, inFlight, sink })
            if (undelivered.length % maxTurn === 0) yield* Effect.yieldNow
          }
        }
        yield* Deferred.succeed(drained, undelivered)
        // A call that waits takes all lists or, when it was interrupted, none.
        yield* Effect.yieldNow
        yield* Effect.forEach(staying, ({ gone }) => gone, { concurrency: "unbounded", discard: true })
        yield* Fiber.awaitAll(going.map(({ gone }) => gone))
        account.state = "closed"
      })
    )
    return ended
  }
  const shutdown: Effect.Effect<ReadonlyArray<UndeliveredTo<A>>> = Effect.suspend(() => {
    const { drained, members } = begin()
    return Effect.map(Deferred.await(drained), (undelivered) => {
      // Taking all lists is one step: an interrupted call takes none, and they are reported.
      for (const { shutdown } of members) shutdown.take()
      return undelivered
    })
  })
  yield* Effect.addFinalizer(() => {
    const { gone } = begin()
    return gone === undefined ? Effect.void : Effect.asVoid(Fiber.await(gone))
  })
  const operations: Members<A> = { add, end, remove, subscribe }
  return { sink: makeSink<A, never>({ node, write, writeSome }), shutdown, operations }
}, Effect.uninterruptible)
