/** What an endpoint waits for, over one process after another. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { MemoryStore, Redelivery } from "effect-events/durable"
import { file, open as openFile } from "../durable/support/sqliteFile.ts"
import { operationsOver } from "../durable/support/store.ts"
import { open, quiet, settle } from "../support/virtual.ts"
import { makeReceivers, startedOver, write } from "./support/webhooks.ts"
import { spread } from "../support/runs.ts"

const tenths = (count: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust("100 millis"), settle), { times: count - 1 })
const stores = {
  memory: Effect.map(MemoryStore.makeMemory, operationsOver),
  SQLite: Effect.map(file, (name) => openFile(name))
}

describe("an endpoint keeps over restarts", () => {
  it.effect.each(spread(["SQLite", "memory"] as const, 2))(
    "its place in its plan, its breaker, its rate and its pause: %s",
    (name) =>
      Effect.gen(function* () {
        const store = yield* stores[name]
        const times: Record<string, ReadonlyArray<number>> = {}
        const receivers = makeReceivers(({ url }) =>
          Effect.map(Clock.currentTimeMillis, (at) => {
            times[url] = [...(times[url] ?? []), at]
            return new Response(null, { status: url.includes("down") ? 500 : 200 })
          })
        )
        const redelivery = Redelivery.make(Schedule.exponential("1 second", 2), { jitter: 0 })
        const started = open(Effect.flatMap(store, (store) => startedOver(store, receivers, { redelivery })))
        let process = yield* started
        const url = (what: string) => `https://${what}.test/`
        const make = (what: string, rest = {}) => process.part.create({ tenant: "acme", url: url(what), ...rest })
        yield* make("down-plan")
        yield* make("down-breaker", { ordered: false })
        yield* make("rate", { rate: { limit: 1, per: "5 seconds" } })
        yield* make("rate-unordered", { ordered: false, rate: { limit: 1, per: "5 seconds" } })
        const { endpoint } = yield* make("paused")
        yield* process.part.pause(endpoint)
        for (let n = 0; n < 8; n++) yield* write(process.part, n)
        for (let restarts = 0; restarts < 12; restarts++) {
          yield* tenths(35)
          const closing = yield* Effect.forkChild(process.close)
          yield* tenths(3)
          yield* Fiber.join(closing)
          process = yield* started
        }
        const gaps = (what: string) =>
          (times[url(what)] ?? []).slice(1).map((at, n) => at - (times[url(what)]?.[n] ?? 0))
        // Each begins as soon as there is a process, which takes a moment.
        const near = (found: number | undefined, least: number) => assert.closeTo(found ?? 0, least + 250, 250)
        ;[1, 2, 4, 8, 16].forEach((seconds, n) => near(gaps("down-plan")[n], 1_000 * seconds))
        assert.lengthOf(gaps("down-plan"), 5)
        // Of eight events each is tried once, and then the receiver is down: the first pauses are 10 and 20 seconds, less up to a fifth.
        const pauses = gaps("down-breaker").filter((gap) => gap > 1_000)
        assert.closeTo(pauses[0] ?? 0, 9_200, 1_300)
        assert.closeTo(pauses[1] ?? 0, 18_200, 2_300)
        for (const what of ["rate", "rate-unordered"]) {
          assert.lengthOf(gaps(what), 7)
          for (const gap of gaps(what)) near(gap, 5_000)
        }
        assert.isUndefined(times[url("paused")])
        assert.deepInclude(yield* process.part.get(endpoint), { state: "paused", pending: 8 })
        const closing = yield* Effect.forkChild(process.close)
        yield* tenths(3)
        yield* Fiber.join(closing)
      }).pipe(Effect.scoped, quiet)
  )
})
