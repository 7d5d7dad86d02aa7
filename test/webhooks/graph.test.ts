import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { SinkGraph } from "effect-events"
import { Redelivery } from "effect-events/durable"
import { figure, show, withRegistry } from "../support/metrics.ts"
import { pass, quiet } from "../support/virtual.ts"
import { deliver, makeReceivers, started, write } from "./support/webhooks.ts"

const deliveries = { kind: "WebhookDeliveries" }
const read = (name: string) => figure(name, "orders", deliveries)

describe("the graph of webhook endpoints", () => {
  it.effect("has the deliveries of this process, of whichever endpoints, also of those that it serves no more", () =>
    Effect.gen(function* () {
      let answers = 200
      const receivers = makeReceivers(({ url }) =>
        url.includes("hangs") ? Effect.never : new Response(null, { status: url.includes("fails") ? answers : 200 })
      )
      const { webhooks } = yield* started(receivers, {
        redelivery: Redelivery.make(Schedule.spaced("1 minute"), { jitter: 0, maxAttempts: 2 }),
        timeout: "1 hour",
        drainTimeout: 0
      })
      const create = (tenant: string, url: string) => webhooks.create({ tenant, url: `https://acme.test/${url}` })
      yield* create("acme", "one")
      yield* create("acme", "two")
      yield* create("bad", "fails")
      yield* create("slow", "hangs")
      yield* show(webhooks)
      yield* write(webhooks, 1)
      yield* deliver
      assert.strictEqual(yield* read("delivered_total"), 2)
      // Their leases are given back.
      yield* pass(5)
      assert.strictEqual(yield* read("delivered_total"), 2)
      assert.strictEqual(yield* read("pending"), 0)

      answers = 503
      yield* write(webhooks, 2, "bad")
      yield* deliver
      assert.deepStrictEqual([yield* read("attempts_total"), yield* read("delivered_total")], [3, 2])
      yield* TestClock.adjust("1 minute")
      yield* deliver
      assert.strictEqual(yield* read("dead_lettered_total"), 1)

      yield* write(webhooks, 3, "slow")
      yield* deliver
      assert.deepStrictEqual([yield* read("pending"), yield* read("in_flight")], [1, 1])
      const before = (yield* read("oldest_pending_age_seconds")) ?? 0
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* read("oldest_pending_age_seconds"), before + 4)

      const [stored, served] = yield* SinkGraph.health(webhooks)
      assert.deepStrictEqual([stored?.kind, stored?.pending, stored?.counts.accepted], ["WebhookEndpoints", 0, 3])
      assert.strictEqual(served?.kind, "WebhookDeliveries")
      assert.match(String(served?.lastError?.error), /503/)
      assert.strictEqual(served?.lastError?.count, 2)
      const { accepted, deadLettered, delivered } = served!.counts
      assert.deepStrictEqual([accepted, delivered, deadLettered, served?.pending], [4, 2, 1, 1])
    }).pipe(Effect.scoped, withRegistry, quiet)
  )
})
