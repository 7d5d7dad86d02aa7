/** Reads from the head of the queue what is not in flight yet, and dead-letters what does not decode. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError, Key, Lease, LeaseLost, Limits, Operations, DeadLettered, Stored } from "../EventStore.ts"
import { exitEager, loopEager } from "../../internal/eager.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import type { Acknowledger } from "./acknowledger.ts"
import type { InFlight, Row } from "./inFlight.ts"
import { toDeadLetter } from "./toDeadLetter.ts"
import type { Settings } from "./settings.ts"

export interface ReaderHooks<out A> {
  readonly decode: (payload: Uint8Array) => Effect.Effect<A, EnvelopeError>
  /** A read at the head of the queue begins: the function that it answers takes how many events were found. */
  readonly reading: () => (n: number) => void
  readonly undecodable: (n: number) => Effect.Effect<void>
}

/** What a poll came to: more events are in flight, nothing is new, or delivery is paused in front of this event. */
export type Found = "some" | "none" | DeadLettered

/** So many events in flight are read again without a delay; when there are more, so many in a millisecond. */
const [few, rereading] = [32, 10]

export class Reader<A> {
  private readonly settings: Settings<A>
  private readonly store: Operations
  private readonly inFlight: InFlight<A>
  private readonly acknowledger: Acknowledger
  private readonly hooks: ReaderHooks<A>
  /** The turn to read from the queue and to handle what was read. */
  readonly turn = Semaphore.makeUnsafe(1)

  constructor(
    settings: Settings<A>,
    store: Operations,
    inFlight: InFlight<A>,
    acknowledger: Acknowledger,
    hooks: ReaderHooks<A>
  ) {
    this.settings = settings
    this.store = store
    this.inFlight = inFlight
    this.acknowledger = acknowledger
    this.hooks = hooks
  }

  /** Reads until events are in flight. When many are read again, it waits for a while before, or until `ended`. */
  poll(lease: Lease, ended: Effect.Effect<void>): Effect.Effect<Found, EventStoreError | LeaseLost> {
    const poll = this.turn.withPermits(1)(this.read(lease))
    const { size } = this.readBefore
    return size < few ? poll : Effect.andThen(Effect.timeoutOption(ended, size / rereading), poll)
  }

  private read(lease: Lease): Effect.Effect<Found, EventStoreError | LeaseLost> {
    return Effect.suspend(() => {
      // Some were dropped while it waited for its turn, and may be there still.
      if (this.acknowledger.hasDropped) return Effect.succeed("some")
      const { readBefore, limits } = this
      const { generation } = this.inFlight
      if (readBefore.size >= limits.rows) return Effect.succeed("none")
      const found = this.hooks.reading()
      return Effect.flatMap(this.store.next(lease, limits), (stored) => {
        const fresh = readBefore.size === 0 ? stored : stored.filter(({ key }) => !readBefore.has(key))
        found(fresh.length + this.inFlight.size)
        return fresh.length === 0 ? Effect.succeed("none") : this.offer(lease, fresh, generation)
      })
    })
  }

  /** The keys of events that were read before, and may be in the store: they may be acknowledged before its answer. */
  private get readBefore(): ReadonlySet<Key> {
    return new Set([...this.acknowledger.unacknowledged, ...this.inFlight.rows].map(({ key }) => key))
  }

  /** How much of the queue is read: events that were read before are at the head, or near it, and count. */
  private get limits(): Limits {
    const { batchBytes, batchSize, concurrency } = this.settings
    // A large event that is being delivered does not hold up the next.
    const bytes = this.inFlight.taken.reduce((sum, { payload }) => sum + payload.length, batchBytes)
    return { rows: Math.max(batchSize, concurrency), bytes }
  }

  private offer(
    lease: Lease,
    stored: ReadonlyArray<Stored>,
    generation: number
  ): Effect.Effect<Found, EventStoreError | LeaseLost> {
    const pauses = this.settings.onUndecodable === "pause"
    const rows: Array<Row<A>> = []
    const bad: Array<DeadLettered> = []
    let at = 0
    const decoding = loopEager(
      // Not out of bounds, by the condition.
      () => (at < stored.length && (bad.length === 0 || !pauses) ? exitEager(this.decoded(stored[at]!)) : undefined),
      (exit) => {
        const one = stored[at++]!
        if (exit._tag === "Success") rows.push(exit.value)
        else bad.push({ ...toDeadLetter(one, "Undecodable", exit.cause), attempts: one.attempts })
      }
    )
    const offered = Effect.sync((): Found => {
      // They must not pass events that were evicted during the read. With a lost lease all were, and another owner may
      // have delivered them by now.
      if (this.inFlight.generation === generation) this.inFlight.offer(rows)
      return "some"
    })
    return Effect.flatMap(decoding, () => {
      const [first] = bad
      const isFirst = rows.length === 0 && this.inFlight.generation === generation
      if (pauses && first !== undefined && isFirst) return Effect.succeed(first)
      if (pauses || !isReadonlyArrayNonEmpty(bad)) return offered
      // First: a dead-lettered event is not to be found again.
      return this.store
        .deadLetter(lease, bad)
        .pipe(Effect.andThen(this.hooks.undecodable(bad.length)), Effect.andThen(offered))
    })
  }

  private decoded(stored: Stored): Effect.Effect<Row<A>, EnvelopeError> {
    return Effect.flatMapEager(this.hooks.decode(stored.payload), (event) => {
      try {
        const partition = this.settings.partitionBy?.(event)
        return Effect.succeed({ ...stored, event, partition, exempt: false })
      } catch (defect) {
        // The process that has written it may have had another function.
        return Effect.die(defect)
      }
    })
  }
}
