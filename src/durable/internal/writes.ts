/** The writes of a part that stores, each in a span of its own where there is a tracer. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type { Span } from "effect/Tracer"
import type { SinkNode } from "../../internal/node.ts"
import { overflowed, type ReceiptRequest, requestOf } from "../../internal/receipt.ts"
import type { SendSpan } from "../../internal/sendSpan.ts"
import type { SinkClosed } from "../../internal/sink.ts"
import { messageId } from "../../internal/writerSpan.ts"
import type { Receipt, SendOptions } from "./sending.ts"
import type { WriteError, Writing } from "./writing.ts"

export interface Writes<in A> {
  readonly write: (event: A) => Effect.Effect<void, WriteError | SinkClosed>
  readonly writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, WriteError | SinkClosed>
  readonly send: (event: A, options?: SendOptions) => Effect.Effect<Receipt | undefined, WriteError | SinkClosed>
}

/** What is stored with an event is the span that `writing` finds in its fiber. */
export const makeWrites = <A>(node: SinkNode, writing: Writing<A>, { mayTrace, one, some }: SendSpan): Writes<A> => {
  const noted = (span: Span | undefined) => (receipt: Receipt | undefined) => {
    if (receipt !== undefined) span?.attribute(messageId, String(receipt.id))
    return receipt
  }
  const send = (event: A, options: SendOptions = {}) =>
    Effect.withFiber((fiber) =>
      mayTrace(fiber)
        ? one((fiber, _, span) => Effect.map(writing.send(event, options, fiber), noted(span)), fiber)
        : writing.send(event, options, fiber)
    )
  /** A write that asked for a receipt: what the store has of its event is the outcome. */
  const asked = (event: A, request: ReceiptRequest) =>
    Effect.map(send(event), (receipt) =>
      request.note(node, receipt === undefined ? overflowed : { _tag: "Stored", ...receipt })
    )
  return {
    write: (event) =>
      Effect.withFiber((fiber) => {
        const request = requestOf(fiber)
        if (request !== undefined) return asked(event, request)
        return mayTrace(fiber) ? Effect.asVoid(send(event)) : writing.one(event, fiber)
      }),
    writeSome: (events) =>
      Effect.withFiber((fiber) => {
        const request = requestOf(fiber)
        // The answer of a batch has no ids.
        if (request !== undefined) return Effect.as(asked(events[0], request), 1)
        return mayTrace(fiber) ? some((fiber) => writing.some(events, fiber), fiber) : writing.some(events, fiber)
      }),
    send
  }
}
