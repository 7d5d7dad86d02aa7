/** What the API of a dashboard answers. */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import {
  controlsOf,
  type ControlFailure,
  type SinkControls,
  type SinkDeadLetter,
  type SinkDeadLetterFilter,
  type SinkDeadLetters
} from "../../EventSink.ts"
import { logLine } from "../../internal/failureLog.ts"
import {
  Caller,
  ControlFailed,
  type DeadLetterView,
  type GraphView,
  NotFound,
  NotOffered,
  Refused,
  type Selection
} from "./dashboardApi.ts"
import type { Jobs } from "./jobs.ts"
import type { Monitor } from "./monitor.ts"
import type { Taps } from "./taps.ts"

export interface Settings extends Pick<typeof GraphView.Type, "title" | "changes" | "content"> {
  readonly monitor: Monitor
  readonly jobs: Jobs
  readonly taps: Taps
}

/** How many seconds a bucket of the history of all nodes has by default. */
const bucketSeconds = 15
const pageSize = 50
/** How many events a tap shows. */
const tapped = 20

export const reading = ({ changes, content, jobs, monitor, taps, title }: Settings) => ({
  graph: () => Effect.map(monitor.graph, (graph) => ({ ...graph, title, changes, content })),
  live: ({ query }: { readonly query: { readonly revision?: string; readonly since?: number } }) =>
    // The JSON of a node is kept: an encoding of a thousand nodes in a second would cost ten times as much.
    Effect.map(monitor.live(query.revision, query.since), ({ at, nodes, revision, sequence }) =>
      HttpServerResponse.text(
        `{"revision":${JSON.stringify(revision)},"at":${at},"sequence":${sequence},` +
          `"nodes":[${nodes.join(",")}],"jobs":${JSON.stringify(jobs.all())}}`,
        { contentType: "application/json" }
      )
    ),
  history: Effect.fnUntraced(function* ({
    query: { id, seconds = bucketSeconds }
  }: {
    readonly query: { readonly id?: string; readonly seconds?: number }
  }) {
    if (id !== undefined) yield* find(monitor, id)
    return HttpServerResponse.text(JSON.stringify(yield* monitor.history(seconds, id)), {
      contentType: "application/json"
    })
  }),
  deadLetters: Effect.fnUntraced(function* ({
    params,
    query: { afterPosition, afterTime, limit = pageSize, ...filter }
  }: {
    readonly params: { readonly id: string }
    readonly query: SinkDeadLetterFilter & {
      readonly afterPosition?: number
      readonly afterTime?: number
      readonly limit?: number
    }
  }) {
    const { deadLetters } = yield* deadLettersOf(monitor, params.id)
    const after =
      afterPosition === undefined || afterTime === undefined
        ? undefined
        : { position: afterPosition, deadLetteredAt: afterTime }
    const asked = Effect.all({
      matching: deadLetters.count(filter),
      deadLetters: deadLetters.list({ ...filter, after, limit })
    })
    const found = yield* orFailed(asked)
    return { matching: found.matching, deadLetters: found.deadLetters.map(viewOf) }
  }),
  deadLetter: Effect.fnUntraced(function* ({
    params: { id, position }
  }: {
    readonly params: { readonly id: string; readonly position: number }
  }) {
    if (!content) return yield* new Refused({ message: "content is hidden here" })
    const { deadLetters } = yield* deadLettersOf(monitor, id)
    const [found] = yield* orFailed(deadLetters.list({ position, limit: 1, content: true }))
    if (found === undefined) return yield* new NotFound({ message: "this dead letter is gone" })
    return viewOf(found)
  }),
  attempts: Effect.fnUntraced(function* ({ params: { id } }: One) {
    const { node } = yield* find(monitor, id)
    const asked = controlsOf(node)?.attempts
    if (asked === undefined) return yield* new NotOffered({ message: `"${node.name}" keeps no attempts` })
    const attempts = yield* orFailed(asked)
    return { attempts: attempts.map((attempt) => ({ ...attempt, error: attempt.error ?? null })) }
  }),
  tap: Effect.fnUntraced(function* ({
    params: { id },
    query: { events = tapped }
  }: One & { readonly query: { readonly events?: number } }) {
    const { node } = yield* find(monitor, id)
    if (node.taps.length === 0) return yield* new NotOffered({ message: `"${node.name}" shows no events` })
    return yield* taps.open(node, events)
  })
})

export const changing = ({ jobs, monitor }: Pick<Settings, "jobs" | "monitor">) => {
  const control = Effect.fnUntraced(function* (
    id: string,
    word: string,
    select: (controls: SinkControls) => Effect.Effect<void, ControlFailure> | undefined
  ) {
    const { node } = yield* find(monitor, id)
    const controls = controlsOf(node)
    const asked = controls && select(controls)
    if (asked === undefined) return yield* new NotOffered({ message: `"${node.name}" cannot be ${word}` })
    const { name } = yield* Caller
    // An interruption must not leave a change without its line in the log.
    yield* Effect.uninterruptible(
      Effect.andThen(orFailed(asked), logLine(node, "Info", `is ${word} by ${name ?? "a dashboard"}`))
    )
    yield* monitor.changed(id)
    return { done: true } as const
  })
  const job =
    (action: "replay" | "purge") =>
    ({ params: { id }, payload }: One & { readonly payload: typeof Selection.Type }) =>
      Effect.gen(function* () {
        const { deadLetters, watched } = yield* deadLettersOf(monitor, id)
        const { name } = yield* Caller
        return yield* jobs.start(watched, deadLetters, action, payload.positions ?? payload.filter ?? {}, name)
      })
  return {
    pause: ({ params: { id }, payload }: One & { readonly payload: { readonly reason?: string } }) =>
      control(id, "paused", ({ pause }) => pause?.(payload.reason)),
    resume: ({ params: { id } }: One) => control(id, "resumed", ({ resume }) => resume),
    disable: ({ params: { id } }: One) => control(id, "disabled", ({ disable }) => disable),
    enable: ({ params: { id } }: One) => control(id, "enabled", ({ enable }) => enable),
    replay: job("replay"),
    purge: job("purge"),
    cancel: Effect.fnUntraced(function* ({ params: { id } }: One) {
      const { name } = yield* Caller
      const found = yield* jobs.cancel(id, name)
      return found ?? (yield* new NotFound({ message: "there is no such job any more" }))
    })
  }
}

// internals

/** A request about one node, or one job. */
interface One {
  readonly params: { readonly id: string }
}

const find = (monitor: Monitor, id: string) => {
  const watched = monitor.find(id)
  return watched === undefined
    ? Effect.fail(new NotFound({ message: "there is no such node any more" }))
    : Effect.succeed(watched)
}

const deadLettersOf = Effect.fnUntraced(function* (monitor: Monitor, id: string) {
  const watched = yield* find(monitor, id)
  const deadLetters: SinkDeadLetters | undefined = controlsOf(watched.node)?.deadLetters
  if (deadLetters === undefined) {
    return yield* new NotOffered({ message: `"${watched.node.name}" has no dead letters` })
  }
  return { watched, deadLetters }
})

const orFailed = <A>(asked: Effect.Effect<A, ControlFailure>) =>
  Effect.mapError(asked, ({ message }) => new ControlFailed({ message }))

const viewOf = ({ contentType, text, ...one }: SinkDeadLetter): typeof DeadLetterView.Type => ({
  position: one.position,
  topic: one.topic,
  reason: one.reason,
  cause: one.cause,
  attempts: one.attempts,
  writtenAt: one.writtenAt,
  deadLetteredAt: one.deadLetteredAt,
  bytes: one.bytes,
  contentType: contentType ?? null,
  ...(text === undefined ? {} : { text })
})
