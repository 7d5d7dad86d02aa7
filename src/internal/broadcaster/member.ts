/** A sink of a broadcaster: its account, its delivery and its close, none of which another sink can touch. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Predicate } from "effect/Predicate"
import type { OnDropped } from "../../Dropped.ts"
import { type Ages, makeAges } from "../ages.ts"
import { joinUpTo, type Options as DrainerOptions, startDrainer } from "../drainer.ts"
import { type Account, edgeTo, makeAccount, makeNode, pendingOf, type SinkNode } from "../node.ts"
import { makeReport } from "../report.ts"
import { makeShutdown, type Shutdown } from "../shutdown.ts"
import { type EventSink, WriteSync } from "../sink.ts"
import { maxTurn } from "../turns.ts"
import { type Delivery, listed, type SharedDrainer } from "./sharedDrainer.ts"
import { makeTopic, type Subscription, type Topic } from "./topic.ts"

export interface Member<in out A> {
  readonly node: SinkNode
  readonly account: Account
  readonly shutdown: Shutdown<A>
  /** Takes a published event, if the member has a filter, which judges it first; the others read the topic. */
  readonly offer: ((event: A) => void) | undefined
  /** How many events it has not got. */
  readonly lag: () => number
  /** How many events ago the oldest that waits for the sink was published. */
  readonly behind: () => number
  /** See `Delivery`. */
  readonly rounds: (() => number) | undefined
  /** Begins the close; `shutdown` answers with the events that it leaves. */
  readonly begin: () => void
  /** Ends at once, and reports the events that waited as lagged. */
  readonly evict: () => void
  /** Ends when the sink has drained and all that was dropped has been reported. */
  readonly gone: Effect.Effect<void>
}

export interface Options<A, E> {
  readonly sink: EventSink<A, E>
  readonly drainTimeout: Duration.Duration
  readonly filter: Predicate<A> | undefined
  readonly onDropped: OnDropped<A, E> | undefined
  readonly onSinkClosed: () => void
}

/** What the members of a broadcaster share. */
export interface Shared<in out A> {
  readonly topic: Topic<A>
  readonly drainer: () => SharedDrainer<A>
  readonly ages: Ages
  readonly context: Context.Context<never>
}

export const makeMember = <A, E>(
  { drainTimeout, filter, onDropped, onSinkClosed, sink }: Options<A, E>,
  shared: Shared<A>
): Member<A> => {
  const { context } = shared
  // What a filter refuses is neither queued nor counted: its sink reads a topic of what it lets through.
  const topic = filter === undefined ? shared.topic : makeTopic<A>(context)
  const ages = filter === undefined ? shared.ages : makeAges(context, () => behind())
  const account = makeAccount()
  const update = () => {
    // The account is what was published meanwhile: nothing is counted at each publish.
    if (account.state === "open") account.accepted = topic.published() - first + refused
    delivery.update()
  }
  const node = makeNode({
    kind: "Subscription",
    name: sink.node.name,
    account,
    downstream: () => [edgeTo(sink, false)],
    update,
    oldestAge: (now) => ages.oldest(behind(), now)
  })
  const report = makeReport(node, onDropped, context)
  const shutdown = makeShutdown<A>(context, (list) => report.undelivered(list, "Undelivered"))
  const first = topic.published()
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
  const offer =
    filter &&
    ((event: A) => {
      try {
        if (!filter(event)) return
        topic.publish(event)
        ages.offer(1)
      } catch (defect) {
        // The defect is this member's, and neither the writer's nor another sink's.
        account.lastError = defect
        refused++
        account.dropped++
        void report.aside([event], { _tag: "Died", cause: Cause.die(defect) })
      }
    })
  const cut = () => {
    update()
    last = Math.min(last, topic.published())
    if (account.state === "open") account.state = "closing"
    delivery.cut()
  }
  const drain = (timeout: Duration.Duration, as: "undelivered" | "dropped") =>
    Effect.flatMap(
      Effect.suspend(() => delivery.close(timeout)),
      () =>
        Effect.map(delivery.undelivered, (undelivered) => {
          account[as] += undelivered.length
          account.state = "closed"
          return undelivered
        })
    )
  const closed = () => {
    cut()
    shutdown.beginReported(drain(drainTimeout, "undelivered"), (list) => report.undelivered(list, "Undelivered"))
    onSinkClosed()
  }
  const options = { sink, account, report, context, onSinkClosed: closed }
  const write = sink[WriteSync]
  const delivery: Delivery<A> =
    write === undefined || filter !== undefined
      ? startOwn(options, topic.subscribe())
      : shared.drainer().start({ ...options, write, goOn: (failed, rest) => startOwn({ ...options, failed }, rest) })
  return {
    node,
    account,
    shutdown,
    offer,
    lag,
    behind,
    rounds: delivery.rounds,
    gone: Effect.andThen(shutdown.finished, report.finish),
    begin: () => {
      cut()
      shutdown.begin(drain(drainTimeout, "undelivered"))
    },
    evict: () => {
      cut()
      shutdown.beginReported(drain(Duration.zero, "dropped"), (list) => report.undelivered(list, "Lagged"))
    }
  }
}

// internals

/** A drainer of its own, which no other sink can hold up. */
const startOwn = <A, E>(options: Omit<DrainerOptions<A, E>, "source">, subscription: Subscription<A>): Delivery<A> => {
  const least = joinUpTo(options.sink)
  const drainer = startDrainer({
    ...options,
    source: { poll: () => subscription.poll(least, maxTurn), wait: subscription.wait, settle: () => {} }
  })
  return {
    cut: subscription.cut,
    close: drainer.close,
    undelivered: Effect.suspend(() => listed([...drainer.undelivered()], subscription.pages())),
    rounds: undefined,
    update: () => {}
  }
}
