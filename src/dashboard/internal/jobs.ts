/** Replays and purges that run in the background, with their progress: each goes on when its viewer is gone. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { describeCause } from "../../internal/describeCause.ts"
import type { SinkDeadLetterFilter, SinkDeadLetters, SinkNode } from "../../EventSink.ts"
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
  /**
   * Ends a job after the step that is under way, or amid it where that takes too long, and answers with what the job has done;
   * nothing where there is no such job. One that is over stays as it is.
   */
  readonly cancel: (id: string, by: string | undefined) => Effect.Effect<View | undefined>
}

/** How many jobs that are over are remembered. */
const remembered = 10
/** How long a cancelled job has for the step that is under way. */
const stepTimeout = "5 seconds"

interface Running {
  fiber: Fiber.Fiber<void> | undefined
  /** In whose name it is cancelled. */
  cancelledBy: string | undefined
  /** Whether a step was ended that was under way. */
  isCutShort: boolean
}

export const makeJobs = (scope: Scope.Scope, instance: string, changed: (id: string) => Effect.Effect<void>): Jobs => {
  let jobs: ReadonlyArray<View> = []
  let ids = 0
  const update = (id: string, some: Partial<View>) => {
    jobs = jobs.map((job) => (job.id === id ? { ...job, ...some } : job))
    const over = jobs.filter(({ state }) => state !== "running")
    const old = new Set(over.slice(0, Math.max(0, over.length - remembered)))
    jobs = jobs.filter((job) => !old.has(job))
  }
  const running = new Map<string, Running>()
  const find = (id: string) => jobs.find((job) => job.id === id)

  const run = (
    { id, action, node }: View,
    part: Pick<SinkNode, "kind" | "name">,
    deadLetters: SinkDeadLetters,
    selection: SinkDeadLetterFilter | ReadonlyArray<number>,
    by: string
  ) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const act = deadLetters[action](selection, {
          onProgress: ({ done, selected }) =>
            Effect.suspend(() => {
              update(id, { done, selected })
              // Between two steps: what is done is what was reported.
              return running.get(id)?.cancelledBy === undefined ? Effect.void : Effect.interrupt
            })
        })
        const exit = yield* Effect.exit(restore(act))
        const done = Exit.isSuccess(exit) ? exit.value : (find(id)?.done ?? 0)
        const { cancelledBy, isCutShort } = running.get(id) ?? { cancelledBy: undefined, isCutShort: false }
        running.delete(id)
        const ended = (some: Partial<View>, outcome: string, name: string) => {
          update(id, some)
          const doing = action === "replay" ? "replaying" : "purging"
          return logLine(part, "Info", `ended ${doing} dead letters, ${outcome}, by ${name}`, { events: done })
        }
        if (Exit.isSuccess(exit)) {
          yield* ended({ done, selected: done, state: "done" }, `${done} of them`, by)
        } else if (cancelledBy !== undefined && Cause.hasInterruptsOnly(exit.cause)) {
          const error = isCutShort ? "a step took too long and was cut short: there may be more" : null
          yield* ended({ state: "cancelled", error }, `cancelled after ${done} of them`, cancelledBy)
        } else {
          const error = failureOf(exit.cause)
          yield* ended({ state: "failed", error }, `which failed after ${done} of them (${error})`, by)
        }
        yield* restore(changed(node))
      })
    )
  return {
    all: () => jobs,
    start: Effect.fnUntraced(function* ({ id: node, node: part }, deadLetters, action, selection, by = anonymous) {
      const id = `${instance}-job-${++ids}`
      const job: View = { id, node, action, state: "running", done: 0, selected: null, error: null }
      jobs = [...jobs, job]
      const one: Running = { fiber: undefined, cancelledBy: undefined, isCutShort: false }
      running.set(id, one)
      one.fiber = yield* Effect.forkIn(run(job, part, deadLetters, selection, by), scope)
      return job
    }),
    cancel: Effect.fnUntraced(function* (id, by = anonymous) {
      const job = running.get(id)
      if (job?.fiber === undefined) return find(id)
      job.cancelledBy ??= by
      const ended = yield* Effect.timeoutOption(Fiber.await(job.fiber), stepTimeout)
      if (Option.isNone(ended)) {
        job.isCutShort = true
        yield* Effect.timeoutOption(Fiber.interrupt(job.fiber), stepTimeout)
      }
      return find(id)
    })
  }
}

// internals

/** Where `authorize` gives no name. */
const anonymous = "a dashboard"

const failureOf = (cause: Cause.Cause<unknown>): string =>
  Cause.hasInterruptsOnly(cause) ? "it was interrupted" : describeCause(cause).slice(0, 500)
