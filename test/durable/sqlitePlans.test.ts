/** How SQLite finds the rows of each statement: by a key or an index, however much is in the file. */
import { assert, it } from "@effect/vitest"
import { Duration } from "effect"
import { DatabaseSync } from "node:sqlite"
import { claimLeases, nothingSeen } from "../../src/durable/internal/sqlite/claimLeases.ts"
import {
  listDeadLetters,
  purgeDeadLetters,
  replayDeadLetters
} from "../../src/durable/internal/sqlite/deadLetterRows.ts"
import { boundsOf, figuresOf, releaseLeases, renewOwner } from "../../src/durable/internal/sqlite/leaseRows.ts"
import { makeSql, type Sql } from "../../src/durable/internal/sqlite/prepared.ts"
import { publishEvents } from "../../src/durable/internal/sqlite/publishEvents.ts"
import { sweep } from "../../src/durable/internal/sqlite/removeRows.ts"
import { settleDeliveries } from "../../src/durable/internal/sqlite/settleDeliveries.ts"
import { migrate } from "../../src/durable/internal/sqlite/sqliteSchema.ts"
import {
  defineSubscriptions,
  dropSubscriptions,
  listSubscriptions,
  openExchange,
  setState
} from "../../src/durable/internal/sqlite/subscriptionRows.ts"
import { takeDeliveries } from "../../src/durable/internal/sqlite/takeDeliveries.ts"

/** What may be read as a whole: the few processes and exchanges (x), what is dropped, and the leases that are due, in their order. */
const allowed = /^SCAN (owners|dropped|x|CONSTANT ROW|json_each.*|leases USING INDEX leases_free|\d+ CONSTANT ROWS?)/

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

  openExchange(sql, "e", 1_000)
  const ids = Array.from(
    { length: 40 },
    (_, i) => defineSubscriptions(sql, "e", [{ name: `${i}`, topics: ["*", "a/*"], start: "oldest" }], 1)[0]?.id ?? 0
  )
  const [first = 0, second = 0] = ids
  const owner = renewOwner(sql, { name: "one" }, undefined, 1_000, 1)
  renewOwner(sql, owner, undefined, 1_000, 1)
  const other = renewOwner(sql, { name: "other" }, undefined, 9_000, 1)
  publishEvents(sql, "e", [{ payload }, { payload, topic: "a/b" }], limits, 2)
  openExchange(sql, "e", 0)
  defineSubscriptions(sql, "single", [{ name: "single", topics: ["*"] }], 1)
  defineSubscriptions(sql, "single", [{ name: "single", topics: ["b"], data: payload }], 1)
  publishEvents(sql, "single", [{ payload, topic: "b" }], limits, 2)
  const known = { seen: nothingSeen(), abandoned: () => new Set<string>() }
  claimLeases(sql, other, ids.slice(30), 9, known, true, 3)
  claimLeases(sql, owner, ids.slice(0, 3), 9, known, true, 3)
  claimLeases(sql, owner, ids, 99, known, true, 3)
  const lease = { subscription: first, epoch: 1 }
  const delay = Duration.seconds(1)
  const taken = takeDeliveries(sql, owner, { ...lease, limits, except: [1], busy: [], perLane: 1 }, 3)
  assert.lengthOf(taken?.deliveries ?? [], 1)
  const settle = (...settled: Parameters<typeof settleDeliveries>[2]["settled"]) =>
    assert.isTrue(settleDeliveries(sql, owner, { lease, settled, wait: { delay, attempts: 1 } }, 4))
  settle({ _tag: "Again", position: 1, lane: 7, delay, attempts: 1 }, { _tag: "Aside", position: 2, lane: 7 })
  settle({ _tag: "DeadLettered", position: 1, lane: 7, reason: "Failed", cause: "", attempts: 1 })
  settle({ _tag: "Acknowledged", position: 2, lane: 7 }, { _tag: "Acknowledged", position: 3 })
  settleDeliveries(
    sql,
    owner,
    { lease: { subscription: second, epoch: 1 }, settled: [{ _tag: "Acknowledged", position: 1 }] },
    4
  )
  listDeadLetters(sql, first, { limit: 9 })
  replayDeadLetters(sql, first, [1], 5)
  purgeDeadLetters(sql, first, [1])
  figuresOf(sql, first)
  boundsOf(sql, first)
  for (const which of [{ exchange: "e" }, { exchange: "e", tenant: "" }, { exchange: "e", tenant: "", name: "0" }]) {
    listSubscriptions(sql, which)
    setState(sql, which, "active", undefined, 6)
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
      .map((detail) => `${detail}: ${statement}`)
  )
  assert.deepStrictEqual(scans, [])
})
