/**
 * Sends each event to the sink that is for it: by the tag of a union, by a key, or by topic with subscriptions that come
 * and go. A write succeeds when the sink has committed the event. It holds no event, changes none, and no event without a
 * place is left out unless the program says `"ignore"`.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as EventSink from "./EventSink.ts"
import { makeRouter } from "./internal/router/makeRouter.ts"
import { makeTopics, type Topics } from "./internal/router/makeTopics.ts"
import {
  type AnySource,
  type ErrorOf,
  fromSource,
  type Joined,
  type ServicesOf,
  type SinkClosed,
  type Source,
  type Wrapping
} from "./internal/sink.ts"

/**
 * Options of a router.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Its name in errors, pictures and health. */
  readonly name?: string | undefined
}

/** The options of a router that has a place for what no case takes. */
type Else<D> = Options & { readonly orElse: D }

/**
 * A sink of some events, or an Effect of one. `X` and `R` are any: parameters without a use, since the compiler would infer a
 * plain `unknown` in the pipelines that are written in place.
 */
type Takes<A, X, R> = Source<EventSink.EventSink<A, unknown>, X, R>

interface Tagged {
  readonly _tag: string
}
type Case<A extends Tagged, K> = Extract<A, { readonly _tag: K }>

/** Refuses cases that no key is for. A number is one of the keys where any text is. */
type Only<C, K> = {
  readonly [
    Wrong in Exclude<keyof C, K | (string extends K ? number : never)>
  ]: "there is no such case among the events"
}

/** What a router over some sources is, as an Effect that fails and needs as they do. */
type Routed<A, S> = Effect.Effect<Joined<A, S>, ErrorOf<S>, ServicesOf<S>>

/**
 * Routes the events of a union by their `_tag`. The union is given once, in a call of its own: the compiler then knows of
 * each case what its sink takes.
 *
 * **Details**
 *
 * Every tag has a sink, or `orElse` takes the rest. The sinks are sinks or Effects of sinks, such as tags and pipelines; the
 * router fails with what any of them fails with. When all of them take batches, so does the router: it commits the leading
 * events that are for one sink, as one batch.
 *
 * **Gotchas**
 *
 * One write waits for its sink, and a queue above the router for its write: where one case may not hold up the others,
 * each has a queue of its own.
 *
 * An event with a tag outside of the union, such as one that a newer version wrote, is a defect of its write, unless there
 * is an `orElse`.
 *
 * **Example** (A sink for each case)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventRouter, EventSink } from "effect-events"
 *
 * type Order =
 *   | { readonly _tag: "Placed"; readonly total: number }
 *   | { readonly _tag: "Paid"; readonly by: string }
 *   | { readonly _tag: "Shipped"; readonly to: string }
 *
 * const orders = EventRouter.byTag<Order>()(
 *   { Placed: EventSink.make(({ total }) => Console.log("stock", total)) },
 *   { orElse: EventSink.make((order) => Console.log("audit", order._tag)) }
 * )
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* orders
 *   yield* EventSink.writeAll(sink, [
 *     { _tag: "Placed", total: 5 },
 *     { _tag: "Paid", by: "card" }
 *   ])
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: stock 5
 * // prints: audit Paid
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const byTag = <A extends Tagged>(): {
  // First, or the events of a callback in it would be inferred from what the other allows there.
  <
    K extends A["_tag"],
    const C extends { readonly [Some in K]: Takes<Case<A, Some>, CX, CR> },
    E,
    W,
    X = never,
    R = never,
    CX = unknown,
    CR = unknown
  >(
    cases: C & { readonly [Some in K]: unknown } & Only<C, A["_tag"]>,
    options: Else<Source<Wrapping<Exclude<A, { readonly _tag: K }>, E, W>, X, R>>
  ): Routed<A, C[keyof C] | Effect.Effect<Wrapping<never, E, W>, X, R>>
  <const C extends { readonly [K in A["_tag"]]: Takes<Case<A, K>, X, R> }, X = unknown, R = unknown>(
    cases: C & Only<C, A["_tag"]>,
    options?: Options & { readonly orElse?: never }
  ): Routed<A, C[keyof C]>
} => {
  const tagOf = ({ _tag }: Tagged) => _tag
  return (cases: Readonly<Record<string, AnySource>>, options: Options & { readonly orElse?: AnySource } = {}) =>
    // The overloads say what the cases take, need and fail with; one implementation, which knows nothing of that, serves them.
    makeRouter(tagOf, cases, options.orElse, options.name) as Effect.Effect<never>
}

/**
 * Routes events by a key. What matches no case goes to `orElse`; with `"ignore"` it goes nowhere and counts as filtered, and
 * its write succeeds as long as a sink of the router is open.
 *
 * **Details**
 *
 * Each sink takes all events. Where the function answers one of several literals, a case that is none of them does not
 * compile. What the function throws is a defect of the write. Batches are those of `byTag`.
 *
 * **Example** (By region)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventRouter, EventSink } from "effect-events"
 *
 * const eu = EventSink.make((order: { readonly id: number }) => Console.log("eu", order.id))
 * const us = EventSink.make((order: { readonly id: number }) => Console.log("us", order.id))
 *
 * const orders = EventRouter.byKey(
 *   (order: { readonly id: number; readonly region: string }) => order.region,
 *   { eu, us },
 *   { orElse: "ignore" }
 * )
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* orders
 *   yield* sink.write({ id: 1, region: "us" })
 *   yield* sink.write({ id: 2, region: "jp" })
 *   yield* Console.log("filtered:", sink.node.health(0).counts.filtered)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: us 1
 * // prints: filtered: 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const byKey: {
  // First, as for `byTag`.
  <
    A,
    K extends string,
    const C extends { readonly [Some in K]?: Takes<A, CX, CR> },
    E,
    W,
    X = never,
    R = never,
    CX = unknown,
    CR = unknown
  >(
    key: (event: A) => K,
    cases: C & Only<C, K>,
    options: Else<Source<Wrapping<NoInfer<A>, E, W>, X, R>>
  ): Routed<A, C[keyof C] | Effect.Effect<Wrapping<never, E, W>, X, R>>
  <A, K extends string, const C extends { readonly [Some in K]?: Takes<A, X, R> }, X = unknown, R = unknown>(
    key: (event: A) => K,
    cases: C & Only<C, K>,
    options: Else<"ignore">
  ): Routed<A, C[keyof C]>
} = <A>(key: (event: A) => string, cases: Readonly<Record<string, AnySource>>, options: Else<AnySource | "ignore">) =>
  // As for `byTag`.
  makeRouter(key, cases, options.orElse, options.name) as Effect.Effect<never>

/** The key of what the functions of this module do to a router by topic. */
const TopicsId: unique symbol = Symbol.for("effect-events/EventRouter/Topics")

/**
 * A router whose sinks come and go, each with a pattern of topics.
 *
 * @category models
 * @since 0.1.0
 */
export interface TopicRouter<in out A, in out E = never> extends EventSink.EventSink<A, E> {
  /**
   * For `subscribe` and `unsubscribe`.
   *
   * @internal
   */
  readonly [TopicsId]: Topics<A, E>
}

/**
 * The options of a router by topic.
 *
 * @category options
 * @since 0.1.0
 */
export interface TopicOptions<in A> extends Options {
  /** The topic of an event, with `/` between its parts. What it throws is a defect of the write. */
  readonly topic: (event: A) => string
  /** How long the close waits for writes that are under way: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * Routes events by topic, to subscriptions that come and go: see `subscribe`. An event that matches none goes to `orElse`, or
 * with `"ignore"` nowhere and counts as filtered.
 *
 * **Details**
 *
 * A pattern is a topic, `order/*` for every topic that begins with `order/`, or `*` for every topic: the patterns of a
 * `DurableBroadcaster`. The cost of a write is that of the parts of its topic and of its matches, however many other
 * subscriptions there are.
 *
 * An event is written to the matching subscriptions one after the other, in the order in which they began, and the write
 * succeeds when all have committed it. The first failure fails the write. A write that is repeated then begins anew, so
 * the subscriptions before the one that failed get the event again: delivery is at least once.
 *
 * **Gotchas**
 *
 * A subscription that is slow or fails holds up the event for those behind it, and the write. With a queue for each
 * subscription none does: `sink.pipe(EventQueue.make())`. A `Broadcaster` with filters is another way; it asks every filter.
 *
 * The errors of the subscriptions are those of the router, which come from `orElse` or are given:
 * `EventRouter.byTopic<Order, Refused>({ ... })`.
 *
 * **Example** (Subscriptions for a while)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventRouter, EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const lines = yield* EventRouter.byTopic({ topic: (line: string) => line, orElse: "ignore" })
 *   const all = yield* EventSink.make((line: string) => Console.log("all", line))
 *   const placed = EventSink.make((line: string) => Console.log("placed", line))
 *
 *   yield* EventRouter.subscribe(lines, "order/*", all)
 *   yield* Effect.scoped(
 *     Effect.andThen(EventRouter.subscribeScoped(lines, "order/placed", placed), lines.write("order/placed"))
 *   )
 *   yield* lines.write("order/placed")
 *   yield* lines.write("stock/low")
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: all order/placed
 * // prints: placed order/placed
 * // prints: all order/placed
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const byTopic = <A, E = never, X = never, R = never>(
  options: TopicOptions<A> & { readonly orElse: Source<EventSink.EventSink<A, E>, X, R> | "ignore" }
): Effect.Effect<TopicRouter<A, E>, X, R | Scope.Scope> =>
  Effect.gen(function* () {
    const { drainTimeout, name, topic } = options
    const orElse = options.orElse === "ignore" ? options.orElse : yield* fromSource(options.orElse)
    const { operations, sink } = yield* makeTopics<A, E>({ drainTimeout, name, orElse, topic })
    return { ...sink, [TopicsId]: operations }
  })

/**
 * Subscribes a sink to the topics of a pattern. Every write that begins after this has returned reaches it.
 *
 * **Details**
 *
 * A sink that is there with the same pattern stays as it is; with another pattern it is one more subscription, and gets an
 * event that matches both twice. Below a durable part a sink that keeps events in memory is a defect, as it is when the
 * durable part is made: see `docs/guide/delivery-guarantees.md`.
 *
 * **Gotchas**
 *
 * While a sink that has closed is subscribed, writes that match it fail with `SinkClosed`: an event that its sink did not
 * take is not lost. Unsubscribe it first, as `subscribeScoped` does.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const subscribe = <A, E>(
  self: TopicRouter<A, E>,
  pattern: string,
  sink: EventSink.EventSink<NoInfer<A>, NoInfer<E>>
): Effect.Effect<void, SinkClosed> => Effect.asVoid(self[TopicsId].subscribe(pattern, sink))

/**
 * Ends a subscription, and answers whether there was one. A write of its sink that is under way goes on; a write of the router
 * that has not come to it leaves it out. No other subscription notices.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const unsubscribe = <A, E>(
  self: TopicRouter<A, E>,
  pattern: string,
  sink: EventSink.EventSink<NoInfer<A>, NoInfer<E>>
): Effect.Effect<boolean> => self[TopicsId].unsubscribe(pattern, sink)

/**
 * Subscribes a sink, or builds a pipeline, until the scope closes, and answers the sink. It is unsubscribed before it closes.
 * If it was subscribed to that pattern already, closing the scope leaves it so.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const subscribeScoped = <A, E, X = never, R = never>(
  self: TopicRouter<A, E>,
  pattern: string,
  source: Source<EventSink.EventSink<NoInfer<A>, NoInfer<E>>, X, R>
): Effect.Effect<EventSink.EventSink<A, E>, SinkClosed | X, R | Scope.Scope> =>
  Effect.flatMap(fromSource(source), (sink) =>
    Effect.as(
      Effect.acquireRelease(self[TopicsId].subscribe(pattern, sink), (isNew) =>
        isNew ? self[TopicsId].unsubscribe(pattern, sink) : Effect.void
      ),
      sink
    )
  )

/**
 * The layer of a router: a place in the graph, see `EventSink.layer`.
 *
 * **Example** (A router over places of the graph)
 *
 * ```ts
 * import { Console, Context, Effect, Layer } from "effect"
 * import { EventRouter, EventSink } from "effect-events"
 *
 * class Eu extends Context.Service<Eu, EventSink.EventSink<string>>()("app/Eu") {}
 * class Us extends Context.Service<Us, EventSink.EventSink<string>>()("app/Us") {}
 * class Lines extends Context.Service<Lines, EventSink.EventSink<string>>()("app/Lines") {}
 *
 * const region = (line: string) => line.slice(0, 2)
 * const LinesLive = EventRouter.layer(Lines, EventRouter.byKey(region, { eu: Eu, us: Us }, { orElse: "ignore" }))
 *
 * const EuLive = EventSink.layer(
 *   Eu,
 *   EventSink.make((line) => Console.log("eu:", line))
 * )
 * const UsLive = EventSink.layer(
 *   Us,
 *   EventSink.make((line) => Console.log("us:", line))
 * )
 *
 * const program = Lines.use((lines) => lines.write("eu-1"))
 *
 * Effect.runPromise(Effect.provide(program, Layer.provide(LinesLive, [EuLive, UsLive])))
 * // prints: eu: eu-1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: <I, S extends EventSink.EventSink<never, unknown>, X, R>(
  tag: Context.Key<I, S>,
  router: Source<NoInfer<S>, X, R>
) => Layer.Layer<I, X, Exclude<R, Scope.Scope>> = EventSink.layer
