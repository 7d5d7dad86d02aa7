/** Reads from the head of the line what is not in hand yet, and keeps out what does not decode. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError, Key, Lease, LeaseLost, Limits, Operations, DeadLettered, Stored } from "../EventStore.ts"
import { andThenEager, exitEager, loopEager } from "../../internal/eager.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import type { Acknowledger } from "./acknowledger.ts"
import type { Hand, Row } from "./hand.ts"
import { toDeadLetter } from "./toDeadLetter.ts"
import type { Settings } from "./settings.ts"

export interface ReaderHooks<out A> {
  readonly decode: (payload: Uint8Array) => Effect.Effect<A, EnvelopeError>
  /** It looks at the head of the line, and tells how many events are there. */
  readonly looking: () => (n: number) => void
  readonly undecodable: (n: number) => Effect.Effect<void>
}

/** What a look came to: there is more in hand, nothing is new, or this event stops the line. */
export type Found = "some" | "none" | DeadLettered

/** So many events that are in hand are read again without a thought; when there are more, so many in a millisecond. */
const [few, rereading] = [32, 10]

export class Reader<A> {
  private readonly settings: Settings<A>
  private readonly store: Operations
  private readonly hand: Hand<A>
  private readonly acknowledger: Acknowledger
  private readonly hooks: ReaderHooks<A>
  /** Who reads from the line and is not done with what was read. */
  readonly turn = Semaphore.makeUnsafe(1)

  constructor(
    settings: Settings<A>,
    store: Operations,
    hand: Hand<A>,
    acknowledger: Acknowledger,
    hooks: ReaderHooks<A>
  ) {
    this.settings = settings
    this.store = store
    this.hand = hand
    this.acknowledger = acknowledger
    this.hooks = hooks
  }

  /** Fills the hand. When there is much that it reads again, it waits for a while before, or until `ended`. */
  look(lease: Lease, ended: Effect.Effect<void>): Effect.Effect<Found, EventStoreError | LeaseLost> {
    const look = this.turn.withPermits(1)(this.fill(lease))
    const { size } = this.known
    return size < few ? look : Effect.andThen(Effect.timeoutOption(ended, size / rereading), look)
  }

  private fill(lease: Lease): Effect.Effect<Found, EventStoreError | LeaseLost> {
    return Effect.suspend(() => {
      // Some were dropped while it waited for its turn, and may be there still.
      if (this.acknowledger.hasDropped) return Effect.succeed("some")
      const { known, limits } = this
      const { lettings } = this.hand
      if (known.size >= limits.rows) return Effect.succeed("none")
      const seen = this.hooks.looking()
      return Effect.flatMap(this.store.next(lease, limits), (stored) => {
        const fresh = known.size === 0 ? stored : stored.filter(({ key }) => !known.has(key))
        seen(fresh.length + this.hand.size)
        return fresh.length === 0 ? Effect.succeed("none") : this.take(lease, fresh, lettings)
      })
    })
  }

  /** What is in the store and was read before. By the time the store answers it may have been acknowledged. */
  private get known(): ReadonlySet<Key> {
    return new Set([...this.acknowledger.unacknowledged, ...this.hand.rows].map(({ key }) => key))
  }

  /** How much of the line it has in memory: what is known is at the head, or near it, and counts. */
  private get limits(): Limits {
    const { concurrency, groupBytes, groupEvents } = this.settings
    // A large event that is being delivered keeps nobody from the next.
    const bytes = this.hand.inHand.reduce((sum, { payload }) => sum + payload.length, groupBytes)
    return { rows: Math.max(groupEvents, concurrency), bytes }
  }

  private take(
    lease: Lease,
    stored: ReadonlyArray<Stored>,
    lettings: number
  ): Effect.Effect<Found, EventStoreError | LeaseLost> {
    const stops = this.settings.onUndecodable === "pause"
    const rows: Array<Row<A>> = []
    const bad: Array<DeadLettered> = []
    let at = 0
    const decoding = loopEager(
      // Not out of bounds, by the condition.
      () => (at < stored.length && (bad.length === 0 || !stops) ? exitEager(this.decoded(stored[at]!)) : undefined),
      (exit) => {
        const one = stored[at++]!
        if (exit._tag === "Success") rows.push(exit.value)
        else bad.push({ ...toDeadLetter(one, "Undecodable", exit.cause), attempts: one.attempts })
      }
    )
    const took = Effect.sync((): Found => {
      // They must not pass what was let go of while they were on their way. When the lease was lost all was, and another may
      // have delivered them by now.
      if (this.hand.lettings === lettings) this.hand.enter(rows)
      return "some"
    })
    return Effect.flatMap(decoding, () => {
      const [first] = bad
      const isFirst = rows.length === 0 && this.hand.lettings === lettings
      if (stops && first !== undefined && isFirst) return Effect.succeed(first)
      if (stops || !isReadonlyArrayNonEmpty(bad)) return took
      // First: what was dead-lettered once is not to be found again.
      return this.store
        .deadLetter(lease, bad)
        .pipe(Effect.andThen(this.hooks.undecodable(bad.length)), Effect.andThen(took))
    })
  }

  private decoded(stored: Stored): Effect.Effect<Row<A>, EnvelopeError> {
    return andThenEager(this.hooks.decode(stored.payload), (event) => {
      try {
        const partition = this.settings.partitionBy?.(event)
        return Effect.succeed({ ...stored, event, partition, exempt: false })
      } catch (defect) {
        // Who has written it may have had another function.
        return Effect.die(defect)
      }
    })
  }
}
