/** The error of envelopes and codecs, and the parts of its message. */
import * as Data from "effect/Data"

/**
 * An event does not fit its schema, or a request does not fit its envelope. The error never carries the event's content
 * beyond what the schema's message quotes.
 *
 * @category errors
 * @since 0.1.0
 */
export class EnvelopeError extends Data.TaggedError("EnvelopeError")<{
  readonly direction: "encode" | "decode"
  /** The fault and its place: a path into the body, or the name of a header. */
  readonly message: string
  readonly cause?: unknown
}> {}

/** A place in a body. */
export type Path = ReadonlyArray<PropertyKey>

// A path has the keys of the event, which its sender chooses.
const maxLength = 500

/** A message on one line, and of bounded length. */
export const brief = (message: string, most = maxLength): string => {
  const line = message.replaceAll(/\s+/g, " ")
  return line.length <= most ? line : `${line.slice(0, most)}...`
}

/** A short value, such as a header's, in quotes. */
export const quoted = (value: string): string => JSON.stringify(brief(value, 80))

/** A path into a body, in the form of the schemas' own messages. */
export const atPath = (path: Path): string => {
  const keys = path.map((key) => (typeof key === "string" ? `[${JSON.stringify(key)}]` : `[${String(key)}]`))
  return path.length === 0 ? "" : ` at ${keys.join("")}`
}
