/** What is kept of attempts, over a store in memory and in a SQLite file. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Schedule } from "effect"
import { Redelivery } from "effect-events/durable"
import { pass, quiet } from "../support/virtual.ts"
import { deliver, makeReceivers, order, startedOver, storeNames, stores, verified, write } from "./support/webhooks.ts"

const acme = { tenant: "acme", url: "https://acme.test/hook" }

describe("attempts", () => {
  const both = it.effect.each(storeNames)

  both("have the status, and the first bytes of an answer only where these are asked for: %s", (name) =>
    Effect.gen(function* () {
      for (const answerBytes of [undefined, 5]) {
        const receivers = makeReceivers(
          (_, n) => new Response("n\u0000: it is broken", { status: n === 1 ? 500 : 200 })
        )
        const webhooks = yield* startedOver(yield* stores[name], receivers, { answerBytes })
        const { endpoint } = yield* webhooks.create(acme)
        yield* write(webhooks, 1)
        yield* pass(10)
        const attempts = yield* webhooks.attempts(endpoint)
        const answer = answerBytes === undefined ? undefined : "n\u{fffd}: i"
        assert.deepStrictEqual(
          attempts.map(({ answer, error, status, topic }) => ({ status, answer, topic, failed: error !== undefined })),
          [
            { status: 200, answer, topic: "order/placed", failed: false },
            { status: 500, answer, topic: "order/placed", failed: true }
          ]
        )
        assert.strictEqual((yield* webhooks.attempts(endpoint, { failedOnly: true })).length, 1)
      }
    }).pipe(Effect.scoped, quiet)
  )

  both("are made again for one event, and for all that failed since a time: %s", (name) =>
    Effect.gen(function* () {
      let isDown = false
      const receivers = makeReceivers(() => new Response(null, { status: isDown ? 400 : 200 }))
      const webhooks = yield* startedOver(yield* stores[name], receivers, { redelivery: Redelivery.none })
      const { endpoint } = yield* webhooks.create(acme)
      yield* write(webhooks, 1)
      yield* deliver
      assert.strictEqual(yield* webhooks.resend(endpoint, ["a1", "nothing"]), 1)
      yield* deliver
      assert.deepStrictEqual(receivers.bodies(), [JSON.stringify(order(1)), JSON.stringify(order(1))])
      isDown = true
      yield* write(webhooks, 2)
      yield* pass(100)
      yield* write(webhooks, 3)
      yield* deliver
      assert.strictEqual((yield* webhooks.get(endpoint)).deadLetters, 2)
      isDown = false
      assert.strictEqual(yield* webhooks.replayFailed(endpoint, { from: 50_000 }), 1)
      yield* deliver
      assert.strictEqual(receivers.bodies().at(-1), JSON.stringify(order(3)))
      assert.strictEqual(yield* webhooks.replayFailed(endpoint), 1)
    }).pipe(Effect.scoped, quiet)
  )

  both("to try an endpoint go out at once, and are stored nowhere: %s", (name) =>
    Effect.gen(function* () {
      const receivers = makeReceivers(() => new Response("nope", { status: 404 }))
      const webhooks = yield* startedOver(yield* stores[name], receivers, { slots: 0, answerBytes: 100 })
      const { endpoint, secret } = yield* webhooks.create({ ...acme, headers: { "x-key": Redacted.make("sesame") } })
      yield* webhooks.pause(endpoint)
      const result = yield* webhooks.sendTest(endpoint, { topic: "test", event: order(0) })
      assert.deepInclude(result, { status: 404, answer: "nope", took: 0 })
      assert.include(result.error, "status 404")
      yield* verified(receivers.got[0]!, [secret])
      assert.strictEqual(receivers.got[0]!.headers["x-key"], "sesame")
      assert.deepStrictEqual(yield* webhooks.attempts(endpoint), [])
      assert.strictEqual((yield* webhooks.get(endpoint)).pending, 0)
    }).pipe(Effect.scoped, quiet)
  )

  both("have the time of their requests, without what they waited for a rate: %s", (name) =>
    Effect.gen(function* () {
      const receivers = makeReceivers(() => Effect.as(Effect.sleep("100 millis"), new Response("fine")))
      const webhooks = yield* startedOver(yield* stores[name], receivers)
      const rate = { limit: 1, per: "4 seconds" } as const
      const { endpoint } = yield* webhooks.create({ ...acme, rate, ordered: false, concurrency: 2 })
      for (let n = 0; n < 4; n++) yield* write(webhooks, n)
      yield* pass(30)
      const attempts = (yield* webhooks.attempts(endpoint)).toReversed()
      assert.deepStrictEqual(
        attempts.map(({ took }) => took),
        [100, 100, 100, 100]
      )
      for (const [n, { at }] of attempts.entries()) if (n > 0) assert.isAtLeast(at - attempts[n - 1]!.at, 4_000)
    }).pipe(Effect.scoped, quiet)
  )

  both("have the id of their event, that was given or assigned, also without an answer: %s", (name) =>
    Effect.gen(function* () {
      let isReached = true
      const receivers = makeReceivers(() => (isReached ? new Response("fine") : Effect.never))
      const options = { answerBytes: 900, redelivery: Redelivery.none, timeout: "1 second" } as const
      const webhooks = yield* startedOver(yield* stores[name], receivers, options)
      const { endpoint } = yield* webhooks.create(acme)
      // An id may have a space, and be as long as what is kept of an answer.
      const long = `an order ${"7".repeat(491)}`
      yield* webhooks.write({ tenant: "acme", topic: "t", id: long, event: order(1) })
      yield* webhooks.write({ tenant: "acme", topic: "t", event: order(2) })
      yield* pass(2)
      isReached = false
      yield* write(webhooks, 3)
      yield* pass(3)
      const [third, second, first] = yield* webhooks.attempts(endpoint)
      assert.deepInclude(first, { eventId: long, status: 200, answer: "fine" })
      assert.match(second?.eventId ?? "", /^msg_[0-9a-f]{32}$/)
      assert.deepInclude(third, { eventId: "a3", status: undefined })
      assert.include(third?.error, "no answer within 1s")
      isReached = true
      for (const { eventId } of [first!, second!, third!]) {
        assert.isDefined(yield* webhooks.status("acme", eventId!))
        assert.strictEqual(yield* webhooks.resend(endpoint, [eventId!]), 1)
      }
    }).pipe(Effect.scoped, quiet)
  )

  both("have the last error of an endpoint that is failing while nothing waits for it: %s", (name) =>
    Effect.gen(function* () {
      let status = 500
      const store = yield* stores[name]
      const receivers = makeReceivers(() => new Response(null, { status }))
      const options = { redelivery: Redelivery.make(Schedule.spaced("1 second"), { maxAttempts: 1 }) }
      const key = yield* Effect.scoped(
        Effect.gen(function* () {
          const webhooks = yield* startedOver(store, receivers, options)
          const { endpoint } = yield* webhooks.create(acme)
          yield* write(webhooks, 1)
          yield* pass(2)
          return endpoint
        })
      )
      // Another process says the same.
      const webhooks = yield* startedOver({ ...store }, receivers, options)
      const found = yield* webhooks.get(key)
      assert.deepInclude(found, { pending: 0, deadLetters: 1, nextAttempt: undefined })
      assert.isDefined(found.failingSince)
      assert.include(found.lastError, "status 500")
      status = 200
      yield* write(webhooks, 2)
      yield* pass(2)
      assert.deepInclude(yield* webhooks.get(key), { failingSince: undefined, lastError: undefined })
    }).pipe(Effect.scoped, quiet)
  )
})
