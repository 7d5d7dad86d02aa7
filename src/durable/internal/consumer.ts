/**
 * What drainers take their events from when they are in a store: it has the lease, reads from the head of the line, and
 * acknowledges what has been delivered, in groups.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError, Lease, LeaseLost, Operations, DeadLettered, Stored } from "../EventStore.ts"
import type { Source } from "./draining.ts"
import { Acknowledger } from "./acknowledger.ts"
import { Hand, type HandLine, type Row } from "./hand.ts"
import type { QueueLog } from "./log.ts"
import { Ownership } from "./ownership.ts"
import { Reader, type ReaderHooks } from "./reader.ts"
import type { Settings } from "./settings.ts"

/** What the queue around it does, and wants to know. */
export interface ConsumerHooks<out A> extends ReaderHooks<A> {
  /** It has the lease, or somebody else does: what it knows of the store's content is old. */
  readonly refresh: Effect.Effect<void, EventStoreError>
  /** It has the lease now. */
  readonly acquired: Effect.Effect<void>
  /** Events were removed from the line. */
  readonly removed: () => void
  readonly log: Pick<QueueLog, "halted" | "leaseLost" | "troubled" | "recovered">
}

/** What one drainer takes events from. */
export interface ConsumerLine<out A> extends Source<A> {
  /** The event that the drainer is at. */
  readonly row: Row<A> | undefined
  /** The next `n` events that it gave are settled. */
  readonly settled: (n: number) => void
  /** The event that the drainer is at is given up, and is in the store as before. */
  readonly letGo: () => void
}

/** How often a queue that stands by asks for the lease at most, in milliseconds. */
const standbyPause = 250
/** How long it waits after a failure of the store, at first and at most, in milliseconds. */
const [leastPause, mostPause] = [100, 5_000]

export class Consumer<A> {
  private readonly hooks: ConsumerHooks<A>
  readonly ownership: Ownership
  readonly acknowledger: Acknowledger
  readonly hand: Hand<A>
  readonly reader: Reader<A>
  readonly lines: ReadonlyArray<ConsumerLine<A>>
  private stopped = false
  private halted = false
  private pause = leastPause
  /** Which drainer does a step. */
  private readonly stepping = Semaphore.makeUnsafe(1)
  private readonly changed = Latch.makeUnsafe()
  private readonly ended = Latch.makeUnsafe()

  /** `whole`: a line hands on all that it has at once, for sinks that take groups or are plain functions. */
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
    this.hand = new Hand(settings.concurrency, whole, settings.partitionBy !== undefined)
    this.reader = new Reader(settings, store, this.hand, this.acknowledger, hooks)
    this.lines = this.hand.lines.map((line) => this.line(line))
  }

  private line(line: HandLine<A>): ConsumerLine<A> {
    let lease: Lease | undefined
    return {
      get row() {
        return line.row
      },
      poll: () => {
        if (this.stopped) return []
        if (!this.isOwner) return undefined
        ;({ lease } = this.ownership)
        return line.poll()
      },
      wait: this.next,
      isRevoked: () => {
        // A lease that may have run out is asked for before the next group: what is left is read again under it.
        if (this.isOwner && this.ownership.lease === lease) return false
        line.release()
        // It must not be passed by what was behind it.
        this.hand.forget()
        return true
      },
      letGo: () => {
        // Nor must this one be: not by the rest of its group either.
        lease = undefined
        this.hand.forget()
      },
      settled: (n) => this.acknowledger.delivered(line.settle(n).filter(({ exempt }) => !exempt))
    }
  }

  /** Whether it may deliver, as far as it knows. */
  private get isOwner(): boolean {
    const { isStale, lease } = this.ownership
    return lease !== undefined && !isStale
  }

  /** The first event that is not settled. */
  get oldest(): Stored | undefined {
    return this.hand.oldest
  }

  /** Another look is worth it. */
  readonly wake = (): void => void this.changed.openUnsafe()

  /** Gives nothing more out. */
  stop(): void {
    this.stopped = true
    this.ended.openUnsafe()
    this.changed.openUnsafe()
  }

  /** One drainer after the other does a step towards the next events. It looks after each, and comes back. */
  private readonly next: Effect.Effect<void> = Effect.suspend(() => {
    // Who waits for changes may have to acknowledge what this one had, or to read it again.
    this.wake()
    // Somebody may have done what it waited to do.
    const turn = Effect.suspend(() => (this.isOwner && this.hand.isReady ? Effect.void : this.turn))
    return this.stepping.withPermits(1)(turn)
  })

  private readonly turn: Effect.Effect<void> = Effect.suspend(() =>
    Effect.matchEffect(this.step, {
      // A store that works on this thread leaves the event loop its timers and sockets.
      onSuccess: () => Effect.andThen(this.answered, Effect.yieldNow),
      onFailure: (error) => (error._tag === "LeaseLost" ? this.ownership.lose(error.epoch) : this.troubled(error))
    })
  )

  /** The store does as it is told. */
  private readonly answered: Effect.Effect<void> = Effect.suspend(() => {
    this.pause = leastPause
    return this.hooks.log.recovered
  })

  private readonly step: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    if (this.stopped) return Effect.void
    if (this.halted) return this.ended.await
    const { isStale, lease } = this.ownership
    if (lease === undefined) return this.acquire
    if (isStale) return this.ownership.renew
    if (this.acknowledger.pending > 0) return this.acknowledger.acknowledge(lease)
    if (this.hand.isReady) return Effect.void
    return this.fetch(lease)
  })

  private troubled(error: EventStoreError): Effect.Effect<void> {
    const { pause } = this
    this.pause = Math.min(pause * 2, mostPause)
    return Effect.andThen(this.hooks.log.troubled(error), Effect.timeoutOption(this.ended.await, pause))
  }

  private readonly acquire: Effect.Effect<void, EventStoreError> = Effect.suspend(() => {
    this.changed.closeUnsafe()
    return Effect.tap(this.ownership.acquire, (held) => {
      if (held === 0) return Effect.andThen(this.hooks.refresh, this.hooks.acquired)
      if (this.stopped) return Effect.void
      // Its own writes are changes too: each of them is no reason to ask.
      const pause = Math.min(standbyPause, held)
      return this.hooks.refresh.pipe(
        Effect.andThen(this.answered),
        Effect.andThen(Effect.timeoutOption(this.ended.await, pause)),
        Effect.andThen(Effect.timeoutOption(this.changed.await, held - pause))
      )
    })
  })

  private readonly lost: Effect.Effect<void> = Effect.suspend(() => {
    this.acknowledger.forget()
    this.hand.forget()
    this.wake()
    return this.hooks.log.leaseLost
  })

  private fetch(lease: Lease): Effect.Effect<void, EventStoreError | LeaseLost> {
    this.changed.closeUnsafe()
    return Effect.flatMap(this.reader.look(lease, this.ended.await), (found) => {
      if (found === "some" || this.stopped) return Effect.void
      // What is before it is delivered and acknowledged first.
      if (found !== "none" && this.hand.oldest === undefined) {
        return this.acknowledger.pending > 0 ? Effect.void : this.halt(found)
      }
      return Effect.andThen(this.answered, this.changed.await)
    })
  }

  /** Stops the line in front of an event, and lets another process have it. */
  private halt({ cause, key }: DeadLettered): Effect.Effect<void, EventStoreError> {
    this.halted = true
    return Effect.andThen(this.hooks.log.halted(`event ${key}: ${cause}`), this.ownership.release)
  }

  /** Acknowledges what has been delivered and gives the lease back, when the drainer has ended. */
  readonly finish: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    this.ownership.stop()
    return Effect.andThen(this.ownership.answered, this.finished)
  })

  private readonly finished: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    const { lease } = this.ownership
    if (lease === undefined) return Effect.void
    // No finalizer: a store that hangs must not hold up the close.
    return Effect.flatMap(Effect.exit(this.acknowledger.acknowledge(lease)), (acknowledged) =>
      // It runs out by itself.
      Effect.andThen(
        Effect.catchTag(this.ownership.release, "EventStoreError", () => Effect.void),
        acknowledged
      )
    )
  })
}
