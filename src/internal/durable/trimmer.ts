/** Makes room by dropping what has waited longest: `"drop-oldest"`. Only the owner of the lease does, since it knows what is in hand. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import type { DurableQueueStoreError, LeaseLost, Limits, Operations, Stored } from "../../durable/DurableQueueStore.ts"
import type { Consumer } from "./consumer.ts"

/** Events that are dropped in one step, at most. */
const maxStep = 256

export class Trimmer<A> {
  private readonly queue: string
  private readonly store: Operations
  private readonly limits: Limits
  private readonly consumer: Consumer<A>
  /** Takes what is dropped, before it is gone. It waits for nobody: the line cannot be read meanwhile. */
  private readonly report: (dropped: ReadonlyArray<Stored>) => Effect.Effect<void>
  private running = false
  /** Somebody came while it was looking: what he has written may be too much. */
  private again = false

  constructor(
    queue: string,
    store: Operations,
    limits: Limits,
    consumer: Consumer<A>,
    report: (dropped: ReadonlyArray<Stored>) => Effect.Effect<void>
  ) {
    this.queue = queue
    this.store = store
    this.limits = limits
    this.consumer = consumer
    this.report = report
  }

  /** Drops what is over the limits, if it is its turn to. Once at a time: for who comes meanwhile it looks again. */
  readonly trim: Effect.Effect<void, DurableQueueStoreError | LeaseLost> = Effect.suspend(() => {
    this.again = true
    if (this.running) return Effect.void
    this.running = true
    return Effect.ensuring(
      Effect.whileLoop({
        while: () => this.again,
        body: () => {
          this.again = false
          return this.consumer.reading.withPermits(1)(this.step)
        },
        step: (more) => (this.again ||= more)
      }),
      Effect.sync(() => (this.running = false))
    )
  })

  /** Drops some, and answers whether there may be more to drop. */
  private readonly step: Effect.Effect<boolean, DurableQueueStoreError | LeaseLost> = Effect.suspend(() => {
    const { lease } = this.consumer.ownership
    if (lease === undefined) return Effect.succeed(false)
    return Effect.flatMap(this.store.size(this.queue), ({ bytes, rows }) => {
      if (rows <= this.limits.rows && bytes <= this.limits.bytes) return Effect.succeed(false)
      const look = { rows: this.consumer.inHand.size + maxStep, bytes: Number.POSITIVE_INFINITY }
      return Effect.flatMap(this.store.next(lease, look), (stored) => {
        const { inHand, unacknowledged } = this.consumer
        const dropped: Array<Stored> = []
        for (const { key, payload } of stored) {
          if (!unacknowledged.has(key)) continue
          // It is as good as gone.
          rows--
          bytes -= payload.length
        }
        for (const one of stored) {
          if (rows <= this.limits.rows && bytes <= this.limits.bytes) break
          if (inHand.has(one.key)) continue
          dropped.push(one)
          rows--
          bytes -= one.payload.length
        }
        const keys = dropped.map(({ key }) => key)
        if (!isReadonlyArrayNonEmpty(keys)) return Effect.succeed(false)
        this.consumer.skip(new Set(keys))
        return this.report(dropped).pipe(Effect.andThen(this.store.acknowledge(lease, keys)), Effect.as(true))
      })
    })
  })
}
