/** The parts of a durable queue: a store, the writers in front of it, and the drainers behind it. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { EventStoreError, Operations, Stored } from "../EventStore.ts"
import { refuseMemoryBelow } from "../../internal/acknowledgement.ts"
import { edgeTo, makeNode } from "../../internal/node.ts"
import { makeReport, type Report } from "../../internal/report.ts"
import { type BatchSink, type EventSink, makeSink } from "../../internal/sink.ts"
import { DurableAccount } from "./durableAccount.ts"
import type { Codec } from "./eventCodec.ts"
import { Delivery } from "./durableDelivery.ts"
import { type DeadLetters, makeDeadLetters } from "./deadLetters.ts"
import { QueueLog } from "./queueLog.ts"
import type { Settings } from "./settings.ts"
import { Trimmer } from "./trimmer.ts"
import { type WriteError, Writing } from "./writing.ts"

/**
 * What the close of a durable queue leaves in its store.
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

/** How often a flush polls for what another process has delivered. */
const flushPollInterval = "250 millis"

export class DurableQueueImpl<in out A, E> {
  /** The sink side; the rest of a durable queue is beside it. */
  readonly sink: BatchSink<A, WriteError>
  private readonly settings: Settings<A>
  private readonly store: Operations
  private readonly codec: Codec<A>
  private readonly context: Context.Context<never>
  private readonly account: DurableAccount
  private readonly writing: Writing<A>
  private readonly delivery: Delivery<A, E>
  private readonly trimmer: Trimmer<A> | undefined
  private readonly reporter: Report<A>
  private readonly log: QueueLog
  private readonly progress = Latch.makeUnsafe()
  private readonly closing = Deferred.makeUnsafe<Remaining<A>>()
  readonly deadLetters: DeadLetters<A>

  constructor(
    dst: EventSink<A, E>,
    codec: Codec<A>,
    store: Operations,
    settings: Settings<A>,
    context: Context.Context<never>
  ) {
    this.account = new DurableAccount((counts, update) =>
      makeNode({
        kind: "DurableQueue",
        name: settings.name,
        account: counts,
        acknowledges: "store",
        update,
        downstream: () => [edgeTo(dst, false)],
        oldestAge: (now) => {
          const { oldest } = this.delivery.consumer
          return oldest && Math.max(0, now - oldest.writtenAt)
        }
      })
    )
    const { counts, node } = this.account
    refuseMemoryBelow(node, dst.node)
    this.sink = makeSink<A, WriteError>({
      node,
      write: (event) => Effect.withFiber((fiber) => this.writing.one(event, fiber)),
      writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.withFiber((fiber) => this.writing.some(events, fiber))
    })
    this.settings = settings
    this.store = store
    this.codec = codec
    this.context = context
    this.log = new QueueLog(node, counts)
    this.reporter = makeReport<A, never>(node, settings.onDropped, context)
    this.deadLetters = makeDeadLetters(settings.name, store, codec)
    this.writing = new Writing(settings, this.account, store, codec, this.reporter, this.changed, context)
    this.delivery = new Delivery(
      dst,
      settings,
      this.account,
      store,
      codec,
      this.log,
      {
        changed: this.changed,
        removed: () => this.removed(),
        downstreamClosed: () => this.begin()
      },
      context
    )
    const { consumer } = this.delivery
    if (settings.overflow === "drop-oldest" && settings.limits !== undefined) {
      this.trimmer = new Trimmer(settings, settings.limits, store, consumer, (dropped) => this.trimmed(dropped))
    }
    this.delivery.start()
  }

  /** There may be something to deliver, to drop, or room. */
  private readonly changed: Effect.Effect<void> = Effect.suspend(() => {
    this.delivery.consumer.wake()
    this.removed()
    if (this.trimmer === undefined) return Effect.void
    return Effect.catchTags(this.trimmer.trim, {
      EventStoreError: this.log.troubled,
      LeaseLost: ({ epoch }) => this.delivery.consumer.ownership.lose(epoch)
    })
  })

  private removed(): void {
    this.writing.wake()
    this.progress.openUnsafe()
  }

  private trimmed(dropped: ReadonlyArray<Stored>): Effect.Effect<void> {
    return Effect.flatMap(
      Effect.forEach(dropped, ({ payload }) => Effect.option(this.codec.decode(payload))),
      (decoded) => {
        const events = decoded.flatMap((event) => (event._tag === "Some" ? [event.value] : []))
        this.account.counts.dropped += dropped.length
        this.account.removed(dropped.length)
        // The reports are under way after this, and the close waits for them.
        void this.reporter.aside(events, { _tag: "Overflow" })
        return this.log.unreadable(dropped.length - events.length)
      }
    )
  }

  readonly pending: Effect.Effect<number, EventStoreError> = Effect.suspend(() =>
    Effect.map(this.store.size(this.settings.name), ({ rows }) => rows)
  )

  readonly flush: Effect.Effect<void, EventStoreError> = Effect.suspend(() =>
    Effect.flatMap(this.store.size(this.settings.name), ({ last }) =>
      last === undefined ? Effect.void : this.flushedThrough(last)
    )
  )

  /** Keys grow, so nothing is before `last` any more once the first key is behind it. */
  private flushedThrough(last: number): Effect.Effect<void, EventStoreError> {
    return Effect.suspend(() => {
      this.progress.closeUnsafe()
      return Effect.flatMap(this.store.size(this.settings.name), ({ first }) =>
        first === undefined || first > last
          ? Effect.void
          : Effect.andThen(Effect.timeoutOption(this.progress.await, flushPollInterval), this.flushedThrough(last))
      )
    })
  }

  private begin(): void {
    const { counts } = this.account
    if (counts.state !== "open") return
    counts.state = "closing"
    this.delivery.stop()
    const close = Effect.gen({ self: this }, function* () {
      const [undelivered] = yield* Effect.all([this.delivery.close, this.writing.close()], { concurrency: "unbounded" })
      const inFlight = undelivered.flatMap(({ event, inFlight }) => (inFlight ? [event] : []))
      const count = this.account.remain()
      counts.state = "closed"
      yield* this.log.closed(count, inFlight.length)
      return { count, inFlight }
    })
    // A fiber of its own: interrupting a call interrupts only its waiting.
    Effect.runForkWith(this.context)(Effect.onExit(close, (exit) => Deferred.done(this.closing, exit)))
  }

  readonly shutdown: Effect.Effect<Remaining<A>> = Effect.suspend(() => {
    this.begin()
    return Deferred.await(this.closing)
  })

  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.begin()
    return Effect.all([Deferred.await(this.closing), this.reporter.finish], { concurrency: "unbounded", discard: true })
  })
}
