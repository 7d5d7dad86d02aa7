import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { cli } from "./support/program.ts"
import { bytes, lease, makeStore, queueOf, start } from "./support/world.ts"

/** The lines of a text without the blanks that align them. */
const rows = (text: string): ReadonlyArray<string> =>
  text
    .trim()
    .split("\n")
    .map((line) => line.replaceAll(/ {2,}/g, " | ").trim())

/** A subscription in each state. */
const states = Effect.gen(function* () {
  const store = yield* makeStore
  yield* queueOf(store, "delivering", ["a"])
  yield* lease(store, "delivering")
  yield* store.define("idle", [{ name: "idle", topics: ["*"] }])
  yield* queueOf(store, "paused", ["a", "b"])
  yield* store.setState({ exchange: "paused" }, "paused", "maintenance\nuntil 12:00")
  yield* queueOf(store, "disabled", ["a"])
  yield* store.setState({ exchange: "disabled" }, "disabled", "410 Gone")
  yield* queueOf(store, "down", ["a", "b", "c"])
  const down = yield* lease(store, "down")
  yield* down.settle([], { wait: { delay: Duration.minutes(10), attempts: 4, reason: "ECONNREFUSED" } })
  const [head] = yield* queueOf(store, "waiting", ["a"])
  const waiting = yield* lease(store, "waiting", "host-2")
  const position = head?.position ?? 0
  yield* waiting.settle([], { wait: { delay: Duration.hours(2), attempts: 1, reason: "503", position } })
  yield* queueOf(store, "unserved", ["a"])
  yield* store.define("later", [{ name: "later", topics: ["*"] }])
  yield* store.publish("later", [{ payload: bytes("a"), due: { after: Duration.days(3) } }])
  yield* TestClock.adjust("3 minutes")
  return store
})

describe("effect-events queues", () => {
  it.effect("a subscription that rests for the limit of a rate waits, with and without a process", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      yield* queueOf(store, "limited", ["a"])
      const { settle } = yield* lease(store, "limited")
      yield* settle([], { wait: { delay: Duration.days(3), attempts: 0, reason: "the limit of its rate" } })
      const row = Effect.map(cli(store)("queues"), ({ out }) => rows(out)[1])
      assert.strictEqual(
        yield* row,
        "limited | limited | waiting | - | 1 | 0s | in 3d | 0 | host-1 | the limit of its rate"
      )
      yield* TestClock.adjust("2 days")
      assert.strictEqual(
        yield* row,
        "limited | limited | waiting | - | 1 | 2d | in 24h | 0 | - | the limit of its rate"
      )
      yield* TestClock.adjust("2 days")
      assert.match((yield* row) ?? "", /^limited \| limited \| no process \| 24h \| 1 \| 4d \| - /)
    })
  )

  it.effect("shows the state of each subscription, with its reason and since when", () =>
    Effect.gen(function* () {
      const { code, err, out } = yield* cli(yield* states)("queues")
      assert.deepStrictEqual([code, err], [0, ""])
      assert.deepStrictEqual(rows(out), [
        "EXCHANGE | SUBSCRIPTION | STATE | FOR | PENDING | OLDEST | NEXT DUE | DEAD | OWNER | REASON",
        "delivering | delivering | delivering | - | 1 | 3m | - | 0 | host-1 | -",
        "disabled | disabled | disabled | 3m | 1 | 3m | - | 0 | - | 410 Gone",
        "down | down | down | 3m | 3 | 3m | in 7m | 0 | host-1 | 4 failed: ECONNREFUSED",
        "idle | idle | idle | - | 0 | - | - | 0 | - | -",
        "later | later | waiting | - | 1 | - | in 2d | 0 | - | -",
        "paused | paused | paused | 3m | 2 | 3m | - | 0 | - | maintenance",
        "unserved | unserved | no process | 3m | 1 | 3m | - | 0 | - | -",
        "waiting | waiting | waiting | 3m | 1 | 3m | in 1h | 0 | host-2 | 1 failed: 503"
      ])
    })
  )

  it.effect("aligns its columns, and colours them only on a terminal", () =>
    Effect.gen(function* () {
      const store = yield* states
      const { out } = yield* cli(store)("queues")
      const lines = out.trimEnd().split("\n")
      const at = lines[0]?.indexOf("STATE")
      assert.isTrue(lines.slice(1).every((line) => line.slice(0, at).endsWith("  ")))
      assert.notInclude(out, "\u001b")
      const coloured = yield* cli(store, { terminal: { stdout: true } })("queues")
      assert.include(coloured.out, "\u001b[31mdown\u001b[0m")
      const plain = yield* cli(store, { terminal: { stdout: true }, env: { NO_COLOR: "1" } })("queues")
      assert.strictEqual(plain.out, out)
    })
  )

  it.effect("shows one exchange, and the tenant where there is one", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      yield* store.define("hooks", [
        { name: "one", tenant: "acme", topics: ["*"] },
        { name: "two", topics: ["*"] }
      ])
      yield* store.define("other", [{ name: "other", topics: ["*"] }])
      const all = yield* cli(store)("queues", "hooks")
      assert.deepStrictEqual(
        rows(all.out).map((row) => row.split(" | ").slice(0, 4).join()),
        ["EXCHANGE,SUBSCRIPTION,TENANT,STATE", "hooks,two,-,idle", "hooks,one,acme,idle"]
      )
      const ofTenant = yield* cli(store)("queues", "hooks", "--tenant", "acme", "--json")
      assert.deepStrictEqual(
        JSON.parse(ofTenant.out).subscriptions.map((one: { subscription: string }) => one.subscription),
        ["one"]
      )
    })
  )

  it.effect("has the same as JSON, with all names and times of ISO 8601", () =>
    Effect.gen(function* () {
      const { code, out } = yield* cli(yield* states)("--json", "queues", "down")
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(JSON.parse(out), {
        subscriptions: [
          {
            exchange: "down",
            subscription: "down",
            tenant: "",
            topics: ["*"],
            state: "down",
            reason: "ECONNREFUSED",
            since: "2026-01-31T12:00:00.000Z",
            pending: 3,
            pendingBytes: 27,
            oldest: "2026-01-31T12:00:00.000Z",
            nextDue: null,
            deadLetters: 0,
            owner: "host-1",
            wait: {
              until: "2026-01-31T12:10:00.000Z",
              attempts: 4,
              firstFailedAt: "2026-01-31T12:00:00.000Z",
              reason: "ECONNREFUSED",
              event: null
            }
          }
        ]
      })
    })
  )

  it.effect("says that there is none", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      assert.deepInclude(yield* cli(store)("queues"), { code: 0, out: "the store has no subscriptions\n" })
      assert.deepStrictEqual(JSON.parse((yield* cli(store)("queues", "--json")).out), { subscriptions: [] })
      const { code, err, out } = yield* cli(store)("queues", "orders")
      assert.deepStrictEqual([code, out, err], [1, "", 'effect-events: the store has no subscription of "orders"\n'])
    })
  )
})

describe("effect-events status", () => {
  const world = Effect.gen(function* () {
    const store = yield* makeStore
    yield* store.open("orders", { deduplication: Duration.hours(1), outcomes: Duration.hours(1) })
    yield* store.define("orders", [
      { name: "audit", topics: ["*"] },
      { name: "billing", topics: ["*"] },
      { name: "invoices", topics: ["invoice/*"] }
    ])
    const published = yield* store.publish("orders", [{ payload: bytes("{}"), topic: "order/placed", id: "o-1" }])
    const position = published?.[0]?.position ?? 0
    const billing = yield* lease(store, "orders", "host-1", "billing")
    const cause = "503 Service Unavailable\n  at the receiver"
    yield* billing.settle([{ _tag: "DeadLettered", position, reason: "Exhausted", cause, attempts: 2 }], {
      attempts: [
        { position, at: start - 2_000, took: 12.4, error: "503 Service Unavailable\nmore" },
        { position, at: start - 1_000, took: 3, error: undefined }
      ]
    })
    yield* TestClock.adjust("2 hours")
    return { store, position }
  })

  it.effect("shows what has become of an event, for each subscription, and the last attempts", () =>
    Effect.gen(function* () {
      const { position, store } = yield* world
      const { code, out } = yield* cli(store)("status", "orders", String(position))
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(rows(out), [
        `event ${position} of "orders", topic order/placed, written 2h ago (2026-01-31T12:00:00.000Z)`,
        "SUBSCRIPTION | STATE | WHEN | FAILED | REASON",
        "audit | pending | - | 0 | -",
        "billing | dead-lettered | 2h ago | 2 | Exhausted: 503 Service Unavailable",
        "invoices | unmatched | - | - | -",
        "",
        "attempts of billing, the last 2:",
        "AT | TOOK | RESULT",
        "2026-01-31T11:59:58.000Z | 12ms | 503 Service Unavailable",
        "2026-01-31T11:59:59.000Z | 3ms | delivered"
      ])
    })
  )

  it.effect("finds an event by its own id, and answers as JSON", () =>
    Effect.gen(function* () {
      const { position, store } = yield* world
      yield* TestClock.setTime(start)
      const { code, out } = yield* cli(store)("status", "orders", "o-1", "--id", "--json")
      assert.strictEqual(code, 0)
      const nothing = { at: null, nextAt: null, reason: null, cause: null }
      assert.deepStrictEqual(JSON.parse(out), {
        exchange: "orders",
        event: position,
        topic: "order/placed",
        writtenAt: "2026-01-31T12:00:00.000Z",
        deliveries: [
          { ...nothing, subscription: "audit", state: "pending", failed: 0, attempts: [] },
          {
            subscription: "billing",
            state: "dead-lettered",
            at: "2026-01-31T12:00:00.000Z",
            nextAt: null,
            failed: 2,
            reason: "Exhausted",
            cause: "503 Service Unavailable\n  at the receiver",
            attempts: [
              { at: "2026-01-31T11:59:58.000Z", tookMillis: 12.4, error: "503 Service Unavailable\nmore" },
              { at: "2026-01-31T11:59:59.000Z", tookMillis: 3, error: null }
            ]
          },
          { ...nothing, subscription: "invoices", state: "unmatched", failed: null, attempts: [] }
        ]
      })
      const ofTenant = yield* cli(store)("status", "orders", "o-1", "--id", "--tenant", "acme")
      assert.deepStrictEqual(ofTenant.code, 1)
    })
  )

  it.effect("fails for an event that the store has nothing of, and for what is no number", () =>
    Effect.gen(function* () {
      const { store } = yield* world
      const missing = yield* cli(store)("status", "orders", "999")
      assert.deepInclude(missing, {
        code: 1,
        out: "",
        err: 'effect-events: the store has nothing of the event "999" of "orders"\n'
      })
      const wrong = yield* cli(store)("status", "orders", "o-1")
      assert.strictEqual(wrong.code, 2)
      assert.include(wrong.err, "give --id")
    })
  )
})

describe("what changes subscriptions", () => {
  const world = Effect.gen(function* () {
    const store = yield* makeStore
    yield* store.define("orders", [
      { name: "audit", topics: ["*"] },
      { name: "billing", topics: ["*"] },
      { name: "billing", tenant: "acme", topics: ["*"] }
    ])
    yield* store.publish("orders", [{ payload: bytes("1") }, { payload: bytes("2") }])
    const stateOf = (name: string) => Effect.map(store.list({ exchange: "orders", name, tenant: "" }), ([one]) => one)
    const pending = Effect.map(store.overview({ exchange: "orders" }), (all) => all.map((one) => one.pending))
    return { store, stateOf, pending }
  })

  it.effect("pause and resume", () =>
    Effect.gen(function* () {
      const { stateOf, store } = yield* world
      const one = yield* cli(store)("pause", "orders", "billing", "--tenant", "", "--reason", "maintenance")
      assert.deepStrictEqual(one.out, 'paused subscription "billing" of "orders" and tenant ""\n')
      assert.deepInclude(yield* stateOf("billing"), { state: "paused", reason: "maintenance" })
      assert.deepInclude(yield* stateOf("audit"), { state: "active" })
      const all = yield* cli(store)("pause", "orders", "--json")
      assert.deepStrictEqual(JSON.parse(all.out), {
        exchange: "orders",
        subscription: null,
        tenant: null,
        reason: null,
        subscriptions: 3
      })
      const resumed = yield* cli(store)("resume", "orders")
      assert.deepStrictEqual(resumed, { code: 0, out: 'resumed 3 subscriptions of "orders"\n', err: "" })
      assert.deepInclude(yield* stateOf("billing"), { state: "active" })
    })
  )

  it.effect("fail for what is not there, with a sentence", () =>
    Effect.gen(function* () {
      const { store } = yield* world
      for (const command of ["pause", "resume", "purge", "drop"]) {
        const { code, err, out } = yield* cli(store)(command, "orders", "nope", "--tenant", "acme")
        const sentence = 'effect-events: the store has no subscription "nope" of "orders" and tenant "acme"\n'
        assert.deepStrictEqual([code, out, err], [1, "", sentence])
      }
    })
  )

  it.effect("purge deletes what is pending with --yes, and says how much", () =>
    Effect.gen(function* () {
      const { pending, store } = yield* world
      const refused = yield* cli(store)("purge", "orders")
      assert.deepStrictEqual(refused, {
        code: 2,
        out: "",
        err: 'effect-events: this would delete 4 pending deliveries of 3 subscriptions of "orders": confirm with --yes\n'
      })
      assert.deepStrictEqual(yield* pending, [2, 2, 0])
      const one = yield* cli(store)("purge", "orders", "audit", "--yes")
      assert.deepInclude(one, { code: 0, out: 'deleted 2 pending deliveries of subscription "audit" of "orders"\n' })
      const json = yield* cli(store)("purge", "orders", "billing", "-y", "--json")
      assert.deepInclude(JSON.parse(json.out), { subscription: "billing", subscriptions: 2, deleted: 2 })
      assert.deepStrictEqual(yield* pending, [0, 0, 0])
      assert.deepInclude(yield* cli(store)("purge", "orders"), { code: 0, err: "" })
    })
  )

  it.effect("purge deletes nothing that came after there was nothing to be confirmed", () =>
    Effect.gen(function* () {
      const { pending, store } = yield* world
      const overview: typeof store.overview = (which) =>
        Effect.map(store.overview(which), (all) => all.map((one) => ({ ...one, pending: 0 })))
      const { out } = yield* cli({ ...store, overview })("purge", "orders", "--json")
      assert.deepInclude(JSON.parse(out), { deleted: 0 })
      assert.deepStrictEqual(yield* pending, [2, 2, 0])
    })
  )

  it.effect("purge and drop ask on a terminal, and not where the output is a document", () =>
    Effect.gen(function* () {
      const { pending, store } = yield* world
      const terminal = { stdin: true, stdout: true }
      const no = yield* cli(store, { terminal, keys: "n" })("purge", "orders", "audit")
      assert.deepInclude(no, { code: 1, err: "effect-events: nothing is deleted\n" })
      assert.include(no.out, 'delete 2 pending deliveries of subscription "audit" of "orders"?')
      assert.deepStrictEqual(yield* pending, [2, 2, 0])
      const json = yield* cli(store, { terminal, keys: "y" })("drop", "orders", "audit", "--json")
      assert.deepInclude(json, { code: 2, out: "" })
      const yes = yield* cli(store, { terminal, keys: "y" })("drop", "orders", "audit")
      assert.strictEqual(yes.code, 0)
      assert.include(yes.out, 'dropped subscription "audit" of "orders" with 2 pending deliveries and 0 dead letters')
      assert.deepStrictEqual(yield* pending, [2, 0])
    })
  )

  it.effect("drop says what went with it", () =>
    Effect.gen(function* () {
      const { store } = yield* world
      const { out } = yield* cli(store)("drop", "orders", "--yes", "--json")
      assert.deepStrictEqual(JSON.parse(out), {
        exchange: "orders",
        subscription: null,
        tenant: null,
        subscriptions: 3,
        deleted: 4,
        deadLetters: 0
      })
      assert.isEmpty(yield* store.list({ exchange: "orders" }))
    })
  )

  it.effect("show their progress on the standard error where that is a terminal", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      const many = Array.from({ length: 2_500 }, String)
      yield* queueOf(store, "orders", ["0", ...many.slice(1)])
      const { err, out } = yield* cli(store, { terminal: { stderr: true } })("purge", "orders", "--yes")
      assert.deepStrictEqual(err.split("\r").slice(1), [
        "purged 1000 of 2500",
        "purged 2000 of 2500",
        "purged 2500 of 2500\n"
      ])
      assert.strictEqual(out, 'deleted 2500 pending deliveries of 1 subscription of "orders"\n')
    })
  )
})
