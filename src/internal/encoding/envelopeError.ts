/** What fails when an event and a request do not fit, and how its message is built. */
import * as Data from "effect/Data"

/**
 * An event does not fit its schema, or a request is not what the envelope says. Never carries the event's content
 * beyond what the schema's message quotes.
 *
 * @category errors
 * @since 0.1.0
 */
export class EnvelopeError extends Data.TaggedError("EnvelopeError")<{
  readonly direction: "encode" | "decode"
  /** What was wrong, and where: a path into the body, or the name of a header. */
  readonly message: string
  readonly cause?: unknown
}> {}

// A path has the keys of the event, and whoever sends the event chooses them.
const longest = 500

/** A message on one line, and of bounded length. */
export const brief = (message: string, most = longest): string => {
  const line = message.replaceAll(/\s+/g, " ")
  return line.length <= most ? line : `${line.slice(0, most)}...`
}

/** A short value, such as a header's, in quotes. */
export const quoted = (value: string): string => JSON.stringify(brief(value, 80))

/** A path into a body, as the schemas' own messages write one. */
export const atPath = (path: ReadonlyArray<PropertyKey>): string =>
  path.length === 0
    ? ""
    : ` at ${path.map((key) => (typeof key === "string" ? `[${JSON.stringify(key)}]` : `[${String(key)}]`)).join("")}`
