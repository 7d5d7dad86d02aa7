/** What tests on virtual time share: settling, logs, and parts in scopes of their own. */
import { Effect, Exit, Logger, Scope } from "effect"
import { TestClock } from "effect/testing"

/** Lets every other fiber run until it waits. */
export const settle = Effect.repeat(Effect.yieldNow, { times: 300 })

/** Lets seconds pass one by one, and all that is to be done within each. */
export const pass = (seconds: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust("1 second"), settle), { times: seconds - 1 })

export interface Log {
  readonly level: string
  /** The whole line, as JSON. */
  readonly line: string
}

/** Collects the log, in place of printing it. */
export const withLogs = <A, E, R>(use: (logs: Array<Log>) => Effect.Effect<A, E, R>) => {
  const logs: Array<Log> = []
  const logger = Logger.map(Logger.formatJson, (line) => void logs.push({ level: JSON.parse(line).level, line }))
  return Effect.provideService(use(logs), Logger.CurrentLoggers, new Set([logger]))
}

/** Leaves the log out. */
export const quiet = Effect.provideService(Logger.CurrentLoggers, new Set<Logger.Logger<unknown, unknown>>())

/** Makes a part in a scope of its own, which a test closes itself, or not at all. */
export const open = <A, E, R>(make: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const part = yield* Scope.provide(make, scope)
    return { part, close: Scope.close(scope, Exit.void) }
  })

/** Collects uncaught errors, in place of the test runner, which takes them for a failure. */
export const uncaught = Effect.acquireRelease(
  Effect.sync(() => {
    const others = process.listeners("uncaughtException")
    const errors: Array<unknown> = []
    const collect = (error: unknown) => void errors.push(error)
    process.removeAllListeners("uncaughtException").on("uncaughtException", collect)
    return { errors, others }
  }),
  ({ others }) =>
    Effect.sync(() => {
      process.removeAllListeners("uncaughtException")
      for (const other of others) process.on("uncaughtException", other)
    })
)
