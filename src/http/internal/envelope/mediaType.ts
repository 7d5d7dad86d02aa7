/** Media types (RFC 9110, section 8.3): names are compared without case, and parameters do not count. */
import { quoted } from "../../../internal/encoding/envelopeError.ts"

const token = "[\\w!#$%&'*+.^`|~-]+"
const quotedString = '"(?:[\\x20!\\x23-\\x5B\\x5D-\\x7E]|\\\\[\\x20-\\x7E])*"'
// There is one way only to match a space: of two, a value of many would take for ever to refuse.
const parameter = `;[ \\t]*(?:${token}=(?:${token}|${quotedString})[ \\t]*)?`
const syntax = new RegExp(`^${token}/${token}[ \\t]*(?:${parameter})*$`)

export const isMediaType = (value: string): boolean => syntax.test(value)

/** The media type of a `content-type`: in lower case, and without parameters. */
export const essence = (contentType: string): string => {
  const end = contentType.indexOf(";")
  return (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}

/** Whether it declares JSON, as section 3.1 of the CloudEvents JSON format judges: `json`, or with the suffix `+json`. */
export const isJson = (contentType: string): boolean => /^[^/]+\/(?:.*\+)?json$/.test(essence(contentType))

/** Whether text of this type is UTF-8: by its `charset`, or by having none. */
export const isUtf8 = (contentType: string): boolean => {
  const [, charset] = /;\s*charset\s*=\s*"?([^\s";]*)/i.exec(contentType) ?? []
  // ASCII is UTF-8.
  return charset === undefined || /^(?:utf-?8|us-ascii)$/i.test(charset)
}

/** Why a request of this type is not for whoever expects text of a media type; nothing when it is. */
export const refusal = (contentType: string | undefined, expected: string): string | undefined => {
  if (contentType === undefined) return `Missing header "content-type": expected ${expected}`
  if (essence(contentType) !== expected)
    return `Expected ${expected} in header "content-type", got ${quoted(contentType)}`
  if (!isUtf8(contentType)) return `Expected UTF-8 in header "content-type", got ${quoted(contentType)}`
  return undefined
}

/** A `content-type` that an option gives. A malformed one is a mistake in the program and a defect. */
export const checked = (where: string, contentType: string): string => {
  if (isMediaType(contentType)) return contentType
  throw new RangeError(`${where}: contentType must be a media type, and is ${quoted(contentType)}`)
}
