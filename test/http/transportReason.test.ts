/** What is said of a request without an answer, by the error of the client. */
import { assert, describe, it } from "@effect/vitest"
import { HttpClientError, HttpClientRequest } from "effect/http"
import { transportReason } from "../../src/http/internal/sink/transportReason.ts"

const reasonOf = (cause: unknown) => {
  const request = HttpClientRequest.post("https://receiver.test")
  return transportReason(
    new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
  )
}
const withCode = (code: string) => Object.assign(new Error("no"), { code })

describe("the reason of a request without an answer", () => {
  it.each([
    ["ERR_SSL_WRONG_VERSION_NUMBER", false],
    ["ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE", false],
    ["ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE", false],
    ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", false],
    ["ERR_SSL_TLSV1_UNRECOGNIZED_NAME", false],
    ["ERR_SSL_UNSUPPORTED_PROTOCOL", false],
    ["ERR_SSL_NO_PROTOCOLS_AVAILABLE", false],
    ["ERR_SSL_HTTP_REQUEST", false],
    ["ERR_SSL_PACKET_LENGTH_TOO_LONG", false],
    ["ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL", false],
    // TLS 1.3 sends these alerts when the request may be under way.
    ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", true],
    ["ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE", true],
    ["ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC", true],
    ["ERR_SSL_SSL/TLS_ALERT_INTERNAL_ERROR", true],
    ["ECONNREFUSED", false],
    ["ECONNRESET", true]
  ])("%s keeps its name, and whether the receiver may have the event: %j", (code, maybeCommitted) => {
    assert.deepInclude(reasonOf(withCode(code)), { code, maybeCommitted })
    assert.deepInclude(reasonOf(new Error("fetch failed", { cause: withCode(code) })), { code, maybeCommitted })
  })

  it.each(["/etc/passwd", "a b", "https://user:secret@receiver.test/", "x".repeat(65), ""])(
    "takes no text for a code that is none: %j",
    (code) => {
      const reason = reasonOf(withCode(code))
      assert.deepInclude(reason, { _tag: "Transport", maybeCommitted: true })
      assert.notInclude(JSON.stringify(reason), JSON.stringify(code))
    }
  )
})
