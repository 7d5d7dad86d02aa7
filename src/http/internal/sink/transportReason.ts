import type { HttpClientError } from "effect/http/HttpClientError"
import { hasProperty } from "effect/Predicate"
import { ForbiddenAddress, Transport } from "../../HttpSinkError.ts"

/**
 * Why no answer came: a guard refused to connect, or else one word. Only a code or a name is taken from the client's
 * error: the rest may quote secrets.
 */
export const transportReason = ({ reason }: HttpClientError): Transport | ForbiddenAddress => {
  // A client's error often says only that a request failed, and the error of the socket is its cause.
  const causes: Array<unknown> = [reason]
  for (let cause = reason.cause; cause !== undefined && causes.length < 10; cause = causeOf(cause)) {
    causes.unshift(cause)
  }
  const forbidden = causes.find((cause) => cause instanceof ForbiddenAddress)
  if (forbidden !== undefined) return forbidden
  for (const cause of causes) {
    if (!hasProperty(cause, "code") || !isWord(cause.code)) continue
    const isConnecting = hasProperty(cause, "syscall") && cause.syscall === "connect"
    return new Transport({ code: cause.code, maybeCommitted: !isConnecting && !beforeSending.test(cause.code) })
  }
  const names = causes.map((cause) => (hasProperty(cause, "name") ? cause.name : undefined))
  const code = names.filter(isWord).find((name) => name !== "Error") ?? "unknown"
  return new Transport({ code, maybeCommitted: true })
}

// internals

/** Failures that come before any byte of a request is sent: of names, of connections, of the receiver's certificate. */
const beforeSending =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_CERT_ALTNAME_INVALID|CERT_\w+|UNABLE_TO_\w+|(?:\w+_)?SELF_SIGNED_CERT\w*)$/

const causeOf = (error: unknown): unknown => {
  if (hasProperty(error, "cause") && error.cause !== undefined) return error.cause
  // Where every address of a host failed, their errors stand side by side.
  return hasProperty(error, "errors") && Array.isArray(error.errors) ? error.errors[0] : undefined
}

const isWord = (value: unknown): value is string => typeof value === "string" && /^\w{1,64}$/.test(value)
