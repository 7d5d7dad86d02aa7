import { assert, it } from "@effect/vitest"
import { Duration, Effect, Layer, Queue, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, type Operations } from "effect-events/durable/EventStore"
import * as PostgresStore from "effect-events/durable/PostgresStore"
import { append, describePostgres, leaseOf, openStore } from "../../durable/support/postgres.ts"

describePostgres("the changes of PostgresStore", (server) => {
  /** A listener that has begun. */
  const listen = Effect.fnUntraced(function* (store: Operations, queue: string) {
    const changes = yield* Stream.toQueue(store.changes(queue), { capacity: "unbounded" })
    const next = Effect.timeout(Queue.take(changes), "60 seconds")
    yield* next
    return { changes, next, soon: Effect.timeoutOption(Queue.take(changes), "300 millis") }
  })
  const listeners = () =>
    Number(server().psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'"))
  const end = () => server().psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
  const until = (holds: () => boolean) =>
    Effect.timeout(Effect.repeat(Effect.delay(Effect.sync(holds), "20 millis"), { until: Boolean }), "60 seconds")

  it.live("notifies of another process's commits at once, and of no other queue's", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      const long = "é".repeat(1_100)
      for (const queue of ["notified", 'it\'s "notified"', long]) {
        const { changes, next } = yield* listen(store, queue)
        yield* append(other.store, "another", "1")
        yield* append(other.store, queue, "1")
        yield* next
        const lease = yield* leaseOf(other.store, queue)
        const [one] = yield* other.store.next(lease, { rows: 1, bytes: 1 })
        yield* other.store.deadLetter(lease, [{ key: one?.key ?? 0, reason: "Failed", cause: "", attempts: 1 }])
        yield* next
        yield* other.store.replay(queue, [one?.key ?? 0])
        yield* next
        const [again] = yield* other.store.next(lease, { rows: 1, bytes: 1 })
        yield* other.store.acknowledge(lease, [again?.key ?? 0])
        yield* next
        yield* other.store.release(lease)
        yield* next
        // nothing has changed
        yield* other.store.release(lease)
        yield* other.store.replay(queue, [1e9])
        yield* Effect.sleep("100 millis")
        assert.strictEqual(yield* Queue.size(changes), 0)
      }
    })
  )

  it.live("all streams share one connection, which goes with the last", () =>
    Effect.gen(function* () {
      yield* until(() => listeners() === 0)
      const { store } = yield* openStore(server())
      const scope = yield* Scope.make()
      yield* Scope.provide(Effect.all([listen(store, "a"), listen(store, "a"), listen(store, "b")]), scope)
      assert.strictEqual(listeners(), 1)
      yield* Scope.close(scope, yield* Effect.exit(Effect.void))
      yield* until(() => listeners() === 0)
      yield* listen(store, "a")
      assert.strictEqual(listeners(), 1)
    })
  )

  it.live("polls every so often without a notification", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { checkInterval: "100 millis" })
      const { next } = yield* listen(store, "checked")
      const from = performance.now()
      for (let check = 0; check < 5; check++) yield* next
      assert.isAtLeast(performance.now() - from, 400)
    })
  )

  it.live("listens again when its session is ended, and notifies of it", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      const { next, soon } = yield* listen(store, "ended")
      end()
      yield* next
      yield* until(() => listeners() === 1)
      while ((yield* soon)._tag === "Some");
      yield* append(other.store, "ended", "1")
      yield* next
    })
  )

  it.live("listens again when it no longer hears itself", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { checkInterval: "200 millis" })
      const { next } = yield* listen(store, "deaf")
      const pid = () =>
        server().psql(
          "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle' ORDER BY backend_start DESC LIMIT 1"
        )
      const before = pid()
      // as when a connection is dropped on the way: the server's side is there, and nothing comes through
      process.kill(Number(before), "SIGSTOP")
      yield* Effect.ensuring(
        until(() => pid() !== before),
        Effect.sync(() => process.kill(Number(before), "SIGCONT"))
      )
      yield* next
    })
  )

  it.live("listens again when the server has been killed and started again", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { next, soon } = yield* listen(store, "restarted")
      yield* Effect.promise(() => server().kill())
      yield* next
      yield* next
      const failed = yield* Effect.exit(append(store, "restarted", "1"))
      assert.strictEqual(failed._tag, "Failure")
      yield* Effect.promise(() => server().start())
      yield* until(() => listeners() === 1)
      while ((yield* soon)._tag === "Some");
      yield* append(store, "restarted", "1")
      yield* next
    })
  )

  it.live("fails when it cannot begin, and begins at the next call", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), {}, { maxConnections: 3 })
      yield* Effect.promise(() => server().stop())
      const error = yield* Effect.flip(Stream.runHead(store.changes("begin")))
      assert.include(error, { _tag: "EventStoreError", operation: "listen", problem: "Disconnected" })
      yield* Effect.promise(() => server().start())
      yield* listen(store, "begin")
    })
  )

  it.live("polls every 250 milliseconds on a client that cannot listen", () =>
    Effect.gen(function* () {
      // a client of another package, as far as the store can see
      const stripped = Layer.effect(
        SqlClient.SqlClient,
        Effect.map(SqlClient.SqlClient, (sql) => {
          const { listen: _, ...rest } = sql as typeof sql & { listen: unknown }
          return Object.assign(sql.unsafe.bind(sql), rest, { withoutTransforms: () => sql }) as unknown as typeof sql
        })
      )
      const store = yield* Effect.provide(
        EventStore,
        yield* Layer.build(
          Layer.provide(PostgresStore.layer(), Layer.provide(stripped, server().client({ maxConnections: 1 })))
        )
      )
      const from = performance.now()
      yield* Stream.runDrain(Stream.take(store.changes("polled"), 3))
      const took = performance.now() - from
      assert.isAtLeast(took, 450)
      assert.strictEqual(listeners(), 0)
      yield* append(store, "polled", "1")
      yield* store.acquire("polled", Duration.seconds(1))
    })
  )
})
