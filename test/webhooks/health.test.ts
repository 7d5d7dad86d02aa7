/** What is said of the health of endpoints, over heads, restarts and processes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import { MemoryStore, Redelivery } from "effect-events/durable"
import type { WebhookEndpoints } from "effect-events/webhooks"
import { open, pass, quiet, settle } from "../support/virtual.ts"
import { deliver, makeReceivers, started, write } from "./support/webhooks.ts"
import { spread } from "../support/runs.ts"

const acme = { tenant: "acme", url: "https://acme.test/hook" }
/** Two attempts within a minute, and then a dead letter. */
const short = Redelivery.make(Schedule.spaced("30 seconds"), { maxAttempts: 2, jitter: 0 })
const none = Redelivery.make(Schedule.spaced("30 seconds"), { maxAttempts: 1, jitter: 0 })

const minutes = (count: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust("1 minute"), settle), { times: count - 1 })

/** A process, and the types of what it says. */
const startedWith = Effect.fnUntraced(function* (
  options: NonNullable<Parameters<typeof started>[1]>,
  answer: () => Response | Effect.Effect<Response>,
  memory?: MemoryStore.Memory
) {
  const made = yield* started(makeReceivers(answer), options, memory)
  const said: Array<WebhookEndpoints.EndpointEvent> = []
  yield* Effect.forkScoped(Stream.runForEach(made.webhooks.health, (event) => Effect.sync(() => void said.push(event))))
  yield* settle
  return { ...made, said, types: () => said.map(({ type }) => type) }
})

describe("an endpoint whose events are given up before it is disabled", () => {
  for (const [kind, redelivery] of Object.entries({ "a short plan": short, "no plan": none }))
    for (const ordered of spread([true, false], 2))
      it.effect(`is failing once, and disabled in the end: ${kind}, ${ordered ? "ordered" : "in no order"}`, () =>
        Effect.gen(function* () {
          const { said, types, webhooks } = yield* startedWith(
            { disableAfter: "1 hour", redelivery },
            () => new Response(null, { status: 500 })
          )
          const { endpoint } = yield* webhooks.create({ ...acme, ordered })
          for (let n = 0; n < 80; n++) {
            yield* write(webhooks, n)
            yield* minutes(1)
          }
          assert.deepStrictEqual(types(), ["failing", "disabled"])
          const found = yield* webhooks.get(endpoint)
          assert.strictEqual(found.state, "disabled")
          assert.isAbove(found.deadLetters, 0)
          assert.approximately(said[1]!.at - said[0]!.at, 60 * 60_000, 2 * 60_000)
        }).pipe(Effect.scoped, quiet)
      )

  it.effect("has been failing since its first failure, whichever process has seen that", () =>
    Effect.gen(function* () {
      let status = 500
      const memory = yield* MemoryStore.makeMemory
      const options = { disableAfter: "1 hour", redelivery: short } as const
      const processes = Array.from({ length: 3 }, () =>
        startedWith(options, () => new Response(null, { status }), memory)
      )
      const all: Array<string> = []
      let key: WebhookEndpoints.EndpointKey | undefined
      let since: number | undefined
      for (const [at, process] of processes.entries()) {
        const { close, part } = yield* open(process)
        key ??= (yield* part.webhooks.create(acme)).endpoint
        const first = (yield* part.webhooks.get(key)).failingSince
        for (let n = 0; n < 25; n++) {
          yield* write(part.webhooks, at * 25 + n)
          yield* minutes(1)
        }
        if (at > 0) assert.strictEqual(first, since)
        if (at === 0) since = (yield* part.webhooks.get(key)).failingSince
        assert.isDefined(since)
        yield* close
        all.push(...part.types())
      }
      assert.deepStrictEqual(all, ["failing", "disabled"])
      status = 200
      const { types, webhooks } = yield* startedWith(options, () => new Response(null, { status }), memory)
      yield* webhooks.enable(key!)
      yield* pass(5)
      assert.deepInclude(yield* webhooks.get(key!), { pending: 0, failingSince: undefined })
      // It was disabled, and has failed at nothing since.
      assert.deepStrictEqual(types(), [])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("has recovered when it answers, and is failing anew after that", () =>
    Effect.gen(function* () {
      let status = 500
      const { types, webhooks } = yield* startedWith({ redelivery: short }, () => new Response(null, { status }))
      const { endpoint } = yield* webhooks.create(acme)
      let n = 0
      for (const next of [200, 500, 200]) {
        for (let more = 0; more < 3; more++) yield* write(webhooks, n++)
        yield* minutes(4)
        const isFailing = status === 500
        assert.strictEqual((yield* webhooks.get(endpoint)).failingSince !== undefined, isFailing)
        status = next
      }
      yield* write(webhooks, n)
      yield* minutes(1)
      assert.deepStrictEqual(types(), ["failing", "recovered", "failing", "recovered"])
    }).pipe(Effect.scoped, quiet)
  )
})

describe("an endpoint that waits for its next attempt", () => {
  for (const ordered of [true, false])
    it.effect(`is tried at once when it is resumed: ${ordered ? "ordered" : "in no order"}`, () =>
      Effect.gen(function* () {
        let status = 500
        const redelivery = Redelivery.fromDelays(["2 hours"], { jitter: 0 })
        const { webhooks } = yield* startedWith({ redelivery }, () => new Response(null, { status }))
        const { endpoint } = yield* webhooks.create({ ...acme, ordered })
        for (let n = 0; n < 6; n++) yield* write(webhooks, n)
        yield* deliver
        const { nextAttempt } = yield* webhooks.get(endpoint)
        assert.isDefined(nextAttempt)
        status = 200
        yield* write(webhooks, 6)
        yield* pass(1)
        assert.deepInclude(yield* webhooks.get(endpoint), { pending: 7, nextAttempt })
        yield* webhooks.resume(endpoint)
        yield* pass(3)
        // Out of order each event that has failed waits for its own time.
        assert.deepInclude(yield* webhooks.get(endpoint), { pending: ordered ? 0 : 6, nextAttempt: undefined })
      }).pipe(Effect.scoped, quiet)
    )
})

describe("a state", () => {
  it.effect("that several attempts or calls set at once is reported once", () =>
    Effect.gen(function* () {
      let status = 410
      const { types, webhooks } = yield* startedWith({}, () =>
        Effect.map(Effect.sleep("1 second"), () => new Response(null, { status }))
      )
      const { endpoint } = yield* webhooks.create({ ...acme, ordered: false, concurrency: 4 })
      for (let n = 0; n < 4; n++) yield* write(webhooks, n)
      yield* pass(5)
      assert.deepStrictEqual(types(), ["disabled"])
      status = 200
      yield* webhooks.enable(endpoint)
      yield* pass(5)
      yield* Effect.replicateEffect(webhooks.pause(endpoint), 3, { concurrency: "unbounded" })
      yield* settle
      assert.deepStrictEqual(types(), ["disabled", "paused"])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("that another process sets is reported there, and holds here", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const here = yield* startedWith({}, () => new Response(), memory)
      const there = yield* startedWith({ slots: 0 }, () => new Response(), memory)
      const { endpoint } = yield* here.webhooks.create(acme)
      yield* there.webhooks.pause(endpoint, "by hand")
      yield* settle
      yield* write(here.webhooks, 1)
      yield* deliver
      assert.deepStrictEqual([here.types(), there.types()], [[], ["paused"]])
      assert.deepInclude(yield* here.webhooks.get(endpoint), { state: "paused", pending: 1 })
      yield* there.webhooks.resume(endpoint)
      yield* deliver
      assert.deepInclude(yield* here.webhooks.get(endpoint), { state: "active", pending: 0 })
    }).pipe(Effect.scoped, quiet)
  )
})
