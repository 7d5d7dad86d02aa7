/** A tracer that keeps its spans, and what counts what is left for a trace. */
import { Effect, type Exit, Option, Tracer } from "effect"

export interface Recorder {
  readonly tracer: Tracer.Tracer
  readonly spans: ReadonlyArray<Tracer.NativeSpan>
  /** Those that were asked to have no parent, whatever else the tracer may take for one. */
  readonly roots: ReadonlySet<Tracer.Span>
  /** The spans of a name, in the order of their begin. */
  readonly named: (name: string) => ReadonlyArray<Tracer.NativeSpan>
  /** The only span of a name. */
  readonly only: (name: string) => Tracer.NativeSpan
  readonly provide: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const recorder = (): Recorder => {
  const spans: Array<Tracer.NativeSpan> = []
  const roots = new Set<Tracer.Span>()
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      if (options.root) roots.add(span)
      return span
    }
  })
  const named = (name: string) => spans.filter((span) => span.name === name)
  return {
    tracer,
    spans,
    roots,
    named,
    only: (name) => {
      const [span, ...others] = named(name)
      if (span === undefined || others.length > 0) {
        throw new Error(`"${name}" is the name of ${named(name).length} of ${spans.map((one) => one.name).join(", ")}`)
      }
      return span
    },
    provide: Effect.provideService(Tracer.Tracer, tracer)
  }
}

/** The ids of the spans that a span is linked to. */
export const linksOf = (span: Tracer.Span): ReadonlyArray<string> => span.links.map(({ span }) => span.spanId)

export const parentOf = (span: Tracer.Span): string | undefined => Option.getOrUndefined(span.parent)?.spanId

export const attributesOf = (span: Tracer.Span): Record<string, unknown> => Object.fromEntries(span.attributes)

/** How a span has ended: it must have. */
export const exitOf = ({ name, status }: Tracer.Span): Exit.Exit<unknown, unknown> => {
  if (status._tag !== "Ended") throw new Error(`the span "${name}" has not ended`)
  return status.exit
}

/** Counts, until its scope closes, how often any page is given what writers have left. */
export const leavings = Effect.acquireRelease(
  Effect.sync(() => {
    const counts = { pages: 0 }
    Reflect.defineProperty(Array.prototype, "writers", {
      configurable: true,
      get: () => undefined,
      set(this: object, value: unknown) {
        counts.pages++
        Object.defineProperty(this, "writers", { value, writable: true, configurable: true })
      }
    })
    return counts
  }),
  () => Effect.sync(() => Reflect.deleteProperty(Array.prototype, "writers"))
)
