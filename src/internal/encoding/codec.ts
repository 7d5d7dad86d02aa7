/** Schemas as JSON, with errors that have a path into the value and nothing of the value itself. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { brief, EnvelopeError, type Path } from "./envelopeError.ts"
import * as Utf8 from "./utf8.ts"

type Direction = EnvelopeError["direction"]

/** An error of this direction. */
export const failed = (direction: Direction, message: string): Effect.Effect<never, EnvelopeError> =>
  Effect.fail(new EnvelopeError({ direction, message: brief(message) }))

/** A result whose failure is a message, as an effect. */
export const fromResult = <A>(
  direction: Direction,
  result: Result.Result<A, string>
): Effect.Effect<A, EnvelopeError> =>
  Result.isSuccess(result) ? Effect.succeed(result.success) : failed(direction, result.failure)

/** A schema's encoder to JSON values. Made once, used for every event. */
export const encoder = <A>(schema: Schema.ConstraintCodec<A, unknown>, path: Path = []) => {
  const encode = SchemaParser.encodeUnknownEffect(Schema.toCodecJson(schema))
  const toError = issueError("encode", path)
  return (value: A): Effect.Effect<Schema.Json, EnvelopeError> => Effect.mapErrorEager(encode(value), toError)
}

/** A schema's decoder from JSON values, which stand at `path` in their request. */
export const decoder = <A>(schema: Schema.ConstraintCodec<A, unknown>) => {
  const decode = SchemaParser.decodeUnknownEffect(Schema.toCodecJson(schema))
  const toError = issueError("decode", [])
  return (value: unknown, path?: Path): Effect.Effect<A, EnvelopeError> =>
    Effect.mapErrorEager(decode(value), path === undefined ? toError : issueError("decode", path))
}

/** A JSON value as its text. */
export const toText = (value: unknown): Effect.Effect<string, EnvelopeError> => {
  try {
    const text: string | undefined = JSON.stringify(value)
    return text === undefined ? failed("encode", "not a JSON value") : Effect.succeed(text)
  } catch (defect) {
    // Schemas such as `Schema.Any` let through what JSON cannot hold: a circle, a bigint, depth.
    return failed("encode", isOverflow(defect) ? "nested too deeply" : "not a JSON value")
  }
}

export const toBytes = (value: unknown) => Effect.mapEager(toText(value), Utf8.encode)

/** Encodes or decodes at once. A value that is nested too deeply for the stack, or in a circle, is bad input, not a defect. */
export const guarded = <A>(
  direction: Direction,
  run: () => Effect.Effect<A, EnvelopeError>
): Effect.Effect<A, EnvelopeError> => {
  try {
    const effect = run()
    return Exit.isExit(effect) && Exit.isSuccess(effect) ? effect : Effect.catchCause(effect, judge(direction))
  } catch (defect) {
    // A schema's functions can throw outside of any effect, which is a defect as within one.
    return judge(direction)(Cause.die(defect))
  }
}

// internals

const issueError = (direction: Direction, path: Path) => (issue: SchemaIssue.Issue) => {
  const cause = new Schema.SchemaError(path.length === 0 ? issue : new SchemaIssue.Pointer(path, issue))
  return new EnvelopeError({ direction, message: brief(cause.message), cause })
}

const judge =
  (direction: Direction) =>
  (cause: Cause.Cause<EnvelopeError>): Effect.Effect<never, EnvelopeError> =>
    cause.reasons.some((reason) => Cause.isDieReason(reason) && isOverflow(reason.defect))
      ? failed(direction, "nested too deeply")
      : Effect.failCause(cause)

const isOverflow = (defect: unknown): boolean => defect instanceof RangeError && /call stack/i.test(defect.message)
