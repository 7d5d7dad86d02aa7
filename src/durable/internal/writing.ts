/** The side of a durable queue that is written to: encodes, commits in groups, and does as the overflow policy says. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { EventStoreError, type Limits, type Operations } from "../EventStore.ts"
import { Delivering } from "../../internal/context.ts"
import { andThenEager, loopEager } from "../../internal/eager.ts"
import { reaches } from "../../internal/node.ts"
import { QueueFull } from "../../internal/queue/makeQueue.ts"
import type { Report } from "../../internal/report.ts"
import { SinkClosed } from "../../internal/sink.ts"
import type { Account } from "./account.ts"
import type { Codec } from "./eventCodec.ts"
import { Committer } from "./committer.ts"
import { DurableWriteError, Unencodable } from "./error.ts"
import type { Settings } from "./settings.ts"

/** Everything that a write can fail with; the types of the constructor leave out what its policy excludes. */
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
  private readonly account: Account
  private readonly store: Operations
  private readonly codec: Codec<A>
  private readonly reporter: Report<A>
  /** To be run after the commit of each append of its own. */
  private readonly appended: Effect.Effect<void>
  private readonly committer: Committer<A, WriteError | SinkClosed>
  private readonly limits: Limits | undefined

  constructor(
    settings: Settings<A>,
    account: Account,
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
    // Under "drop-oldest" everything enters, and what is over is dropped from the other end.
    this.limits = settings.overflow === "drop-oldest" ? undefined : settings.limits
    this.committer = new Committer<A, WriteError | SinkClosed>({
      append: (payloads) => Effect.mapErrorEager(this.append(payloads, this.limits), this.failure),
      full: (events) => this.overflown(events),
      unanswered: Effect.suspend(() => Effect.fail(this.failure(unanswered))),
      // Writers that share a commit are no group that may enter an empty queue whatever its size.
      events: Math.min(settings.groupEvents, this.limits?.rows ?? settings.groupEvents),
      bytes: Math.min(settings.groupBytes, this.limits?.bytes ?? settings.groupBytes),
      patient: settings.overflow === "suspend",
      context
    })
  }

  one(event: A, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void, WriteError | SinkClosed> {
    if (this.account.counts.state !== "open") return this.closed
    this.settings.partitionBy?.(event)
    return andThenEager(this.encoded(event), (payload) => this.accept([event], [payload], fiber))
  }

  /** As many leading events as share a commit, whole or not at all. */
  some(
    group: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<number, WriteError | SinkClosed> {
    if (this.account.counts.state !== "open") return this.closed
    return Effect.suspend(() => {
      const { groupBytes, groupEvents, partitionBy } = this.settings
      if (partitionBy !== undefined) for (const event of group) partitionBy(event)
      const most = Math.min(group.length, groupEvents)
      const payloads: Array<Uint8Array> = []
      let bytes = 0
      let isFull = false
      const encoding = loopEager(
        // Not out of bounds, by the condition.
        () => (isFull || payloads.length === most ? undefined : this.encoded(group[payloads.length]!)),
        (payload) => {
          isFull = payloads.length > 0 && bytes + payload.length > groupBytes
          if (isFull) return
          bytes += payload.length
          payloads.push(payload)
        }
      )
      return Effect.flatMap(encoding, () =>
        // There is one at least.
        Effect.as(this.accept(group.slice(0, payloads.length), payloads as unknown as Payloads, fiber), payloads.length)
      )
    })
  }

  /** There may be room for who waits for it. */
  readonly wake = (): void => this.committer.wake()

  /** Turns away who waits, and waits for the commit that is under way until `drainTimeout`. */
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
    // The close may have come while it was encoded.
    if (this.account.counts.state !== "open") return this.closed
    const delivering = fiber.getRef(Delivering)
    // It would wait for room that only its own end can make.
    const cannotWait = delivering !== undefined && reaches(this.account.node, delivering)
    return andThenEager(this.store.inTransaction, (inside) =>
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
    // A transaction that waited for room would keep others from what it has locked.
    const limits = cannotWait || this.settings.overflow === "suspend" ? undefined : this.limits
    // What follows an append is for after its commit, which the store tells of. It would ask the store, which takes a
    // second connection while this fiber keeps that of its transaction.
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
      if (admitted) this.account.entered(payloads.length)
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
