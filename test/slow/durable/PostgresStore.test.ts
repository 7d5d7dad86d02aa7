import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect, Exit, Fiber, Schema } from "effect"
import { EventQueue, EventSink } from "effect-events"
import { DurableBroadcaster, DurableQueue } from "effect-events/durable"
import { type DeadLetterReason, EventStore, type Operations, type Settled } from "effect-events/durable/EventStore"
import { quiet } from "../../support/virtual.ts"
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

const ttl = Duration.seconds(30)
const deadLettered = (
  position: number,
  attempts: number,
  reason: DeadLetterReason = "Failed",
  cause = ""
): Settled => ({ _tag: "DeadLettered", position, attempts, reason, cause })

describePostgres("PostgresStore", (server) => {
  it.live("gives what was published, in order, and keeps what is not acknowledged", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "order")
      yield* define(store, "other")
      yield* publish(store, "order", ...Array.map(Array.range(1, 200), String))
      yield* publish(store, "order", "201")
      yield* publish(store, "other", "x")
      const { acknowledge, take } = yield* leaseOf(store, "order")
      const deliveries = (yield* take()) ?? []
      assert.deepStrictEqual(texts(deliveries), Array.map(Array.range(1, 201), String))
      assert.isTrue(
        deliveries.every(({ attempts, writtenAt }) => attempts === 0 && Math.abs(writtenAt - Date.now()) < 60_000)
      )
      yield* acknowledge(deliveries.slice(0, 200))
      yield* acknowledge(deliveries.slice(0, 1))
      assert.deepStrictEqual(texts((yield* take()) ?? []), ["201"])
      assert.deepStrictEqual(yield* store.figures(id), { pending: 1, bytes: 3, deadLetters: 0, owner: "order" })
      const position = deliveries[200]?.position ?? 0
      assert.deepStrictEqual(yield* store.bounds([id]), [
        { subscription: id, first: position, last: position, isComing: false }
      ])
    })
  )

  it.live("gives no more than the limits, but one at least", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      yield* define(store, "sizes")
      yield* publish(store, "sizes", "12345", "67", "8", "")
      const { take } = yield* leaseOf(store, "sizes")
      const given = (rows: number, bytes: number) =>
        Effect.map(take({ limits: { rows, bytes } }), (taken) => texts(taken ?? []))
      assert.deepStrictEqual(yield* given(10, 1), ["12345"])
      assert.deepStrictEqual(yield* given(10, 7), ["12345", "67"])
      assert.deepStrictEqual(yield* given(2, 100), ["12345", "67"])
      assert.deepStrictEqual(yield* given(Infinity, Infinity), ["12345", "67", "8", ""])
    })
  )

  it.live("dead-letters, lists, replays and purges", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "dead")
      yield* publish(store, "dead", "a", "b", "c", "d")
      const { settle, take } = yield* leaseOf(store, "dead")
      const positions = ((yield* take()) ?? []).map(({ position }) => position)
      const [a = 0, b = 0, c = 0] = positions
      const cause = 'it\'s \0 \u{1F600} {broken}, "quoted" \\'
      yield* settle([deadLettered(b, 3, "Failed", cause)])
      yield* settle([
        deadLettered(c, 1, "Undecodable"),
        deadLettered(a, 2, "Died", "x".repeat(30_000)),
        deadLettered(b, 3, "Failed", cause)
      ])
      const dead = yield* store.deadLetters(id, { limit: 10 })
      assert.deepStrictEqual(texts(dead), ["b", "a", "c"])
      assert.strictEqual(dead[0]?.cause, cause.replace("\0", "\uFFFD"))
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
      const first = yield* store.deadLetters(id, { limit: 1 })
      const second = yield* store.deadLetters(id, { limit: 1, after: first[0] })
      const third = yield* store.deadLetters(id, { limit: 10, after: second[0] })
      assert.deepStrictEqual(texts([...first, ...second, ...third]), ["b", "a", "c"])
      assert.strictEqual(yield* store.replay(id, [c, b, c, 1e9]), 2)
      const deliveries = (yield* take()) ?? []
      assert.deepStrictEqual(texts(deliveries), ["d", "c", "b"])
      assert.deepStrictEqual(
        deliveries.map(({ attempts }) => attempts),
        [0, 1, 3]
      )
      assert.isTrue(deliveries.slice(1).every(({ position }) => !positions.includes(position)))
      assert.strictEqual(yield* store.purge(id, [a, b]), 1)
      assert.deepStrictEqual(yield* store.deadLetters(id, { limit: 10 }), [])
    })
  )

  it.live("of a position that is reported twice the first report counts", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "twice")
      yield* publish(store, "twice", "a")
      const { settle, take } = yield* leaseOf(store, "twice")
      const [a] = (yield* take()) ?? []
      yield* settle([deadLettered(a?.position ?? 0, 3, "Died"), deadLettered(a?.position ?? 0, 1)])
      assert.deepStrictEqual(
        (yield* store.deadLetters(id, { limit: 10 })).map(({ attempts, reason }) => [attempts, reason]),
        [[3, "Died"]]
      )
    })
  )

  it.live("an epoch that another has taken can do nothing; one whose time is over goes on until then", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      const { id } = yield* define(store, "epochs")
      yield* publish(store, "epochs", "1", "2")
      const { acknowledge, lease, owner, settle, take } = yield* leaseOf(store, "epochs", "20 seconds")
      const waiter = yield* other.store.renew({ name: "other" }, ttl)
      assert.deepStrictEqual((yield* other.store.claim(waiter, [id], 1)).acquired, [])
      assert.deepStrictEqual(yield* store.renew(owner, Duration.millis(50)), owner)
      yield* Effect.sleep("60 millis")
      const [one, two] = (yield* take()) ?? []
      assert.deepStrictEqual(yield* acknowledge(one === undefined ? [] : [one]), [])
      const { acquired } = yield* other.store.claim(waiter, [id], 1)
      assert.strictEqual(acquired[0]?.epoch, lease.epoch + 1)
      const newer = leasedBy(other.store, waiter, acquired[0] ?? lease)
      assert.isUndefined(yield* take())
      const position = two?.position ?? 0
      assert.deepStrictEqual(yield* settle([{ _tag: "Acknowledged", position }]), [id])
      assert.deepStrictEqual(yield* settle([deadLettered(position, 1)]), [id])
      assert.deepStrictEqual(yield* settle([], { delay: ttl, attempts: 1 }), [id])
      const again = yield* store.renew(owner, ttl)
      assert.notStrictEqual(again.id, owner.id)
      yield* store.release(owner, [lease])
      assert.deepStrictEqual(texts((yield* newer.take()) ?? []), ["2"])
      yield* other.store.release(waiter, [newer.lease])
      assert.isUndefined(yield* newer.take())
      assert.strictEqual((yield* leaseOf(store, "epochs")).lease.epoch, newer.lease.epoch + 1)
    })
  )

  it.live("the leases of an owner that died before the server's clock was set back do not last until then", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      const { id } = yield* define(store, "set back")
      yield* publish(store, "set back", "1")
      /** What an owner is as if the clock had been set back. */
      const setBack = (owner: number, duration: Duration.Input) =>
        other.sql.unsafe(
          `UPDATE effect_events_owners SET renewed_at = renewed_at + $1::bigint, expires_at = expires_at + $1::bigint
WHERE id = $2::int`,
          [Duration.toMillis(duration), owner]
        )
      const { lease, owner } = yield* leaseOf(store, "set back")
      const waiter = yield* other.store.renew({ name: "other" }, Duration.hours(3))
      const claim = Effect.map(other.store.claim(waiter, [id], 1), ({ acquired }) => acquired)
      // by less than it lasts: it runs out as it would have
      yield* setBack(owner.id, "15 seconds")
      assert.deepStrictEqual(yield* claim, [])
      // an owner that lives
      yield* setBack(owner.id, "1 hour")
      assert.deepStrictEqual(yield* store.renew(owner, ttl), owner)
      assert.deepStrictEqual(yield* claim, [])
      // one that died
      yield* setBack(owner.id, "1 hour")
      const [newer] = yield* claim
      assert.strictEqual(newer?.epoch, lease.epoch + 1)
      assert.notStrictEqual((yield* store.renew(owner, ttl)).id, owner.id)
    })
  )

  it.live("of many that claim at once, one gets the lease", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "contended")
      yield* publish(store, "contended", "1")
      const claims = yield* Effect.forEach(
        Array.range(1, 10),
        (n) =>
          Effect.gen(function* () {
            const process = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
            const owner = yield* process.store.renew({ name: String(n) }, ttl)
            return process.store.claim(owner, [id], 1)
          }),
        { concurrency: "unbounded" }
      )
      const answers = yield* Effect.all(claims, { concurrency: "unbounded" })
      assert.strictEqual(answers.flatMap(({ acquired }) => acquired).length, 1)
    })
  )

  const takeover = `UPDATE effect_events_leases SET epoch = epoch + 1 WHERE subscription = $1::bigint`

  it.live.each(["read committed", "repeatable read", "serializable"])(
    "an owner removes nothing when the takeover commits while it waits (%s)",
    (isolation) =>
      Effect.gen(function* () {
        const startupParameters = { default_transaction_isolation: isolation }
        const { store } = yield* openStore(server(), { lockTimeout: "20 seconds" }, { startupParameters })
        const other = yield* openStore(server())
        const exchange = `takeover ${isolation}`
        const { id } = yield* define(store, exchange)
        yield* publish(store, exchange, "1", "2")
        const { acknowledge, settle, take } = yield* leaseOf(store, exchange)
        const [one, two] = (yield* take()) ?? []
        const removals = yield* other.sql.withTransaction(
          Effect.gen(function* () {
            yield* other.sql.unsafe(takeover, [id])
            const acknowledged = yield* Effect.forkChild(Effect.exit(acknowledge(one === undefined ? [] : [one])))
            const dead = yield* Effect.forkChild(Effect.exit(settle([deadLettered(two?.position ?? 0, 1)])))
            yield* waiting(2)
            return [acknowledged, dead]
          })
        )
        for (const removal of removals) {
          const exit = yield* Fiber.join(removal)
          if (isolation === "read committed") assert.deepStrictEqual(exit, Exit.succeed([id]))
          else {
            const error = yield* Effect.flip(exit)
            assert.isTrue(error._tag === "EventStoreError" && error.problem === "Locked" && !error.maybeCommitted)
          }
        }
        assert.strictEqual((yield* store.figures(id))?.pending, 2)
      })
  )

  it.live("a takeover waits for what the owner removes, and no longer finds it", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { lockTimeout: "20 seconds" })
      const other = yield* openStore(server(), { lockTimeout: "20 seconds" })
      const { id } = yield* define(store, "removal")
      yield* publish(store, "removal", "1", "2")
      const { acknowledge, take } = yield* leaseOf(store, "removal", "1 millis")
      const waiter = yield* other.store.renew({ name: "other" }, ttl)
      const [one] = (yield* take()) ?? []
      const [acknowledging, taking] = yield* other.sql.withTransaction(
        Effect.gen(function* () {
          // the owner has the lease's row, and waits for that of the delivery
          yield* other.sql.unsafe("SELECT FROM effect_events_deliveries WHERE position = $1::bigint FOR UPDATE", [
            one?.position
          ])
          const acknowledging = yield* Effect.forkChild(acknowledge(one === undefined ? [] : [one]))
          yield* waiting(1)
          const taking = yield* Effect.forkChild(other.store.claim(waiter, [id], 1))
          yield* waiting(2)
          return [acknowledging, taking] as const
        })
      )
      assert.deepStrictEqual(yield* Fiber.join(acknowledging), [])
      const { acquired } = yield* Fiber.join(taking)
      assert.lengthOf(acquired, 1)
      for (const lease of acquired) {
        assert.deepStrictEqual(texts((yield* leasedBy(other.store, waiter, lease).take()) ?? []), ["2"])
      }
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
      const { id } = yield* define(store, "locked")
      yield* publish(store, "locked", "1")
      const { lease, owner, settle, take } = yield* leaseOf(store, "locked")
      yield* publish(store, "locked", "2")
      yield* other.sql.withTransaction(
        Effect.gen(function* () {
          yield* other.sql.unsafe("SELECT FROM effect_events_leases WHERE subscription = $1::bigint FOR UPDATE", [id])
          yield* other.sql.unsafe("SELECT FROM effect_events_owners WHERE id = $1::int FOR UPDATE", [owner.id])
          for (const operation of [
            store.claim(owner, [id], 1),
            store.renew(owner, ttl),
            store.release(owner, [lease]),
            store.release(owner, "all"),
            settle([{ _tag: "Acknowledged", position: 1 }]),
            settle([deadLettered(1, 1)]),
            store.setState({ exchange: "locked" }, "paused", undefined),
            store.drop({ exchange: "locked" })
          ]) {
            const error = yield* Effect.flip<unknown, unknown, never>(operation)
            assert.include(error, { _tag: "EventStoreError", problem: "Locked", maybeCommitted: false })
          }
          // neither of these waits for the lease
          assert.strictEqual((yield* take())?.length, 2)
          yield* publish(store, "locked", "3")
        })
      )
      assert.deepStrictEqual((yield* store.claim(owner, [id], 1)).woken, [id])
      yield* store.renew(owner, ttl)
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

  it.live("admits what fits the limits, and one that is larger when the subscription is empty", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* define(store, "limits")
      const limits = { rows: 3, bytes: 10 }
      const write = (who: Operations, ...some: readonly [string, ...ReadonlyArray<string>]) =>
        Effect.map(
          who.publish(
            "limits",
            Array.map(some, (text) => ({ payload: payload(text) })),
            limits
          ),
          (published) => published !== undefined
        )
      assert.isTrue(yield* write(store, "1", "2", "3", "4"))
      assert.isFalse(yield* write(store, "5"))
      assert.isFalse(yield* write(other.store, "5"))
      const { acknowledge, take } = yield* leaseOf(store, "limits")
      const deliveries = (yield* take()) ?? []
      yield* acknowledge(deliveries.slice(0, 2))
      assert.isFalse(yield* write(store, "56789abcd"))
      assert.isTrue(yield* write(other.store, "5"))
      // another process's is seen after a second
      yield* Effect.sleep("1100 millis")
      assert.isFalse(yield* write(store, "6"))
      // what an own acknowledgement frees is there at once
      yield* acknowledge(deliveries.slice(2, 3))
      assert.isTrue(yield* write(store, "6"))
      assert.deepStrictEqual(texts((yield* take()) ?? []), ["4", "5", "6"])
    })
  )

  it.live("many that publish at once stay within the limits of their process", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "crowd")
      const write = store.publish("crowd", [{ payload: payload("x") }], { rows: 10, bytes: 1_000 })
      const admitted = yield* Effect.all(
        Array.makeBy(40, () => write),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(admitted.filter(Boolean).length, 10)
      assert.strictEqual((yield* store.figures(id))?.pending, 10)
    })
  )

  it.live("a hundred writers at a full queue hear of it after two counts, not a hundred", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" })
      const { id } = yield* define(store, "refused", { name: "refused" })
      yield* sql.unsafe(
        `INSERT INTO effect_events_deliveries (subscription, position, topic, payload, written_at)
SELECT $1::bigint, n, '', '1', 0 FROM generate_series(1, 300000) AS n`,
        [id]
      )
      yield* store.figures(id)
      const [took] = yield* Effect.timed(store.figures(id))
      let publishes = 0
      const publish: typeof store.publish = (...args) => {
        publishes++
        return store.publish(...args)
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
        Effect.provideService(EventStore, { ...store, publish })
      )
      const refusals = Effect.all(
        Array.makeBy(100, (n) => Effect.flip(queue.write(n))),
        { concurrency: "unbounded" }
      )
      const [waited, errors] = yield* Effect.timed(refusals)
      assert.isTrue(errors.every((error) => error instanceof EventQueue.QueueFull))
      assert.isAtMost(publishes, 2)
      // between two counts the server has nine times as long for something else
      assert.isBelow(Duration.toMillis(waited), 60 * Duration.toMillis(took) + 500)
    }).pipe(quiet)
  )

  it.live("refuses a payload that the client could not read again", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), {}, { maxMessageSize: 200_000 })
      yield* define(store, "large")
      const error = yield* Effect.flip(store.publish("large", [{ payload: new Uint8Array(150_000) }]))
      assert.strictEqual(error.problem, "Invalid")
      yield* store.publish("large", [{ payload: new Uint8Array(200_000 - 65_536).fill(7) }])
      const deliveries = yield* (yield* leaseOf(store, "large")).take()
      assert.strictEqual(deliveries?.[0]?.payload.length, 200_000 - 65_536)
    })
  )

  it.live.each(["topic", "tenant", "contentType", "trace"])(
    "refuses a NUL in a %s, and leaves a transaction as it was",
    (part) =>
      Effect.gen(function* () {
        const { sql, store } = yield* openStore(server())
        const { id } = yield* define(store, `nul in ${part}`)
        const write = store.publish(`nul in ${part}`, [{ payload: payload("x"), [part]: "a secret\0" }])
        const error = yield* sql.withTransaction(
          Effect.tap(Effect.flip(write), publish(store, `nul in ${part}`, "after"))
        )
        assert.deepInclude(error, { problem: "Invalid", maybeCommitted: false })
        assert.notInclude(error.message, "secret")
        assert.strictEqual((yield* store.figures(id))?.pending, 1)
      })
  )

  it.live("an event that is refused fails no write that shares its commit", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const topic = (n: number) => (n === 0 ? "a\0b" : "a")
      const broadcaster = yield* DurableBroadcaster.make({ name: "one refused", schema: Schema.Int, topic }).pipe(
        Effect.provideService(EventStore, store)
      )
      yield* define(store, "one refused")
      const exits = yield* Effect.forEach([1, 0, 2, 3], (n) => Effect.exit(broadcaster.write(n)), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true, true])
      const { take } = yield* leaseOf(store, "one refused")
      assert.deepStrictEqual(texts((yield* take()) ?? []), ["1", "2", "3"])
    }).pipe(Effect.scoped)
  )

  it.live("takes any bytes, and long names and topics", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const long = 'it\'s "long" \\ {,} \u{1F600} '.repeat(60)
      const every = Uint8Array.from({ length: 256 }, (_, byte) => byte)
      const definition = { name: long, tenant: `tenant ${long}`, topics: [`topic ${long}`], data: every } as const
      const { data, name, tenant, topics } = yield* define(store, long, definition)
      assert.deepStrictEqual(
        { data: Uint8Array.from(data ?? []), name, tenant, topics },
        { ...definition, topics: [...definition.topics] }
      )
      const event = { tenant, topic: `topic ${long}`, contentType: `type ${long}`, trace: `trace ${long}` }
      yield* store.publish(long, [
        { payload: every, ...event },
        { payload: Buffer.from(every).subarray(10, 20), ...event }
      ])
      const deliveries = (yield* (yield* leaseOf(store, long)).take()) ?? []
      assert.deepStrictEqual(
        deliveries.map((event) => [...event.payload]),
        [[...every], [...every.subarray(10, 20)]]
      )
      for (const { contentType, topic, trace } of deliveries) {
        assert.deepStrictEqual({ contentType, topic, trace, tenant }, event)
      }
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

  it.live("the name of a schema may have quotes", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { schema: `my "schema"'s` })
      yield* define(store, "a")
      yield* publish(store, "a", "1")
      const { acknowledge, take } = yield* leaseOf(store, "a")
      const taken = (yield* take()) ?? []
      assert.deepStrictEqual(texts(taken), ["1"])
      assert.deepStrictEqual(yield* acknowledge(taken), [])
    })
  )

  it.live("a user that may not make tables works with those that are there", () =>
    Effect.gen(function* () {
      yield* openStore(server(), { prefix: "granted_" })
      const tables = server().psql(
        "SELECT string_agg(relname, ', ') FROM pg_class WHERE relkind = 'r' AND relname LIKE 'granted%'"
      )
      server().psql(
        "CREATE USER clerk",
        `GRANT SELECT, INSERT, UPDATE, DELETE ON ${tables} TO clerk`,
        "GRANT USAGE ON SEQUENCE granted_positions TO clerk"
      )
      const { store } = yield* openStore(server(), { prefix: "granted_" }, { username: "clerk" })
      yield* store.open("a", { retention: ttl })
      const { id } = yield* define(store, "a", { start: "oldest" })
      yield* publish(store, "a", "1")
      const { owner, settle, take } = yield* leaseOf(store, "a")
      const [one] = (yield* take()) ?? []
      yield* settle([deadLettered(one?.position ?? 0, 1)])
      assert.strictEqual(yield* store.replay(id, [one?.position ?? 0]), 1)
      yield* store.release(owner, "all")
      assert.strictEqual(yield* store.drop({ exchange: "a" }), 1)
      yield* store.sweep
      const error = yield* Effect.flip(openStore(server(), { prefix: "absent_" }, { username: "clerk" }))
      assert.include(error, { _tag: "EventStoreError", problem: "Other", operation: "migrate" })
    })
  )

  const withPath = (search_path: string) => ({ startupParameters: { search_path } })

  it.live("tables are those of the first schema of search_path, and never another application's in a later one", () =>
    Effect.gen(function* () {
      server().psql("CREATE SCHEMA ours", "CREATE SCHEMA theirs")
      const theirs = yield* openStore(server(), { schema: "theirs" })
      yield* define(theirs.store, "a")
      yield* publish(theirs.store, "a", "of theirs")
      const ours = yield* openStore(server(), {}, withPath("absent, ours, theirs"))
      assert.deepStrictEqual(yield* ours.store.list({ exchange: "a" }), [])
      yield* define(ours.store, "a")
      yield* publish(ours.store, "a", "of ours")
      assert.deepStrictEqual(texts((yield* (yield* leaseOf(ours.store, "a")).take()) ?? []), ["of ours"])
      assert.deepStrictEqual(texts((yield* (yield* leaseOf(theirs.store, "a")).take()) ?? []), ["of theirs"])
      const named = yield* openStore(server(), { schema: "theirs" }, withPath("ours"))
      assert.lengthOf(yield* named.store.list({ exchange: "a" }), 1)
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
        const exchange = `in a path of its own: ${path}`
        yield* define(store, exchange)
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`SELECT set_config('search_path', ${path}, true)`
            assert.lengthOf((yield* publish(store, exchange, "e")) ?? [], 1)
            const event = { payload: payload("within limits") }
            assert.lengthOf((yield* store.publish(exchange, [event], { rows: 10, bytes: 1000 })) ?? [], 1)
          })
        )
        assert.deepStrictEqual(texts((yield* (yield* leaseOf(store, exchange)).take()) ?? []), ["e", "within limits"])
      })
  )

  it.live("a prefix that is none is a defect", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(openStore(server(), { prefix: 'a"; DROP' }))
      assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.every(({ _tag }) => _tag === "Die"))
    })
  )
})
