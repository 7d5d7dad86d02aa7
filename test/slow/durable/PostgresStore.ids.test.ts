import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect, Exit, Fiber } from "effect"
import type { NewEvent, Operations } from "effect-events/durable/EventStore"
import { openTransaction } from "../../durable/support/openTransaction.ts"
import { define, describePostgres, leaseOf, openStore, payload, texts } from "../../durable/support/postgres.ts"

const hour = Duration.hours(1)
const refuse = Effect.fail("refused")
const event = (id: string, text = id, tenant?: string): NewEvent => ({ payload: payload(text), id, tenant })

describePostgres("events with an id of their own on Postgres", (server) => {
  const setUp = Effect.fnUntraced(function* (exchange: string, options = {}) {
    const one = yield* openStore(server(), options)
    const other = yield* openStore(server(), options)
    yield* one.store.open(exchange, { deduplication: hour })
    const { id } = yield* define(one.store, exchange)
    const stored = Effect.suspend(() =>
      Effect.flatMap(leaseOf(one.store, exchange), ({ take }) => Effect.map(take(), (taken) => texts(taken ?? [])))
    )
    return { one, other, id, stored }
  })
  /** Whether each is a duplicate, and its position. */
  const write = (store: Operations, exchange: string, ...events: readonly [NewEvent, ...ReadonlyArray<NewEvent>]) =>
    Effect.map(store.publish(exchange, events), (published = []) =>
      published.map(({ isDuplicate = false, matched, position }) => ({ isDuplicate, matched, position }))
    )
  /** Whether a fiber is still at work after a while. */
  const isWaiting = (fiber: Fiber.Fiber<unknown, unknown>) =>
    Effect.map(Effect.sleep("200 millis"), () => fiber.pollUnsafe() === undefined)

  it.live(
    "of transactions that write one id at once, one stores it; the others wait, and those of another do not",
    () =>
      Effect.gen(function* () {
        const { one, other, stored } = yield* setUp("same")
        const commit = yield* openTransaction(one.sql, one.store.publish("same", [event("a", "first")]))
        const second = yield* Effect.forkChild(
          other.sql.withTransaction(write(other.store, "same", event("b"), event("a", "second")))
        )
        const third = yield* Effect.forkChild(write(one.store, "same", event("a", "third")))
        assert.deepStrictEqual([yield* isWaiting(second), yield* isWaiting(third)], [true, true])
        // neither another id, nor the same of another tenant, nor one without any
        const [c, d, e] = yield* write(other.store, "same", event("c"), event("a", "d", "tenant"), {
          payload: payload("e")
        })
        assert.deepStrictEqual([c?.isDuplicate, d?.isDuplicate, e?.isDuplicate], [false, false, false])
        assert.isTrue(yield* isWaiting(second))
        yield* commit
        const [b, a] = yield* Fiber.join(second)
        const [again] = yield* Fiber.join(third)
        assert.deepStrictEqual([b?.isDuplicate, a?.isDuplicate, again?.isDuplicate], [false, true, true])
        assert.isBelow(a?.position ?? Infinity, b?.position ?? 0)
        assert.strictEqual(again?.position, a?.position)
        assert.deepStrictEqual(yield* stored, ["first", "b", "c", "e"])
      })
  )

  it.live("one that rolls back lets the next in, and a savepoint does too", () =>
    Effect.gen(function* () {
      const { one, other, stored } = yield* setUp("rolled")
      const end = yield* openTransaction(one.sql, one.store.publish("rolled", [event("a", "first")]), refuse)
      const second = yield* Effect.forkChild(write(other.store, "rolled", event("a", "second")))
      assert.isTrue(yield* isWaiting(second))
      assert.isTrue(Exit.isFailure(yield* end))
      assert.isFalse((yield* Fiber.join(second))[0]?.isDuplicate)
      yield* one.sql.withTransaction(
        Effect.gen(function* () {
          const inner = Effect.andThen(one.store.publish("rolled", [event("b", "inner")]), refuse)
          yield* Effect.exit(one.sql.withTransaction(inner))
          const [b] = yield* write(one.store, "rolled", event("b", "outer"))
          const [again] = yield* write(one.store, "rolled", event("b", "again"))
          assert.deepStrictEqual([b?.isDuplicate, again?.isDuplicate], [false, true])
          assert.strictEqual(again?.position, b?.position)
        })
      )
      assert.deepStrictEqual(yield* stored, ["second", "outer"])
    })
  )

  it.live("a write that waits for another's id gives up as one that waits for a lock", () =>
    Effect.gen(function* () {
      const { one, other, stored } = yield* setUp("lock", { lockTimeout: "200 millis" })
      const commit = yield* openTransaction(one.sql, one.store.publish("lock", [event("a", "first")]))
      const error = yield* Effect.flip(other.store.publish("lock", [event("b"), event("a")]))
      assert.include(error, { problem: "Locked", maybeCommitted: false })
      yield* commit
      assert.deepStrictEqual(yield* stored, ["first"])
    })
  )

  it.live("publishes of the same ids in other orders do not wait for each other for ever", () =>
    Effect.gen(function* () {
      const { one, other, stored } = yield* setUp("orders")
      const ids = Array.range(1, 200).map((n) => `${n}`)
      const answers = yield* Effect.forEach(
        Array.range(1, 12),
        (n) => {
          const [first = "", ...rest] = n % 2 === 0 ? ids : ids.toReversed()
          const { store } = n % 3 === 0 ? one : other
          return write(store, "orders", event(first), ...rest.map((id) => event(id)))
        },
        { concurrency: "unbounded" }
      )
      assert.strictEqual(answers.flat().filter(({ isDuplicate }) => !isDuplicate).length, 200)
      assert.deepStrictEqual((yield* stored).toSorted(), ids.toSorted())
    })
  )

  it.live("from a transaction's own snapshot one that was committed since fails, and its transaction with it", () =>
    Effect.gen(function* () {
      const { one, other, stored } = yield* setUp("snapshot")
      const errors: Array<unknown> = []
      const inTransaction = one.sql.withTransaction(
        Effect.gen(function* () {
          yield* one.sql.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
          yield* one.sql.unsafe("SELECT 1 FROM effect_events_exchanges")
          yield* other.store.publish("snapshot", [event("a", "first")])
          errors.push(yield* Effect.flip(one.store.publish("snapshot", [event("a", "second")])))
        })
      )
      assert.isTrue(Exit.isFailure(yield* Effect.exit(inTransaction)))
      assert.include(errors[0], { problem: "Locked", maybeCommitted: false })
      assert.isTrue((yield* write(one.store, "snapshot", event("a")))[0]?.isDuplicate)
      assert.deepStrictEqual(yield* stored, ["first"])
    })
  )

  it.live("any texts are ids, and long ones; a NUL is refused before the server is asked", () =>
    Effect.gen(function* () {
      const { one, other, id } = yield* setUp("texts")
      const long = Array.makeBy(1_000, (n) => String.fromCharCode(0x4e00 + ((n * 7919) % 20_000))).join("")
      const ids = [
        "",
        " ",
        "it's \"\\{}, %_",
        "NULL",
        "\u{1F600}",
        "e\u0301",
        "\u00e9",
        "\uFFFD",
        "x".repeat(1_000),
        "x".repeat(1_001),
        long,
        `${long.slice(0, -1)}x`
      ] as const
      const [first, ...rest] = ids.map((id) => event(id))
      const stored = yield* write(one.store, "texts", first!, ...rest)
      assert.isTrue(stored.every(({ isDuplicate }) => !isDuplicate))
      const again = yield* write(other.store, "texts", first!, ...rest.toReversed())
      assert.isTrue(again.every(({ isDuplicate, matched }) => isDuplicate && matched === 0))
      assert.deepStrictEqual(
        again.map(({ position }) => position),
        [stored[0]!, ...stored.slice(1).toReversed()].map(({ position }) => position)
      )
      for (const [n, id] of ids.entries()) {
        assert.strictEqual((yield* one.store.status("texts", { id }))?.position, stored[n]?.position)
      }
      // halves of characters are one text to the server
      const halves = yield* write(one.store, "texts", event("\ud800"), event("\udc00"))
      assert.deepStrictEqual(
        halves.map(({ isDuplicate }) => isDuplicate),
        [true, true]
      )
      yield* one.sql.withTransaction(
        Effect.gen(function* () {
          const error = yield* Effect.flip(one.store.publish("texts", [event("a\0b")]))
          assert.strictEqual(error.problem, "Invalid")
          yield* one.store.publish("texts", [event("after")])
        })
      )
      assert.isUndefined(yield* one.store.status("texts", { id: "a\0b" }))
      assert.strictEqual((yield* one.store.figures(id))?.pending, ids.length + 1)
    })
  )

  it.live("ids go when their window is over, a thousand a sweep, and one that is written anew stays", () =>
    Effect.gen(function* () {
      const { one, id } = yield* setUp("swept", { prefix: "swept_" })
      const query = (text: string) => server().psql(text)
      for (const n of Array.range(0, 2)) {
        const [first, ...rest] = Array.makeBy(800, (m) => event(`${n * 800 + m}`))
        yield* one.store.publish("swept", [first!, ...rest])
      }
      assert.strictEqual(query("SELECT count(*) FROM swept_ids"), "2400")
      query("UPDATE swept_ids SET expires_at = 1")
      const [anew] = yield* write(one.store, "swept", event("0", "anew"))
      assert.isFalse(anew?.isDuplicate)
      const lefts: Array<string> = []
      for (let more = true; more;) {
        more = yield* one.store.sweep
        lefts.push(query("SELECT count(*) FROM swept_ids"))
      }
      assert.deepStrictEqual(lefts.slice(0, 3), ["1400", "400", "1"])
      assert.isTrue((yield* write(one.store, "swept", event("0")))[0]?.isDuplicate)
      assert.strictEqual((yield* one.store.figures(id))?.pending, 2_401)
    })
  )

  it.live("an id with a time, of many subscriptions, within a limit", () =>
    Effect.gen(function* () {
      const { one } = yield* setUp("both", { prefix: "both_" })
      yield* define(one.store, "both", { name: "second" })
      const due = { after: hour }
      const [a, b, c] = yield* write(
        one.store,
        "both",
        { ...event("a"), due },
        { ...event("a"), due },
        { ...event("b"), due: { at: 1 } }
      )
      assert.deepStrictEqual([a?.matched, b?.matched, c?.matched], [2, 0, 2])
      assert.deepStrictEqual([a?.isDuplicate, b?.isDuplicate, c?.isDuplicate], [false, true, false])
      assert.strictEqual(server().psql("SELECT count(*) FROM both_scheduled"), "2")
      assert.strictEqual(server().psql("SELECT count(*) FROM both_events"), "2")
      assert.strictEqual(server().psql("SELECT count(*) FROM both_deliveries"), "2")
      assert.isUndefined(yield* one.store.publish("both", [event("c")], { rows: 2, bytes: 100 }))
      assert.isFalse((yield* write(one.store, "both", event("c")))[0]?.isDuplicate)
    })
  )
})
