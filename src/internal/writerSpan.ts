/**
 * What a write leaves with its event of the span that it was made in. A tracer has a default, which records nothing, so the key
 * in a context is what tells whether there is one; without one, and where tracing is disabled, nothing is left.
 */
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import { TracerEnabled } from "effect/References"
import * as Tracer from "effect/Tracer"

/** The span of a write, without what a live span holds on to. */
export type WriterSpan = Tracer.ExternalSpan

/** What the conventions ask of every span of an operation. */
export const attributesOf = (operation: "send" | "process", destination: string): Record<string, unknown> => ({
  "messaging.system": "effect_events",
  "messaging.operation.name": operation,
  "messaging.operation.type": operation,
  "messaging.destination.name": destination
})

export const messageId = "messaging.message.id"
export const messageCount = "messaging.batch.message_count"

/** Whether the spans of a fiber are recorded. */
export const isTraced = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.cache.tracer !== undefined && fiber.cache.tracerEnabled && !fiber.getRef(Tracer.DisablePropagation)

/** Whether spans are recorded in a context. */
export const hasTracer = (context: Context.Context<never>): boolean =>
  context.mapUnsafe.has(Tracer.TracerKey) &&
  Context.get(context, TracerEnabled) &&
  !Context.get(context, Tracer.DisablePropagation)

export const writerSpanOf = (fiber: Fiber.Fiber<unknown, unknown>): WriterSpan | undefined => {
  const { span } = fiber.cache
  if (span === undefined || !isTraced(fiber)) return undefined
  return Tracer.externalSpan({ traceId: span.traceId, spanId: span.spanId, sampled: span.sampled })
}
