import { Duration, Effect, Stream } from "effect"
import { EventStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { appendFileSync } from "node:fs"
import { acknowledged, makeReader, publishTexts } from "../../durable/support/subscription.ts"

// Another process on the same file. `node sqliteChild.ts <what> <file>`, and it reports on stdout how far it has come.

const Store = EventStore.EventStore
const [, , what = "", filename = "", log = ""] = process.argv
const say = (line: string) =>
  Effect.callback<void>((resume) => {
    process.stdout.write(`${line}\n`, () => resume(Effect.void))
  })
const asked = Effect.callback<void>((resume) => void process.stdin.once("data", () => resume(Effect.void)))
const publish = (name: string, count: number, bytes = 1) =>
  Store.use((store) =>
    publishTexts(store, [
      `${name}/0`.padEnd(bytes),
      ...Array.from({ length: count - 1 }, (_, i) => `${name}/${i + 1}`.padEnd(bytes))
    ])
  )

const programs: Readonly<Record<string, Effect.Effect<unknown, unknown, EventStore.EventStore>>> = {
  /** Publishes one batch after the other, and says which are committed. */
  write: Effect.gen(function* () {
    for (let n = 0; ; n++) {
      yield* publish(`${n}`, 10)
      yield* say(`${n}`)
    }
  }),
  /** Publishes one event after the other, and says what becomes of each. */
  "go on": Effect.gen(function* () {
    for (let n = 0; ; n++) {
      // Now and then one that is large, so that what is in the log is moved into the database before long.
      const outcome = yield* Effect.result(publish(`${process.pid}-${n}`, 1, n % 5 === 4 ? 100_000 : 1))
      if (outcome._tag === "Success") yield* say(`wrote ${n}`)
      else
        yield* say(
          `failed ${n} ${outcome.failure.problem} ${outcome.failure.maybeCommitted ? "maybeCommitted" : "sure"}`
        )
      // Another process is to find the file unlocked.
      yield* Effect.sleep(Duration.millis(n % 4))
    }
  }),
  /** Publishes once at each line that it reads, and says what becomes of it. */
  "on demand": Effect.gen(function* () {
    yield* say("ready")
    for (let n = 0; ; n++) {
      yield* asked
      const outcome = yield* Effect.result(publish(`demand-${n}`, 1))
      yield* say(outcome._tag === "Success" ? "wrote" : outcome.failure.problem)
    }
  }),
  /** Publishes a few batches, with others that do so at the same time. */
  together: Effect.forEach(Array.from({ length: 20 }), (_, n) => publish(`${process.pid}-${n}`, 5)),
  /** Publishes once, on demand. */
  once: Effect.gen(function* () {
    yield* say("ready")
    yield* asked
    yield* publish("once", 1)
    yield* say(`${Date.now()}`)
  }),
  /** Publishes until it cannot, and says what the store says. */
  fill: Effect.gen(function* () {
    for (let n = 0; ; n++) {
      const exit = yield* Effect.result(publish(`${n}`, 10, 10_000))
      if (exit._tag === "Success") continue
      yield* say(JSON.stringify({ committed: n, problem: exit.failure.problem, message: exit.failure.message }))
      return
    }
  }),
  /** Discards 1,000 events for each of the two subscriptions that share them, and says what becomes of it. */
  discard: Effect.gen(function* () {
    const store = yield* Store
    const defined = yield* store.define("shared", [
      { name: "one", topics: ["*"] },
      { name: "other", topics: ["*"] }
    ])
    const event = { payload: Buffer.alloc(300) }
    yield* store.publish("shared", [event, ...Array.from({ length: 999 }, () => event)])
    for (const { id } of defined) {
      const outcome = yield* Effect.result(store.discard(id, 1_000))
      yield* say(outcome._tag === "Success" ? `discarded ${outcome.success}` : outcome.failure.message)
    }
  }),
  /** Has the lease for 30 seconds, says its epoch, and says when it is lost. */
  own: Effect.gen(function* () {
    const reader = yield* makeReader(yield* Store, "30 seconds")
    const lease = yield* reader.held
    yield* say(lease === undefined ? "nothing" : `${lease.epoch}`)
    while ((yield* reader.settle()).length === 0) yield* Effect.sleep("20 millis")
    yield* say("lost")
  }),
  /** Delivers to a log, ten of each subscription at a time, for as long as it lives. */
  deliver: Effect.gen(function* () {
    const store = yield* Store
    const subscriptions = yield* store.list({ exchange: "queue" })
    const ids = subscriptions.map(({ id }) => id)
    const owner = yield* store.renew({ name: "deliver" }, Duration.hours(1))
    const leases: Array<EventStore.Lease> = []
    yield* say("ready")
    for (;;) {
      leases.push(...(yield* store.claim(owner, ids, ids.length)).acquired)
      const limits = { rows: 10, bytes: 1_000_000 }
      const [first, ...others] = leases.map(({ epoch, subscription }) => ({ epoch, subscription }))
      if (first !== undefined) {
        const wanted = [first, ...others].map((lease) => ({ ...lease, limits, except: [], busy: [], perLane: 1 }))
        const taken = yield* store.take(owner, [wanted[0]!, ...wanted.slice(1)])
        for (const { deliveries, subscription } of taken)
          appendFileSync(log, deliveries.map(({ payload }) => `${subscription} ${Buffer.from(payload)}\n`).join(""))
        const settlements = taken.map(({ deliveries, subscription }) => ({
          lease: [first, ...others].find((lease) => lease.subscription === subscription)!,
          settled: deliveries.map(acknowledged)
        }))
        if (settlements.length > 0) yield* store.settle(owner, [settlements[0]!, ...settlements.slice(1)])
      }
      yield* Effect.sleep("5 millis")
    }
  }),
  /** Listens, and leaves without a word: the process must end by itself. */
  listen: Effect.gen(function* () {
    const store = yield* Store
    yield* Effect.forkDetach(Stream.runDrain(store.changes))
    yield* Effect.sleep(Duration.millis(150))
  })
}

const program = Effect.provide(
  programs[what] ?? Effect.die(`nothing is called ${what}`),
  SqliteStore.layer({ filename })
)
await Effect.runPromise(program)
