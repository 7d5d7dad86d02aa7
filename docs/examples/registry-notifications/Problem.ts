/** What the command cannot begin or go on with. It is printed in one line: no stack, no fiber. */
import { Data, Effect, PlatformError } from "effect"
import { DurableBroadcaster, EventStore } from "effect-events/durable"
import { CliError } from "effect/cli"

export class Problem extends Data.TaggedError("Problem")<{ readonly message: string; readonly cause?: unknown }> {
  override get [CliError.userMessage](): string {
    return this.message
  }
}

/** What a data folder can fail with. */
type Trouble = PlatformError.PlatformError | EventStore.EventStoreError | DurableBroadcaster.DurableWriteError

const isTrouble = <E>(error: E | Trouble): error is Trouble =>
  error instanceof PlatformError.PlatformError ||
  error instanceof EventStore.EventStoreError ||
  error instanceof DurableBroadcaster.DurableWriteError

/** Turns errors of a data folder into a problem that names the folder. */
export const ofFolder =
  (folder: string) =>
  <A, E, R>(self: Effect.Effect<A, E | Trouble, R>): Effect.Effect<A, E | Problem, R> =>
    Effect.mapError(self, (error) =>
      isTrouble(error)
        ? new Problem({ message: `cannot use the data folder ${folder}: ${error.message}`, cause: error })
        : error
    )
