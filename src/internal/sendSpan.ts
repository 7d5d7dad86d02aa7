/** The producer span around a write, by OpenTelemetry's semantic conventions for messaging. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { TracerEnabled } from "effect/References"
import { type Span, Tracer } from "effect/Tracer"
import { capture } from "./context.ts"
import { attributesOf, isTraced, messageCount, type WriterSpan, writerSpanOf } from "./writerSpan.ts"

/** A write, with what it leaves with its event. */
export type Write<A, E> = (
  fiber: Fiber.Fiber<unknown, unknown>,
  writer: WriterSpan | undefined,
  span: Span | undefined
) => Effect.Effect<A, E>

export interface SendSpan {
  /** Whether a write may have a span: `one` and `some` are for such writes alone. */
  readonly mayTrace: (fiber: Fiber.Fiber<unknown, unknown>) => boolean
  readonly one: <A, E>(write: Write<A, E>, fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E>
  /** The same for a write that answers how many events it has taken. */
  readonly some: <E>(write: Write<number, E>, fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<number, E>
}

/** The span `send <name>`, by the tracer of the writer, or by that of the part's construction where the writer has none. */
export const makeSendSpan = (destination: () => string, constructed: Context.Context<never>): SendSpan => {
  const own: Context.Context<never> = Context.pick(Tracer, TracerEnabled)(constructed)
  const provide = capture<never>(own)
  const hasOwn = own.mapUnsafe.has(Tracer.key)
  const one = <A, E>(write: Write<A, E>, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E> =>
    provide(
      Effect.withFiber((fiber): Effect.Effect<A, E> => {
        if (!isTraced(fiber)) return write(fiber, undefined, undefined)
        const name = destination()
        const options = { kind: "producer", attributes: attributesOf("send", name) } as const
        return Effect.useSpan(`send ${name}`, options, (span) =>
          Effect.withParentSpan(
            Effect.withFiber((fiber) => write(fiber, writerSpanOf(fiber), span)),
            span,
            { captureStackTrace: false }
          )
        )
      }),
      fiber
    )
  return {
    mayTrace: ({ cache }) => hasOwn || cache.tracer !== undefined,
    one,
    some: (write, fiber) =>
      one(
        (fiber, writer, span) =>
          Effect.map(write(fiber, writer, span), (n) => {
            span?.attribute(messageCount, n)
            return n
          }),
        fiber
      )
  }
}
