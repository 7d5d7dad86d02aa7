import type { HttpClientError } from "effect/http/HttpClientError"
import { hasProperty } from "effect/Predicate"
import { Disabled, ForbiddenAddress, Timeout, Transport } from "../../HttpSinkError.ts"

/** What may be the cause of a client's error, and is the reason itself. */
type Named = Timeout | ForbiddenAddress | Disabled

/**
 * Why no answer came: the time was up, a guard refused to connect, or else one word. Only a code or a name is taken from
 * the client's error: the rest may quote secrets.
 */
export const transportReason = ({ reason }: HttpClientError): Transport | Named => {
  // A client's error often says only that a request failed, and the error of the socket is its cause.
  const causes: Array<unknown> = [reason]
  for (let cause = reason.cause; cause !== undefined && causes.length < 10; cause = causeOf(cause)) {
    causes.unshift(cause)
  }
  const named = causes.find(isNamed)
  if (named !== undefined) return named
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

const isNamed = (cause: unknown): cause is Named =>
  cause instanceof Timeout || cause instanceof ForbiddenAddress || cause instanceof Disabled

/** What ends a TLS handshake and nothing later: no record of this version, protocol, cipher or name. */
const handshake =
  "ERR_SSL_\\S*(?:WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|VERSION_TOO_LOW|HANDSHAKE_FAILURE|INSUFFICIENT_SECURITY|" +
  "UNRECOGNIZED_NAME|NO_APPLICATION_PROTOCOL|NO_(?:PROTOCOLS|CIPHERS?)_AVAILABLE|NO_CIPHER_MATCH|NO_SHARED_CIPHER|WRONG_CIPHER_RETURNED|" +
  "UNKNOWN_PROTOCOL|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|DH_KEY_TOO_SMALL|CERTIFICATE_VERIFY_FAILED)"

/** Failures that come before any byte of a request is sent: of names, of connections, of TLS and the receiver's certificate. */
const beforeSending = new RegExp(
  "^(?:ECONNREFUSED|ENOTFOUND|EAI_\\w+|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_CERT_ALTNAME_INVALID|CERT_\\w+|UNABLE_TO_\\w+|" +
    `(?:\\w+_)?SELF_SIGNED_CERT\\w*|${handshake})$`
)

const causeOf = (error: unknown): unknown => {
  if (hasProperty(error, "cause") && error.cause !== undefined) return error.cause
  // Where every address of a host failed, their errors stand side by side.
  return hasProperty(error, "errors") && Array.isArray(error.errors) ? error.errors[0] : undefined
}

/** Some of OpenSSL's codes have a slash: `ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE`. */
const isWord = (value: unknown): value is string => typeof value === "string" && /^\w[\w/]{0,63}$/.test(value)
