/** The `traceparent` of W3C Trace Context, section 3.2: a span as text, for stores and for receivers. */
import * as Tracer from "effect/Tracer"

/** What a `traceparent` says of a span. */
export interface SpanContext {
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
}

/** Nothing for a span whose ids are not of the form that the specification has: a receiver would refuse it. */
export const format = ({ sampled, spanId, traceId }: SpanContext): string | undefined => {
  // Some tracers have ids of 64 bits.
  const text = `00-${traceId.padStart(32, "0")}-${spanId}-${sampled ? "01" : "00"}`
  return parse(text) === undefined ? undefined : text
}

/** The span of a `traceparent`, also of a later version (section 3.2.4); nothing for any other text. */
export const parse = (text: string): Tracer.ExternalSpan | undefined => {
  const [, version, traceId = "", spanId = "", flags = "", more] = pattern.exec(text) ?? []
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return undefined
  // Ids of zeros stand for none (sections 3.2.2.3 and 3.2.2.4).
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return Tracer.externalSpan({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 })
}

// internals

const pattern = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/
