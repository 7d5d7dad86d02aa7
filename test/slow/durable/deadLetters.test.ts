/** 100,000 dead letters are replayed in batches and in order, while deliveries of other events go on. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import { EventSink } from "effect-events"
import { Administration, DurableQueue, EventStore } from "effect-events/durable"
import { describePostgres, openStore } from "../../durable/support/postgres.ts"
import { file, open } from "../../durable/support/sqliteFile.ts"

const count = 100_000
const perStep = 500
const infinite = Number.POSITIVE_INFINITY
const encode = (n: number) => new TextEncoder().encode(String(n))

/** Leaves so many dead letters, 0 and up. */
const fill = (store: EventStore.Operations) =>
  Effect.gen(function* () {
    const [subscription] = yield* store.define("events", [{ name: "events", topics: ["*"] }])
    const owner = yield* store.renew({ name: "before" }, Duration.hours(1))
    let lease: EventStore.Lease | undefined
    for (let from = 0; from < count; from += perStep) {
      const events = Array.from({ length: perStep }, (_, i) => ({ payload: encode(from + i) }))
      yield* store.publish("events", events as unknown as readonly [EventStore.NewEvent])
      lease ??= (yield* store.claim(owner, [subscription!.id], 1)).acquired[0]!
      const limits = { rows: perStep, bytes: infinite }
      const [taken] = yield* store.take(owner, [{ ...lease, limits, except: [], busy: [], perLane: 0 }])
      const settled = (taken?.deliveries ?? []).map(
        ({ position }) => ({ _tag: "DeadLettered", position, reason: "Exhausted", cause: "503", attempts: 9 }) as const
      )
      yield* store.settle(owner, [{ lease, settled }])
    }
    yield* store.release(owner, "all")
  })

const replayed = (store: EventStore.Operations) =>
  Effect.gen(function* () {
    yield* fill(store)
    const received: Array<number> = []
    const sink = EventSink.makeBatch((events: ReadonlyArray<number>) =>
      Effect.sync(() => void received.push(...events))
    )
    const queue = yield* DurableQueue.make({ name: "events", schema: Schema.Int })(sink)
    const deadLetters = yield* Administration.deadLetters({ exchange: "events" })
    assert.strictEqual(yield* deadLetters.count(), count)
    let steps = 0
    const done = yield* deadLetters.replay(
      { reason: "Exhausted", cause: "503" },
      {
        onProgress: ({ done, selected }) => {
          steps++
          assert.strictEqual(selected, count)
          return Effect.orDie(queue.write(count + done))
        }
      }
    )
    yield* queue.flush
    assert.deepStrictEqual([done, steps], [count, count / perStep])
    const old = received.filter((n) => n < count)
    assert.strictEqual(old.length, count)
    assert.isTrue(
      old.every((n, i) => n === i),
      "in the order of their deaths, each once"
    )
    assert.strictEqual(received.length, count + steps)
    // The first was written after the first batch, and delivered before the last.
    assert.isBelow(received.indexOf(count + perStep), count)
    assert.strictEqual(yield* deadLetters.count(), 0)
  }).pipe(Effect.provideService(EventStore.EventStore, store), Effect.scoped)

const timeout = 180_000

describe("100,000 dead letters", () => {
  it.live("on SQLite", () => Effect.scoped(Effect.flatMap(Effect.flatMap(file, open), replayed)), timeout)
})

describePostgres("100,000 dead letters", (server) => {
  it.live(
    "on Postgres",
    () => Effect.scoped(Effect.flatMap(openStore(server()), ({ store }) => replayed(store))),
    timeout
  )
})
