import { assert, it } from "@effect/vitest"
import { Array, Data, Deferred, Duration, Effect, Exit, Fiber, Queue, Schema, Stream } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore } from "effect-events/durable"
import {
  define,
  describePostgres,
  leaseOf,
  openStore,
  payload,
  publish,
  texts
} from "../../durable/support/postgres.ts"
import { quiet } from "../../support/virtual.ts"

class Refused extends Data.TaggedError("Refused")<{}> {}
const refuse = Effect.fail(new Refused())

describePostgres("the outbox of PostgresStore", (server) => {
  const setUp = Effect.fnUntraced(function* (exchange: string) {
    const writer = yield* openStore(server())
    const other = yield* openStore(server())
    const subscription = yield* define(writer.store, exchange)
    // an owner that has the lease
    yield* publish(writer.store, exchange, "first")
    const leased = yield* leaseOf(other.store, exchange, "1 hour")
    yield* leased.acknowledge((yield* leased.take()) ?? [])
    yield* writer.sql.unsafe("CREATE TABLE IF NOT EXISTS orders (id text)")
    const order = (id: string) =>
      Effect.andThen(writer.sql.unsafe("INSERT INTO orders VALUES ($1)", [id]), publish(writer.store, exchange, id))
    const stored = Effect.map(leased.take(), (taken) => texts(taken ?? []))
    const orders = Effect.map(
      other.sql.unsafe<{ id: string }>("SELECT id FROM orders WHERE id LIKE $1 ORDER BY id", [`${exchange}%`]),
      (rows) => rows.map(({ id }) => id)
    )
    return { ...writer, id: subscription.id, other: other.store, leased, stored, order, orders }
  })

  it.live("a write commits with the transaction, and is not there before", () =>
    Effect.gen(function* () {
      const { stored, order, orders, sql, store } = yield* setUp("commit")
      assert.isFalse(yield* store.inTransaction)
      yield* sql.withTransaction(
        Effect.gen(function* () {
          assert.isTrue(yield* store.inTransaction)
          yield* order("commit 1")
          yield* order("commit 2")
          assert.deepStrictEqual(yield* stored, [])
        })
      )
      assert.deepStrictEqual(yield* stored, ["commit 1", "commit 2"])
      assert.deepStrictEqual(yield* orders, ["commit 1", "commit 2"])
    })
  )

  it.live("a transaction that rolls back leaves neither, and lost nothing of what others wrote", () =>
    Effect.gen(function* () {
      const { stored, order, orders, sql, store } = yield* setUp("rollback")
      const exit = yield* Effect.exit(sql.withTransaction(Effect.andThen(order("rollback 1"), refuse)))
      assert.isTrue(Exit.isFailure(exit))
      yield* publish(store, "rollback", "rollback 2")
      assert.deepStrictEqual(yield* stored, ["rollback 2"])
      assert.deepStrictEqual(yield* orders, [])
    })
  )

  it.live("a write in a savepoint goes with it", () =>
    Effect.gen(function* () {
      const { stored, order, orders, sql, store } = yield* setUp("savepoint")
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* order("savepoint 1")
          const inner = sql.withTransaction(
            Effect.gen(function* () {
              assert.isTrue(yield* store.inTransaction)
              yield* order("savepoint 2")
              return yield* refuse
            })
          )
          yield* Effect.exit(inner)
          yield* sql.withTransaction(order("savepoint 3"))
        })
      )
      assert.deepStrictEqual(yield* stored, ["savepoint 1", "savepoint 3"])
      assert.deepStrictEqual(yield* orders, ["savepoint 1", "savepoint 3"])
    })
  )

  it.live("a listener hears of it when it commits, and not before; of one that rolls back never", () =>
    Effect.gen(function* () {
      const { order, other, sql } = yield* setUp("heard")
      const changes = yield* Stream.toQueue(other.changes, { capacity: "unbounded" })
      yield* Queue.take(changes)
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* order("heard 1")
          yield* Effect.sleep("200 millis")
          assert.strictEqual(yield* Queue.size(changes), 0)
        })
      )
      yield* Effect.timeout(Queue.take(changes), "20 seconds")
      yield* Effect.exit(sql.withTransaction(Effect.andThen(order("heard 2"), refuse)))
      yield* Effect.sleep("200 millis")
      assert.strictEqual(yield* Queue.size(changes), 0)
    })
  )

  it.live("a transaction that commits late is not skipped, and its events come first", () =>
    Effect.gen(function* () {
      const { id, leased, order, other, sql, store, stored } = yield* setUp("late")
      const written = yield* Deferred.make<void>()
      const commit = yield* Deferred.make<void>()
      const late = yield* Effect.forkChild(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* order("late")
            yield* Deferred.succeed(written, undefined)
            yield* Deferred.await(commit)
          })
        )
      )
      yield* Deferred.await(written)
      // far more than are removed before the owner caches where its subscription begins
      for (let batch = 0; batch < 10; batch++) {
        yield* publish(store, "late", ...Array.map(Array.range(1, 1_000), (n) => `${batch} ${n}`))
        assert.deepStrictEqual((yield* other.claim(leased.owner, [id], 1)).woken, [id])
        const deliveries = (yield* leased.take()) ?? []
        assert.lengthOf(deliveries, 1_000)
        yield* leased.acknowledge(deliveries)
      }
      yield* publish(store, "late", "after")
      assert.deepStrictEqual(yield* stored, ["after"])
      assert.deepStrictEqual((yield* other.claim(leased.owner, [id], 1)).woken, [id])
      assert.deepStrictEqual((yield* other.claim(leased.owner, [id], 1)).woken, [])
      yield* Deferred.succeed(commit, undefined)
      yield* Fiber.join(late)
      assert.deepStrictEqual((yield* other.claim(leased.owner, [id], 1)).woken, [id])
      assert.deepStrictEqual(yield* stored, ["late", "after"])
    })
  )

  it.live("what is behind is not passed over while a report keeps it from being vacuumed", () =>
    Effect.gen(function* () {
      const { id, leased, other, sql, store } = yield* setUp("behind")
      const report = Effect.andThen(
        sql.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        sql.unsafe("SELECT count(*) FROM effect_events_deliveries")
      )
      const blocks = (table: string) => {
        server().psql("SELECT pg_stat_force_next_flush()")
        return Number(
          server().psql(
            `SELECT idx_blks_read + idx_blks_hit + heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'effect_events_${table}'`
          )
        )
      }
      const reader = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      const claim = other.claim(leased.owner, [id], 1)
      yield* reader.sql.withTransaction(
        Effect.gen(function* () {
          yield* report
          for (let batch = 0; batch < 20; batch++) {
            yield* publish(store, "behind", ...Array.map(Array.range(1, 1_000), (n) => `${batch} ${n}`))
            yield* claim
            yield* leased.acknowledge((yield* leased.take()) ?? [])
          }
          // a session reports what it did at most every second
          const reported = Effect.gen(function* () {
            yield* Effect.sleep("1200 millis")
            yield* publish(store, "behind", "last")
            yield* claim
            yield* leased.take()
            return [blocks("deliveries"), blocks("arrivals")] as const
          })
          const read = Effect.gen(function* () {
            const before = yield* reported
            for (let n = 0; n < 20; n++) {
              yield* leased.take()
              yield* claim
            }
            const after = yield* reported
            return [(after[0] - before[0]) / 21, (after[1] - before[1]) / 21] as const
          })
          // the 20,000 dead deliveries are on hundreds of pages
          assert.isBelow((yield* read)[0], 100)
          for (let batch = 0; batch < 20; batch++) {
            yield* Effect.all(
              Array.makeBy(400, () => publish(store, "behind", "one")),
              { concurrency: 10 }
            )
            yield* claim
            yield* leased.acknowledge((yield* leased.take()) ?? [])
          }
          // 8,000 dead arrivals that lie crisscross are as many reads of a page, and those since the last look at most 2,000
          assert.isBelow((yield* read)[1], 3_000)
        })
      )
    })
  )

  it.live("no other operation takes part in the caller's transaction", () =>
    Effect.gen(function* () {
      const { order, sql, store } = yield* setUp("outside")
      yield* define(store, "apart")
      yield* publish(store, "apart", "1", "2", "3")
      const exit = yield* Effect.exit(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* order("outside 1")
            yield* define(store, "defined within")
            const { acknowledge, settle, take } = yield* leaseOf(store, "apart")
            const [one, two] = (yield* take()) ?? []
            yield* acknowledge(one === undefined ? [] : [one])
            yield* settle([
              { _tag: "DeadLettered", position: two?.position ?? 0, reason: "Failed", cause: "", attempts: 1 }
            ])
            return yield* refuse
          })
        )
      )
      assert.isTrue(Exit.isFailure(exit))
      const [{ id } = { id: 0 }] = yield* store.list({ exchange: "apart" })
      assert.deepStrictEqual(yield* store.figures(id), { pending: 1, bytes: 1, deadLetters: 1, owner: "apart" })
      assert.lengthOf(yield* store.list({ exchange: "defined within" }), 1)
    })
  )

  it.live("a queue that was made in a transaction writes outside of it once it has ended", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      const queue = yield* sql.withTransaction(
        Effect.flatMap(
          EventSink.make(() => Effect.never, { drainTimeout: 0 }),
          (receiver) =>
            DurableQueue.make({ name: "made within", schema: Schema.Int, drainTimeout: 0 })(receiver).pipe(
              Effect.provideService(EventStore.EventStore, store)
            )
        )
      )
      // Another has the connection of that transaction by now, and rolls back.
      const written = yield* Deferred.make<void>()
      const other = yield* Effect.forkChild(
        Effect.exit(sql.withTransaction(Effect.andThen(Deferred.await(written), refuse)))
      )
      yield* Effect.sleep("50 millis")
      const write = yield* Effect.forkChild(queue.write(1))
      yield* Effect.sleep("200 millis")
      yield* Deferred.succeed(written, undefined)
      yield* Fiber.join(other)
      yield* Fiber.join(write)
      const [one] = yield* store.list({ exchange: "made within" })
      assert.strictEqual((yield* store.figures(one?.id ?? 0))?.pending, 1)
    })
  )

  it.live("it leaves the transaction's settings as they are, and needs no second connection", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      const { id } = yield* define(store, "alone")
      const settings = sql.unsafe(
        "SELECT current_setting('lock_timeout') AS a, current_setting('synchronous_commit') AS b"
      )
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql.unsafe("SET LOCAL lock_timeout = 7")
          yield* sql.unsafe("SET LOCAL synchronous_commit = off")
          const limits = { rows: 2, bytes: 100 }
          const events = [{ payload: payload("1") }, { payload: payload("2") }] as const
          assert.lengthOf((yield* store.publish("alone", events, limits)) ?? [], 2)
          assert.isUndefined(yield* store.publish("alone", [{ payload: payload("3") }], limits))
          assert.deepStrictEqual(yield* settings, [{ a: "7ms", b: "off" }])
        })
      )
      assert.strictEqual((yield* store.figures(id))?.pending, 2)
    })
  )

  const three = { rows: 3, bytes: 100 }
  const admitted = (store: EventStore.Operations, exchange: string) =>
    Effect.map(store.publish(exchange, [{ payload: payload("x") }], three), (published) => published !== undefined)

  it.live("a count of an old snapshot is cached for no other write", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* define(store, "snapshot")
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
          yield* sql.unsafe("SELECT count(*) FROM effect_events_deliveries")
          yield* publish(other.store, "snapshot", "1", "2", "3")
          // the queue is empty in the transaction's snapshot
          assert.isTrue(yield* admitted(store, "snapshot"))
        })
      )
      assert.isFalse(yield* admitted(store, "snapshot"))
    })
  )

  it.live("what a transaction adds counts when it commits", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const other = yield* openStore(server())
      const { id } = yield* define(store, "counts")
      assert.isTrue(yield* admitted(store, "counts"))
      yield* Effect.exit(sql.withTransaction(Effect.andThen(admitted(store, "counts"), refuse)))
      assert.isTrue(yield* admitted(store, "counts"))
      yield* sql.withTransaction(
        Effect.gen(function* () {
          assert.isTrue(yield* admitted(store, "counts"))
          // its own event is among those that it counts
          assert.isFalse(yield* admitted(store, "counts"))
          assert.strictEqual((yield* other.store.figures(id))?.pending, 2)
        })
      )
      assert.isFalse(yield* admitted(store, "counts"))
      assert.strictEqual((yield* store.figures(id))?.pending, 3)
    })
  )

  it.live("a transaction does not wait before it counts, and no other write waits for its count", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* define(store, "pauses")
      yield* define(store, "turns")
      yield* publish(store, "pauses", "1", "2", "3")
      // a count that takes half a second, so that the next one waits for more than four
      const counting = yield* other.sql.withTransaction(
        Effect.gen(function* () {
          yield* other.sql.unsafe("LOCK TABLE effect_events_deliveries")
          const counting = yield* Effect.forkChild(admitted(store, "pauses"))
          yield* Effect.sleep("600 millis")
          return counting
        })
      )
      assert.isFalse(yield* Fiber.join(counting))
      const [took, fits] = yield* Effect.timed(sql.withTransaction(admitted(store, "pauses")))
      assert.isFalse(fits)
      assert.isBelow(Duration.toMillis(took), 3_000)

      const ended = yield* Deferred.make<void>()
      const transaction = sql.withTransaction(
        Effect.gen(function* () {
          // its connection has something else to do first
          const busy = yield* Effect.forkChild(sql.unsafe("SELECT pg_sleep(4)"), { startImmediately: true })
          yield* Effect.sleep("200 millis")
          yield* admitted(store, "turns")
          yield* Fiber.join(busy)
        })
      )
      const slow = yield* Effect.forkChild(Effect.ensuring(transaction, Deferred.succeed(ended, undefined)))
      yield* Effect.sleep("400 millis")
      assert.isTrue(yield* admitted(store, "turns"))
      assert.isFalse(yield* Deferred.isDone(ended))
      yield* Fiber.join(slow)
    })
  )

  it.live.each(["suspend", "reject", "drop-newest"] as const)("at the capacity of a queue that would %s", (overflow) =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const name = `full: ${overflow}`
      const dropped: Array<number> = []
      const queue = yield* EventSink.make((_: number) => Effect.never).pipe(
        DurableQueue.make({
          name,
          schema: Schema.Int,
          capacity: 2,
          overflow,
          drainTimeout: 0,
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        }),
        Effect.provideService(EventStore.EventStore, store)
      )
      yield* queue.write(1)
      const tags = (exit: Exit.Exit<void, { readonly _tag: string }>) =>
        Exit.match(exit, {
          onSuccess: () => "stored",
          onFailure: ({ reasons }) => reasons.map((one) => one._tag === "Fail" && one.error._tag).join()
        })
      const written = yield* Effect.timeout(
        sql.withTransaction(Effect.forEach([2, 3], (n) => Effect.map(Effect.exit(queue.write(n)), tags))),
        "5 seconds"
      )
      const ordinary = yield* Effect.forkChild(queue.write(4))
      yield* Effect.sleep("1500 millis")
      assert.deepStrictEqual(
        { written, dropped, pending: yield* queue.pending, waits: ordinary.pollUnsafe() === undefined },
        {
          suspend: { written: ["stored", "stored"], dropped: [], pending: 3, waits: true },
          reject: { written: ["stored", "QueueFull"], dropped: [], pending: 2, waits: false },
          "drop-newest": { written: ["stored", "stored"], dropped: [3, 4], pending: 2, waits: false }
        }[overflow]
      )
    }).pipe(Effect.scoped, quiet)
  )
})
