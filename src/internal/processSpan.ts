/** The consumer span around a delivery, by OpenTelemetry's semantic conventions for messaging. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { attributesOf, hasTracer, messageCount, messageId, type WriterSpan } from "./writerSpan.ts"

/**
 * How the span of a delivery knows that of the write: by a link, which begins a trace of its own for the delivery, or as its
 * parent, where one event is delivered.
 *
 * @category options
 * @since 0.1.0
 */
export type TraceMode = "link" | "parent"

/** What is delivered by one write. */
export interface Processed {
  /** What the writers of the events have left, one for each event. */
  readonly writers: ReadonlyArray<WriterSpan | undefined>
  /** The ids of the events, where they have any. */
  readonly ids: ReadonlyArray<string> | undefined
  /** Whether the sink takes batches, of one event too. */
  readonly isBatch: boolean
}

export type ProcessSpan = <A, E>(write: Effect.Effect<A, E>, processed: Processed) => Effect.Effect<A, E>

export interface Options {
  readonly destination: () => string
  /** Which of the subscriptions of the destination it is, if there may be several. */
  readonly subscription?: (() => string) | undefined
  readonly mode: TraceMode | undefined
}

/** The span `process <name>`; nothing where the context of the deliveries has no tracer. */
export const makeProcessSpan = (
  { destination, mode, subscription }: Options,
  context: Context.Context<never>
): ProcessSpan | undefined => {
  if (!hasTracer(context)) return undefined
  return (write, { ids, isBatch, writers }) => {
    const name = destination()
    const attributes = attributesOf("process", name)
    if (subscription !== undefined) attributes["messaging.destination.subscription.name"] = subscription()
    if (isBatch) attributes[messageCount] = writers.length
    else if (ids !== undefined) attributes[messageId] = ids[0]
    const parent = mode === "parent" && writers.length === 1 ? writers[0] : undefined
    const links =
      parent !== undefined
        ? []
        : writers.flatMap((span, i) =>
            span === undefined ? [] : [{ span, attributes: ids === undefined ? {} : { [messageId]: ids[i] } }]
          )
    // A link carries no decision of its own: a delivery that is linked to unsampled writes alone would be sampled anew.
    const sampled = writers.every((span) => span?.sampled === false) ? false : undefined
    return Effect.useSpan(
      `process ${name}`,
      { kind: "consumer", root: parent === undefined, parent, links, attributes, sampled },
      (span) => Effect.withParentSpan(write, span, { captureStackTrace: false })
    )
  }
}
