/** Replays and purges that run in the background, with their progress: each goes on when its viewer is gone. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { describeCause } from "../../internal/describeCause.ts"
import type { SinkDeadLetterFilter, SinkDeadLetters } from "../../EventSink.ts"
import { logLine } from "../../internal/failureLog.ts"
import type { Job } from "./dashboardApi.ts"
import type { Watched } from "./monitor.ts"

type View = typeof Job.Type

export interface Jobs {
  /** The latest, and all that run. */
  readonly all: () => ReadonlyArray<View>
  readonly start: (
    watched: Watched,
    deadLetters: SinkDeadLetters,
    action: View["action"],
    selection: SinkDeadLetterFilter | ReadonlyArray<number>,
    by: string | undefined
  ) => Effect.Effect<View>
}

/** How many jobs that are over are remembered. */
const remembered = 10

export const makeJobs = (scope: Scope.Scope, instance: string, changed: (id: string) => Effect.Effect<void>): Jobs => {
  let jobs: ReadonlyArray<View> = []
  let ids = 0
  const update = (id: string, some: Partial<View>) => {
    jobs = jobs.map((job) => (job.id === id ? { ...job, ...some } : job))
    const over = jobs.filter(({ state }) => state !== "running")
    const old = new Set(over.slice(0, Math.max(0, over.length - remembered)))
    jobs = jobs.filter((job) => !old.has(job))
  }
  return {
    all: () => jobs,
    start: Effect.fnUntraced(function* ({ id: node, node: { kind, name } }, deadLetters, action, selection, by) {
      const id = `${instance}-job-${++ids}`
      const job: View = { id, node, action, state: "running", done: 0, selected: null, error: null }
      jobs = [...jobs, job]
      const log = (outcome: string, events: number) => {
        const doing = action === "replay" ? "replaying" : "purging"
        return logLine({ kind, name }, "Info", `ended ${doing} dead letters, ${outcome}, by ${by ?? "a dashboard"}`, {
          events
        })
      }
      const running = deadLetters[action](selection, {
        onProgress: ({ done, selected }) => Effect.sync(() => update(id, { done, selected }))
      }).pipe(
        Effect.tap((done) =>
          Effect.andThen(
            Effect.sync(() => update(id, { done, selected: done, state: "done" })),
            log(`${done} of them`, done)
          )
        ),
        Effect.catchCause((cause) =>
          Effect.andThen(
            Effect.sync(() => update(id, { state: "failed", error: failureOf(cause) })),
            log(`which failed (${failureOf(cause)})`, 0)
          )
        ),
        Effect.andThen(changed(node))
      )
      yield* Effect.forkIn(running, scope)
      return job
    })
  }
}

// internals

const failureOf = (cause: Cause.Cause<unknown>): string =>
  Cause.hasInterruptsOnly(cause) ? "it was interrupted" : describeCause(cause).slice(0, 500)
