/** How SQLite finds the rows of each statement: by a key or an index, however much is in the file. */
import { assert, it } from "@effect/vitest"
import { Duration } from "effect"
import { DatabaseSync } from "node:sqlite"
import { claimLeases, nothingSeen } from "../../src/durable/internal/sqlite/claimLeases.ts"
import {
  countDeadLetters,
  listDeadLetters,
  purgeDeadLetters,
  replayDeadLetters,
  resendEvents
} from "../../src/durable/internal/sqlite/deadLetterRows.ts"
import { discardDeliveries } from "../../src/durable/internal/sqlite/discardDeliveries.ts"
import { boundsOf, figuresOf, releaseLeases, renewOwner } from "../../src/durable/internal/sqlite/leaseRows.ts"
import { listAttempts } from "../../src/durable/internal/sqlite/outcomeRows.ts"
import { makeSql, type Sql } from "../../src/durable/internal/sqlite/prepared.ts"
import { overviewOf } from "../../src/durable/internal/sqlite/overviewRows.ts"
import { publishEvents } from "../../src/durable/internal/sqlite/publishEvents.ts"
import { sweep } from "../../src/durable/internal/sqlite/removeRows.ts"
import { settleDeliveries } from "../../src/durable/internal/sqlite/settleDeliveries.ts"
import { eventStatus } from "../../src/durable/internal/sqlite/statusRows.ts"
import { migrate } from "../../src/durable/internal/sqlite/sqliteSchema.ts"
import {
  defineSubscriptions,
  dropSubscriptions,
  listSubscriptions,
  openExchange,
  setState
} from "../../src/durable/internal/sqlite/subscriptionRows.ts"
import { takeDeliveries } from "../../src/durable/internal/sqlite/takeDeliveries.ts"

/**
 * What may be read as a whole: the few processes and exchanges (x), what is dropped, the leases that are due or have something
 * scheduled, in their order, and what a statement has found itself.
 */
const allowed =
  /^SCAN (owners|dropped|x|lanes|CONSTANT ROW|json_each.*|leases USING (COVERING )?INDEX leases_(free|scheduled)|\d+ CONSTANT ROWS?)/

it("no statement reads all rows of a table", () => {
  const db = new DatabaseSync(":memory:")
  migrate(db)
  const real = makeSql(db)
  const statements = new Set<string>()
  const noting =
    <A>(run: (statement: string, ...values: ReadonlyArray<never>) => A) =>
    (statement: string, ...values: ReadonlyArray<unknown>): A => {
      statements.add(statement)
      return run(statement, ...(values as ReadonlyArray<never>))
    }
  const sql = {
    run: noting(real.run),
    row: noting(real.row),
    rows: noting(real.rows),
    each: noting(real.each)
  } as unknown as Sql
  const limits = { rows: 9, bytes: 99 }
  const payload = new Uint8Array(1)

  openExchange(sql, "e", { retention: 1_000, deduplication: 1_000, outcomes: 1_000 })
  const ids = Array.from(
    { length: 40 },
    (_, i) => defineSubscriptions(sql, "e", [{ name: `${i}`, topics: ["*", "a/*"], start: "oldest" }], 1)[0]?.id ?? 0
  )
  const [first = 0, second = 0] = ids
  const owner = renewOwner(sql, { name: "one" }, undefined, 1_000, 1)
  renewOwner(sql, owner, undefined, 1_000, 1)
  const other = renewOwner(sql, { name: "other" }, undefined, 9_000, 1)
  publishEvents(
    sql,
    "e",
    [
      { payload, id: "1" },
      { payload, topic: "a/b" }
    ],
    limits,
    2
  )
  openExchange(sql, "e", { retention: 0 })
  defineSubscriptions(sql, "single", [{ name: "single", topics: ["*"] }], 1)
  defineSubscriptions(sql, "single", [{ name: "single", topics: ["b"], data: payload }], 1)
  publishEvents(sql, "single", [{ payload, topic: "b" }], limits, 2)
  const due = { at: 4 }
  publishEvents(sql, "e", [{ payload, topic: "a/b", id: "2", due }], limits, 2)
  publishEvents(sql, "single", [{ payload, topic: "b", due }], limits, 2)
  const known = { seen: nothingSeen(), abandoned: () => new Set<string>() }
  claimLeases(sql, other, ids.slice(30), 9, known, true, 3)
  claimLeases(sql, owner, ids.slice(0, 3), 9, known, true, 3)
  claimLeases(sql, other, { exchange: "e" }, 2, known, true, 3)
  defineSubscriptions(sql, "e", [{ name: "0", topics: ["*", "a/*"], data: payload }], 3)
  claimLeases(sql, owner, ids, 99, known, true, 3)
  const lease = { subscription: first, epoch: 1 }
  const delay = Duration.seconds(1)
  claimLeases(sql, owner, [], 99, known, true, 4)
  const taken = takeDeliveries(sql, owner, { ...lease, limits, except: [1], busy: [], perLane: 1 }, 3)
  assert.lengthOf(taken?.deliveries ?? [], 2)
  const attempts = [{ position: 2, at: 1, took: 1, error: undefined }]
  const settle = (...settled: Parameters<typeof settleDeliveries>[2]["settled"]) =>
    assert.isTrue(settleDeliveries(sql, owner, { lease, settled, attempts, wait: { delay, attempts: 1 } }, 4))
  settle({ _tag: "Again", position: 1, lane: 7, delay, attempts: 1 }, { _tag: "Aside", position: 2, lane: 7 })
  settle({ _tag: "DeadLettered", position: 1, lane: 7, reason: "Failed", cause: "", attempts: 1 })
  settle({ _tag: "Acknowledged", position: 2, lane: 7 }, { _tag: "Acknowledged", position: 3 })
  settleDeliveries(
    sql,
    owner,
    {
      lease: { subscription: second, epoch: 1 },
      settled: [
        { _tag: "Acknowledged", position: 1 },
        { _tag: "Acknowledged", position: 3, isDropped: true },
        { _tag: "Again", position: 2, lane: 3, delay, attempts: 1 }
      ]
    },
    4
  )
  const filters = [
    {},
    { position: 1 },
    { reason: "Failed", cause: "a", topic: "a/*" },
    { from: 1, to: 9, topic: "a" }
  ] as const
  for (const filter of filters) {
    listDeadLetters(sql, first, { ...filter, limit: 9 })
    countDeadLetters(sql, first, filter)
  }
  eventStatus(sql, "e", 1, 5)
  eventStatus(sql, "e", { id: "1" }, 5)
  replayDeadLetters(sql, first, [1], 5)
  purgeDeadLetters(sql, first, [1], 5)
  assert.strictEqual(resendEvents(sql, first, [1, 2, 3], 5), 0)
  for (const failedOnly of [false, true]) {
    listAttempts(sql, first, { limit: 9, failedOnly })
    listAttempts(sql, first, { limit: 9, failedOnly, before: { at: 1, position: 1 } })
  }
  figuresOf(sql, first, 5)
  boundsOf(sql, first, 5)
  publishEvents(sql, "e", [{ payload, due: { at: 9 } }], undefined, 2)
  boundsOf(sql, first, 9)
  publishEvents(sql, "e", [{ payload }], undefined, 2)
  assert.strictEqual(discardDeliveries(sql, second, 9, 9), 4)
  for (const which of [{}, { exchange: "e" }, { tenant: "", name: "0" }]) overviewOf(sql, which, 6)
  for (const which of [{ exchange: "e" }, { exchange: "e", tenant: "" }, { exchange: "e", tenant: "", name: "0" }]) {
    listSubscriptions(sql, which)
    listSubscriptions(sql, { ...which, after: { tenant: "", name: "1" }, limit: 1 })
    listSubscriptions(sql, { ...which, after: { tenant: "t", name: "1" }, limit: 1 })
    for (const from of [undefined, ["paused"] as const]) setState(sql, which, "active", undefined, from, 6)
  }
  for (const which of [
    { exchange: "e", ids },
    { exchange: "e", tenant: "", name: "0", ids }
  ]) {
    listSubscriptions(sql, which)
    overviewOf(sql, which, 6)
    for (const from of [undefined, ["paused"] as const]) setState(sql, which, "active", undefined, from, 6)
  }
  releaseLeases(sql, owner, [lease], 7)
  releaseLeases(sql, owner, "all", 7)
  dropSubscriptions(sql, { exchange: "e", tenant: "", name: "0" })
  while (sweep(sql, 5_000)) continue

  assert.isAbove(statements.size, 50)
  const scans = [...statements].flatMap((statement) =>
    db
      .prepare(`EXPLAIN QUERY PLAN ${statement}`)
      .all()
      .map(({ detail }) => String(detail))
      .filter((detail) => /SCAN|TEMP B-TREE|AUTOMATIC/.test(detail) && !allowed.test(detail))
      // A list by ids sorts what it has found.
      .filter((detail) => !(detail === "USE TEMP B-TREE FOR ORDER BY" && /json_each\(\?\)\) +ORDER/.test(statement)))
      .map((detail) => `${detail}: ${statement}`)
  )
  assert.deepStrictEqual(scans, [])
  // What an exchange has is found by its own index, and a page begins where the one before has ended.
  const plansOf = (which: RegExp) =>
    [...statements]
      .filter((statement) => which.test(statement))
      .map((statement) =>
        db
          .prepare(`EXPLAIN QUERY PLAN ${statement}`)
          .all()
          .map(({ detail }) => String(detail))
          .join("; ")
      )
  assert.match(
    plansOf(/AND exchange = \? ORDER BY due_at/).join(),
    /USING (COVERING )?INDEX leases_of_exchange \(exchange=\?/
  )
  assert.match(plansOf(/redefined = 1 AND active = 1/)[0] ?? "", /INDEX leases_redefined \(owner=\?\)/)
  assert.match(plansOf(/\(tenant, name\) > \(\?, \?\)/)[0] ?? "", /\(exchange=\? AND \(tenant,name\)>\(\?,\?\)\)/)
  const byIds = plansOf(/subscriptions\.id IN \(SELECT value FROM json_each/)
  for (const plan of byIds) assert.match(plan, /SEARCH subscriptions USING INTEGER PRIMARY KEY \(rowid=\?\)/)
  assert.isAbove(byIds.length, 3)
  assert.match(plansOf(/AND name > \?/)[0] ?? "", /\(exchange=\? AND tenant=\? AND name>\?\)/)
  assert.match(plansOf(/\(at, event\) < /)[0] ?? "", /attempts_in_order \(subscription=\? AND \(at,event\)<\(\?,\?\)\)/)
  assert.match(
    plansOf(/AND error IS NOT NULL/)[0] ?? "",
    /attempts_failed \(subscription=\? AND \(at,event\)<\(\?,\?\)\)/
  )
  // A subscription may have a million lanes: a statement of one looks at none of the others.
  const all = [...statements].filter((statement) => /\blane = \?/.test(statement))
  assert.isAbove(all.length, 3)
  for (const statement of all) {
    const plan = db.prepare(`EXPLAIN QUERY PLAN ${statement}`).all()
    assert.match(plan.map(({ detail }) => String(detail)).join("; "), /lane=\?|PRIMARY KEY \(rowid=\?\)/, statement)
  }
})
