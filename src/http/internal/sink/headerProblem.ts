/** Headers that frame the message or belong to one connection (RFC 9110, sections 7.6.1 and 8.6). */
const reserved = new Set([
  "connection",
  "content-length",
  "expect",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

const token = /^[!#$%&'*+\-.^_`|~\w]+$/

/** A header's value (RFC 9110, section 5.5): no line breaks, and no more than one byte a character. */
const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/

/** Why an event's part of a request cannot have this header, its name in lower case. */
export const partHeaderProblem = (header: string, value: unknown): string | undefined => {
  if (!token.test(header)) return "has a name that is no token (RFC 9110, section 5.6.2)"
  if (reserved.has(header)) return "is the client's: it frames the request or the connection"
  if (typeof value !== "string") return "has a value that is no text"
  return fieldValue.test(value)
    ? undefined
    : "has a value with a line break or another character that no header carries"
}

/** Why the requests of a sink cannot have this header, its name in lower case. */
export const headerProblem = (header: string, value: unknown): string | undefined =>
  header === "content-type" ? "is the envelope's" : partHeaderProblem(header, value)
