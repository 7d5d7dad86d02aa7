/**
 * Makes room by dropping the oldest events: `"drop-oldest"`. Only the lease's owner does, which knows what is in
 * flight.
 */
import * as Effect from "effect/Effect"
import type { EventStoreError, Key, Lease, LeaseLost, Limits, Operations, Stored } from "../EventStore.ts"
import type { Consumer } from "./consumer.ts"
import type { Settings } from "./settings.ts"

/** Events that are dropped in one step, at most. */
const maxStep = 256

export class Trimmer<A> {
  private readonly settings: Settings<never>
  private readonly limits: Limits
  private readonly store: Operations
  private readonly consumer: Consumer<A>
  /** Reports dropped events before they are gone. It must not wait: the queue cannot be read meanwhile. */
  private readonly report: (dropped: ReadonlyArray<Stored>) => Effect.Effect<void>
  private running = false
  /** A call came during a step: its events may be over the limits. */
  private again = false

  constructor(
    settings: Settings<never>,
    limits: Limits,
    store: Operations,
    consumer: Consumer<A>,
    report: (dropped: ReadonlyArray<Stored>) => Effect.Effect<void>
  ) {
    this.settings = settings
    this.limits = limits
    this.store = store
    this.consumer = consumer
    this.report = report
  }

  /** Drops what is over the limits, for the lease's owner. One run at a time: for a call meanwhile it goes on. */
  readonly trim: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    this.again = true
    if (this.running) return Effect.void
    this.running = true
    return Effect.ensuring(
      Effect.whileLoop({
        while: () => this.again,
        body: () => {
          this.again = false
          return this.consumer.reader.turn.withPermits(1)(this.step)
        },
        step: (more) => (this.again ||= more)
      }),
      Effect.sync(() => (this.running = false))
    )
  })

  /** Drops some, and answers whether there may be more to drop. */
  private readonly step: Effect.Effect<boolean, EventStoreError | LeaseLost> = Effect.suspend(() => {
    const { lease } = this.consumer.ownership
    if (lease === undefined) return Effect.succeed(false)
    const { acknowledger, inFlight } = this.consumer
    // What the step before has reported is still there: it would be found again.
    if (acknowledger.hasDropped) return Effect.as(acknowledger.acknowledge(lease), true)
    const before = [...acknowledger.unacknowledged, ...inFlight.rows]
    return Effect.flatMap(this.store.size(this.settings.name), (size) => {
      let { bytes, rows } = size
      if (rows <= this.limits.rows && bytes <= this.limits.bytes) return Effect.succeed(false)
      return Effect.flatMap(this.readHead(lease, size.bytes, this.settings.batchBytes), (stored) => {
        // Events that were settled before the store's answers are gone, or will be: the answers may have them still. An
        // event that is settled and not acknowledged counts as gone.
        const settled = lengths(before.filter(({ key }) => !inFlight.unsettled.has(key)))
        for (const length of settled.values()) {
          rows--
          bytes -= length
        }
        const { taken } = this
        const dropped: Array<Stored> = []
        for (const one of stored) {
          if (rows <= this.limits.rows && bytes <= this.limits.bytes) break
          if (settled.has(one.key) || taken.has(one.key)) continue
          dropped.push(one)
          rows--
          bytes -= one.payload.length
        }
        if (dropped.length === 0) return Effect.succeed(false)
        const keys = dropped.map(({ key }) => key)
        inFlight.skip(new Set(keys))
        const reported = Effect.map(this.report(dropped), () => acknowledger.drop(keys))
        return Effect.uninterruptible(reported).pipe(
          Effect.andThen(Effect.suspend(() => acknowledger.acknowledge(lease))),
          Effect.as(true)
        )
      })
    })
  })

  /** The lengths of the payloads that drainers have taken, or delivered without an acknowledgement yet. */
  private get taken(): ReadonlyMap<Key, number> {
    const { acknowledger, inFlight } = this.consumer
    return lengths([...acknowledger.unacknowledged, ...inFlight.taken])
  }

  /**
   * The head of the queue, of `total` bytes. Events that are taken are mostly there, and in memory already; beside them
   * come no more than `extra` bytes, unless all of these events are taken.
   */
  private readHead(
    lease: Lease,
    total: number,
    extra: number
  ): Effect.Effect<ReadonlyArray<Stored>, EventStoreError | LeaseLost> {
    const before = this.taken
    const bytes = extra + [...before.values()].reduce((sum, length) => sum + length, 0)
    return Effect.flatMap(this.store.next(lease, { rows: before.size + maxStep, bytes }), (stored) =>
      bytes >= total || stored.some(({ key }) => !before.has(key))
        ? Effect.succeed(stored)
        : this.readHead(lease, total, extra * 2)
    )
  }
}

/** The lengths of payloads, by their keys. */
const lengths = (some: ReadonlyArray<Stored>): ReadonlyMap<Key, number> =>
  new Map(some.map(({ key, payload }) => [key, payload.length]))
