/** The body of a request, bounded in size and in time. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { hasProperty } from "effect/Predicate"
import * as Stream from "effect/Stream"
import { announceBody } from "../envelope/headers.ts"
import { refuse } from "./refusal.ts"

/** Refuses a body for its headers, before any of it is read. */
export const checkFraming = ({ headers }: HttpServerRequest, maxBytes: number) => {
  // Node parses the body as the requested protocol, and gives the request an empty body.
  if (headers["upgrade"]?.trim().toLowerCase() === "websocket" && announceBody(headers)) {
    return refuse(400, 'Expected no "websocket" in header "upgrade" of a request with a body')
  }
  if ((headers["transfer-encoding"] ?? "chunked").trim().toLowerCase() !== "chunked") {
    return refuse(400, 'Expected "chunked" alone in header "transfer-encoding"')
  }
  return Number(headers["content-length"] ?? 0) > maxBytes ? tooLarge(maxBytes) : Effect.void
}

/** Answers the exact bytes of a body. At most `maxBytes` of it are held at any time. */
export const readBody = (request: HttpServerRequest, maxBytes: number, timeout: Duration.Duration) =>
  Effect.suspend(() => {
    // In one piece: a list of many small chunks would cost a multiple of the body's size.
    let bytes = new Uint8Array(4096)
    let length = 0
    const append = (chunk: Uint8Array): boolean => {
      const start = length
      length += chunk.length
      if (length > maxBytes) return false
      const size = Math.min(maxBytes, Math.max(length, 2 * bytes.length))
      if (length > bytes.length) bytes = new Uint8Array(bytes.buffer.transfer(size))
      bytes.set(chunk, start)
      return true
    }
    // A request of the web platform without a body has no stream of one either.
    const isBare = hasProperty(request.source, "body") && request.source.body === null
    const isWhole = () => Number(request.headers["content-length"] ?? length) === length
    return (isBare ? Stream.empty : request.stream).pipe(
      Stream.runForEachArray((chunks) => (chunks.every((chunk) => append(chunk)) ? Effect.void : tooLarge(maxBytes))),
      // The server's own error quotes the request: the connection ended, or the framing is wrong.
      Effect.catchTag("HttpServerError", () => cutShort),
      Effect.timeoutOrElse({ duration: timeout, orElse: () => refuse(408, "The body did not come in time") }),
      // A server may end the stream of a body early, and a part of the lines would pass for all of them.
      Effect.flatMap(() => (isWhole() ? Effect.succeed(bytes.subarray(0, length)) : cutShort))
    )
  })

// internals

const tooLarge = (maxBytes: number) => refuse(413, `The body is larger than ${maxBytes} bytes`)

const cutShort = refuse(400, "The body ended too early")
