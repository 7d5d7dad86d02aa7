import { assert, it } from "@effect/vitest"
import { Array, Data, Deferred, Duration, Effect, Exit, Fiber, Queue, Schema, Stream } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore } from "effect-events/durable"
import { all, append, describePostgres, leaseOf, openStore, payload, texts } from "../../durable/support/postgres.ts"

class Refused extends Data.TaggedError("Refused")<{}> {}
const refuse = Effect.fail(new Refused())

describePostgres("the outbox of PostgresStore", (server) => {
  const setUp = Effect.fnUntraced(function* (queue: string) {
    const writer = yield* openStore(server())
    const owner = yield* openStore(server())
    const lease = yield* leaseOf(owner.store, queue)
    yield* writer.sql.unsafe("CREATE TABLE IF NOT EXISTS orders (id text)")
    const order = (id: string) =>
      Effect.andThen(writer.sql.unsafe("INSERT INTO orders VALUES ($1)", [id]), append(writer.store, queue, id))
    const stored = Effect.map(owner.store.next(lease, all), texts)
    const orders = Effect.map(
      owner.sql.unsafe<{ id: string }>("SELECT id FROM orders WHERE id LIKE $1 ORDER BY id", [`${queue}%`]),
      (rows) => rows.map(({ id }) => id)
    )
    return { ...writer, owner: owner.store, lease, stored, order, orders }
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
      yield* append(store, "rollback", "rollback 2")
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
      const { order, owner, sql } = yield* setUp("heard")
      const changes = yield* Stream.toQueue(owner.changes("heard"), { capacity: "unbounded" })
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
      const { lease, stored, order, owner, sql, store } = yield* setUp("late")
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
      // far more than are removed before the owner caches where the queue begins
      for (let batch = 0; batch < 10; batch++) {
        yield* append(store, "late", ...Array.map(Array.range(1, 1_000), (n) => `${batch} ${n}`))
        const events = yield* owner.next(lease, all)
        assert.strictEqual(events.length, 1_000)
        yield* owner.acknowledge(
          lease,
          Array.map(Array.range(0, 999), (at) => events[at]?.key ?? 0)
        )
      }
      yield* append(store, "late", "after")
      assert.deepStrictEqual(yield* stored, ["after"])
      yield* Deferred.succeed(commit, undefined)
      yield* Fiber.join(late)
      assert.deepStrictEqual(yield* stored, ["late", "after"])
    })
  )

  it.live("what is behind is not passed over while a report keeps it from being vacuumed", () =>
    Effect.gen(function* () {
      const { lease, owner, sql, store } = yield* setUp("behind")
      const report = Effect.andThen(
        sql.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        sql.unsafe("SELECT count(*) FROM durable_queue_events")
      )
      const blocks = () => {
        server().psql("SELECT pg_stat_force_next_flush()")
        return Number(
          server().psql(
            "SELECT idx_blks_read + idx_blks_hit + heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'durable_queue_events'"
          )
        )
      }
      const reader = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      yield* reader.sql.withTransaction(
        Effect.gen(function* () {
          yield* report
          for (let batch = 0; batch < 20; batch++) {
            yield* append(store, "behind", ...Array.map(Array.range(1, 1_000), (n) => `${batch} ${n}`))
            const events = yield* owner.next(lease, all)
            yield* owner.acknowledge(
              lease,
              Array.map(Array.range(0, 999), (at) => events[at]?.key ?? 0)
            )
          }
          // a session reports what it did at most every second
          const reported = Effect.gen(function* () {
            yield* Effect.sleep("1200 millis")
            yield* append(store, "behind", "last")
            yield* owner.next(lease, all)
            return blocks()
          })
          const before = yield* reported
          for (let read = 0; read < 20; read++) yield* owner.next(lease, all)
          const touched = (yield* reported) - before
          // the 20,000 dead rows are on hundreds of pages
          assert.isBelow(touched / 21, 100)
        })
      )
    })
  )

  it.live("no other operation takes part in the caller's transaction", () =>
    Effect.gen(function* () {
      const { order, sql, store } = yield* setUp("outside")
      yield* append(store, "apart", "1", "2")
      const exit = yield* Effect.exit(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* order("outside 1")
            const lease = yield* leaseOf(store, "apart")
            const [one] = yield* store.next(lease, all)
            yield* store.acknowledge(lease, [one?.key ?? 0])
            return yield* refuse
          })
        )
      )
      assert.isTrue(Exit.isFailure(exit))
      const held = yield* store.acquire("apart", Duration.seconds(1))
      assert.strictEqual(held._tag, "Held")
      assert.strictEqual((yield* store.size("apart")).rows, 1)
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
      assert.strictEqual((yield* store.size("made within")).rows, 1)
    })
  )

  it.live("it leaves the transaction's settings as they are, and needs no second connection", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      const settings = sql.unsafe(
        "SELECT current_setting('lock_timeout') AS a, current_setting('synchronous_commit') AS b"
      )
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql.unsafe("SET LOCAL lock_timeout = 7")
          yield* sql.unsafe("SET LOCAL synchronous_commit = off")
          assert.isTrue(yield* store.append("alone", [payload("1"), payload("2")], { rows: 2, bytes: 100 }))
          assert.isFalse(yield* store.append("alone", [payload("3")], { rows: 2, bytes: 100 }))
          assert.deepStrictEqual(yield* settings, [{ a: "7ms", b: "off" }])
        })
      )
      assert.strictEqual((yield* store.size("alone")).rows, 2)
    })
  )

  const three = { rows: 3, bytes: 100 }
  const one = [payload("x")] as const

  it.live("a count of an old snapshot is cached for no other write", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
          yield* sql.unsafe("SELECT count(*) FROM durable_queue_events")
          yield* append(other.store, "snapshot", "1", "2", "3")
          // the queue is empty in the transaction's snapshot
          assert.isTrue(yield* store.append("snapshot", one, three))
        })
      )
      assert.isFalse(yield* store.append("snapshot", one, three))
    })
  )

  it.live("what a transaction adds counts when it commits", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const other = yield* openStore(server())
      assert.isTrue(yield* store.append("counts", one, three))
      yield* Effect.exit(sql.withTransaction(Effect.andThen(store.append("counts", one, three), refuse)))
      assert.isTrue(yield* store.append("counts", one, three))
      yield* sql.withTransaction(
        Effect.gen(function* () {
          assert.isTrue(yield* store.append("counts", one, three))
          // its own event is among those that it counts
          assert.isFalse(yield* store.append("counts", one, three))
          assert.strictEqual((yield* other.store.size("counts")).rows, 2)
        })
      )
      assert.isFalse(yield* store.append("counts", one, three))
      assert.strictEqual((yield* store.size("counts")).rows, 3)
    })
  )

  it.live("a transaction does not wait before it counts, and no other write waits for its count", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* append(store, "pauses", "1", "2", "3")
      // a count that takes half a second, so that the next one waits for more than four
      const counting = yield* other.sql.withTransaction(
        Effect.gen(function* () {
          yield* other.sql.unsafe("LOCK TABLE durable_queue_events")
          const counting = yield* Effect.forkChild(store.append("pauses", one, three))
          yield* Effect.sleep("600 millis")
          return counting
        })
      )
      assert.isFalse(yield* Fiber.join(counting))
      const [took, admitted] = yield* Effect.timed(sql.withTransaction(store.append("pauses", one, three)))
      assert.isFalse(admitted)
      assert.isBelow(Duration.toMillis(took), 3_000)

      const ended = yield* Deferred.make<void>()
      const transaction = sql.withTransaction(
        Effect.gen(function* () {
          // its connection has something else to do first
          const busy = yield* Effect.forkChild(sql.unsafe("SELECT pg_sleep(4)"), { startImmediately: true })
          yield* Effect.sleep("200 millis")
          yield* store.append("turns", one, three)
          yield* Fiber.join(busy)
        })
      )
      const slow = yield* Effect.forkChild(Effect.ensuring(transaction, Deferred.succeed(ended, undefined)))
      yield* Effect.sleep("400 millis")
      assert.isTrue(yield* store.append("turns", one, three))
      assert.isFalse(yield* Deferred.isDone(ended))
      yield* Fiber.join(slow)
    })
  )
})
