/** What comes back over the wire, or does not. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import type { HttpClientError } from "effect/http/HttpClientError"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { ForbiddenAddress, Transport } from "../../HttpSinkError.ts"

/** How much of an answer's body is read so that its connection can be used again. */
const drained = 64 * 1024

/**
 * Reads the body of an answer to its end, or gives it up at the limit, which ends the connection. How that goes changes
 * nothing of the answer.
 */
export const drain = (
  response: HttpClientResponse,
  headers: Readonly<Record<string, string | undefined>>
): Effect.Effect<unknown> => {
  const length = headers["content-length"]
  // The length counts the bytes on the wire, and a client that decodes them may find any number behind it.
  const isShort =
    length !== undefined &&
    /^\d+$/.test(length) &&
    Number(length) <= drained &&
    headers["content-encoding"] === undefined &&
    headers["transfer-encoding"] === undefined
  if (isShort) return Effect.exit(response.arrayBuffer)
  let read = 0
  return Effect.exit(
    Stream.runForEachWhile(response.stream, (bytes) => {
      read += bytes.length
      return Effect.succeed(read <= drained)
    })
  )
}

/**
 * How long a `retry-after` asks to wait, up to `max` (RFC 9110, section 10.2.3): seconds, or a date in any of the three
 * forms of section 5.6.7. What is over already is zero; what is neither is nothing.
 */
export const retryAfter = (
  value: string | undefined,
  max: Duration.Duration
): Effect.Effect<Duration.Duration | undefined> => {
  if (value === undefined) return Effect.undefined
  // No valid form, but what it means is plain.
  if (/^\s*-\d+\s*$/.test(value)) return Effect.succeed(Duration.zero)
  const parsed = Headers.parseRetryAfter(value)
  if (Result.isFailure(parsed)) return Effect.undefined
  return Clock.clockWith((clock) =>
    Effect.succeed(Duration.min(Headers.retryAfterDelay(parsed.success, clock.currentTimeMillisUnsafe()), max))
  )
}

/** Failures that come before any byte of a request is sent: of names, of connections, of the receiver's certificate. */
const beforeSending =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_CERT_ALTNAME_INVALID|CERT_\w+|UNABLE_TO_\w+|(?:\w+_)?SELF_SIGNED_CERT\w*)$/

/**
 * Says what went wrong: that a guard refused to connect, or else in one word. Only a code or a name is taken from the
 * client's error: the rest may quote secrets.
 */
export const transport = ({ reason }: HttpClientError): Transport | ForbiddenAddress => {
  // A client's error often only says that it failed, and the one of the socket is its cause.
  const causes: Array<unknown> = [reason]
  for (let cause = reason.cause; cause !== undefined && causes.length < 10; cause = causeOf(cause))
    causes.unshift(cause)
  for (const cause of causes) {
    if (cause instanceof ForbiddenAddress) return cause
    if (!hasProperty(cause, "code") || !isWord(cause.code)) continue
    const isConnecting = hasProperty(cause, "syscall") && cause.syscall === "connect"
    return new Transport({ code: cause.code, maybeCommitted: !isConnecting && !beforeSending.test(cause.code) })
  }
  for (const cause of causes) {
    if (hasProperty(cause, "name") && isWord(cause.name) && cause.name !== "Error") {
      return new Transport({ code: cause.name, maybeCommitted: true })
    }
  }
  return new Transport({ code: "unknown", maybeCommitted: true })
}

const causeOf = (error: unknown): unknown => {
  if (hasProperty(error, "cause") && error.cause !== undefined) return error.cause
  // Where every address of a host failed, their errors stand side by side.
  return hasProperty(error, "errors") && Array.isArray(error.errors) ? error.errors[0] : undefined
}

const isWord = (value: unknown): value is string => typeof value === "string" && /^\w{1,64}$/.test(value)
