/** The writing side of an exchange: encodes, shares commits, and applies the overflow policy. */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { Delivering } from "../../internal/context.ts"
import { loopEager } from "../../internal/eager.ts"
import { type Account, drop, notify, reaches, type SinkNode } from "../../internal/node.ts"
import type { Overflow } from "../../internal/overflow.ts"
import { QueueFull } from "../../internal/queue/queueModel.ts"
import type { Report } from "../../internal/report.ts"
import { SinkClosed } from "../../internal/sink.ts"
import { format } from "../../internal/traceparent.ts"
import { writerSpanOf } from "../../internal/writerSpan.ts"
import {
  EventStoreError,
  type Keeping,
  type Limits,
  type NewEvent,
  type Operations,
  type Published
} from "../EventStore.ts"
import { DurableWriteError, Unencodable } from "./error.ts"
import type { Codec } from "./eventCodec.ts"
import { makeGroupCommit } from "./groupCommit.ts"
import { type Receipt, type SendOptions, sentWith } from "./sending.ts"

/** All errors of a write; the types of the constructors leave out what their policy excludes. */
export type WriteError = DurableWriteError | QueueFull

export interface Options<in out A> {
  readonly exchange: string
  readonly store: Operations
  readonly codec: Pick<Codec<A>, "encode">
  /** What the store gets of an event, beside its payload. */
  readonly addressOf: ((event: A) => Omit<NewEvent, "payload">) | undefined
  /** Throws where an event cannot be delivered: a defect of the write, which accepts nothing. */
  readonly check: ((event: A) => unknown) | undefined
  readonly node: SinkNode
  readonly account: Account
  readonly report: Report<A>
  readonly overflow: Overflow
  readonly limits: Limits | undefined
  readonly batchSize: number
  readonly batchBytes: number
  readonly drainTimeout: Duration.Duration
  /** What must be so before anything is published. */
  readonly ready: () => Effect.Effect<unknown, EventStoreError>
  /** `n` events are about to be stored, some at a time of their own: takes how many of them are at the end. */
  readonly appending: (n: number, hasTimes: boolean) => (stored: number) => void
  readonly context: Context.Context<never>
}

export interface Writing<in A> {
  readonly one: (event: A, fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<void, WriteError | SinkClosed>
  /** The same, with what the store has of it; nothing where the event was dropped by `"drop-newest"`. */
  readonly send: (
    event: A,
    options: SendOptions,
    fiber: Fiber.Fiber<unknown, unknown>
  ) => Effect.Effect<Receipt | undefined, WriteError | SinkClosed>
  /** As many leading events as share a commit, whole or not at all. */
  readonly some: (
    events: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ) => Effect.Effect<number, WriteError | SinkClosed>
  /** There may be room for a writer that waits for it. */
  readonly wake: () => void
  /** Refuses writers that wait, and waits for the commit that is under way until the time is up. */
  readonly close: Effect.Effect<void>
}

/** An event and its form in the store. */
interface Encoded<out A> {
  readonly event: A
  readonly stored: NewEvent
  /** Where the answer of the store is asked for. */
  readonly answer?: { published: Published | undefined }
}

const unanswered = new EventStoreError({
  store: "unknown",
  operation: "publish",
  problem: "Other",
  detail: "the writing part closed before it answered",
  maybeCommitted: true
})

/** How many characters an id may have: what an index of a store holds. */
const maxIdLength = 500

const tooLong = (length: number) =>
  new EventStoreError({
    store: "unknown",
    operation: "publish",
    problem: "Invalid",
    detail: `an id of ${length} characters is longer than ${maxIdLength}`,
    maybeCommitted: false
  })

/** A commit that may be done is not tried again, and a store that does not answer, or has no room, is not asked again. */
const blames = (error: WriteError | SinkClosed) => {
  if (error._tag !== "DurableWriteError" || error.reason._tag !== "EventStoreError") return "store"
  const { maybeCommitted, problem } = error.reason
  if (maybeCommitted) return "store"
  return problem === "Invalid" ? "event" : problem === "Other" ? "either" : "store"
}

/** Notes the answers where they are asked for, and answers how many are duplicates. */
const answered = (events: ReadonlyArray<Encoded<unknown>>, published: ReadonlyArray<Published>): number => {
  let duplicates = 0
  for (const [at, { answer }] of events.entries()) {
    if (answer !== undefined) answer.published = published[at]
    if (published[at]?.isDuplicate === true) duplicates++
  }
  return duplicates
}

const receiptOf = (published: Published | undefined): Receipt | undefined =>
  published && { id: published.position, isDuplicate: published.isDuplicate === true }

export const makeWriting = <A>(options: Options<A>): Writing<A> => {
  const { account, addressOf, batchBytes, batchSize, codec, exchange, node, overflow, report, store } = options
  // Under "drop-oldest" everything is accepted, and what is over is dropped from the other end.
  const limits = overflow === "drop-oldest" ? undefined : options.limits
  const closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: node.name })))
  const failure = (reason: DurableWriteError["reason"]) => new DurableWriteError({ queue: exchange, reason })

  const publish = (
    events: ReadonlyArray<Encoded<A>>,
    limits: Limits | undefined
  ): Effect.Effect<boolean, DurableWriteError> => {
    const stored = events.map(({ stored }) => stored)
    if (!isReadonlyArrayNonEmpty(stored)) return Effect.succeed(true)
    const publishing = Effect.suspend(() => {
      const appended = options.appending(
        stored.length,
        stored.some(({ due }) => due !== undefined)
      )
      return Effect.onExitPrimitive(store.publish(exchange, stored, limits), (exit) => {
        const published = exit._tag === "Success" ? exit.value : undefined
        const duplicates = published === undefined ? 0 : answered(events, published)
        account.filtered += duplicates
        appended(published === undefined ? 0 : stored.length - duplicates)
        if (published === undefined || account.observers === undefined) return undefined
        const accepted = events.filter((_, i) => published[i]?.isDuplicate !== true).map(({ event }) => event)
        if (accepted.length > 0) notify(account.observers, "accepted", accepted)
        return undefined
      })
    })
    return Effect.flatMapEager(options.ready(), () => publishing).pipe(
      Effect.mapErrorEager(failure),
      Effect.mapEager((published) => published !== undefined)
    )
  }
  const overflown = (events: ReadonlyArray<Encoded<A>>): Effect.Effect<void, QueueFull> => {
    if (overflow !== "drop-newest") {
      return Effect.fail(new QueueFull({ queue: exchange, capacity: limits?.rows ?? Number.POSITIVE_INFINITY }))
    }
    drop(account, "Overflow", events.length)
    return report.aside(
      events.map(({ event }) => event),
      { _tag: "Overflow" }
    )
  }
  const group = makeGroupCommit<Encoded<A>, WriteError | SinkClosed>({
    commit: (writes) =>
      publish(writes.length === 1 ? writes[0]!.events : writes.flatMap(({ events }) => events), limits),
    blames,
    full: ({ events }) => overflown(events),
    unanswered: Effect.suspend(() => Effect.fail(failure(unanswered))),
    // Writers that share a commit are no batch that an empty exchange accepts whatever its size.
    events: Math.min(batchSize, limits?.rows ?? batchSize),
    bytes: Math.min(batchBytes, limits?.bytes ?? batchBytes),
    waitsForRoom: overflow === "suspend",
    context: options.context
  })

  const encoded = (event: A, trace: string | undefined): Effect.Effect<Encoded<A>, DurableWriteError> =>
    Effect.mapBothEager(codec.encode(event), {
      onFailure: (cause) => failure(new Unencodable({ cause })),
      onSuccess: (payload) => {
        const stored = { ...addressOf?.(event), payload }
        return { event, stored: trace === undefined ? stored : { ...stored, trace } }
      }
    })
  /** In the fiber of the writer, which shares no commit. */
  const alone = (events: ReadonlyArray<Encoded<A>>, cannotWait: boolean): Effect.Effect<void, WriteError> =>
    // A transaction that waited for room would block others on its locks.
    Effect.flatMap(publish(events, cannotWait || overflow === "suspend" ? undefined : limits), (fits) =>
      fits ? Effect.void : overflown(events)
    )
  const accept = (
    events: ReadonlyArray<Encoded<A>>,
    bytes: number,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, WriteError | SinkClosed> => {
    // It may have closed during the encoding.
    if (account.state !== "open") return closed
    for (const { stored } of events) {
      const length = stored.id?.length ?? 0
      if (length > maxIdLength) return Effect.fail(failure(tooLong(length)))
    }
    const delivering = fiber.getRef(Delivering)
    // The write would wait for room that only its own end can make.
    const cannotWait = delivering !== undefined && reaches(node, delivering)
    return Effect.flatMapEager(store.inTransaction, (inside) =>
      inside || cannotWait ? alone(events, cannotWait) : group.commit({ events, bytes })
    )
  }

  return {
    one: (event, fiber) => {
      if (account.state !== "open") return closed
      options.check?.(event)
      return Effect.flatMapEager(encoded(event, traceOf(fiber)), (one) =>
        accept([one], one.stored.payload.length, fiber)
      )
    },
    send: (event, sendOptions, fiber) =>
      Effect.suspend(() => {
        if (account.state !== "open") return closed
        options.check?.(event)
        const said = sentWith(sendOptions)
        return Effect.flatMap(encoded(event, traceOf(fiber)), ({ stored }) => {
          const answer = { published: undefined as Published | undefined }
          const one = { event, stored: { ...stored, ...said }, answer }
          return Effect.map(accept([one], stored.payload.length, fiber), () => receiptOf(answer.published))
        })
      }),
    some: (events, fiber) =>
      Effect.suspend(() => {
        if (account.state !== "open") return closed
        if (options.check !== undefined) for (const event of events) options.check(event)
        const most = Math.min(events.length, batchSize)
        const trace = traceOf(fiber)
        const all: Array<Encoded<A>> = []
        let bytes = 0
        let isFull = false
        const encoding = loopEager(
          // Not out of bounds, by the condition.
          () => (isFull || all.length === most ? undefined : encoded(events[all.length]!, trace)),
          (one) => {
            const { length } = one.stored.payload
            isFull = all.length > 0 && bytes + length > batchBytes
            if (isFull) return
            bytes += length
            all.push(one)
          }
        )
        return Effect.flatMap(encoding, () => Effect.as(accept(all, bytes, fiber), all.length))
      }),
    wake: group.wake,
    close: Effect.suspend(() => group.close(closed, options.drainTimeout))
  }
}

/**
 * What must be so before an event is published: that its exchange keeps what it is to keep, and that its subscription is defined.
 * A write in a transaction defines it there (`join`), on the transaction's own connection: for another one it would wait while it
 * holds one itself, and a pool in which all do has none left. Such a definition goes with a transaction that rolls back, so the next
 * write in one repeats it.
 */
export const whenDefined =
  ({
    define,
    isDefined,
    join,
    store
  }: {
    readonly store: Operations
    /** Whether the definition is known to be committed. */
    readonly isDefined: () => boolean
    /** Commits the definition. */
    readonly define: Effect.Effect<unknown, EventStoreError>
    /** Defines as a part of the transaction that it is run in. */
    readonly join: Effect.Effect<unknown, EventStoreError>
  }) =>
  (): Effect.Effect<unknown, EventStoreError> =>
    isDefined() ? Effect.void : Effect.flatMapEager(store.inTransaction, (inside) => (inside ? join : define))

/** That of a writer that knows no subscription: its exchange keeps what it is to keep. */
export const whenOpen = (store: Operations, name: string, keeping: Keeping | undefined) => {
  let isOpen = keeping === undefined
  return whenDefined({
    store,
    isDefined: () => isOpen,
    define: Effect.map(store.open(name, keeping), () => void (isOpen = true)),
    join: store.open(name, keeping, { joins: true })
  })
}

// internals

/** What the store keeps of the span of a write. */
const traceOf = (fiber: Fiber.Fiber<unknown, unknown>): string | undefined => {
  const writer = writerSpanOf(fiber)
  return writer && format(writer)
}
