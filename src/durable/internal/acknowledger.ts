/**
 * What was delivered, or dropped, and is not acknowledged yet: it is acknowledged in groups, before the next read and beside
 * a long delivery.
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError, Key, Lease, LeaseLost, Operations, Stored } from "../EventStore.ts"
import type { Ownership } from "./ownership.ts"

/** How long what was delivered waits for its acknowledgement while the next event is delivered, in milliseconds. */
const patience = 100
/** How long it does not ask again beside a delivery after a failure. */
const pause = "5 seconds"

export class Acknowledger {
  private readonly store: Operations
  private readonly ownership: Ownership
  /** Events were removed from the line. */
  private readonly removed: () => void
  private settled: Array<Stored> = []
  /** The first of them, which the store is being told of. */
  private told: ReadonlyArray<Stored> = []
  /**
   * What was reported as dropped, and counted so, and is still in the store: of one step of the trimmer, which drops nothing
   * more until the store has let it go. Nothing is read before that, so that none of it is reported again or delivered
   * after all, however long the store fails. It stays here when the lease is lost: another owner may deliver it, which
   * nobody here can hinder, but this process does not when it has the lease again. Only its death forgets: what was reported
   * by then and is still in the store is delivered by the next one. An event too many is better than one of which nobody
   * was told.
   */
  private dropped: ReadonlyArray<Key> = []
  /** Who acknowledges: the drainer, or the fiber beside it. */
  private readonly turn = Semaphore.makeUnsafe(1)
  private readonly some = Latch.makeUnsafe()

  constructor(store: Operations, ownership: Ownership, removed: () => void) {
    this.store = store
    this.ownership = ownership
    this.removed = removed
  }

  /** How much was delivered or dropped and is not acknowledged yet. */
  get pending(): number {
    return this.dropped.length + this.settled.length
  }

  /** What was delivered and is not acknowledged yet. */
  get unacknowledged(): ReadonlyArray<Stored> {
    return [...this.settled]
  }

  /** Whether something was dropped and is not acknowledged yet. */
  get hasDropped(): boolean {
    return this.dropped.length > 0
  }

  delivered(rows: ReadonlyArray<Stored>): void {
    if (rows.length === 0) return
    this.settled.push(...rows)
    this.some.openUnsafe()
  }

  /** They are reported. */
  drop(keys: ReadonlyArray<Key>): void {
    this.dropped = [...this.dropped, ...keys]
    this.some.openUnsafe()
  }

  /** The lease was lost: what was delivered is for another to deliver again. */
  forget(): void {
    this.settled = []
    this.told = []
  }

  /** Acknowledges what has been delivered or dropped, once nobody else does. */
  acknowledge(lease: Lease): Effect.Effect<void, EventStoreError | LeaseLost> {
    return this.turn.withPermits(1)(
      Effect.suspend(() => {
        const { dropped } = this
        const delivered = [...this.settled]
        const keys = [...dropped, ...delivered.map(({ key }) => key)]
        if (!isReadonlyArrayNonEmpty(keys)) return Effect.void
        this.told = delivered
        return Effect.map(this.store.acknowledge(lease, keys), () => {
          // More may have been delivered meanwhile. When the lease was lost, all is forgotten already.
          if (this.told === delivered) this.settled.splice(0, delivered.length)
          this.told = []
          if (this.dropped === dropped) this.dropped = []
          this.removed()
        })
      })
    )
  }

  /** Acknowledges while the drainer is at the next event, however long it is. */
  readonly beside: Effect.Effect<void> = Effect.suspend(() => {
    const turn = Effect.suspend(() => {
      this.some.closeUnsafe()
      const { lease } = this.ownership
      return lease === undefined ? Effect.void : this.acknowledge(lease)
    }).pipe(
      Effect.catchTag("LeaseLost", ({ epoch }) => this.ownership.lose(epoch)),
      // The drainer acknowledges too, when it is done, and says what is wrong.
      Effect.catchTag("EventStoreError", () =>
        Effect.andThen(
          Effect.sleep(pause),
          Effect.sync(() => this.some.openUnsafe())
        )
      )
    )
    return Effect.forever(this.some.await.pipe(Effect.andThen(Effect.sleep(patience)), Effect.andThen(turn)))
  })
}
