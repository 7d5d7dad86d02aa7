/**
 * The sources of drainers whose events are in a store: it owns the lease, reads from the head of the queue, and
 * acknowledges delivered events, in batches.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError, Lease, LeaseLost, Operations, DeadLettered, Stored } from "../EventStore.ts"
import type { Source } from "./backlog.ts"
import { Acknowledger } from "./acknowledger.ts"
import { InFlight, type InFlightSource, type Row } from "./inFlight.ts"
import type { QueueLog } from "./queueLog.ts"
import { Ownership } from "./ownership.ts"
import { Reader, type ReaderHooks } from "./reader.ts"
import type { Settings } from "./settings.ts"

/** What the queue around a consumer does, and is notified of. */
export interface ConsumerHooks<out A> extends ReaderHooks<A> {
  /** The lease was acquired, or is another owner's: what is cached of the store's content is old. */
  readonly refresh: Effect.Effect<void, EventStoreError>
  /** The lease was acquired. */
  readonly acquired: Effect.Effect<void>
  /** Events were removed from the queue. */
  readonly removed: () => void
  readonly log: Pick<QueueLog, "paused" | "leaseLost" | "troubled" | "recovered">
}

/** The source of one drainer. */
export interface ConsumerSource<out A> extends Source<A> {
  /** The event that the drainer delivers. */
  readonly row: Row<A> | undefined
  /** The next `n` events that it gave are settled. */
  readonly settled: (n: number) => void
  /** The event that the drainer delivers is released, and is in the store as before. */
  readonly release: () => void
}

/** How often a standby requests the lease at most, in milliseconds. */
const standbyPause = 250
/** How long a drainer waits after a failure of the store, at first and at most, in milliseconds. */
const [minRetryDelay, maxRetryDelay] = [100, 5_000]

export class Consumer<A> {
  private readonly hooks: ConsumerHooks<A>
  readonly ownership: Ownership
  readonly acknowledger: Acknowledger
  readonly inFlight: InFlight<A>
  readonly reader: Reader<A>
  readonly sources: ReadonlyArray<ConsumerSource<A>>
  private stopped = false
  private paused = false
  private retryDelay = minRetryDelay
  /** The turn of a drainer to do a step. */
  private readonly stepping = Semaphore.makeUnsafe(1)
  private readonly changed = Latch.makeUnsafe()
  private readonly ended = Latch.makeUnsafe()

  /** `whole`: a source gives all that it has at once, for batch sinks and plain functions. */
  constructor(
    settings: Settings<A>,
    store: Operations,
    whole: boolean,
    hooks: ConsumerHooks<A>,
    context: Context.Context<never>
  ) {
    this.hooks = hooks
    this.ownership = new Ownership(settings.name, store, settings.leaseTtl, this.lost, context)
    this.acknowledger = new Acknowledger(store, this.ownership, hooks.removed)
    this.inFlight = new InFlight(settings.concurrency, whole, settings.partitionBy !== undefined)
    this.reader = new Reader(settings, store, this.inFlight, this.acknowledger, hooks)
    this.sources = this.inFlight.sources.map((source) => this.source(source))
  }

  private source(source: InFlightSource<A>): ConsumerSource<A> {
    let lease: Lease | undefined
    return {
      get row() {
        return source.row
      },
      poll: () => {
        if (this.stopped) return []
        if (!this.isOwner) return undefined
        ;({ lease } = this.ownership)
        return source.poll()
      },
      wait: this.next,
      isRevoked: () => {
        // A lease that may have expired is renewed before the next batch: the rest is read again under it.
        if (this.isOwner && this.ownership.lease === lease) return false
        source.release()
        // The events behind it must not pass it.
        this.inFlight.evict()
        return true
      },
      release: () => {
        // Nor must they pass this one: not the rest of its batch either.
        lease = undefined
        this.inFlight.evict()
      },
      settled: (n) => this.acknowledger.delivered(source.settle(n).filter(({ exempt }) => !exempt))
    }
  }

  /** Whether this process may deliver, by its own clock. */
  private get isOwner(): boolean {
    const { isStale, lease } = this.ownership
    return lease !== undefined && !isStale
  }

  /** The first event that is not settled. */
  get oldest(): Stored | undefined {
    return this.inFlight.oldest
  }

  /** Another read may find something. */
  readonly wake = (): void => void this.changed.openUnsafe()

  /** Gives nothing more out. */
  stop(): void {
    this.stopped = true
    this.ended.openUnsafe()
    this.changed.openUnsafe()
  }

  /** One drainer after the other does a step towards the next events, and polls after each. */
  private readonly next: Effect.Effect<void> = Effect.suspend(() => {
    // A drainer that waits for changes may have to acknowledge what this one delivered, or to read it again.
    this.wake()
    // Another drainer may have done this step.
    const turn = Effect.suspend(() => (this.isOwner && this.inFlight.isReady ? Effect.void : this.turn))
    return this.stepping.withPermits(1)(turn)
  })

  private readonly turn: Effect.Effect<void> = Effect.suspend(() =>
    Effect.matchEffect(this.step, {
      // A store that works on this thread leaves the event loop its timers and sockets.
      onSuccess: () => Effect.andThen(this.answered, Effect.yieldNow),
      onFailure: (error) => (error._tag === "LeaseLost" ? this.ownership.lose(error.epoch) : this.troubled(error))
    })
  )

  /** The store works. */
  private readonly answered: Effect.Effect<void> = Effect.suspend(() => {
    this.retryDelay = minRetryDelay
    return this.hooks.log.recovered
  })

  private readonly step: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    if (this.stopped) return Effect.void
    if (this.paused) return this.ended.await
    const { isStale, lease } = this.ownership
    if (lease === undefined) return this.acquire
    if (isStale) return this.ownership.renew
    if (this.acknowledger.pending > 0) return this.acknowledger.acknowledge(lease)
    if (this.inFlight.isReady) return Effect.void
    return this.fetch(lease)
  })

  private troubled(error: EventStoreError): Effect.Effect<void> {
    const { retryDelay } = this
    this.retryDelay = Math.min(retryDelay * 2, maxRetryDelay)
    return Effect.andThen(this.hooks.log.troubled(error), Effect.timeoutOption(this.ended.await, retryDelay))
  }

  private readonly acquire: Effect.Effect<void, EventStoreError> = Effect.suspend(() => {
    this.changed.closeUnsafe()
    return Effect.tap(this.ownership.acquire, (held) => {
      if (held === 0) return Effect.andThen(this.hooks.refresh, this.hooks.acquired)
      if (this.stopped) return Effect.void
      // The writes of this process are changes too: they are no reason to request the lease.
      const pause = Math.min(standbyPause, held)
      return this.hooks.refresh.pipe(
        Effect.andThen(this.answered),
        Effect.andThen(Effect.timeoutOption(this.ended.await, pause)),
        Effect.andThen(Effect.timeoutOption(this.changed.await, held - pause))
      )
    })
  })

  private readonly lost: Effect.Effect<void> = Effect.suspend(() => {
    this.acknowledger.evict()
    this.inFlight.evict()
    this.wake()
    return this.hooks.log.leaseLost
  })

  private fetch(lease: Lease): Effect.Effect<void, EventStoreError | LeaseLost> {
    this.changed.closeUnsafe()
    return Effect.flatMap(this.reader.poll(lease, this.ended.await), (found) => {
      if (found === "some" || this.stopped) return Effect.void
      // The events before it are delivered and acknowledged first.
      if (found !== "none" && this.inFlight.oldest === undefined) {
        return this.acknowledger.pending > 0 ? Effect.void : this.pause(found)
      }
      return Effect.andThen(this.answered, this.changed.await)
    })
  }

  /** Pauses delivery in front of an event, and releases the lease to another process. */
  private pause({ cause, key }: DeadLettered): Effect.Effect<void, EventStoreError> {
    this.paused = true
    return Effect.andThen(this.hooks.log.paused(`event ${key}: ${cause}`), this.ownership.release)
  }

  /** Acknowledges delivered events and releases the lease, when the drainers have ended. */
  readonly finish: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    this.ownership.stop()
    return Effect.andThen(this.ownership.answered, this.finished)
  })

  private readonly finished: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    const { lease } = this.ownership
    if (lease === undefined) return Effect.void
    // Not a finalizer: a store that hangs must not hold up the close.
    return Effect.flatMap(Effect.exit(this.acknowledger.acknowledge(lease)), (acknowledged) =>
      // The lease expires by itself.
      Effect.andThen(
        Effect.catchTag(this.ownership.release, "EventStoreError", () => Effect.void),
        acknowledged
      )
    )
  })
}
