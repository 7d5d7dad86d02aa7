/** Reads the body of a request, bounded in size and in time. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import { hasProperty } from "effect/Predicate"
import * as Stream from "effect/Stream"
import { announceBody } from "../envelope/headers.ts"
import { type Refused, refused } from "./refused.ts"

/** Bytes in one piece: a body that comes in many small chunks would cost a multiple of its size as a list of them. */
class Bytes {
  private buffer = new Uint8Array(4096)
  private length = 0

  /** Adds a chunk, unless there would be more than `most` bytes then. */
  add(chunk: Uint8Array, most: number): boolean {
    const length = this.length + chunk.length
    if (length > most) return false
    if (length > this.buffer.length) {
      const larger = new Uint8Array(Math.min(most, Math.max(length, 2 * this.buffer.length)))
      larger.set(this.all)
      this.buffer = larger
    }
    this.buffer.set(chunk, this.length)
    this.length = length
    return true
  }

  get all(): Uint8Array {
    return this.buffer.subarray(0, this.length)
  }
}

const tooLarge = (most: number) => refused(413, `The body is larger than ${most} bytes`)

/** Whether there is a body to be read, or to be left unread. */
export const hasBody = ({ headers }: HttpServerRequest.HttpServerRequest): boolean => announceBody(headers)

/** Refuses what the headers say of a body already, before any of it is asked for. */
export const judge = (request: HttpServerRequest.HttpServerRequest, maxBytes: number): Effect.Effect<void, Refused> => {
  const { headers } = request
  // Node takes what follows for the protocol that is asked for, and the request for one with an empty body.
  if (headers["upgrade"]?.trim().toLowerCase() === "websocket" && hasBody(request)) {
    return Effect.fail(refused(400, 'Expected no "websocket" in header "upgrade" of a request with a body'))
  }
  const transfer = headers["transfer-encoding"]
  if (transfer !== undefined && transfer.trim().toLowerCase() !== "chunked") {
    return Effect.fail(refused(400, 'Expected "chunked" alone in header "transfer-encoding"'))
  }
  return Number(headers["content-length"] ?? 0) > maxBytes ? Effect.fail(tooLarge(maxBytes)) : Effect.void
}

/** Refuses a body that is encoded: once decoded it has no size that its sender pays for. */
export const judgeCoding = (headers: HttpServerRequest.HttpServerRequest["headers"]): Effect.Effect<void, Refused> => {
  const coding = headers["content-encoding"]
  if (coding === undefined || /^(?:identity)?$/i.test(coding.trim())) return Effect.void
  // RFC 9110, section 15.5.16: the codings that are taken.
  const detail = 'Expected no coding in header "content-encoding"'
  return Effect.fail(refused(415, detail, { "accept-encoding": "identity" }))
}

const isWhole = ({ headers }: HttpServerRequest.HttpServerRequest, body: Uint8Array): boolean =>
  headers["content-length"] === undefined || Number(headers["content-length"]) === body.length

/** The exact bytes of the body. Of one that is too large no more is kept than the limit, and of a slow one nothing. */
export const read = (
  request: HttpServerRequest.HttpServerRequest,
  maxBytes: number,
  timeout: Duration.Duration
): Effect.Effect<Uint8Array, Refused> =>
  Effect.suspend(() => {
    const bytes = new Bytes()
    // A request of the web platform that has no body has no stream of one either.
    const isBare = hasProperty(request.source, "body") && request.source.body === null
    return (isBare ? Stream.empty : request.stream).pipe(
      // What the server says quotes the request, and the sender knows that: the connection ended, or the framing is wrong.
      Stream.mapError(() => refused(400, "The body ended too early")),
      Stream.runForEachArray((chunks) =>
        chunks.every((chunk) => bytes.add(chunk, maxBytes)) ? Effect.void : Effect.fail(tooLarge(maxBytes))
      ),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(refused(408, "The body did not come in time"))
      }),
      // A server may end the stream of a body that it did not see all of, and a part of the lines would pass for all.
      Effect.flatMap(() =>
        isWhole(request, bytes.all) ? Effect.succeed(bytes.all) : Effect.fail(refused(400, "The body ended too early"))
      )
    )
  })
