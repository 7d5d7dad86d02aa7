/**
 * Events that were delivered, or dropped, and are not acknowledged yet: they are acknowledged in batches, before the
 * next read and beside a long delivery.
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError, Key, Lease, LeaseLost, Operations, Stored } from "../EventStore.ts"
import type { Ownership } from "./ownership.ts"

/** How long a delivered event waits for its acknowledgement while the next event is delivered, in milliseconds. */
const acknowledgeDelay = 100
/** How long the fiber beside a delivery waits after a failure before it acknowledges again. */
const retryDelay = "5 seconds"

export class Acknowledger {
  private readonly store: Operations
  private readonly ownership: Ownership
  /** Events were removed from the queue. */
  private readonly removed: () => void
  private settled: Array<Stored> = []
  /** The first of them, whose acknowledgement is under way. */
  private acknowledging: ReadonlyArray<Stored> = []
  /**
   * Events that were reported as dropped, and counted so, and are still in the store: of one step of the trimmer, which
   * drops nothing more until the store has removed them. Nothing is read before that, so that none of them is reported
   * again or delivered after all, however long the store fails. They stay here when the lease is lost: another owner
   * may deliver them, which this process cannot prevent, but this process does not when it has the lease again. Only
   * the death of the process forgets: events that were reported by then and are still in the store are delivered by the
   * next one. An event too many is better than one without a report.
   */
  private dropped: ReadonlyArray<Key> = []
  /** The turn to acknowledge: of the drainer, or of the fiber beside it. */
  private readonly turn = Semaphore.makeUnsafe(1)
  private readonly some = Latch.makeUnsafe()

  constructor(store: Operations, ownership: Ownership, removed: () => void) {
    this.store = store
    this.ownership = ownership
    this.removed = removed
  }

  /** How many events were delivered or dropped and are not acknowledged yet. */
  get pending(): number {
    return this.dropped.length + this.settled.length
  }

  /** The events that were delivered and are not acknowledged yet. */
  get unacknowledged(): ReadonlyArray<Stored> {
    return [...this.settled]
  }

  /** Whether an event was dropped and is not acknowledged yet. */
  get hasDropped(): boolean {
    return this.dropped.length > 0
  }

  delivered(rows: ReadonlyArray<Stored>): void {
    if (rows.length === 0) return
    this.settled.push(...rows)
    this.some.openUnsafe()
  }

  /** The dropped events are reported. */
  drop(keys: ReadonlyArray<Key>): void {
    this.dropped = [...this.dropped, ...keys]
    this.some.openUnsafe()
  }

  /** The lease was lost: another owner delivers again what was delivered. */
  evict(): void {
    this.settled = []
    this.acknowledging = []
  }

  /** Acknowledges the events that have been delivered or dropped, one acknowledgement at a time. */
  acknowledge(lease: Lease): Effect.Effect<void, EventStoreError | LeaseLost> {
    return this.turn.withPermits(1)(
      Effect.suspend(() => {
        const { dropped } = this
        const delivered = [...this.settled]
        const keys = [...dropped, ...delivered.map(({ key }) => key)]
        if (!isReadonlyArrayNonEmpty(keys)) return Effect.void
        this.acknowledging = delivered
        return Effect.map(this.store.acknowledge(lease, keys), () => {
          // More may have been delivered meanwhile. When the lease was lost, all is evicted already.
          if (this.acknowledging === delivered) this.settled.splice(0, delivered.length)
          this.acknowledging = []
          if (this.dropped === dropped) this.dropped = []
          this.removed()
        })
      })
    )
  }

  /** Acknowledges while the drainer delivers the next event, however long that takes. */
  readonly beside: Effect.Effect<void> = Effect.suspend(() => {
    const turn = Effect.suspend(() => {
      this.some.closeUnsafe()
      const { lease } = this.ownership
      return lease === undefined ? Effect.void : this.acknowledge(lease)
    }).pipe(
      Effect.catchTag("LeaseLost", ({ epoch }) => this.ownership.lose(epoch)),
      // The drainer acknowledges too, after its delivery, and logs what is wrong.
      Effect.catchTag("EventStoreError", () =>
        Effect.andThen(
          Effect.sleep(retryDelay),
          Effect.sync(() => this.some.openUnsafe())
        )
      )
    )
    return Effect.forever(this.some.await.pipe(Effect.andThen(Effect.sleep(acknowledgeDelay)), Effect.andThen(turn)))
  })
}
