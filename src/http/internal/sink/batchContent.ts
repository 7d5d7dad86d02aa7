/** The content of a request of many events: as many leading events of a batch as its limits allow. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Bytes from "effect/Bytes"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Result from "effect/Result"
import { loopEager } from "../../../internal/eager.ts"
import type { EnvelopeError } from "../../../internal/encoding/envelopeError.ts"
import * as Utf8 from "../../../internal/encoding/utf8.ts"
import { leading } from "../../../internal/turns.ts"
import type { Join, Part } from "../../Envelope.ts"
import { TooLarge } from "../../HttpSinkError.ts"

/** What a request is made of. */
export interface Content<out A> extends Part {
  readonly events: NonEmptyReadonlyArray<A>
}

export interface Limits {
  readonly maxEvents: number
  readonly maxBytes: number
}

/** One event, encoded: a text stands for its bytes in UTF-8, without headers. */
type Piece = Part | string

/**
 * An event that is too large, cannot be encoded or needs other headers ends the request before it. It fails when it is
 * the first.
 */
export const makeBatchContent = <A>(
  encode: (event: A) => Effect.Effect<Piece, EnvelopeError>,
  join: Join,
  { maxBytes, maxEvents }: Limits
) => {
  /** The event that the last request had no room for, so that the next request does not encode it again. */
  let spare: { readonly event: A; readonly piece: Piece } | undefined

  return (events: NonEmptyReadonlyArray<A>): Effect.Effect<Content<A>, EnvelopeError | TooLarge> =>
    Effect.suspend(() => {
      const spared = spare
      spare = undefined
      const limit = Math.min(events.length, maxEvents)
      const pieces: Array<Piece> = []
      /** The size of the request, where the pieces from `counted` on take as much as they can at most. */
      let size = join.prefix.length + join.suffix.length
      let counted = 0
      let refused: TooLarge | undefined

      const add = (piece: Piece) => {
        size += mostOf(piece) + (pieces.length === 0 ? 0 : join.separator.length)
        pieces.push(piece)
        for (; size > maxBytes && counted < pieces.length; counted++) {
          const each = pieces[counted]!
          size -= mostOf(each) - lengthOf(each)
        }
        if (size <= maxBytes && Equal.equals(headersOf(pieces[0]!), headersOf(piece))) return
        pieces.pop()
        refused = new TooLarge({ bytes: size, maxBytes })
        // Not out of bounds: this event was just encoded.
        spare = { event: events[pieces.length] as A, piece }
      }
      const next = () => {
        if (refused !== undefined || pieces.length === limit) return undefined
        // Not out of bounds, by the condition above.
        const event = events[pieces.length] as A
        return spared !== undefined && Object.is(spared.event, event) ? Effect.succeed(spared.piece) : encode(event)
      }
      const content = (): Effect.Effect<Content<A>, EnvelopeError | TooLarge> => {
        const [first] = pieces
        // Without a piece the first event was refused.
        if (first === undefined) return Effect.fail(refused!)
        return Effect.succeed({
          body: joined(join, pieces),
          headers: headersOf(first),
          events: leading(events, pieces.length)
        })
      }
      return Effect.matchCauseEffect(loopEager(next, add), {
        onSuccess: content,
        onFailure: (cause) => (pieces.length === 0 ? Effect.failCause(cause) : content())
      })
    })
}

// internals

const noHeaders: Part["headers"] = {}
const headersOf = (piece: Piece) => (typeof piece === "string" ? noHeaders : piece.headers)
const mostOf = (piece: Piece) => (typeof piece === "string" ? 3 * piece.length : piece.body.length)
const lengthOf = (piece: Piece) => (typeof piece === "string" ? Utf8.encode(piece).length : piece.body.length)

/** The body of a request. Texts become bytes together: those of each would cost most of what a short text does. */
const joined = ({ prefix, separator, suffix }: Join, pieces: ReadonlyArray<Piece>): Uint8Array => {
  const between = Utf8.decodeExactly(separator)
  const inner =
    Result.isSuccess(between) && pieces.every((piece) => typeof piece === "string")
      ? [Utf8.encode(pieces.join(between.success))]
      : pieces.flatMap((piece, i) => {
          const bytes = typeof piece === "string" ? Utf8.encode(piece) : piece.body
          return i === 0 ? [bytes] : [separator, bytes]
        })
  return Bytes.concat([prefix, ...inner, suffix])
}
