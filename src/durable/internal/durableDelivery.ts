/**
 * The delivering side of a durable queue: drainers over the store, and what becomes of events that they cannot deliver.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Undelivered } from "../../Dropped.ts"
import type { EventStoreError, LeaseLost, Operations, DeadLettered } from "../EventStore.ts"
import { Delivering } from "../../internal/context.ts"
import { reportTimeout, within } from "../../internal/deadline.ts"
import { Drainer } from "./storeDrainer.ts"
import { closeAll, endsClosed } from "./draining.ts"
import { type EventSink, WriteSync } from "../../internal/sink.ts"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type { DurableAccount } from "./durableAccount.ts"
import type { Codec } from "./eventCodec.ts"
import { Consumer, type ConsumerSource } from "./consumer.ts"
import type { QueueLog } from "./queueLog.ts"
import { toDeadLetter } from "./toDeadLetter.ts"
import type { Settings } from "./settings.ts"

export interface DeliveryHooks {
  /** The store's content may have changed, by this process or another. */
  readonly changed: Effect.Effect<void>
  /** Events have left the queue. */
  readonly removed: () => void
  /** The sink below is closed. */
  readonly downstreamClosed: () => void
}

/** How often at most a queue reads the size of its store, in milliseconds: some stores must count. */
const refreshAfter = 5_000
/** The delay after a failure before changes are listened to again, or an event is dead-lettered again. */
const again = "1 second"

export class Delivery<A, E> {
  readonly consumer: Consumer<A>
  private readonly settings: Settings<A>
  private readonly account: DurableAccount
  private readonly store: Operations
  private readonly log: QueueLog
  private readonly drainers: ReadonlyArray<Drainer<A, E>>
  private readonly context: Context.Context<never>
  private fibers: ReadonlyArray<Fiber.Fiber<void>> = []
  private refreshedAt = Number.NEGATIVE_INFINITY
  private readonly changed: Effect.Effect<void>

  constructor(
    dst: EventSink<A, E>,
    settings: Settings<A>,
    account: DurableAccount,
    store: Operations,
    codec: Codec<A>,
    log: QueueLog,
    hooks: DeliveryHooks,
    context: Context.Context<never>
  ) {
    this.settings = settings
    this.account = account
    this.store = store
    this.log = log
    this.context = context
    this.changed = hooks.changed
    const { node } = account
    this.consumer = new Consumer(
      settings,
      store,
      dst[WriteSync] !== undefined || dst.writeSome !== undefined,
      {
        decode: codec.decode,
        refresh: this.refresh,
        acquired: hooks.changed,
        reading: () => account.reading(),
        removed: hooks.removed,
        undecodable: (n) => this.deadLettered(n),
        log
      },
      context
    )
    // One context for all drainers: what a sink keeps by its caller's context is then kept once.
    const delivering = Context.add(context, Delivering, node)
    this.drainers = this.consumer.sources.map((source) => this.drainer(source, dst, hooks, delivering))
  }

  private drainer(
    source: ConsumerSource<A>,
    dst: EventSink<A, E>,
    hooks: DeliveryHooks,
    context: Context.Context<never>
  ): Drainer<A, E> {
    const { account, log } = this
    const { counts } = account
    /** The event that could not be delivered is among the dead letters. */
    let isDeadLettered = false
    return new Drainer(
      source,
      dst,
      counts,
      {
        failed: (_, cause, restore) => restore(this.failed(source, cause, () => (isDeadLettered = true))),
        recovered: () => log.delivering,
        abandoned: log.abandoned,
        // The event is in the store as before.
        unreported: () => Effect.void
      },
      {
        settled: (n) => {
          if (!source.row?.exempt) account.removed(n)
          source.settled(n)
        },
        dropped: () => {
          if (isDeadLettered) {
            counts.deadLettered++
            account.removed(1)
          } else source.release()
          isDeadLettered = false
        },
        // A failure during the close costs no event.
        ends: (cause) => endsClosed(cause) || counts.state !== "open",
        downstreamClosed: hooks.downstreamClosed
      },
      context
    )
  }

  start(): void {
    for (const drainer of this.drainers) drainer.start()
    const run = Effect.runForkWith(this.context)
    this.fibers = [run(this.consumer.ownership.renewing), run(this.consumer.acknowledger.beside), run(this.listening)]
  }

  /** Reads how many events the store holds: other processes write and deliver too. */
  private readonly refresh: Effect.Effect<void, EventStoreError> = Effect.clockWith((clock) => {
    const now = monotonicMillis(clock)
    if (now - this.refreshedAt < refreshAfter) return Effect.void
    return Effect.map(this.store.size(this.settings.name), ({ rows }) => {
      this.refreshedAt = now
      this.account.exactly(rows - this.consumer.acknowledger.pending)
    })
  })

  /** Reads how many events the store holds now. If the store fails, the account has to do. */
  private readonly counted: Effect.Effect<void> = Effect.suspend(() => {
    this.refreshedAt = Number.NEGATIVE_INFINITY
    return Effect.catch(this.refresh, () => Effect.void)
  })

  /** A listener polls at once, and again when listening broke: the drainer logs what is wrong with the store. */
  private readonly listening: Effect.Effect<void> = Effect.suspend(() =>
    Stream.runForEach(this.store.changes(this.settings.name), () => this.changed)
  ).pipe(
    Effect.exit,
    Effect.andThen(Effect.suspend(() => this.changed)),
    Effect.andThen(Effect.sleep(again)),
    Effect.forever
  )

  private deadLettered(n: number): Effect.Effect<void> {
    this.account.counts.deadLettered += n
    this.account.removed(n)
    return this.log.deadLettered(n)
  }

  /**
   * Moves the event that a drainer delivers to the dead letters, and notes at once when that is done: an interruption
   * may come with the next step. It returns without, if the lease or the time is gone.
   */
  private failed(
    { row }: ConsumerSource<A>,
    cause: Cause.Cause<unknown>,
    deadLettered: () => void
  ): Effect.Effect<void> {
    // The drainer has one: it has just failed.
    if (row === undefined) return Effect.void
    row.exempt = true
    return this.deadLetter(
      toDeadLetter(row, cause.reasons.some(Cause.isFailReason) ? "Failed" : "Died", cause),
      deadLettered
    )
  }

  private deadLetter(event: DeadLettered, deadLettered: () => void): Effect.Effect<void> {
    const { lease } = this.consumer.ownership
    // Another owner delivers it.
    if (lease === undefined) return Effect.void
    return Effect.matchEffect(this.store.deadLetter(lease, [event]), {
      onSuccess: () => {
        deadLettered()
        return this.log.deadLettered(1)
      },
      onFailure: (error: EventStoreError | LeaseLost) =>
        error._tag === "LeaseLost"
          ? this.consumer.ownership.lose(error.epoch)
          : Effect.andThen(
              Effect.andThen(this.log.troubled(error), Effect.sleep(again)),
              Effect.suspend(() => this.deadLetter(event, deadLettered))
            )
    })
  }

  /** Gives nothing more out. */
  stop(): void {
    this.consumer.stop()
  }

  /** Waits for events in flight until the time is up, and answers those that still are: they stay in the store. */
  readonly close: Effect.Effect<ReadonlyArray<Undelivered<A>>> = Effect.suspend(() =>
    Effect.flatMap(closeAll(this.drainers, this.settings.drainTimeout), (undelivered) => {
      for (const fiber of this.fibers) fiber.interruptUnsafe()
      const finish = Effect.andThen(Effect.catch(this.consumer.finish, this.log.unacknowledged), this.counted)
      return Effect.as(within(finish, reportTimeout), undelivered)
    })
  )
}
