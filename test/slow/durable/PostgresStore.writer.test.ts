/** The first writes of a queue that was not defined before, in transactions of the application. */
import { assert, it } from "@effect/vitest"
import { Array, Deferred, Duration, Effect, Fiber, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore } from "effect-events/durable"
import { describePostgres, openStore, type Process } from "../../durable/support/postgres.ts"
import { quiet } from "../../support/virtual.ts"

describePostgres("the first write of a queue in a transaction", (server) => {
  const writerOf = (name: string, store: EventStore.Operations) =>
    DurableQueue.writer({ name, schema: Schema.Int }).pipe(Effect.provideService(EventStore.EventStore, store))
  const queueOf = (name: string, store: EventStore.Operations) =>
    EventSink.make((_: number) => Effect.never).pipe(
      DurableQueue.make({ name, schema: Schema.Int, drainTimeout: 0 }),
      Effect.provideService(EventStore.EventStore, store)
    )
  const pendingOf = Effect.fnUntraced(function* (store: EventStore.Operations, name: string) {
    const [queue] = yield* store.list({ exchange: name })
    return queue === undefined ? undefined : (yield* store.figures(queue.id))?.pending
  })
  /** A store that commits no definition: only those that join a transaction are done. */
  const undefinedBy = (store: EventStore.Operations): EventStore.Operations => ({
    ...store,
    define: (exchange, definitions, options) =>
      options?.joins === true ? store.define(exchange, definitions, options) : Effect.never
  })
  const makers = [
    ["a writer", writerOf],
    ["a queue", queueOf]
  ] as const

  it.live.each(makers)("of %s needs no other connection than that of the transaction", ([kind, make]) =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      for (const [how, one] of [["in the background", store] as const, ["not at all", undefinedBy(store)] as const]) {
        const name = `${kind}, defined ${how}`
        const sink = yield* make(name, one)
        yield* Effect.timeout(sql.withTransaction(Effect.andThen(sql`SELECT 1`, sink.write(1))), "5 seconds")
        yield* Effect.timeout(sql.withTransaction(sink.write(2)), "5 seconds")
        assert.strictEqual(yield* pendingOf(store, name), 2)
      }
    }).pipe(Effect.scoped, quiet)
  )

  it.live("its window of deduplication is part of the transaction, and holds within it", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      const joining: EventStore.Operations = {
        ...undefinedBy(store),
        open: (exchange, keeping, options) =>
          options?.joins === true ? store.open(exchange, keeping, options) : Effect.never
      }
      const writer = yield* DurableQueue.writer({
        name: "once",
        schema: Schema.Int,
        id: String,
        deduplication: "1 hour"
      }).pipe(Effect.provideService(EventStore.EventStore, joining))
      const twice = Effect.andThen(writer.send(1), writer.send(1))
      const inTransaction = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.timeout(sql.withTransaction(Effect.andThen(sql`SELECT 1`, effect)), "5 seconds")
      yield* Effect.flip(inTransaction(Effect.andThen(twice, Effect.fail("no"))))
      assert.deepInclude(yield* inTransaction(twice), { isDuplicate: true })
      assert.deepInclude(yield* inTransaction(writer.send(1)), { isDuplicate: true })
      assert.strictEqual(yield* pendingOf(store, "once"), 1)
      // With outcomes, too, which have more to set.
      yield* inTransaction(store.open("once", { outcomes: Duration.hours(1) }, { joins: true }))
      yield* inTransaction(store.open("once", { outcomes: Duration.hours(1) }, { joins: true }))
      assert.deepInclude(yield* inTransaction(writer.send(1)), { isDuplicate: true })
    }).pipe(Effect.scoped, quiet)
  )

  it.live("many at once wait for no connection, and for each other until they commit", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 10 })
      const writer = yield* writerOf("many", undefinedBy(store))
      const all = yield* Deferred.make<void>()
      let inside = 0
      const write = (n: number) =>
        sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`SELECT 1`
            if (++inside === 10) yield* Deferred.succeed(all, undefined)
            yield* Deferred.await(all)
            yield* writer.write(n)
          })
        )
      yield* Effect.timeout(Effect.forEach(Array.range(1, 10), write, { concurrency: "unbounded" }), "9 seconds")
      assert.strictEqual(yield* pendingOf(store, "many"), 10)
    }).pipe(Effect.scoped, quiet)
  )

  it.live("a writer defines its queue before it is written to, and keeps trying", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 2 })
      let attempts = 0
      const failing: EventStore.Operations = {
        ...store,
        define: (exchange, definitions, options) =>
          ++attempts < 3 ? Effect.die("no server") : store.define(exchange, definitions, options)
      }
      const writer = yield* writerOf("background", failing)
      const pending = pendingOf(store, "background")
      yield* Effect.timeout(Effect.repeat(pending, { until: (found) => found === 0 }), "10 seconds")
      yield* sql.withTransaction(writer.write(1))
      yield* writer.write(2)
      assert.deepStrictEqual([yield* pending, attempts], [2, 3])
    }).pipe(Effect.scoped, quiet)
  )

  it.live("a definition that was rolled back is repeated, and one that stands takes no lock", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const writer = yield* writerOf("rolled back", undefinedBy(store))
      const write = writer.write(1)
      yield* Effect.exit(sql.withTransaction(Effect.andThen(write, Effect.fail("no"))))
      assert.isUndefined(yield* pendingOf(store, "rolled back"))
      // in a savepoint, too
      yield* sql.withTransaction(
        Effect.andThen(Effect.exit(sql.withTransaction(Effect.andThen(write, Effect.fail("no")))), write)
      )
      assert.strictEqual(yield* pendingOf(store, "rolled back"), 1)
      const versions = sql<{ version: number }>`SELECT version FROM effect_events_exchanges WHERE name = 'rolled back'`
      const before = yield* versions
      const written = yield* Deferred.make<void>()
      const open = yield* Effect.forkChild(
        sql.withTransaction(Effect.andThen(write, Effect.andThen(Deferred.succeed(written, undefined), Effect.never)))
      )
      yield* Deferred.await(written)
      yield* Effect.timeout(sql.withTransaction(write), "2 seconds")
      yield* Fiber.interrupt(open)
      assert.deepStrictEqual(yield* versions, before)
      assert.strictEqual(yield* pendingOf(store, "rolled back"), 2)
    }).pipe(Effect.scoped, quiet)
  )

  const levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] as const
  const at = (process: Process, level: string, effect: Effect.Effect<unknown, unknown>) =>
    process.sql.withTransaction(Effect.andThen(process.sql.unsafe(`SET TRANSACTION ISOLATION LEVEL ${level}`), effect))

  it.live.each(levels)("at %s a write defines the queue, whatever came before it in the transaction", (level) =>
    Effect.gen(function* () {
      const process = yield* openStore(server())
      const { sql, store } = process
      for (const first of [Effect.asVoid(sql`SELECT 1`), Effect.void]) {
        const name = `${level} ${first === Effect.void}`
        const writer = yield* writerOf(name, undefinedBy(store))
        yield* at(process, level, Effect.andThen(first, Effect.andThen(writer.write(1), writer.write(2))))
        assert.strictEqual(yield* pendingOf(store, name), 2)
      }
    }).pipe(Effect.scoped, quiet)
  )

  // The snapshot of a transaction of these levels is that of its first statement.
  const seen = { "READ COMMITTED": true, "REPEATABLE READ": false, SERIALIZABLE: false }

  it.live.each(
    levels.flatMap((level) => [[level, "another process"] as const, [level, "the writer, in the background"] as const])
  )("at %s, of a queue that %s defines while the transaction is open", ([level, definer]) =>
    Effect.gen(function* () {
      const process = yield* openStore(server())
      const other = yield* openStore(server())
      const { sql, store } = process
      const name = `${level} ${definer}`
      const [begin, end] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const gated: EventStore.Operations = {
        ...store,
        define: (exchange, definitions, options) =>
          options?.joins === true
            ? store.define(exchange, definitions, options)
            : Effect.andThen(Deferred.await(begin), store.define(exchange, definitions)).pipe(
                Effect.tap(Deferred.succeed(end, undefined))
              )
      }
      const writer = yield* writerOf(name, definer === "another process" ? undefinedBy(store) : gated)
      const define =
        definer === "another process"
          ? other.store.define(name, [{ name, topics: ["*"] }])
          : Effect.andThen(
              Deferred.succeed(begin, undefined),
              Effect.andThen(Deferred.await(end), Effect.sleep("50 millis"))
            )
      yield* sql`CREATE TABLE IF NOT EXISTS orders (name text)`
      const insert = sql`INSERT INTO orders VALUES (${name})`
      const orders = Effect.map(sql`SELECT FROM orders WHERE name = ${name}`, ({ length }) => length)
      const first = at(process, level, Effect.andThen(insert, Effect.andThen(define, writer.write(1))))
      if (!seen[level]) {
        const error = yield* Effect.flip(first)
        assert.instanceOf(error, DurableQueue.DurableWriteError)
        // A writer that has not heard of its own definition yet, on a busy machine, defines again, and the server refuses that.
        assert.match(error.message, definer === "another process" ? /40001/ : /newer than the snapshot|40001/)
        assert.deepStrictEqual([yield* orders, yield* pendingOf(store, name)], [0, 0])
        yield* at(process, level, Effect.andThen(insert, writer.write(1)))
      } else yield* first
      assert.deepStrictEqual([yield* orders, yield* pendingOf(store, name)], [1, 1])
    }).pipe(Effect.scoped, quiet)
  )
})
