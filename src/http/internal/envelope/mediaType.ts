/** Media types (RFC 9110, section 8.3): names are compared without case, and parameters do not count. */
import { quoted } from "../../../internal/encoding/envelopeError.ts"

const token = "[\\w!#$%&'*+.^`|~-]+"
const quotedString = '"(?:[\\x20!\\x23-\\x5B\\x5D-\\x7E]|\\\\[\\x20-\\x7E])*"'
// There is one way only to match a space: with two, a value of many spaces would take exponential time to refuse.
const parameter = `;[ \\t]*(?:${token}=(?:${token}|${quotedString})[ \\t]*)?`
const syntax = new RegExp(`^${token}/${token}[ \\t]*(?:${parameter})*$`)

export const isMediaType = (value: string): boolean => syntax.test(value)

/** The media type of a `content-type`: in lower case, and without parameters. */
export const essence = (contentType: string): string => contentType.replace(/;.*/s, "").trim().toLowerCase()

/** Whether it declares JSON, as section 3.1 of the CloudEvents JSON format judges: `json`, or with the suffix `+json`. */
export const isJson = (contentType: string): boolean => /^[^/]+\/(?:.*\+)?json$/.test(essence(contentType))

/** Whether it declares text: `text/...`, a type of XML, YAML, JavaScript or a form, or one with a `charset`. */
export const isText = (contentType: string): boolean =>
  /^text\/|[/+](?:xml|yaml|javascript|graphql|x-www-form-urlencoded)$/.test(essence(contentType)) ||
  /;\s*charset\s*=/i.test(contentType)

/** Whether text of this type is UTF-8: by its `charset`, or by having none. */
export const isUtf8 = (contentType: string): boolean => {
  const charset = /;\s*charset\s*=\s*"?([^\s";]*)/i.exec(contentType)?.[1]
  // ASCII is UTF-8.
  return charset === undefined || /^(?:utf-?8|us-ascii)$/i.test(charset)
}

/** A type in UTF-8, for text that was of another encoding. */
export const inUtf8 = (contentType: string): string => `${essence(contentType)}; charset=utf-8`

/** Why a request of this type is not text of the expected media type; nothing when it is. */
export const refusal = (contentType: string | undefined, expected: string): string | undefined => {
  if (contentType === undefined) return `Missing header "content-type": expected ${expected}`
  if (essence(contentType) !== expected)
    return `Expected ${expected} in header "content-type", got ${quoted(contentType)}`
  if (!isUtf8(contentType)) return `Expected UTF-8 in header "content-type", got ${quoted(contentType)}`
  return undefined
}
