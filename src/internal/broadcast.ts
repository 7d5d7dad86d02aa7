/** The machinery of a broadcaster: what was published, and a subscription for each sink and each stream. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { OnDropped, Undelivered } from "../Dropped.ts"
import { Ages } from "./ages.ts"
import { defaultDrainTimeout } from "./deadline.ts"
import { Feed, Topic } from "./feed.ts"
import { Node } from "./node.ts"
import { count } from "./options.ts"
import { type EventSink, operation, Sink, SinkClosed } from "./sink.ts"
import { Subscription } from "./subscription.ts"

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
 * The subscriber fell further behind than its `maxLag`. What it had not read is gone for it.
 *
 * @category errors
 * @since 0.1.0
 */
export class SubscriberLagged extends Data.TaggedError("SubscriberLagged")<{
  readonly broadcaster: string
  /** How many events it had not read. */
  readonly missed: number
}> {
  override get message(): string {
    return `a subscriber of "${this.broadcaster}" fell ${this.missed} events behind`
  }
}

/** What `add` may be told, whichever its overload. */
export interface AnyAddOptions<in A, in E> {
  readonly drainTimeout?: Duration.Input | undefined
  readonly maxLag?: number | undefined
  readonly onDropped?: OnDropped<A, E> | undefined
}

/** A subscription, whatever its sink fails with. */
type Member<A> = Pick<Subscription<A, never>, "node" | "closing" | "begin" | "gone" | "behind">

/** A member that gets no more, and the fiber that ends when it has drained and what it left has been reported. */
interface Leaving<A> {
  readonly member: Member<A>
  readonly gone: Fiber.Fiber<void>
}

/** The close of a broadcaster. */
interface Last<A> {
  readonly members: ReadonlyArray<Member<A>>
  readonly drained: Deferred.Deferred<void>
  /** Ends when what they left has been reported. */
  gone: Fiber.Fiber<void> | undefined
}

/** Who the publisher judges at each write. */
interface Limited {
  readonly lags: boolean
  readonly evict: () => void
}

export class BroadcasterImpl<in out A> extends Sink<A> {
  private readonly topic: Topic<A>
  private readonly context: Context.Context<never>
  private readonly drainTimeout: Duration.Duration
  private readonly ages: Ages
  /** The sinks that get what is published, and those that still get what was. */
  private readonly members = new Map<EventSink<A, unknown>, Member<A>>()
  private readonly leaving = new Map<EventSink<A, unknown>, Leaving<A>>()
  private readonly streams = new Set<Feed<A>>()
  private readonly limited = new Map<object, Limited>()
  /** Who was there when the close began. */
  private last: Last<A> | undefined = undefined

  constructor(
    options: { readonly name?: string | undefined; readonly drainTimeout?: Duration.Input | undefined },
    context: Context.Context<never>
  ) {
    const topic = new Topic<A>()
    const node = new Node("Broadcaster", options.name, () => this.all().map((member) => member.node))
    super({
      node,
      write: operation("Broadcaster.write", (event: A) => {
        if (node.state !== "open") return this.closed
        this.published(1)
        topic.publish(event)
        if (this.limited.size > 0) this.judge()
        return Effect.void
      }),
      writeSome: operation("Broadcaster.writeSome", (events: Arr.NonEmptyReadonlyArray<A>) => {
        if (node.state !== "open") return this.closed
        this.published(events.length)
        topic.publishAll(events)
        if (this.limited.size > 0) this.judge()
        return Effect.succeed(events.length)
      })
    })
    this.topic = topic
    this.context = context
    this.drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    this.ages = new Ages(context, () => {
      let most = 0
      for (const member of this.all()) most = Math.max(most, member.behind)
      return most
    })
  }

  private readonly closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: this.node.name })))

  /** Who is there, those that still drain included, and once it is closed, who was there then. */
  private all(): ReadonlyArray<Member<A>> {
    if (this.last !== undefined) return this.last.members
    return [...this.members.values(), ...Array.from(this.leaving.values(), ({ member }) => member)]
  }

  /** A published event is delivered as far as the broadcaster goes: each sink keeps an account of its own. */
  private published(n: number): void {
    this.node.accepted += n
    this.node.delivered += n
    this.ages.enter(n)
  }

  private judge(): void {
    for (const [key, one] of this.limited) {
      if (!one.lags) continue
      this.limited.delete(key)
      one.evict()
    }
  }

  /** Answers with the new member, or with nothing when the sink was there. */
  add<E>(sink: EventSink<A, E>, options: AnyAddOptions<A, E>): Effect.Effect<Member<A> | undefined, SinkClosed> {
    return Effect.suspend(() => {
      if (this.node.state !== "open") return this.closed
      if (this.members.has(sink)) return Effect.succeed(undefined)
      const maxLag = count("Broadcaster.add", "maxLag", options.maxLag ?? Number.POSITIVE_INFINITY, 1)
      const leaving = this.leaving.get(sink)
      if (leaving !== undefined) return Effect.andThen(Fiber.await(leaving.gone), this.add(sink, options))
      return Effect.succeed(this.join(sink, maxLag, options))
    })
  }

  private join<E>(sink: EventSink<A, E>, maxLag: number, options: AnyAddOptions<A, E>): Member<A> {
    const { drainTimeout, onDropped } = options
    const member = new Subscription<A, E>(
      sink,
      new Feed(this.topic),
      {
        drainTimeout: drainTimeout === undefined ? this.drainTimeout : Duration.fromInputUnsafe(drainTimeout),
        onDropped
      },
      this.ages,
      this.context,
      () => this.leave(sink, member)
    )
    this.members.set(sink, member)
    if (maxLag !== Number.POSITIVE_INFINITY) {
      this.limited.set(sink, {
        get lags() {
          return member.node.pending > maxLag
        },
        evict: () => {
          member.evict()
          this.leave(sink, member)
        }
      })
    }
    return member
  }

  /** Takes a member out, and lets it drain unless it is ending already. */
  private leave(sink: EventSink<A, unknown>, member: Member<A>): Leaving<A> {
    this.members.delete(sink)
    this.limited.delete(sink)
    member.begin()
    const gone = Effect.runForkWith(this.context)(member.gone)
    const leaving = { member, gone }
    this.leaving.set(sink, leaving)
    gone.addObserver(() => {
      if (this.leaving.get(sink) === leaving) this.leaving.delete(sink)
    })
    return leaving
  }

  /** Removes what an `add` added, and waits until what it left has been reported. */
  end(sink: EventSink<A, unknown>, member: Member<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const leaving = this.members.get(sink) === member ? this.leave(sink, member) : this.leaving.get(sink)
      return leaving === undefined ? Effect.void : Effect.asVoid(Fiber.await(leaving.gone))
    })
  }

  remove(sink: EventSink<A, unknown>): Effect.Effect<ReadonlyArray<Undelivered<A>>> {
    return Effect.suspend(() => {
      const member = this.members.get(sink)
      const leaving = member === undefined ? this.leaving.get(sink) : this.leave(sink, member)
      if (leaving === undefined) return Effect.succeed([])
      return Effect.tap(leaving.member.closing.awaited, () => Fiber.await(leaving.gone))
    })
  }

  subscribe(
    maxLag: number = Number.POSITIVE_INFINITY
  ): Effect.Effect<Stream.Stream<A, SubscriberLagged>, SinkClosed, Scope.Scope> {
    return Effect.suspend(() => {
      if (this.node.state !== "open") return this.closed
      count("Broadcaster.subscribe", "maxLag", maxLag, 1)
      let missed = 0
      const feed = Effect.acquireRelease(
        Effect.sync(() => {
          const feed = new Feed(this.topic)
          this.streams.add(feed)
          if (maxLag === Number.POSITIVE_INFINITY) return feed
          this.limited.set(feed, {
            get lags() {
              return feed.size > maxLag
            },
            evict: () => {
              feed.cut()
              missed = feed.rest().length
              this.streams.delete(feed)
            }
          })
          return feed
        }),
        (feed) =>
          Effect.sync(() => {
            this.streams.delete(feed)
            this.limited.delete(feed)
            feed.cut()
          })
      )
      const broadcaster = this.node.name
      return Effect.map(feed, (feed) =>
        Stream.fromPull(
          Effect.succeed(
            Effect.flatMap(
              feed.takeUpTo(1),
              (events): Effect.Effect<Arr.NonEmptyReadonlyArray<A>, SubscriberLagged | Cause.Done> => {
                // Not empty, by the comparison.
                if (events.length > 0) return Effect.succeed(events as unknown as Arr.NonEmptyReadonlyArray<A>)
                return missed > 0 ? Effect.fail(new SubscriberLagged({ broadcaster, missed })) : Cause.done()
              }
            )
          )
        )
      )
    })
  }

  /** Begins the close, once: all drain side by side, and when the last has, what no call took is reported. */
  private begin(): Last<A> {
    if (this.last !== undefined) return this.last
    this.node.state = "closing"
    for (const feed of this.streams) feed.cut()
    const staying = [...this.members.values()]
    const leaving = [...this.leaving.values()]
    for (const member of staying) member.begin()
    const members = [...staying, ...leaving.map(({ member }) => member)]
    const drained = Deferred.makeUnsafe<void>()
    this.last = { members, drained, gone: undefined }
    this.last.gone = Effect.runForkWith(this.context)(
      Effect.forEach(members, (member) => member.closing.left, { discard: true }).pipe(
        Effect.andThen(Deferred.succeed(drained, undefined)),
        // A call that was waiting takes all lists or, when it was interrupted, none.
        Effect.andThen(Effect.yieldNow),
        Effect.andThen(Effect.forEach(staying, (member) => member.gone, { concurrency: "unbounded", discard: true })),
        Effect.andThen(Fiber.awaitAll(leaving.map(({ gone }) => gone))),
        Effect.andThen(Effect.sync(() => void (this.node.state = "closed")))
      )
    )
    return this.last
  }

  readonly shutdown: Effect.Effect<ReadonlyArray<UndeliveredTo<A>>> = Effect.suspend(() => {
    const { drained, members } = this.begin()
    const lists = Effect.forEach(members, (member) =>
      Effect.map(member.closing.awaited, (left) => left.map((one) => ({ ...one, sink: member.node.name })))
    )
    // The lists are there by then: taking them all is one step.
    return Effect.andThen(Deferred.await(drained), Effect.uninterruptible(Effect.map(lists, Arr.flatten)))
  })

  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const { gone } = this.begin()
    return gone === undefined ? Effect.void : Effect.asVoid(Fiber.await(gone))
  })
}
