/** The values of `ce-` headers, by section 3.1.3.2 of the CloudEvents HTTP protocol binding, and the framing of a body. */
import * as Result from "effect/Result"
import * as Utf8 from "../../../internal/encoding/utf8.ts"

// A space, a double quote, a percent sign, and all outside of U+0021 to U+007E.
const encoded = /[^\x21\x23\x24\x26-\x7e]/gu
const plain = /^[\x21\x23\x24\x26-\x7e]*$/

export const encode = (value: string): string =>
  plain.test(value) ? value : value.replaceAll(encoded, (char) => encodeURIComponent(char))

/**
 * A value of a header, or nothing for octets outside of ASCII, or encoded ones that are not UTF-8. A percent sign that
 * begins no octet stands for itself, as a space does, since some senders encode nothing.
 */
export const decode = (value: string): string | undefined =>
  /^[\x20-\x7e]*$/.test(value) ? unescaped(value) : undefined

/**
 * A value of a header as some senders write it: UTF-8 that is not encoded, of which the server makes a character for each
 * octet; octets that are not UTF-8, which stay as they are; and one value sent twice, of which the server makes one with a
 * comma (RFC 9110, section 5.3).
 */
export const decodeLeniently = (value: string): string => {
  const half = value.slice(0, value.length / 2 - 1)
  const once = value === `${half}, ${half}` ? half : value
  const octets = Uint8Array.from(once, (char) => char.charCodeAt(0))
  const isOctets = /^[\0-\xff]*$/.test(once)
  const text = isOctets ? Result.getOrElse(Utf8.decodeExactly(octets), () => once) : once
  return unescaped(text) ?? text
}

/** Whether a request of these headers has a body (RFC 9112, section 6.3). */
export const announceBody = (headers: Readonly<Record<string, string | undefined>>): boolean =>
  headers["transfer-encoding"] !== undefined || !/^0*$/.test(headers["content-length"] ?? "")

// internals

const unescaped = (value: string): string | undefined => {
  const unquoted = /^"(?:[^"\\]|\\.)*"$/.test(value) ? value.slice(1, -1).replaceAll(/\\(.)/g, "$1") : value
  if (!unquoted.includes("%")) return unquoted
  try {
    return decodeURIComponent(unquoted.replaceAll(/%(?![\dA-Fa-f]{2})/g, "%25"))
  } catch {
    // A URIError: octets that are not UTF-8.
    return undefined
  }
}
