/** Makes room by dropping what has waited longest: `"drop-oldest"`. Only the owner of the lease does, since it knows what is in hand. */
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
  /** Takes what is dropped, before it is gone. It waits for nobody: the line cannot be read meanwhile. */
  private readonly report: (dropped: ReadonlyArray<Stored>) => Effect.Effect<void>
  private running = false
  /** Somebody came while it was looking: what he has written may be too much. */
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

  /** Drops what is over the limits, if it is its turn to. Once at a time: for who comes meanwhile it looks again. */
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
    const { acknowledger, hand } = this.consumer
    // What the step before has reported is still there: it would be found again.
    if (acknowledger.hasDropped) return Effect.as(acknowledger.acknowledge(lease), true)
    const before = [...acknowledger.unacknowledged, ...hand.rows]
    return Effect.flatMap(this.store.size(this.settings.name), (size) => {
      let { bytes, rows } = size
      if (rows <= this.limits.rows && bytes <= this.limits.bytes) return Effect.succeed(false)
      return Effect.flatMap(this.look(lease, size.bytes, this.settings.groupBytes), (stored) => {
        // What was settled before the store is told of it is as good as gone. What was meanwhile is gone, or will be: the
        // store's answers may have it still.
        const settled = lengths(before.filter(({ key }) => !hand.unsettled.has(key)))
        for (const length of settled.values()) {
          rows--
          bytes -= length
        }
        const { inHand } = this
        const dropped: Array<Stored> = []
        for (const one of stored) {
          if (rows <= this.limits.rows && bytes <= this.limits.bytes) break
          if (settled.has(one.key) || inHand.has(one.key)) continue
          dropped.push(one)
          rows--
          bytes -= one.payload.length
        }
        if (dropped.length === 0) return Effect.succeed(false)
        const keys = dropped.map(({ key }) => key)
        hand.skip(new Set(keys))
        const reported = Effect.map(this.report(dropped), () => acknowledger.drop(keys))
        return Effect.uninterruptible(reported).pipe(
          Effect.andThen(Effect.suspend(() => acknowledger.acknowledge(lease))),
          Effect.as(true)
        )
      })
    })
  })

  /** How long the payloads are of what drainers have, and of what they have delivered and is not acknowledged yet. */
  private get inHand(): ReadonlyMap<Key, number> {
    const { acknowledger, hand } = this.consumer
    return lengths([...acknowledger.unacknowledged, ...hand.inHand])
  }

  /**
   * The head of the line, of `total` bytes. What is in hand is mostly there, and is in memory already; beside it come no
   * more than `extra` bytes, unless there is nothing among them that is not in hand.
   */
  private look(
    lease: Lease,
    total: number,
    extra: number
  ): Effect.Effect<ReadonlyArray<Stored>, EventStoreError | LeaseLost> {
    const before = this.inHand
    const bytes = extra + [...before.values()].reduce((sum, length) => sum + length, 0)
    return Effect.flatMap(this.store.next(lease, { rows: before.size + maxStep, bytes }), (stored) =>
      bytes >= total || stored.some(({ key }) => !before.has(key))
        ? Effect.succeed(stored)
        : this.look(lease, total, extra * 2)
    )
  }
}

/** How long payloads are, by their keys. */
const lengths = (some: ReadonlyArray<Stored>): ReadonlyMap<Key, number> =>
  new Map(some.map(({ key, payload }) => [key, payload.length]))
