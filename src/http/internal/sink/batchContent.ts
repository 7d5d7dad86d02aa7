/** The content of a request of many events: as many leading events of a batch as its limits allow. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type { EnvelopeError } from "../../../internal/encoding/envelopeError.ts"
import type { Envelope, Join, Part } from "../../Envelope.ts"
import { TooLarge } from "../../HttpSinkError.ts"

/** What a request is made of. */
export interface Content<out A> extends Part {
  readonly events: NonEmptyReadonlyArray<A>
}

export interface Limits {
  readonly maxEvents: number
  readonly maxBytes: number
}

/**
 * An event that is too large, cannot be encoded or needs other headers ends the request before it. It fails when it is
 * the first.
 */
export const makeBatchContent = <A>(encode: Envelope<A>["encode"], join: Join, { maxBytes, maxEvents }: Limits) => {
  /** The event that the last request had no room for, so that the next request does not encode it again. */
  let spare: { readonly event: A; readonly encoded: Exit.Exit<Part, EnvelopeError> } | undefined

  return (events: NonEmptyReadonlyArray<A>): Effect.Effect<Content<A>, EnvelopeError | TooLarge> =>
    Effect.suspend(() => {
      const { event: spared, encoded: ofSpared } = spare ?? {}
      spare = undefined
      const limit = Math.min(events.length, maxEvents)
      const parts: Array<Part> = []
      let bytes = join.prefix.length + join.suffix.length
      let refused: Effect.Effect<never, EnvelopeError | TooLarge> | undefined

      const add = (encoded: Exit.Exit<Part, EnvelopeError>) => {
        if (Exit.isFailure(encoded)) {
          refused = Effect.failCause(encoded.cause)
          return
        }
        const part = encoded.value
        const [first] = parts
        const size = bytes + part.body.length + (first === undefined ? 0 : join.separator.length)
        if (size <= maxBytes && (first === undefined || Equal.equals(first.headers, part.headers))) {
          parts.push(part)
          bytes = size
          return
        }
        refused = Effect.fail(new TooLarge({ bytes: size, maxBytes }))
        // Not out of bounds: this event was just encoded.
        spare = { event: events[parts.length] as A, encoded }
      }
      const next = () => {
        if (refused !== undefined || parts.length === limit) return undefined
        // Not out of bounds, by the condition above.
        const event = events[parts.length] as A
        return ofSpared !== undefined && Object.is(spared, event)
          ? Effect.succeed(ofSpared)
          : Effect.exit(encode(event))
      }
      let encoding: Effect.Effect<Exit.Exit<Part, EnvelopeError>> | undefined
      const encoded = Effect.whileLoop({
        while: () => (encoding = next()) !== undefined,
        // There is one, by the condition of the loop.
        body: () => encoding!,
        step: add
      })
      return Effect.flatMap(encoded, () => {
        const [first] = parts
        // Without a part the first event was refused.
        if (first === undefined) return refused!
        const sent = parts.length === events.length ? events : events.slice(0, parts.length)
        // Not empty, since there is a part.
        return Effect.succeed({
          body: joined(join, parts, bytes),
          headers: first.headers,
          events: sent as readonly [A, ...Array<A>]
        })
      })
    })
}

// internals

const joined = (join: Join, parts: ReadonlyArray<Part>, bytes: number) => {
  const body = new Uint8Array(bytes)
  let at = 0
  const put = (piece: Uint8Array) => {
    body.set(piece, at)
    at += piece.length
  }
  put(join.prefix)
  parts.forEach((part, i) => {
    if (i > 0) put(join.separator)
    put(part.body)
  })
  put(join.suffix)
  return body
}
