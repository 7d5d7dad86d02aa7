/** A rate limiter of Effect's own around the requests of endpoints. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { HttpClient } from "effect/http"
import { RateLimiter } from "effect/persistence"
import { pass, quiet } from "../support/virtual.ts"
import { makeReceivers, order, started, write } from "./support/webhooks.ts"

const acme = { tenant: "acme", url: "https://acme.test/hook" }

describe("a rate limiter of the application's own", () => {
  it.effect("is waited for outside of a request's time, and has one limit for several endpoints and processes", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const receivers = makeReceivers(() =>
        Effect.flatMap(Clock.currentTimeMillis, (at) => {
          times.push(at)
          return Effect.delay(Effect.succeed(new Response()), "300 millis")
        })
      )
      // of several machines, `layerStoreRedis` shares the limit
      const limiter = yield* RateLimiter.RateLimiter
      const options: Parameters<typeof started>[1] = {
        timeout: "1 second",
        // One limit for all endpoints of a tenant.
        transformClient: ({ tenant }) =>
          HttpClient.withRateLimiter({
            limiter,
            key: tenant,
            limit: 1,
            window: "10 seconds",
            algorithm: "token-bucket",
            times: 0
          })
      }
      const { memory, webhooks } = yield* started(receivers, options)
      yield* started(receivers, options, memory)
      const { endpoint } = yield* webhooks.create(acme)
      yield* webhooks.create(acme)
      yield* write(webhooks, 1)
      yield* write(webhooks, 2)
      yield* pass(35)
      assert.lengthOf(times, 4)
      times.slice(1).forEach((at, n) => assert.isAtLeast(at - times[n]!, 9_000))
      for (const { at, error, status, took } of yield* webhooks.attempts(endpoint)) {
        assert.deepStrictEqual([status, error], [200, undefined])
        assert.include(times, at)
        assert.closeTo(took, 300, 250)
      }
      const test = yield* Effect.forkChild(webhooks.sendTest(endpoint, { topic: "test", event: order(0) }))
      yield* pass(12)
      assert.isAtMost((yield* Fiber.join(test)).took, 1_300)
    }).pipe(Effect.scoped, quiet, Effect.provide(RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))))
  )
})
