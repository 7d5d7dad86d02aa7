import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Latch, Logger, Schema } from "effect"
import { EventSink } from "effect-events"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { MemoryStore } from "effect-events/durable"
import { GraphView, Job, Live } from "../../src/dashboard/internal/dashboardApi.ts"
import { everybody, failing, idOf, quiet, serve, until } from "../support/dashboard.ts"
import { isFull } from "../support/runs.ts"

const decodeJob = Schema.decodeUnknownSync(Schema.fromJsonString(Job))

/** Dead letters whose replay does one, waits, and does the next. */
const slow = (total: number) => {
  const steps = { done: 0, gate: Latch.makeUnsafe(), isStuck: false }
  const run: EventSink.DeadLetterAction = (_, { onProgress = () => Effect.void } = {}) =>
    Effect.gen(function* () {
      for (let i = 0; i < total; i++) {
        yield* steps.gate.await
        if (steps.isStuck) return yield* Effect.never
        steps.done++
        steps.gate.closeUnsafe()
        yield* onProgress({ done: steps.done, selected: total })
      }
      return steps.done
    })
  const deadLetters: EventSink.SinkDeadLetters = {
    count: () => Effect.succeed(total - steps.done),
    list: () => Effect.succeed([]),
    replay: run,
    purge: run
  }
  return { steps, deadLetters }
}

const dashboardOf = Effect.fnUntraced(function* (deadLetters: EventSink.SinkDeadLetters, lines: Array<string> = []) {
  const sink = yield* EventSink.make((_: string) => Effect.void, { name: "own", controls: { deadLetters } })
  const logger = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
  const { post, read } = yield* serve(
    SinkDashboard.layer({ path: "/events", roots: [sink], authorize: () => Effect.succeed({ name: "ada" }) }).pipe(
      Layer.provide(logger)
    )
  )
  const id = idOf(yield* read(GraphView, "/events/api/graph"), "own")
  const start = (action: "replay" | "purge") =>
    Effect.map(post(`/events/api/nodes/${id}/dead-letters/${action}`), ({ body }) => decodeJob(body))
  const cancel = (job: string) => post(`/events/api/jobs/${job}/cancel`)
  const jobOf = (job: string) =>
    Effect.map(read(Live, "/events/api/live"), ({ jobs }) => jobs.find((one) => one.id === job)!)
  return { start, cancel, jobOf }
})

describe("a replay or a purge that is under way", () => {
  it.live.each(["replay", "purge"] as const)("is cancelled: a %s keeps what it has done, and says how much", (action) =>
    Effect.gen(function* () {
      const { deadLetters, steps } = slow(10)
      const lines: Array<string> = []
      const { cancel, jobOf, start } = yield* dashboardOf(deadLetters, lines)
      const job = yield* start(action)
      steps.gate.openUnsafe()
      yield* until(jobOf(job.id), ({ done }) => done === 1)
      // The step that is under way ends first.
      const cancelled = yield* Effect.all([cancel(job.id), Effect.sync(() => steps.gate.openUnsafe())], {
        concurrency: "unbounded"
      }).pipe(Effect.map(([{ body }]) => decodeJob(body)))
      assert.include(cancelled, { state: "cancelled", done: 2, selected: 10, error: null })
      assert.strictEqual(steps.done, 2)
      steps.gate.openUnsafe()
      yield* Effect.sleep("20 millis")
      assert.strictEqual(steps.done, 2)
      assert.deepStrictEqual(yield* jobOf(job.id), cancelled)
      // One that is over stays as it is.
      assert.deepStrictEqual(decodeJob((yield* cancel(job.id)).body), cancelled)
      const doing = action === "replay" ? "replaying" : "purging"
      assert.include(lines, `EventSink "own" ended ${doing} dead letters, cancelled after 2 of them, by ada`)
    }).pipe(Effect.scoped)
  )

  it.live.runIf(isFull)("is cut short where a step does not end, and says that there may be more", () =>
    Effect.gen(function* () {
      const { deadLetters, steps } = slow(10)
      const { cancel, start } = yield* dashboardOf(deadLetters)
      const job = yield* start("replay")
      steps.isStuck = true
      steps.gate.openUnsafe()
      const cancelled = decodeJob((yield* cancel(job.id)).body)
      assert.include(cancelled, { state: "cancelled", done: 0 })
      assert.include(cancelled.error, "there may be more")
    }).pipe(Effect.scoped)
  )

  it.live("is not there", () =>
    Effect.gen(function* () {
      const { cancel } = yield* dashboardOf(slow(1).deadLetters)
      assert.strictEqual((yield* cancel("other-job-1")).status, 404)
    }).pipe(Effect.scoped)
  )

  it.live("over a store is cancelled between its batches: what is left is still there", () =>
    Effect.gen(function* () {
      const { queue, receiver } = yield* failing("orders")
      const total = 1700
      yield* EventSink.writeAll(
        queue,
        Array.from({ length: total }, (_, i) => ({ id: `a${i}`, total: i }))
      )
      yield* queue.flush
      const { post, read } = yield* serve(
        SinkDashboard.layer({ path: "/events", roots: [queue], authorize: everybody })
      )
      const id = idOf(yield* read(GraphView, "/events/api/graph"), "orders")
      receiver.isMended = true
      const job = decodeJob((yield* post(`/events/api/nodes/${id}/dead-letters/replay`)).body)
      const cancelled = decodeJob((yield* post(`/events/api/jobs/${job.id}/cancel`)).body)
      assert.strictEqual(cancelled.state, "cancelled")
      assert.isTrue([500, 1000, 1500].includes(cancelled.done), `${cancelled.done}`)
      yield* queue.flush
      assert.strictEqual(receiver.received.length, cancelled.done)
      assert.strictEqual(yield* queue.deadLetters.count(), total - cancelled.done)
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )
})
