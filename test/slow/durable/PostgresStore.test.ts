import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect, Exit, Fiber, Schema } from "effect"
import { EventQueue, EventSink } from "effect-events"
import { DurableQueue } from "effect-events/durable"
import { EventStore, LeaseLost } from "effect-events/durable/EventStore"
import { quiet } from "../../support/virtual.ts"
import { all, append, describePostgres, leaseOf, openStore, payload, texts } from "../../durable/support/postgres.ts"

const ttl = Duration.seconds(30)
const lost = (queue: string, epoch: number) => new LeaseLost({ queue, epoch })

describePostgres("PostgresStore", (server) => {
  it.live("gives what was appended, in order, and keeps what is not acknowledged", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      yield* append(store, "order", ...Array.map(Array.range(1, 200), String))
      yield* append(store, "order", "201")
      yield* append(store, "other", "x")
      const lease = yield* leaseOf(store, "order")
      const events = yield* store.next(lease, all)
      assert.deepStrictEqual(texts(events), Array.map(Array.range(1, 201), String))
      assert.isTrue(
        events.every(({ attempts, writtenAt }) => attempts === 0 && Math.abs(writtenAt - Date.now()) < 60_000)
      )
      yield* store.acknowledge(
        lease,
        Array.map(Array.range(1, 200), (_, at) => events[at]?.key ?? 0)
      )
      yield* store.acknowledge(lease, [events[0]?.key ?? 0])
      assert.deepStrictEqual(texts(yield* store.next(lease, all)), ["201"])
      const { bytes, deadLetters, first, last, rows } = yield* store.size("order")
      assert.deepStrictEqual({ bytes, deadLetters, rows }, { bytes: 3, deadLetters: 0, rows: 1 })
      assert.deepStrictEqual([first, last], [events[200]?.key, events[200]?.key])
    })
  )

  it.live("gives no more than the limits, but one at least", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      yield* append(store, "sizes", "12345", "67", "8", "")
      const lease = yield* leaseOf(store, "sizes")
      const given = (rows: number, bytes: number) => Effect.map(store.next(lease, { rows, bytes }), texts)
      assert.deepStrictEqual(yield* given(10, 1), ["12345"])
      assert.deepStrictEqual(yield* given(10, 7), ["12345", "67"])
      assert.deepStrictEqual(yield* given(2, 100), ["12345", "67"])
      assert.deepStrictEqual(yield* given(Infinity, Infinity), ["12345", "67", "8", ""])
    })
  )

  it.live("dead-letters, lists, replays and purges", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      yield* append(store, "dead", "a", "b", "c", "d")
      const lease = yield* leaseOf(store, "dead")
      const keys = (yield* store.next(lease, all)).map(({ key }) => key)
      const [a = 0, b = 0, c = 0] = keys
      const reported = { reason: "Failed", cause: 'it\'s \0 \u{1F600} {broken}, "quoted" \\', attempts: 3 } as const
      yield* store.deadLetter(lease, [{ key: b, ...reported }])
      yield* store.deadLetter(lease, [
        { key: c, reason: "Undecodable", cause: "", attempts: 1 },
        { key: a, reason: "Died", cause: "x".repeat(30_000), attempts: 2 },
        { key: b, ...reported }
      ])
      const dead = yield* store.list("dead", { limit: 10 })
      assert.deepStrictEqual(texts(dead), ["b", "a", "c"])
      assert.strictEqual(dead[0]?.cause, reported.cause.replace("\0", "\uFFFD"))
      assert.strictEqual(dead[1]?.cause.length, 20_000)
      assert.deepStrictEqual(
        dead.map(({ attempts }) => attempts),
        [3, 2, 1]
      )
      assert.deepStrictEqual(
        dead.map(({ reason }) => reason),
        ["Failed", "Died", "Undecodable"]
      )
      // page by page
      const first = yield* store.list("dead", { limit: 1 })
      const second = yield* store.list("dead", { limit: 1, after: first[0] })
      const third = yield* store.list("dead", { limit: 10, after: second[0] })
      assert.deepStrictEqual(texts([...first, ...second, ...third]), ["b", "a", "c"])
      assert.strictEqual(yield* store.replay("dead", [c, b, c, 1e9]), 2)
      const events = yield* store.next(lease, all)
      assert.deepStrictEqual(texts(events), ["d", "c", "b"])
      assert.deepStrictEqual(
        events.map(({ attempts }) => attempts),
        [0, 1, 3]
      )
      assert.isTrue(events.slice(1).every(({ key }) => !keys.includes(key)))
      assert.strictEqual(yield* store.purge("dead", [a, b]), 1)
      assert.deepStrictEqual(yield* store.list("dead", { limit: 10 }), [])
    })
  )

  it.live("an epoch that another has taken can do nothing; one that ran out goes on until then", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* append(store, "epochs", "1", "2")
      const lease = yield* leaseOf(store, "epochs", "20 seconds")
      const held = yield* other.store.acquire("epochs", ttl)
      assert.isTrue(held._tag === "Held" && held.remaining > 0 && held.remaining <= 20_000)
      yield* store.renew(lease, Duration.millis(50))
      yield* Effect.sleep("60 millis")
      const [one, two] = yield* store.next(lease, all)
      yield* store.acknowledge(lease, [one?.key ?? 0])
      const newer = yield* leaseOf(other.store, "epochs")
      assert.strictEqual(newer.epoch, lease.epoch + 1)
      const failure = lost("epochs", lease.epoch)
      assert.deepStrictEqual(yield* Effect.flip(store.next(lease, all)), failure)
      assert.deepStrictEqual(yield* Effect.flip(store.acknowledge(lease, [two?.key ?? 0])), failure)
      const reported = { key: two?.key ?? 0, reason: "Failed", cause: "", attempts: 1 } as const
      assert.deepStrictEqual(yield* Effect.flip(store.deadLetter(lease, [reported])), failure)
      assert.deepStrictEqual(yield* Effect.flip(store.renew(lease, ttl)), failure)
      yield* store.release(lease)
      assert.deepStrictEqual(texts(yield* other.store.next(newer, all)), ["2"])
      yield* other.store.renew(newer, ttl)
      yield* other.store.release(newer)
      assert.deepStrictEqual(yield* Effect.flip(other.store.renew(newer, ttl)), lost("epochs", newer.epoch))
      assert.strictEqual((yield* leaseOf(store, "epochs")).epoch, newer.epoch + 1)
    })
  )

  it.live("the lease of an owner that died before the server's clock was set back does not last until then", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      /** What the row is as if the clock had been set back. */
      const setBack = (duration: Duration.Input) =>
        other.sql.unsafe(
          `UPDATE durable_queue_leases SET renewed_at = renewed_at + $1::bigint, expires_at = expires_at + $1::bigint
WHERE queue = 'set back'`,
          [Duration.toMillis(duration)]
        )
      const lease = yield* leaseOf(store, "set back")
      // by less than it lasts: it runs out as it would have
      yield* setBack("15 seconds")
      assert.strictEqual((yield* other.store.acquire("set back", ttl))._tag, "Held")
      // an owner that lives
      yield* setBack("1 hour")
      yield* store.renew(lease, ttl)
      const held = yield* other.store.acquire("set back", ttl)
      assert.isTrue(held._tag === "Held" && held.remaining <= 30_000)
      // one that died, twice
      yield* setBack("1 hour")
      const newer = yield* leaseOf(other.store, "set back")
      assert.strictEqual(newer.epoch, lease.epoch + 1)
      assert.deepStrictEqual(yield* Effect.flip(store.renew(lease, ttl)), lost("set back", lease.epoch))
      assert.strictEqual((yield* store.acquire("set back", ttl))._tag, "Held")
      yield* setBack("1 hour")
      assert.strictEqual((yield* leaseOf(store, "set back")).epoch, newer.epoch + 1)
    })
  )

  it.live("of many that ask at once, one gets the lease", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const answers = yield* Effect.all(
        Array.makeBy(10, () => store.acquire("contended", ttl)),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(answers.filter(({ _tag }) => _tag === "Acquired").length, 1)
      assert.isTrue(answers.every((one) => one._tag === "Acquired" || one.remaining > 0))
    })
  )

  const takeover = `UPDATE durable_queue_leases SET epoch = epoch + 1 WHERE queue = $1`

  it.live.each(["read committed", "repeatable read", "serializable"])(
    "an owner removes nothing when the takeover commits while it waits (%s)",
    (isolation) =>
      Effect.gen(function* () {
        const startupParameters = { default_transaction_isolation: isolation }
        const { store } = yield* openStore(server(), { lockTimeout: "20 seconds" }, { startupParameters })
        const other = yield* openStore(server())
        const queue = `takeover ${isolation}`
        yield* append(store, queue, "1", "2")
        const lease = yield* leaseOf(store, queue)
        const [one, two] = yield* store.next(lease, all)
        const reported = { key: two?.key ?? 0, reason: "Failed", cause: "", attempts: 1 } as const
        const removals = yield* other.sql.withTransaction(
          Effect.gen(function* () {
            yield* other.sql.unsafe(takeover, [queue])
            const acknowledged = yield* Effect.forkChild(Effect.exit(store.acknowledge(lease, [one?.key ?? 0])))
            const deadLettered = yield* Effect.forkChild(Effect.exit(store.deadLetter(lease, [reported])))
            yield* waiting(2)
            return [acknowledged, deadLettered]
          })
        )
        for (const removal of removals) {
          const error = yield* Effect.flip(Effect.flatten(Fiber.join(removal)))
          if (isolation === "read committed") assert.deepStrictEqual(error, lost(queue, lease.epoch))
          else assert.isTrue(error._tag === "EventStoreError" && error.problem === "Locked" && !error.maybeCommitted)
        }
        assert.strictEqual((yield* store.size(queue)).rows, 2)
      })
  )

  it.live("a takeover waits for what the owner removes, and no longer finds it", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { lockTimeout: "20 seconds" })
      const other = yield* openStore(server(), { lockTimeout: "20 seconds" })
      yield* append(store, "removal", "1", "2")
      const lease = yield* leaseOf(store, "removal", "1 millis")
      const [one] = yield* store.next(lease, all)
      const [acknowledging, taking] = yield* other.sql.withTransaction(
        Effect.gen(function* () {
          // the owner has the lease's row, and waits for that of the event
          yield* other.sql.unsafe("SELECT FROM durable_queue_events WHERE key = $1::bigint FOR UPDATE", [one?.key])
          const acknowledging = yield* Effect.forkChild(store.acknowledge(lease, [one?.key ?? 0]))
          yield* waiting(1)
          const taking = yield* Effect.forkChild(leaseOf(store, "removal"))
          yield* waiting(2)
          return [acknowledging, taking] as const
        })
      )
      yield* Fiber.join(acknowledging)
      assert.deepStrictEqual(texts(yield* other.store.next(yield* Fiber.join(taking), all)), ["2"])
    })
  )

  /** Waits until so many sessions wait for a lock. */
  const waiting = (sessions: number) =>
    Effect.repeat(
      Effect.sync(() => server().psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")),
      { until: (count) => Number(count) === sessions }
    )

  it.live("gives up on a row that another transaction has locked, and changes no setting of the connection", () =>
    Effect.gen(function* () {
      const client = { maxConnections: 1, startupParameters: { synchronous_commit: "off" } }
      const { sql, store } = yield* openStore(server(), { lockTimeout: "100 millis", changes: "poll" }, client)
      const other = yield* openStore(server())
      const lease = yield* leaseOf(store, "locked")
      yield* append(store, "locked", "1")
      yield* other.sql.withTransaction(
        Effect.gen(function* () {
          yield* other.sql.unsafe("SELECT FROM durable_queue_leases WHERE queue = 'locked' FOR UPDATE")
          for (const operation of [
            store.acquire("locked", ttl),
            store.renew(lease, ttl),
            store.release(lease),
            store.acknowledge(lease, [1]),
            store.deadLetter(lease, [{ key: 1, reason: "Failed", cause: "", attempts: 1 }])
          ]) {
            const error = yield* Effect.flip<unknown, unknown, never>(operation)
            assert.include(error, { _tag: "EventStoreError", problem: "Locked", maybeCommitted: false })
          }
          // neither of these waits for the lease
          assert.strictEqual((yield* store.next(lease, all)).length, 1)
          yield* append(store, "locked", "2")
        })
      )
      yield* store.renew(lease, ttl)
      const settings = yield* sql.unsafe(
        "SELECT current_setting('lock_timeout') AS a, current_setting('synchronous_commit') AS b"
      )
      assert.deepStrictEqual(settings, [{ a: "0", b: "off" }])
      // what is on disk when it is answered leaves nothing to be flushed
      const [flushed] = yield* sql.unsafe<{ all: boolean }>(
        "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() AS all"
      )
      assert.strictEqual(flushed?.all, true)
    })
  )

  it.live("admits what fits the limits, and one that is larger when the queue is empty", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      const limits = { rows: 3, bytes: 10 }
      const write = (who: typeof store, ...some: readonly [string, ...Array<string>]) =>
        who.append("limits", Array.map(some, payload), limits)
      assert.isTrue(yield* write(store, "1", "2", "3", "4"))
      assert.isFalse(yield* write(store, "5"))
      assert.isFalse(yield* write(other.store, "5"))
      const lease = yield* leaseOf(store, "limits")
      const events = yield* store.next(lease, all)
      yield* store.acknowledge(lease, [events[0]?.key ?? 0, events[1]?.key ?? 0])
      assert.isFalse(yield* write(store, "56789abcd"))
      assert.isTrue(yield* write(other.store, "5"))
      // another process's is seen after a second
      yield* Effect.sleep("1100 millis")
      assert.isFalse(yield* write(store, "6"))
      // what an own acknowledgement frees is there at once
      yield* store.acknowledge(lease, [events[2]?.key ?? 0])
      assert.isTrue(yield* write(store, "6"))
      assert.deepStrictEqual(texts(yield* store.next(lease, all)), ["4", "5", "6"])
    })
  )

  it.live("many that append at once stay within the limits of their process", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const write = store.append("crowd", [payload("x")], { rows: 10, bytes: 1_000 })
      const admitted = yield* Effect.all(
        Array.makeBy(40, () => write),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(admitted.filter(Boolean).length, 10)
      assert.strictEqual((yield* store.size("crowd")).rows, 10)
    })
  )

  it.live("a hundred writers at a full queue hear of it after two counts, not a hundred", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" })
      yield* sql.unsafe(`INSERT INTO durable_queue_events (queue, attempts, written_at, payload)
SELECT 'refused', 0, 0, '1' FROM generate_series(1, 300000)`)
      yield* store.size("refused")
      const [took] = yield* Effect.timed(store.size("refused"))
      let appends = 0
      const append: typeof store.append = (...args) => {
        appends++
        return store.append(...args)
      }
      const receiver = yield* EventSink.make(() => Effect.never, { drainTimeout: 0 })
      const options = {
        name: "refused",
        schema: Schema.Int,
        capacity: 10,
        overflow: "reject",
        drainTimeout: 0
      } as const
      const queue = yield* DurableQueue.make(options)(receiver).pipe(
        Effect.provideService(EventStore, { ...store, append })
      )
      const refusals = Effect.all(
        Array.makeBy(100, (n) => Effect.flip(queue.write(n))),
        { concurrency: "unbounded" }
      )
      const [waited, errors] = yield* Effect.timed(refusals)
      assert.isTrue(errors.every((error) => error instanceof EventQueue.QueueFull))
      assert.isAtMost(appends, 2)
      // between two counts the server has nine times as long for something else
      assert.isBelow(Duration.toMillis(waited), 60 * Duration.toMillis(took) + 500)
    }).pipe(quiet)
  )

  it.live("refuses a payload that the client could not read again", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), {}, { maxMessageSize: 200_000 })
      const error = yield* Effect.flip(store.append("large", [new Uint8Array(150_000)], undefined))
      assert.strictEqual(error.problem, "Other")
      yield* store.append("large", [new Uint8Array(200_000 - 65_536).fill(7)], undefined)
      const events = yield* store.next(yield* leaseOf(store, "large"), all)
      assert.strictEqual(events[0]?.payload.length, 200_000 - 65_536)
    })
  )

  it.live("takes any bytes, and a long name", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const queue = 'it\'s "long" \u{1F600} '.repeat(100)
      const every = Uint8Array.from({ length: 256 }, (_, byte) => byte)
      yield* store.append(queue, [every, Buffer.from(every).subarray(10, 20)], undefined)
      const events = yield* store.next(yield* leaseOf(store, queue), all)
      assert.deepStrictEqual(
        events.map((event) => [...event.payload]),
        [[...every], [...every.subarray(10, 20)]]
      )
    })
  )

  it.live("stores that start together make the tables once, and a newer version is refused", () =>
    Effect.gen(function* () {
      const options = { schema: "My schema", prefix: "together_" }
      const open = Effect.scoped(openStore(server(), options))
      yield* Effect.all(
        Array.makeBy(8, () => open),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(server().psql(`SELECT version FROM "My schema".together_version`), "1")
      server().psql(`UPDATE "My schema".together_version SET version = 2`)
      const error = yield* Effect.flip(open)
      assert.include(error, { _tag: "EventStoreError", problem: "NewerSchema" })
      assert.match(error.message, /version 2.* knows 1/)
    })
  )

  it.live("a user that may not make tables works with those that are there", () =>
    Effect.gen(function* () {
      yield* openStore(server(), { prefix: "granted_" })
      server().psql(
        "CREATE USER clerk",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON granted_version, granted_leases, granted_events, granted_dead_letters TO clerk"
      )
      const { store } = yield* openStore(server(), { prefix: "granted_" }, { username: "clerk" })
      yield* append(store, "a", "1")
      const lease = yield* leaseOf(store, "a")
      const [one] = yield* store.next(lease, all)
      yield* store.deadLetter(lease, [{ key: one?.key ?? 0, reason: "Failed", cause: "", attempts: 1 }])
      assert.strictEqual(yield* store.replay("a", [one?.key ?? 0]), 1)
      const error = yield* Effect.flip(openStore(server(), { prefix: "absent_" }, { username: "clerk" }))
      assert.include(error, { _tag: "EventStoreError", problem: "Other", operation: "migrate" })
    })
  )

  const withPath = (search_path: string) => ({ startupParameters: { search_path } })

  it.live("tables are those of the first schema of search_path, and never another application's in a later one", () =>
    Effect.gen(function* () {
      server().psql("CREATE SCHEMA ours", "CREATE SCHEMA theirs")
      const theirs = yield* openStore(server(), { schema: "theirs" })
      yield* append(theirs.store, "a", "of theirs")
      const ours = yield* openStore(server(), {}, withPath("absent, ours, theirs"))
      assert.strictEqual((yield* ours.store.size("a")).rows, 0)
      yield* append(ours.store, "a", "of ours")
      assert.deepStrictEqual(texts(yield* ours.store.next(yield* leaseOf(ours.store, "a"), all)), ["of ours"])
      assert.deepStrictEqual(texts(yield* theirs.store.next(yield* leaseOf(theirs.store, "a"), all)), ["of theirs"])
      const named = yield* openStore(server(), { schema: "theirs" }, withPath("ours"))
      assert.strictEqual((yield* named.store.size("a")).rows, 1)
    })
  )

  it.live("a search_path without a schema that is there is refused", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(openStore(server(), {}, withPath("absent")))
      assert.include(error, { _tag: "EventStoreError", problem: "Other", operation: "migrate" })
      assert.include(error.message, "search_path")
    })
  )

  it.live.each(["pg_catalog", "theirs_too, public", ""])(
    "a write in a transaction whose search_path is %j is stored with the transaction",
    (path) =>
      Effect.gen(function* () {
        server().psql("CREATE SCHEMA IF NOT EXISTS theirs_too")
        yield* openStore(server(), { schema: "theirs_too" })
        const { sql, store } = yield* openStore(server())
        const queue = `in a path of its own: ${path}`
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`SELECT set_config('search_path', ${path}, true)`
            assert.isTrue(yield* append(store, queue, "e"))
            assert.isTrue(
              yield* store.append(queue, [new TextEncoder().encode("within limits")], { rows: 10, bytes: 1000 })
            )
          })
        )
        assert.deepStrictEqual(texts(yield* store.next(yield* leaseOf(store, queue), all)), ["e", "within limits"])
      })
  )

  it.live("a prefix that is none is a defect", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(openStore(server(), { prefix: 'a"; DROP' }))
      assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.every(({ _tag }) => _tag === "Die"))
    })
  )
})
