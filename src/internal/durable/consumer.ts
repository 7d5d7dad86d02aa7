/**
 * What a drainer takes its events from when they are in a store: it reads from the head of the line under a lease, and
 * acknowledges what has been delivered, in groups.
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import type {
  DurableQueueStoreError,
  Key,
  Lease,
  LeaseLost,
  Operations,
  Parked,
  Stored
} from "../../durable/DurableQueueStore.ts"
import type { Source } from "../draining.ts"
import { exitEager, loopEager } from "../envelope/codec.ts"
import type { EnvelopeError } from "../envelope/error.ts"
import { Acknowledger } from "./acknowledger.ts"
import type { QueueLog } from "./log.ts"
import { Ownership } from "./ownership.ts"
import { toPark } from "./parking.ts"
import type { Settings } from "./settings.ts"

/** What the queue around it does, and wants to know. */
export interface ConsumerHooks<out A> {
  readonly decode: (payload: Uint8Array) => Effect.Effect<A, EnvelopeError>
  /** It has the lease, or somebody else does: what it knows of the store's content is old. */
  readonly refresh: Effect.Effect<void, DurableQueueStoreError>
  /** It has the lease now. */
  readonly acquired: Effect.Effect<void>
  /** It looks at the head of the line, and tells how many events are there. */
  readonly looking: () => (n: number) => void
  /** Events were removed from the line. */
  readonly removed: () => void
  readonly undecodable: (n: number) => Effect.Effect<void>
  readonly log: Pick<QueueLog, "halted" | "leaseLost" | "troubled" | "recovered">
}

/** An event in hand. */
export interface Row<out A> extends Stored {
  readonly event: A
  /** It stays in the store, or has left it by another way: it is not to be acknowledged. */
  exempt: boolean
}

/** How often a queue that stands by asks for the lease at most, in milliseconds. */
const standbyPause = 250
/** How long it waits after a failure of the store, at first and at most, in milliseconds. */
const [leastPause, mostPause] = [100, 5_000]

export class Consumer<A> implements Source<A> {
  private readonly settings: Settings<never>
  private readonly store: Operations
  private readonly hooks: ConsumerHooks<A>
  readonly ownership: Ownership
  readonly acknowledger: Acknowledger
  /** Hands on all that was read at once, for sinks that take groups or are plain functions; otherwise one event. */
  private readonly whole: boolean
  private rows: Array<Row<A>> = []
  /** How many of the rows the drainer has been given, and how many of these are settled. */
  private handed = 0
  private settledTo = 0
  /** The lease was lost, and another has the rows: what of them is left undelivered must not be passed by the rest. */
  private revoked = false
  private stopped = false
  private halted = false
  private pause = leastPause
  /** Who reads from the line and is not done with what was read. */
  readonly reading = Semaphore.makeUnsafe(1)
  private readonly changed = Latch.makeUnsafe()
  private readonly ended = Latch.makeUnsafe()

  constructor(
    settings: Settings<never>,
    store: Operations,
    whole: boolean,
    hooks: ConsumerHooks<A>,
    context: Context.Context<never>
  ) {
    this.settings = settings
    this.store = store
    this.whole = whole
    this.hooks = hooks
    this.ownership = new Ownership(settings.name, store, settings.leaseTtl, this.lost, context)
    this.acknowledger = new Acknowledger(store, this.ownership, hooks.removed)
  }

  /** What the drainer has, and what it has delivered and is not acknowledged yet: some of what was read at once. */
  get inHand(): ReadonlyArray<Row<A>> {
    return [...this.unacknowledged, ...this.rows.slice(this.settledTo, this.handed)]
  }

  /** What the drainer has delivered and is not acknowledged yet. Nothing is read before that is. */
  get unacknowledged(): ReadonlyArray<Row<A>> {
    const pending = new Set(this.acknowledger.pending)
    return this.rows.slice(0, this.settledTo).filter(({ key }) => pending.has(key))
  }

  /** The event that the drainer is at. */
  get row(): Row<A> | undefined {
    return this.rows[this.settledTo]
  }

  readonly poll = (): ReadonlyArray<A> | undefined => {
    if (this.stopped) return []
    const { isStale, lease } = this.ownership
    if (lease === undefined || isStale || this.handed === this.rows.length) return undefined
    const from = this.handed
    this.handed = this.whole ? this.rows.length : from + 1
    return this.rows.slice(from, this.handed).map(({ event }) => event)
  }

  /** The next `n` events that it gave are settled. */
  readonly settled = (n: number): void => {
    const rows = this.rows.slice(this.settledTo, this.settledTo + n)
    this.settledTo += n
    this.acknowledger.delivered(rows.flatMap(({ exempt, key }) => (exempt ? [] : [key])))
  }

  readonly isRevoked = (): boolean => {
    // A lease that may have run out is asked for before the next group: what is left is read again under it.
    if (!this.revoked && !this.ownership.isStale) return false
    this.revoked = false
    this.rows.length = this.settledTo
    this.handed = this.settledTo
    return true
  }

  /** Forgets events that it has read and the drainer does not have. */
  skip(keys: ReadonlySet<Key>): void {
    this.rows = this.rows.filter(({ key }, i) => i < this.handed || !keys.has(key))
  }

  /** Another look is worth it. */
  readonly wake = (): void => void this.changed.openUnsafe()

  /** Gives nothing more out. */
  stop(): void {
    this.stopped = true
    this.ended.openUnsafe()
    this.changed.openUnsafe()
  }

  /** One step towards the next event. The drainer looks after each, and comes back. */
  readonly wait: Effect.Effect<void> = Effect.suspend(() =>
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

  private readonly step: Effect.Effect<void, DurableQueueStoreError | LeaseLost> = Effect.suspend(() => {
    if (this.stopped) return Effect.void
    if (this.halted) return this.ended.await
    const { isStale, lease } = this.ownership
    if (lease === undefined) return this.acquire
    if (isStale) return this.ownership.renew
    if (this.acknowledger.pending.length > 0) return this.acknowledger.acknowledge(lease)
    if (this.handed < this.rows.length) return Effect.void
    return this.fetch(lease)
  })

  private troubled(error: DurableQueueStoreError): Effect.Effect<void> {
    const { pause } = this
    this.pause = Math.min(pause * 2, mostPause)
    return Effect.andThen(this.hooks.log.troubled(error), Effect.timeoutOption(this.ended.await, pause))
  }

  private readonly acquire: Effect.Effect<void, DurableQueueStoreError> = Effect.suspend(() => {
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
    this.rows.length = this.handed
    this.revoked = true
    this.wake()
    return this.hooks.log.leaseLost
  })

  private fetch(lease: Lease): Effect.Effect<void, DurableQueueStoreError | LeaseLost> {
    this.changed.closeUnsafe()
    const { groupBytes, groupEvents } = this.settings
    const seen = this.hooks.looking()
    const read = Effect.suspend(() => {
      // Some were dropped while it waited for its turn, and may be there still.
      if (this.acknowledger.hasDropped) return Effect.succeed(true)
      return Effect.flatMap(this.store.next(lease, { rows: groupEvents, bytes: groupBytes }), (stored) => {
        seen(stored.length)
        return stored.length === 0 ? Effect.succeed(false) : Effect.as(this.read(lease, stored), true)
      })
    })
    return Effect.flatMap(this.reading.withPermits(1)(read), (some) =>
      some || this.stopped ? Effect.void : Effect.andThen(this.answered, this.changed.await)
    )
  }

  /** Takes what was read into its hand, and keeps out what does not decode. */
  private read(lease: Lease, stored: ReadonlyArray<Stored>): Effect.Effect<void, DurableQueueStoreError | LeaseLost> {
    const stops = this.settings.onUndecodable === "stop"
    const rows: Array<Row<A>> = []
    const bad: Array<Parked> = []
    let at = 0
    const decoding = loopEager(
      // Not out of bounds, by the condition.
      () =>
        at < stored.length && (bad.length === 0 || !stops)
          ? exitEager(this.hooks.decode(stored[at]!.payload))
          : undefined,
      (exit) => {
        const one = stored[at++]!
        if (exit._tag === "Success") rows.push({ ...one, event: exit.value, exempt: false })
        else bad.push({ ...toPark(one, "Undecodable", exit.cause), attempts: one.attempts })
      }
    )
    const took = Effect.sync(() => {
      // It was lost while they were on their way: another may have delivered them by now.
      if (this.ownership.lease !== lease) return
      this.revoked = false
      this.rows = rows
      this.handed = 0
      this.settledTo = 0
    })
    return Effect.flatMap(decoding, () => {
      const [first] = bad
      if (stops && first !== undefined && rows.length === 0) return this.halt(first)
      if (stops || !isReadonlyArrayNonEmpty(bad)) return took
      // First: what was parked once is not to be found again.
      return this.store.park(lease, bad).pipe(Effect.andThen(this.hooks.undecodable(bad.length)), Effect.andThen(took))
    })
  }

  /** Stops the line in front of an event, and lets another process have it. */
  private halt({ cause, key }: Parked): Effect.Effect<void, DurableQueueStoreError> {
    this.halted = true
    return Effect.andThen(this.hooks.log.halted(`event ${key}: ${cause}`), this.ownership.release)
  }

  /** Acknowledges what has been delivered and gives the lease back, when the drainer has ended. */
  readonly finish: Effect.Effect<void, DurableQueueStoreError | LeaseLost> = Effect.suspend(() => {
    this.ownership.stop()
    return Effect.andThen(this.ownership.answered, this.finished)
  })

  private readonly finished: Effect.Effect<void, DurableQueueStoreError | LeaseLost> = Effect.suspend(() => {
    const { lease } = this.ownership
    if (lease === undefined) return Effect.void
    // No finalizer: a store that hangs must not hold up the close.
    return Effect.flatMap(Effect.exit(this.acknowledger.acknowledge(lease)), (acknowledged) =>
      // It runs out by itself.
      Effect.andThen(
        Effect.catchTag(this.ownership.release, "DurableQueueStoreError", () => Effect.void),
        acknowledged
      )
    )
  })
}
