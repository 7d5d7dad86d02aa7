/** The writing side of a durable queue: encodes, shares commits, and applies the overflow policy. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { EventStoreError, type Limits, type Operations } from "../EventStore.ts"
import { Delivering } from "../../internal/context.ts"
import { loopEager } from "../../internal/eager.ts"
import { reaches } from "../../internal/node.ts"
import { QueueFull } from "../../internal/queue/makeQueue.ts"
import type { Report } from "../../internal/report.ts"
import { SinkClosed } from "../../internal/sink.ts"
import type { DurableAccount } from "./durableAccount.ts"
import type { Codec } from "./eventCodec.ts"
import { Committer } from "./committer.ts"
import { DurableWriteError, Unencodable } from "./error.ts"
import type { Settings } from "./settings.ts"

/** All errors of a write; the types of the constructor leave out what its policy excludes. */
export type WriteError = DurableWriteError | QueueFull

const unanswered = new EventStoreError({
  store: "unknown",
  operation: "append",
  problem: "Other",
  detail: "the queue closed before it answered",
  maybeCommitted: true
})

type Payloads = NonEmptyReadonlyArray<Uint8Array>

export class Writing<in out A> {
  private readonly settings: Settings<A>
  private readonly account: DurableAccount
  private readonly store: Operations
  private readonly codec: Codec<A>
  private readonly reporter: Report<A>
  /** Runs after the commit of each append of this queue's own. */
  private readonly appended: Effect.Effect<void>
  private readonly committer: Committer<A, WriteError | SinkClosed>
  private readonly limits: Limits | undefined

  constructor(
    settings: Settings<A>,
    account: DurableAccount,
    store: Operations,
    codec: Codec<A>,
    reporter: Report<A>,
    appended: Effect.Effect<void>,
    context: Context.Context<never>
  ) {
    this.settings = settings
    this.account = account
    this.store = store
    this.codec = codec
    this.reporter = reporter
    this.appended = appended
    // Under "drop-oldest" everything is accepted, and what is over is dropped from the other end.
    this.limits = settings.overflow === "drop-oldest" ? undefined : settings.limits
    this.committer = new Committer<A, WriteError | SinkClosed>({
      append: (payloads) => Effect.mapErrorEager(this.append(payloads, this.limits), this.failure),
      full: (events) => this.overflown(events),
      unanswered: Effect.suspend(() => Effect.fail(this.failure(unanswered))),
      // Writers that share a commit are no batch that an empty queue accepts whatever its size.
      events: Math.min(settings.batchSize, this.limits?.rows ?? settings.batchSize),
      bytes: Math.min(settings.batchBytes, this.limits?.bytes ?? settings.batchBytes),
      waitsForRoom: settings.overflow === "suspend",
      context
    })
  }

  one(event: A, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void, WriteError | SinkClosed> {
    if (this.account.counts.state !== "open") return this.closed
    this.settings.partitionBy?.(event)
    return Effect.flatMapEager(this.encoded(event), (payload) => this.accept([event], [payload], fiber))
  }

  /** As many leading events as share a commit, whole or not at all. */
  some(
    batch: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<number, WriteError | SinkClosed> {
    if (this.account.counts.state !== "open") return this.closed
    return Effect.suspend(() => {
      const { batchBytes, batchSize, partitionBy } = this.settings
      if (partitionBy !== undefined) for (const event of batch) partitionBy(event)
      const most = Math.min(batch.length, batchSize)
      const payloads: Array<Uint8Array> = []
      let bytes = 0
      let isFull = false
      const encoding = loopEager(
        // Not out of bounds, by the condition.
        () => (isFull || payloads.length === most ? undefined : this.encoded(batch[payloads.length]!)),
        (payload) => {
          isFull = payloads.length > 0 && bytes + payload.length > batchBytes
          if (isFull) return
          bytes += payload.length
          payloads.push(payload)
        }
      )
      return Effect.flatMap(encoding, () =>
        // There is one at least.
        Effect.as(this.accept(batch.slice(0, payloads.length), payloads as unknown as Payloads, fiber), payloads.length)
      )
    })
  }

  /** There may be room for a writer that waits for it. */
  readonly wake = (): void => this.committer.wake()

  /** Refuses writers that wait, and waits for the commit that is under way until `drainTimeout`. */
  close(): Effect.Effect<void> {
    return this.committer.close(this.closed, this.settings.drainTimeout)
  }

  private readonly closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: this.account.node.name })))

  private encoded(event: A): Effect.Effect<Uint8Array, DurableWriteError> {
    return Effect.mapErrorEager(this.codec.encode(event), (cause) => this.failure(new Unencodable({ cause })))
  }

  private readonly failure = (reason: DurableWriteError["reason"]): DurableWriteError =>
    new DurableWriteError({ queue: this.settings.name, reason })

  private accept(
    events: ReadonlyArray<A>,
    payloads: Payloads,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, WriteError | SinkClosed> {
    // The queue may have closed during the encoding.
    if (this.account.counts.state !== "open") return this.closed
    const delivering = fiber.getRef(Delivering)
    // The write would wait for room that only its own end can make.
    const cannotWait = delivering !== undefined && reaches(this.account.node, delivering)
    return Effect.flatMapEager(this.store.inTransaction, (inside) =>
      inside || cannotWait ? this.alone(events, payloads, inside, cannotWait) : this.committer.commit(events, payloads)
    )
  }

  /** In the fiber of the writer, which shares no commit. */
  private alone(
    events: ReadonlyArray<A>,
    payloads: Payloads,
    inside: boolean,
    cannotWait: boolean
  ): Effect.Effect<void, WriteError> {
    // A transaction that waited for room would block others on its locks.
    const limits = cannotWait || this.settings.overflow === "suspend" ? undefined : this.limits
    // The follow-up of an append runs after its commit, of which the store notifies. Here it would ask the store, on a
    // second connection while this fiber has that of its transaction.
    const added = inside ? this.add(payloads, limits) : this.append(payloads, limits)
    return Effect.flatMap(Effect.mapError(added, this.failure), (admitted) =>
      admitted ? Effect.void : this.overflown(events)
    )
  }

  private append(payloads: Payloads, limits: Limits | undefined): Effect.Effect<boolean, EventStoreError> {
    return Effect.flatMap(this.add(payloads, limits), (admitted) =>
      admitted ? Effect.as(this.appended, true) : Effect.succeed(false)
    )
  }

  private add(payloads: Payloads, limits: Limits | undefined): Effect.Effect<boolean, EventStoreError> {
    return Effect.map(this.store.append(this.settings.name, payloads, limits), (admitted) => {
      if (admitted) this.account.appended(payloads.length)
      return admitted
    })
  }

  private overflown(events: ReadonlyArray<A>): Effect.Effect<void, QueueFull> {
    const { limits, name, overflow } = this.settings
    if (overflow !== "drop-newest") {
      return Effect.fail(new QueueFull({ queue: name, capacity: limits?.rows ?? Number.POSITIVE_INFINITY }))
    }
    this.account.counts.dropped += events.length
    return this.reporter.aside(events, { _tag: "Overflow" })
  }
}
