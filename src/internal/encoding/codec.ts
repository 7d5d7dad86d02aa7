/** Schemas as JSON, with errors that say where. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { isOver } from "../eager.ts"
import { brief, EnvelopeError } from "./envelopeError.ts"

type Path = ReadonlyArray<PropertyKey>
type Direction = EnvelopeError["direction"]

/** An error of this direction. */
export const failed = (direction: Direction, message: string): Effect.Effect<never, EnvelopeError> =>
  Effect.fail(new EnvelopeError({ direction, message: brief(message) }))

/** A result that says what is wrong, as an effect of decoding. */
export const decoded = <A>(result: Result.Result<A, string>): Effect.Effect<A, EnvelopeError> =>
  Result.isSuccess(result) ? Effect.succeed(result.success) : failed("decode", result.failure)

const issueError = (direction: Direction, path: Path) => (issue: SchemaIssue.Issue) => {
  const cause = new Schema.SchemaError(path.length === 0 ? issue : new SchemaIssue.Pointer(path, issue))
  return new EnvelopeError({ direction, message: brief(cause.message), cause })
}

/** A schema's encoder to JSON values. Made once, used for every event. */
export const encoder = <A>(schema: Schema.ConstraintCodec<A, unknown>, path: Path = []) => {
  const encode = SchemaParser.encodeUnknownEffect(Schema.toCodecJson(schema))
  const wrong = issueError("encode", path)
  return (value: A): Effect.Effect<Schema.Json, EnvelopeError> => Effect.mapErrorEager(encode(value), wrong)
}

/** A schema's decoder from JSON values, which stand at `path` in their request. */
export const decoder = <A>(schema: Schema.ConstraintCodec<A, unknown>) => {
  const decode = SchemaParser.decodeUnknownEffect(Schema.toCodecJson(schema))
  return (value: unknown, path: Path = []): Effect.Effect<A, EnvelopeError> =>
    Effect.mapErrorEager(decode(value), issueError("decode", path))
}

/**
 * Encodes or decodes at once. A value that is nested too deeply for the stack, or in a circle, is somebody's bad input
 * and not a bug of this program.
 */
export const guardedEager = <A>(
  direction: Direction,
  run: () => Effect.Effect<A, EnvelopeError>
): Effect.Effect<A, EnvelopeError> => {
  try {
    const effect = run()
    return isOver(effect) && Exit.isSuccess(effect) ? effect : Effect.catchCause(effect, judge(direction))
  } catch (defect) {
    // An effect's defects are no less than those of a function.
    return judge(direction)(Cause.die(defect))
  }
}

/** The same when it is run. */
export const guarded = <A>(
  direction: Direction,
  run: () => Effect.Effect<A, EnvelopeError>
): Effect.Effect<A, EnvelopeError> => Effect.suspend(() => guardedEager(direction, run))

const judge =
  (direction: Direction) =>
  (cause: Cause.Cause<EnvelopeError>): Effect.Effect<never, EnvelopeError> =>
    cause.reasons.some((reason) => Cause.isDieReason(reason) && isOverflow(reason.defect))
      ? failed(direction, "nested too deeply")
      : Effect.failCause(cause)

/** A JSON value as text. */
export const stringify = (value: unknown): Effect.Effect<string, EnvelopeError> => {
  try {
    const text: string | undefined = JSON.stringify(value)
    return text === undefined ? failed("encode", "not a JSON value") : Effect.succeed(text)
  } catch (defect) {
    // What a schema lets through that does not look, such as `Schema.Any`: a circle, a bigint, depth.
    return failed("encode", isOverflow(defect) ? "nested too deeply" : "not a JSON value")
  }
}

const isOverflow = (defect: unknown): boolean => defect instanceof RangeError && /call stack/i.test(defect.message)
