/** A sink of a broadcaster: its account, its delivery and its close, none of which another sink can touch. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Predicate } from "effect/Predicate"
import type { OnDropped, Undelivered } from "../../Dropped.ts"
import { type Ages, makeAges } from "../ages.ts"
import { joinUpTo, type Options as DrainerOptions, startDrainer } from "../drainer.ts"
import { drop, edgeTo, noteError, pendingOf, type SinkNode } from "../node.ts"
import type { Page } from "../pages.ts"
import { makeProcessSpan, type TraceMode } from "../processSpan.ts"
import { filtered, type ReceiptRequest } from "../receipt.ts"
import { makeReport } from "../report.ts"
import { closeWith, endDrainer, makeShutdown, type Shutdown } from "../shutdown.ts"
import { type EventSink, makePart, WriteSync } from "../sink.ts"
import { maxTurn } from "../turns.ts"
import type { WriterSpan } from "../writerSpan.ts"
import { limitLag } from "./lag.ts"
import type { Delivery, SharedDrainer } from "./delivery.ts"
import { judging, makeTopic, type Offer, type Subscription, type Topic } from "./topic.ts"

export interface Member<in out A> {
  readonly node: SinkNode
  readonly shutdown: Shutdown<Undelivered<A>>
  /** How many events ago the oldest that waits for the sink was published. */
  readonly behind: () => number
  /** The filter died on an event. */
  readonly died: (event: A, defect: unknown, receipt?: ReceiptRequest) => void
  /** `n` events are published next, whose writes asked for a receipt. */
  readonly expect: (request: ReceiptRequest, n: number) => void
  /** Begins the close, and reports what no call of `shutdown` takes. The fiber ends when the sink is gone. */
  readonly finish: () => Fiber.Fiber<void>
}

export interface Options<A, E> {
  readonly sink: EventSink<A, E>
  readonly drainTimeout: Duration.Duration
  readonly filter: Predicate<A> | undefined
  readonly maxLag: number
  readonly onDropped: OnDropped<A, E> | undefined
  /** What it gets first: events that were published before, those that its filter lets through. */
  readonly earlier: ReadonlyArray<Page<A>>
  /** It ends, since it is so many events behind. */
  readonly onEvicted: (lag: number) => void
  /** It has drained, and all that was dropped has been reported. */
  readonly onGone: () => void
}

/** What the members of a broadcaster share. */
export interface Shared<in out A> {
  /** The broadcaster's own. */
  readonly node: SinkNode
  readonly trace: TraceMode | undefined
  readonly topic: Topic<A>
  readonly drainer: () => SharedDrainer<A>
  readonly ages: Ages
  readonly context: Context.Context<never>
  /** What takes each published event for a member with a filter, besides the topic. */
  readonly filters: Set<Offer<A>>
  /** What judges its lag after each publish. */
  readonly limits: Set<() => void>
}

export const makeMember = <A, E>(options: Options<A, E>, shared: Shared<A>): Member<A> => {
  const { drainTimeout, earlier, filter, maxLag, onDropped, onEvicted, onGone, sink } = options
  const { context } = shared
  // What a filter refuses is neither queued nor counted: its sink reads a topic of what it lets through.
  const topic = filter === undefined ? shared.topic : makeTopic<A>(context)
  const ages = filter === undefined ? shared.ages : makeAges(context, () => behind())
  const update = () => {
    // The account is what was published meanwhile: nothing is counted at each publish.
    if (account.state === "open") account.accepted = topic.published() - first + refused
    delivery.update()
  }
  const write = sink[WriteSync]
  const processSpan = makeProcessSpan(
    { destination: () => shared.node.name, subscription: () => sink.node.name, mode: shared.trace },
    context
  )
  // A report to `onDropped` may take long, a sink is judged by its lag after a turn of its own, and a plain call has no span.
  const isShared =
    write !== undefined &&
    filter === undefined &&
    earlier.length === 0 &&
    maxLag === Number.POSITIVE_INFINITY &&
    onDropped === undefined &&
    processSpan === undefined
  const { account, node } = makePart({
    kind: "Subscription",
    name: sink.node.name,
    // One look-up more for each sink would cost the shared drainer a fifth.
    taps: isShared ? ["dropped"] : ["delivered", "dropped"],
    downstream: () => [edgeTo(sink, false)],
    drops: ["Failed", "Died", "Lagged"],
    isTimed: !isShared,
    update,
    oldestAge: (now) => ages.oldest(behind(), now)
  })
  const replayed = earlier.reduce((n, { length }) => n + length, 0)
  const first = topic.published() - replayed
  let last = Number.POSITIVE_INFINITY
  /** Events that the filter died on. */
  let refused = 0

  const lag = () => {
    update()
    return pendingOf(account)
  }
  const behind = () => {
    const pending = lag()
    return pending === 0 ? 0 : pending + topic.published() - Math.min(topic.published(), last)
  }
  const close = (timeout: Duration.Duration, as: "undelivered" | "dropped") => {
    unlimit()
    if (offer !== undefined) shared.filters.delete(offer)
    update()
    last = topic.published()
    account.state = "closing"
    delivery.cut()
    return Effect.flatMap(endDrainer(delivery, timeout, as), (list) =>
      closeWith(account, node, as, list, delivery.takeRest)
    )
  }
  const report = makeReport(node, onDropped, context)
  const shutdown = makeShutdown<Undelivered<A>>(context, report.undelivered, () => close(drainTimeout, "undelivered"))
  let gone: Fiber.Fiber<void> | undefined
  const finish = () =>
    (gone ??= Effect.runForkWith(context)(
      Effect.andThen(shutdown.finished, Effect.andThen(report.finish(Effect.void), Effect.sync(onGone)))
    ))
  const onSinkClosed = () => {
    shutdown.begin(report.undelivered)
    finish()
  }
  const common = { node, sink, account, report, context, onSinkClosed, processSpan }
  const delivery: Delivery<A> = isShared
    ? shared.drainer().start({ ...common, write })
    : startOwn(common, topic.subscribe(earlier))
  const died = (event: A, defect: unknown, receipt?: ReceiptRequest) => {
    // The defect is this member's, and neither the writer's nor another sink's.
    noteError(account, defect, Context.get(context, Clock.Clock))
    refused++
    drop(account, "Died")
    const reason = { _tag: "Died", cause: Cause.die(defect) } as const
    receipt?.note(node, { _tag: "Dropped", reason })
    void report.aside([event], reason)
  }
  const take = (event: A, _: number, writer?: WriterSpan, receipt?: ReceiptRequest) => {
    topic.publish(event, writer, receipt?.hold(1))
    ages.offer(1)
  }
  const offer = filter && judging(filter, take, died, (receipt) => receipt.note(node, filtered))
  if (offer !== undefined) {
    shared.filters.add(offer)
    ages.offer(replayed)
  }
  const unlimit = limitLag(shared.limits, context, {
    maxLag,
    lag,
    evict: () => {
      const missed = lag()
      // They are dropped: a call of `remove` or of `shutdown` meanwhile waits for their reports, and returns none of them.
      shutdown.begin(
        () => Effect.void,
        () =>
          close(Duration.zero, "dropped").pipe(
            Effect.flatMap((list) => report.undelivered(list, "Lagged")),
            Effect.map(() => [])
          )
      )
      finish()
      onEvicted(missed)
    }
  })
  const expect = (request: ReceiptRequest, n: number) => {
    // A filter judges each event by itself.
    if (filter === undefined && account.state === "open") request.hold(n)
  }
  return { node, shutdown, behind, died, expect, finish }
}

// internals

/** Delivers by a drainer of its own, which no other sink can hold up. */
const startOwn = <A, E>(options: Omit<DrainerOptions<A, E>, "source">, subscription: Subscription<A>): Delivery<A> => {
  const { cut, poll, wait } = subscription
  const least = joinUpTo(options.sink)
  const source = { poll: () => poll(least, maxTurn), wait, settle: () => {} }
  return { ...startDrainer({ ...options, source }), cut, takeRest: () => poll(1, maxTurn) ?? [], update: () => {} }
}
