import * as Data from "effect/Data"

/**
 * What a misbehaving test sink fails with.
 *
 * @category errors
 * @since 0.1.0
 */
export class TestError extends Data.TaggedError("TestError")<{
  /** Which attempt of the sink this was, from 1. */
  readonly attempt: number
}> {}
