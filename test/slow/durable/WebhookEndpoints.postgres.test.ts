/** Webhook endpoints of several processes on a Postgres server. */
import { assert, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Schedule } from "effect"
import { EventSink } from "effect-events"
import { type EventStore, Redelivery } from "effect-events/durable"
import { describePostgres, openStore } from "../../durable/support/postgres.ts"
import { open, quiet } from "../../support/virtual.ts"
import { key, makeReceivers, order, startedOver, write } from "../../webhooks/support/webhooks.ts"

const acme = { tenant: "acme", url: "https://acme.test/hook" }
const soon = Redelivery.make(Schedule.spaced("50 millis"), { jitter: 0, maxAttempts: 2 })

const until = (what: string, isSo: () => boolean | Effect.Effect<boolean, unknown>) =>
  Effect.suspend(() => {
    const found = isSo()
    return typeof found === "boolean" ? Effect.succeed(found) : found
  }).pipe(
    Effect.repeat({ until: (found) => found, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOrElse({ duration: "20 seconds", orElse: () => Effect.die(new Error(`not within 20 s: ${what}`)) })
  )

describePostgres("webhook endpoints on Postgres", (server) => {
  it.live("of two processes: transactions, order, attempts, resend and dead letters", () =>
    Effect.gen(function* () {
      let status = 200
      const receivers = makeReceivers(() => new Response("an answer", { status }))
      const options = { name: "one", redelivery: soon, answerBytes: 4 } as const
      const first = yield* openStore(server())
      const one = yield* startedOver(first.store, receivers, options)
      yield* startedOver((yield* openStore(server(), { changes: "poll" })).store, receivers, options)
      const { endpoint } = yield* one.create({ ...acme, topics: ["order/*"] })
      const other = yield* one.create({ tenant: "other", url: "https://other.test/hook" })
      const events = (from: number, to: number) =>
        Array.from({ length: to - from + 1 }, (_, n) => ({
          tenant: "acme",
          topic: n % 2 === 0 ? "order/placed" : "order/paid",
          id: `a${from + n}`,
          event: order(from + n)
        }))
      yield* Effect.flip(
        first.sql.withTransaction(Effect.andThen(EventSink.writeAll(one, events(90, 99)), Effect.fail("rolled back")))
      )
      yield* first.sql.withTransaction(EventSink.writeAll(one, events(1, 20)))
      yield* until("20 requests", () => receivers.got.length === 20)
      const ids = () => receivers.got.map(({ headers }) => headers["webhook-id"])
      assert.deepStrictEqual(
        ids(),
        events(1, 20).map(({ id }) => id)
      )
      assert.isTrue(receivers.urls().every((url) => url === acme.url))
      yield* until("nothing pending", () => Effect.map(one.get(endpoint), ({ pending }) => pending === 0))
      const attempts = yield* one.attempts(endpoint, { limit: 5 })
      assert.deepStrictEqual(
        attempts.map(({ eventId }) => eventId),
        ["a20", "a19", "a18", "a17", "a16"]
      )
      for (const attempt of attempts) {
        assert.deepInclude(attempt, { status: 200, answer: "an a", error: undefined })
        assert.isAtLeast(attempt.took, 0)
        assert.isAtLeast(Date.now(), attempt.at)
      }
      assert.strictEqual(yield* one.resend(endpoint, ["a3", attempts[0]!.position, "a90"]), 2)
      yield* until("2 requests more", () => receivers.got.length === 22)
      assert.deepStrictEqual(ids().slice(20), ["a3", "a20"])

      status = 500
      yield* EventSink.writeAll(one, events(21, 24))
      yield* until("4 dead letters", () => Effect.map(one.get(endpoint), ({ deadLetters }) => deadLetters === 4))
      const failed = yield* one.attempts(endpoint, { failedOnly: true, limit: 100 })
      assert.lengthOf(failed, 8)
      assert.isTrue(failed.every(({ error, status }) => status === 500 && error !== undefined))
      const failing = yield* one.get(endpoint)
      assert.isDefined(failing.failingSince)
      // Nothing waits for it.
      assert.deepInclude(failing, { pending: 0, nextAttempt: undefined })
      assert.include(failing.lastError, "status 500")
      status = 200
      assert.strictEqual(yield* one.replayFailed(endpoint, { topic: "order/paid", reason: "Exhausted" }), 2)
      yield* until("2 of them delivered", () => Effect.map(one.get(endpoint), ({ pending }) => pending === 0))
      assert.deepInclude(yield* one.get(endpoint), { deadLetters: 2, failingSince: undefined })
      assert.strictEqual(yield* one.replayFailed(endpoint, { to: 1 }), 0)
      assert.strictEqual(yield* one.replayFailed(endpoint, { from: 1 }), 2)
      yield* until("all of them delivered", () => Effect.map(one.get(endpoint), ({ pending }) => pending === 0))
      const test = yield* one.sendTest(other.endpoint, { topic: "test", event: order(0) })
      assert.deepInclude(test, { status: 200, answer: "an a", error: undefined })
      assert.strictEqual(yield* one.remove(endpoint), 0)
    }).pipe(Effect.scoped, quiet)
  )

  it.live("a process without the key of an endpoint leaves it to another, and does not count it as failing", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { store } = yield* openStore(server())
      const options = { name: "keys", disableAfter: "1 milli" } as const
      const newer = { ...options, keys: { current: key("b"), old: [key("a")] } }
      const writer = yield* startedOver(store, receivers, { ...newer, slots: 0 })
      const { endpoint } = yield* writer.create(acme)
      const older = yield* open(
        Effect.flatMap(openStore(server()), ({ store }) => startedOver(store, receivers, options))
      )
      yield* write(writer, 1)
      const waits = Effect.map(store.overview({ exchange: "keys" }), ([found]) => found?.wait)
      yield* until("it waits", () => Effect.map(waits, (wait) => wait !== undefined))
      assert.deepInclude(yield* waits, { attempts: 0 })
      assert.include((yield* waits)?.reason, 'does not have the key "b"')
      assert.deepInclude(yield* writer.get(endpoint), { state: "active", pending: 1, failingSince: undefined })
      yield* older.close
      yield* startedOver((yield* openStore(server())).store, receivers, newer)
      // That ends the wait.
      yield* writer.pause(endpoint)
      yield* writer.resume(endpoint)
      yield* until("it is delivered", () => receivers.got.length === 1)
    }).pipe(Effect.scoped, quiet)
  )

  it.live("a process that was paused acknowledges nothing", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const gate = yield* Deferred.make<void>()
      const late: Array<ReadonlyArray<number>> = []
      let renewals = 0
      const paused: EventStore.Operations = {
        ...store,
        renew: (owner, ttl) =>
          renewals++ === 0 ? store.renew(owner, ttl) : Effect.andThen(Deferred.await(gate), store.renew(owner, ttl)),
        settle: (owner, settlements) =>
          Effect.andThen(
            Deferred.await(gate),
            Effect.tap(store.settle(owner, settlements), (lost) => Effect.sync(() => void late.push(lost)))
          )
      }
      const options = {
        name: "paused",
        leaseTtl: "1 second",
        redelivery: Redelivery.make(Schedule.spaced("1 hour"))
      } as const
      const [mine, theirs] = [makeReceivers(), makeReceivers(() => new Response(null, { status: 503 }))]
      const one = yield* startedOver(paused, mine, options)
      const { endpoint } = yield* one.create(acme)
      yield* write(one, 1)
      yield* until("the request of the process that is paused then", () => mine.got.length === 1)
      yield* startedOver((yield* openStore(server())).store, theirs, options)
      yield* until("the request of the other", () => theirs.got.length === 1)
      yield* until("its failure is stored", () =>
        Effect.map(one.get(endpoint), ({ failingSince }) => failingSince !== undefined)
      )
      yield* Deferred.succeed(gate, undefined)
      yield* until("the late settlement", () => late.length > 0)
      assert.lengthOf(late[0]!, 1)
      assert.deepInclude(yield* one.get(endpoint), { pending: 1 })
      assert.lengthOf(mine.got, 1)
    }).pipe(Effect.scoped, quiet)
  )

  it.live("the rate of an endpoint holds over processes", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const receivers = makeReceivers(() => {
        times.push(performance.now())
        return new Response()
      })
      const { store } = yield* openStore(server())
      const writer = yield* startedOver(store, receivers, { name: "rate", slots: 0 })
      yield* writer.create({ ...acme, rate: { limit: 4, per: "1 second" } })
      for (let n = 0; n < 8; n++) yield* write(writer, n)
      for (let n = 1; n <= 4; n++) {
        const { close } = yield* open(
          Effect.flatMap(openStore(server()), ({ store }) => startedOver(store, receivers, { name: "rate" }))
        )
        yield* until("2 requests of a process", () => times.length >= 2 * n)
        yield* close
      }
      assert.isAtLeast(times.length, 8)
      // The clock of the server, and that of this process, may differ by the time of a turn.
      for (let n = 1; n < times.length; n++) assert.isAbove(times[n]! - times[n - 1]!, 240)
    }).pipe(Effect.scoped, Effect.timeout(Duration.seconds(60)), quiet)
  )

  it.live("the concurrency of an endpoint holds over processes, through which it moves", () =>
    Effect.gen(function* () {
      const underWay = new Map<string, number>()
      const by = new Map<string, Set<number>>()
      let [most, done] = [0, 0]
      const receiversOf = (process: number) =>
        makeReceivers(({ url }) =>
          Effect.gen(function* () {
            const n = (underWay.get(url) ?? 0) + 1
            underWay.set(url, n)
            most = Math.max(most, n)
            by.set(url, (by.get(url) ?? new Set()).add(process))
            yield* Effect.sleep("30 millis")
            underWay.set(url, (underWay.get(url) ?? 0) - 1)
            done++
            return new Response()
          })
        )
      // Fewer slots than endpoints: each is given up after its slice.
      const options = { name: "concurrency", slots: 2, slice: "200 millis" } as const
      const [one] = yield* Effect.forEach([1, 2], (process) =>
        Effect.flatMap(openStore(server()), ({ store }) => startedOver(store, receiversOf(process), options))
      )
      for (let n = 0; n < 6; n++) {
        yield* one!.create({ tenant: "acme", url: `https://acme.test/${n}`, ordered: false, concurrency: 3 })
      }
      yield* EventSink.writeAll(
        one!,
        Array.from({ length: 60 }, (_, n) => ({ tenant: "acme", topic: "order/placed", event: order(n) }))
      )
      yield* until("360 requests", () => done === 360)
      assert.strictEqual(most, 3)
      assert.isTrue([...by.values()].some(({ size }) => size === 2))
    }).pipe(Effect.scoped, quiet)
  )
})
