/** One run at a time on a file of events. */
import { Duration, Effect, Schedule } from "effect"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { Problem } from "./Problem.ts"

const isHeld = ({ cause }: Problem): boolean =>
  // SQLITE_BUSY.
  cause instanceof Error && "errcode" in cause && cause.errcode === 5

/**
 * Locks a file beside `database` while the scope is open. The system ends the lock with the process, so that one that was
 * killed keeps no other waiting. `patience` is for one that is about to end.
 */
export const alone = (database: string, patience: Duration.Input) => {
  const file = `${database}.lock`
  const failed = (cause: unknown) => new Problem({ message: `cannot lock ${file}: ${cause}`, cause })
  const lock = Effect.try({
    try: () => {
      const held = new DatabaseSync(file)
      try {
        // The journal in memory: the file stays empty, and is alone.
        held.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE")
        return held
      } catch (error) {
        held.close()
        throw error
      }
    },
    catch: failed
  })
  const turn = Schedule.spaced("100 millis").pipe(Schedule.upTo({ duration: Duration.fromInputUnsafe(patience) }))
  return Effect.acquireRelease(
    Effect.retry(lock, { while: isHeld, schedule: turn }).pipe(
      Effect.mapError((problem) =>
        isHeld(problem) ? new Problem({ message: `another run is at work in ${dirname(database)}` }) : problem
      )
    ),
    (held) => Effect.sync(() => held.close())
  )
}
