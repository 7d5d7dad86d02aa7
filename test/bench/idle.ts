/** What the rows of idle processes share: what a process uses while nothing happens, and how many statements it runs. */
import type { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import { StatementSync } from "node:sqlite"
import { collect, stopwatch } from "./measure.ts"
import type { Figures, Metric, Sample } from "./model.ts"

/** How long a sample takes: as long as the longest interval of a broadcaster, that of subscriptions without a process. */
const length = "30 seconds"

export const cpu: Metric = { key: "cpu", label: "CPU, of one core", unit: "percent" }
export const statements: Metric = { key: "statements", label: "statements", unit: "per s" }
export const commits: Metric = { key: "commits", label: "commits", unit: "per s" }

/** What the process uses meanwhile, and how fast some counters grow. */
export const share = (counts: Effect.Effect<Figures>): Sample =>
  Effect.gen(function* () {
    collect()
    const before = yield* counts
    const watch = stopwatch()
    yield* Effect.sleep(length)
    const { cpu, wall } = watch()
    const after = yield* counts
    const rates = Object.entries(after).map(([key, n]) => [key, (1000 * (n - before[key]!)) / wall])
    return { ...Object.fromEntries(rates), cpu: (100 * cpu) / wall }
  })

/** How many statements of `node:sqlite` this process has run since, and how many transactions that write. */
export const countStatements = (): (() => Figures) => {
  let [statements, commits] = [0, 0]
  const { prototype } = StatementSync
  for (const method of ["run", "get", "all", "iterate"] as const) {
    const original = prototype[method]
    Object.defineProperty(prototype, method, {
      value(this: StatementSync, ...values: ReadonlyArray<unknown>): unknown {
        statements++
        if (this.sourceSQL === "BEGIN IMMEDIATE") commits++
        return Reflect.apply(original, this, values)
      }
    })
  }
  return () => ({ statements, commits })
}

/** How many transactions the server has run; an idle session reports to that count within ten seconds. */
export const countTransactions = (sql: PgClient.PgClient): Effect.Effect<Figures> => {
  let own = 0
  return sql<{ readonly n: string }>`
    SELECT (xact_commit + xact_rollback)::text AS n FROM pg_stat_database WHERE datname = current_database()
  `.pipe(
    // The statement that asks is counted by the next one.
    Effect.map(([row]) => ({ statements: Number(row?.n) - own++ })),
    Effect.orDie
  )
}
