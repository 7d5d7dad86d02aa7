import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { OnDropped } from "../Dropped.ts"
import type { Ages } from "./ages.ts"
import { closeAll, Closing } from "./closing.ts"
import { Drainer } from "./drainer.ts"
import { endsClosed } from "./draining.ts"
import type { Feed } from "./feed.ts"
import { Node } from "./node.ts"
import { Reporter } from "./reporter.ts"
import type { EventSink } from "./sink.ts"

/** What one sink of a broadcaster is told. */
export interface Options<in A, in E> {
  readonly drainTimeout: Duration.Duration
  readonly onDropped: OnDropped<A, E> | undefined
}

/** One sink of a broadcaster: a queue of its own, drained by a fiber of its own, that no other sink can touch. */
export class Subscription<A, E> {
  readonly node: Node
  readonly closing: Closing<A>
  /** Ends when it has drained and all that it gave up has been reported. */
  readonly gone: Effect.Effect<void>
  private readonly ages: Ages
  /** How many events had been published when it got its last. */
  private until = Number.POSITIVE_INFINITY
  private readonly options: Options<A, E>
  private readonly feed: Feed<A>
  private readonly reporter: Reporter<A, E>
  private readonly drainer: Drainer<A, E>

  constructor(
    dst: EventSink<A, E>,
    feed: Feed<A>,
    options: Options<A, E>,
    ages: Ages,
    context: Context.Context<never>,
    onClosed: () => void
  ) {
    const node = new Node("Subscription", dst.node.name, () => [dst.node])
    const begun = ages.entered
    // What has been published since is this subscription's account; nothing is counted at each publish.
    node.update = () => {
      if (node.state === "open") node.accepted = ages.entered - begun
    }
    node.oldestAge = (now) => ages.oldest(this.behind, now)
    this.ages = ages
    this.node = node
    this.options = options
    this.feed = feed
    this.reporter = new Reporter(node, options.onDropped, context)
    this.closing = new Closing(context, (left) => this.reporter.left(left, "Undelivered"))
    this.gone = Effect.andThen(this.closing.finished, this.reporter.finish)
    this.drainer = new Drainer(
      { poll: () => (feed.isReady ? feed.some() : undefined), wait: feed.woken },
      dst,
      node,
      this.reporter,
      {
        settled: () => {},
        gaveUp: () => void node.dropped++,
        ends: endsClosed,
        downstreamClosed: () => {
          this.end()
          this.closing.beginReported(this.close(this.options.drainTimeout))
          onClosed()
        }
      },
      context
    )
    this.drainer.start()
  }

  /** How many events ago the oldest that it waits for was published. */
  get behind(): number {
    const { entered } = this.ages
    return this.node.pending === 0 ? 0 : this.node.pending + entered - Math.min(entered, this.until)
  }

  /** Fixes the boundary: what is published from here on is not this sink's. */
  private end(): void {
    this.node.update()
    this.until = Math.min(this.until, this.ages.entered)
    if (this.node.state === "open") this.node.state = "closing"
    this.feed.cut()
  }

  private close(timeout: Duration.Duration) {
    return Effect.tap(
      closeAll([this.drainer], timeout, () => this.feed.rest()),
      (left) =>
        Effect.sync(() => {
          this.node.undelivered += left.length
          this.node.state = "closed"
        })
    )
  }

  /** Begins the close; `closing` tells when it is over and what it left. */
  begin(): void {
    this.end()
    this.closing.begin(this.close(this.options.drainTimeout))
  }

  /** Ends at once, and reports what waited as lagged. */
  evict(): void {
    this.end()
    const close = Effect.tap(this.close(Duration.zero), (left) =>
      Effect.sync(() => {
        this.node.undelivered -= left.length
        this.node.dropped += left.length
      })
    )
    this.closing.beginReported(close, (left) => this.reporter.left(left, "Lagged"))
  }
}
