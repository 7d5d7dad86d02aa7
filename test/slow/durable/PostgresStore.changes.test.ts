import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect, Layer, Queue, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { EventStore, type Operations } from "effect-events/durable/EventStore"
import * as PostgresStore from "effect-events/durable/PostgresStore"
import {
  define,
  describePostgres,
  leasedBy,
  leaseOf,
  openStore,
  payload,
  publish,
  texts
} from "../../durable/support/postgres.ts"

describePostgres("the changes of PostgresStore", (server) => {
  /** A listener that has begun. */
  const listen = Effect.fnUntraced(function* (store: Operations) {
    const changes = yield* Stream.toQueue(store.changes, { capacity: "unbounded" })
    const next = Effect.timeout(Queue.take(changes), "60 seconds")
    yield* next
    return { changes, next, soon: Effect.timeoutOption(Queue.take(changes), "300 millis") }
  })
  /** The sessions that listen: the last statement of one is that, or takes the lock of its owner. */
  const listening = "(query LIKE 'LISTEN%' OR query LIKE 'SELECT pg_advisory_lock_shared%') AND state = 'idle'"
  const listeners = () => Number(server().psql(`SELECT count(*) FROM pg_stat_activity WHERE ${listening}`))
  const end = () => server().psql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${listening}`)
  const lockedOwners = () => server().psql("SELECT id FROM effect_events_owners WHERE locked AND NOT gone")
  /** The lock of a child is there, and its row says so. */
  const isLocked = () => locks() === 1 && lockedOwners() !== ""
  const until = (holds: () => boolean) =>
    Effect.timeout(Effect.repeat(Effect.delay(Effect.sync(holds), "20 millis"), { until: Boolean }), "60 seconds")

  it.live("notifies of another process's commits at once", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server(), { changes: "poll" })
      const { id } = yield* define(other.store, "notified")
      const { changes, next } = yield* listen(store)
      const quiet = Effect.gen(function* () {
        yield* Effect.sleep("100 millis")
        assert.strictEqual(yield* Queue.size(changes), 0)
      })
      const which = { exchange: "notified" }
      yield* publish(other.store, "notified", "1")
      yield* next
      const { lease, owner, settle, take } = yield* leaseOf(other.store, "notified")
      const position = Effect.map(take(), (taken) => taken?.[0]?.position ?? 0)
      yield* settle([{ _tag: "DeadLettered", position: yield* position, reason: "Failed", cause: "", attempts: 1 }])
      yield* next
      yield* other.store.replay(id, [1])
      yield* next
      yield* settle([{ _tag: "Acknowledged", position: yield* position }])
      yield* next
      yield* other.store.setState(which, "paused", undefined)
      yield* next
      yield* other.store.setState(which, "active", undefined)
      yield* next
      yield* other.store.release(owner, [lease])
      yield* next
      // nothing has changed
      yield* other.store.release(owner, [lease])
      yield* other.store.replay(id, [1e9])
      yield* other.store.publish("absent", [{ payload: payload("2") }])
      yield* other.store.setState({ exchange: "absent" }, "active", undefined)
      yield* other.store.drop({ exchange: "absent" })
      yield* quiet
      yield* other.store.drop(which)
      yield* next
    })
  )

  it.live("notifies once for the commits of 10 ms, and again after the last of them", () =>
    Effect.gen(function* () {
      const { sql } = yield* openStore(server())
      const other = yield* openStore(server(), { changes: "poll" })
      yield* define(other.store, "many")
      const listener = yield* sql.listen("effect_events_changes")
      const began = performance.now()
      yield* Effect.forEach(Array.makeBy(300, String), (n) => publish(other.store, "many", n), { concurrency: 10 })
      const most = 2 + (performance.now() - began) / 10
      // It may come within the last commit's own statement, or after it.
      yield* Effect.sleep("200 millis")
      const heard = yield* Queue.takeAll(listener)
      assert.isAtMost(heard.length, most)
      // Each commit has a notification after it.
      for (const n of ["first", "second"]) yield* publish(other.store, "many", n)
      let heardOfBoth = 0
      while (heardOfBoth < 2) heardOfBoth += (yield* Effect.timeout(Queue.takeAll(listener), "60 seconds")).length
      // In a transaction of the application's own each commit notifies.
      const joined = other.sql.withTransaction(publish(other.store, "many", "joined"))
      yield* Effect.repeat(joined, { times: 4 })
      let joins = 0
      while (joins < 5) joins += (yield* Effect.timeout(Queue.takeAll(listener), "60 seconds")).length
      // An isolated commit needs no second statement, which a process that is frozen after it would not make.
      yield* Effect.sleep("100 millis")
      yield* publish(other.store, "many", "alone")
      yield* Effect.timeout(Queue.take(listener), "60 seconds")
    })
  )

  it.live("notifies its own process of what comes due there, and no other", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* define(store, "own")
      yield* publish(store, "own", "1")
      const { settle, take } = yield* leaseOf(store, "own")
      const own = yield* listen(store)
      const others = yield* listen(other.store)
      while ((yield* others.soon)._tag === "Some");
      while ((yield* own.soon)._tag === "Some");
      const position = (yield* take())?.[0]?.position ?? 0
      yield* settle([{ _tag: "Again", position, lane: 1, delay: Duration.minutes(1), attempts: 1 }])
      yield* own.next
      assert.strictEqual((yield* others.soon)._tag, "None")
    })
  )

  it.live("all streams share one connection, which goes with the last", () =>
    Effect.gen(function* () {
      yield* until(() => listeners() === 0)
      const { store } = yield* openStore(server())
      const scope = yield* Scope.make()
      yield* Scope.provide(Effect.all([listen(store), listen(store), listen(store)]), scope)
      assert.strictEqual(listeners(), 1)
      yield* Scope.close(scope, yield* Effect.exit(Effect.void))
      yield* until(() => listeners() === 0)
      yield* listen(store)
      assert.strictEqual(listeners(), 1)
    })
  )

  it.live("polls every so often without a notification", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { checkInterval: "100 millis" })
      const { next } = yield* listen(store)
      const from = performance.now()
      for (let check = 0; check < 5; check++) yield* next
      assert.isAtLeast(performance.now() - from, 400)
    })
  )

  it.live("listens again when its session is ended, and notifies of it", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      const { next, soon } = yield* listen(store)
      end()
      yield* next
      yield* until(() => listeners() === 1)
      while ((yield* soon)._tag === "Some");
      yield* define(other.store, "ended")
      yield* publish(other.store, "ended", "1")
      yield* next
    })
  )

  it.live("listens again when it no longer hears itself", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { checkInterval: "200 millis" })
      const { next } = yield* listen(store)
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
      yield* define(store, "restarted")
      const { next, soon } = yield* listen(store)
      yield* Effect.promise(() => server().kill())
      yield* next
      yield* next
      const failed = yield* Effect.exit(publish(store, "restarted", "1"))
      assert.strictEqual(failed._tag, "Failure")
      yield* Effect.promise(() => server().start())
      yield* until(() => listeners() === 1)
      while ((yield* soon)._tag === "Some");
      yield* publish(store, "restarted", "1")
      yield* next
    })
  )

  it.live("fails when it cannot begin, and begins at the next call", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), {}, { maxConnections: 3 })
      yield* Effect.promise(() => server().stop())
      const error = yield* Effect.flip(Stream.runHead(store.changes))
      assert.include(error, { _tag: "EventStoreError", operation: "listen", problem: "Disconnected" })
      yield* Effect.promise(() => server().start())
      yield* listen(store)
    })
  )

  const locks = () =>
    Number(
      server().psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted")
    )

  /** A process that has the lease of the only subscription of an exchange. */
  const child = (exchange: string, changes: "listen" | "poll") =>
    Effect.acquireRelease(
      Effect.promise(async () => {
        const path = fileURLToPath(new URL("postgresChild.ts", import.meta.url))
        const flags = ["--conditions=@effect-events/source", "--disable-warning=ExperimentalWarning"]
        const child = spawn(process.execPath, [...flags, path, String(server().port), exchange, changes], {
          stdio: ["ignore", "pipe", "inherit"]
        })
        for await (const said of createInterface({ input: child.stdout })) {
          assert.strictEqual(said, "1")
          break
        }
        return child
      }),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )

  it.live("an owner that is killed is gone at once, and one that is stopped is not", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { changes: "poll" })
      const { id } = yield* define(store, "killed")
      yield* publish(store, "killed", "1")
      const owner = yield* child("killed", "listen")
      yield* until(isLocked)
      const waiter = yield* store.renew({ name: "waiter" }, Duration.hours(1))
      const claim = Effect.delay(store.claim(waiter, [id], 1), "100 millis")
      owner.kill("SIGSTOP")
      for (let n = 0; n < 15; n++) assert.deepStrictEqual((yield* claim).acquired, [])
      owner.kill("SIGKILL")
      const told = yield* Effect.repeat(claim, { until: ({ wait = Infinity }) => wait <= 500 })
      assert.deepStrictEqual(told.acquired, [])
      const taken = Effect.repeat(claim, { until: ({ acquired }) => acquired.length > 0 })
      assert.strictEqual((yield* Effect.timeout(taken, "20 seconds")).acquired[0]?.epoch, 2)
    })
  )

  it.live(
    "what comes due of an owner that is stopped another process puts in its place, and gives when that is killed",
    () =>
      Effect.gen(function* () {
        const { store } = yield* openStore(server(), { changes: "poll" })
        const { id } = yield* define(store, "stopped")
        yield* publish(store, "stopped", "1")
        const owner = yield* child("stopped", "listen")
        yield* until(isLocked)
        owner.kill("SIGSTOP")
        yield* store.publish("stopped", [{ payload: payload("2"), due: { after: Duration.millis(100) } }])
        const waiter = yield* store.renew({ name: "waiter" }, Duration.hours(1))
        const claim = Effect.delay(store.claim(waiter, [id], 1), "50 millis")
        const isThere = Effect.repeat(Effect.andThen(claim, store.bounds([id])), {
          until: ([bounds]) => bounds !== undefined && bounds.last > bounds.first && bounds.isComing === false
        })
        yield* Effect.timeout(isThere, "20 seconds")
        owner.kill("SIGKILL")
        const { acquired } = yield* Effect.timeout(
          Effect.repeat(claim, { until: ({ acquired }) => acquired.length > 0 }),
          "20 seconds"
        )
        const { take } = leasedBy(store, waiter, acquired[0]!)
        assert.deepStrictEqual(texts((yield* take()) ?? []), ["1", "2"])
      })
  )

  it.live("an owner that polls is gone when its time is over", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { changes: "poll" })
      const { id } = yield* define(store, "polls")
      yield* publish(store, "polls", "1")
      const owner = yield* child("polls", "poll")
      const waiter = yield* store.renew({ name: "waiter" }, Duration.hours(1))
      owner.kill("SIGKILL")
      const claim = Effect.delay(store.claim(waiter, [id], 1), "100 millis")
      for (let n = 0; n < 15; n++) assert.deepStrictEqual((yield* claim).acquired, [])
      server().psql("UPDATE effect_events_owners SET expires_at = 0 WHERE name = 'child'")
      assert.lengthOf((yield* claim).acquired, 1)
    })
  )

  it.live("an owner whose session is ended keeps its leases, and is gone at once again when it listens anew", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server(), { changes: "poll" })
      const { id } = yield* define(store, "session")
      yield* publish(store, "session", "1")
      yield* until(() => listeners() === 0)
      yield* listen(store)
      const { owner } = yield* leaseOf(store, "session", "1 hour")
      yield* until(() => lockedOwners() === String(owner.id))
      const waiter = yield* other.store.renew({ name: "waiter" }, Duration.hours(1))
      const claim = Effect.delay(other.store.claim(waiter, [id], 1), "20 millis")
      for (let n = 0; n < 3; n++) {
        end()
        for (let m = 0; m < 30; m++) assert.deepStrictEqual((yield* claim).acquired, [])
      }
      yield* until(() => listeners() === 1 && locks() === 1 && lockedOwners() === String(owner.id))
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
      yield* Stream.runDrain(Stream.take(store.changes, 3))
      const took = performance.now() - from
      assert.isAtLeast(took, 450)
      assert.strictEqual(listeners(), 0)
      yield* define(store, "polled")
      yield* publish(store, "polled", "1")
      yield* leaseOf(store, "polled")
    })
  )
})
