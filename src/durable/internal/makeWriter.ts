/** A sink that stores events in an exchange, and delivers none. */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { endAccount, makeAccount, makeNode, type SinkEdge, type SinkNode } from "../../internal/node.ts"
import { makeReport } from "../../internal/report.ts"
import { makeSendSpan } from "../../internal/sendSpan.ts"
import { type AcknowledgingSink, makeSink, type SinkClosed } from "../../internal/sink.ts"
import type { EventStoreError, NewEvent, Operations } from "../EventStore.ts"
import type { DurableWriteError } from "./error.ts"
import type { Codec } from "./eventCodec.ts"
import type { Receipt, SendOptions } from "./sending.ts"
import { makeWrites } from "./writes.ts"
import { makeWriting, type WriteError } from "./writing.ts"

/**
 * A sink that stores: what it writes is delivered by the process that serves its queue, or its subscriptions.
 *
 * @category models
 * @since 0.1.0
 */
export interface DurableWriter<in out A> extends AcknowledgingSink<A, DurableWriteError, "store"> {
  /** Writes an event, to be delivered at a time of its own if one is given, and answers what the store has of it. */
  readonly send: (event: A, options?: SendOptions | undefined) => Effect.Effect<Receipt, DurableWriteError | SinkClosed>
}

export interface Options<in out A> {
  readonly kind: string
  readonly name: string
  readonly store: Operations
  readonly codec: Pick<Codec<A>, "encode">
  readonly addressOf: ((event: A) => Omit<NewEvent, "payload">) | undefined
  readonly batchSize: number
  readonly batchBytes: number
  readonly drainTimeout: Duration.Duration
  /** What must be so before anything is published. */
  readonly ready: Effect.Effect<unknown, EventStoreError>
  readonly downstream: () => ReadonlyArray<SinkEdge>
  readonly context: Context.Context<never>
}

export interface Writer<in out A> {
  readonly sink: DurableWriter<A>
  readonly node: SinkNode
  readonly close: Effect.Effect<void>
}

export const makeWriter = <A>(options: Options<A>): Writer<A> => {
  const account = makeAccount()
  const node = makeNode({
    kind: options.kind,
    name: options.name,
    account,
    acknowledges: "store",
    taps: ["accepted"],
    filters: true,
    // What is stored is delivered as far as this part goes: each subscription keeps an account of its own.
    update: () => void (account.accepted = account.delivered + account.filtered),
    downstream: options.downstream
  })
  const writing = makeWriting<A>({
    ...options,
    exchange: options.name,
    check: undefined,
    node,
    account,
    report: makeReport<A, never>(node, undefined, options.context),
    overflow: "suspend",
    limits: undefined,
    appending: () => (stored) => void (account.delivered += stored)
  })
  const sendSpan = makeSendSpan(() => node.name, options.context)
  const { send, write, writeSome } = makeWrites(writing, sendSpan)
  const sink = makeSink<A, WriteError>({ node, write, writeSome })
  return {
    // Without limits it is never full, and drops nothing.
    sink: Object.assign(sink, { send }) as DurableWriter<A>,
    node,
    close: Effect.suspend(() => {
      if (account.state !== "open") return Effect.void
      account.state = "closing"
      return Effect.map(writing.close, () => endAccount(account))
    })
  }
}
