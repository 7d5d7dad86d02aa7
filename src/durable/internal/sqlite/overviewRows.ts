/** Subscriptions with what is stored for them, as those that look after them read it. */
import type { Millis, Overview, Position, Which } from "../../EventStore.ts"
import type { Sql } from "./prepared.ts"
import { maxPosition, rowAt } from "./sqliteSchema.ts"
import { idsOf, isOfIds, type SubscriptionColumns, subscriptionColumns, subscriptionOf } from "./subscriptionRows.ts"

export const overviewOf = (
  sql: Sql,
  { exchange, ids, name, tenant }: Partial<Which>,
  now: Millis
): ReadonlyArray<Overview> => {
  const given = Object.entries({ "x.name": exchange, "s.tenant": tenant, "s.name": name })
  const where = [
    ...given.flatMap(([column, value]) => (value === undefined ? [] : `AND ${column} = ?`)),
    ...(ids === undefined ? [] : [`AND s.id ${isOfIds}`])
  ].join(" ")
  const values = [exchange, tenant, name, ids && idsOf(ids)].filter((value) => value !== undefined)
  return sql.rows<Row>(`${overviews} ${where} ORDER BY x.name, tenant, s.name`, now, now, now, ...values).map((row) => {
    const [, , , , , , , , of, pending, bytes, deadLetters, owner, inOrder, aside, lane, scheduled, ...wait] = row
    const [until, attempts, firstFailedAt, reason, position, failingSince] = wait
    return {
      ...subscriptionOf(of, row),
      pending,
      bytes,
      deadLetters,
      owner: owner ?? undefined,
      oldest: least(inOrder, aside),
      nextDue: least(lane, scheduled),
      wait:
        until === 0
          ? undefined
          : {
              until,
              attempts,
              firstFailedAt: firstFailedAt ?? undefined,
              reason: reason ?? undefined,
              position: position ?? undefined
            },
      failingSince: failingSince ?? undefined
    }
  })
}

// internals

type Row = readonly [
  ...SubscriptionColumns,
  ...[exchange: string, pending: number, bytes: number, deadLetters: number, owner: string | null],
  ...[inOrder: Millis | null, aside: Millis | null, lane: Millis | null, scheduled: Millis | null],
  ...[until: Millis, attempts: number, firstFailedAt: Millis | null, reason: string | null, position: Position | null],
  failingSince: Millis | null
]

const least = (...times: ReadonlyArray<Millis | null>): Millis | undefined => {
  const found = times.filter((time) => time !== null)
  return found.length === 0 ? undefined : Math.min(...found)
}

const first = (table: string, written: string) =>
  `(SELECT ${written} FROM ${table} d LEFT JOIN events e ON e.position = d.event
    WHERE d.id BETWEEN ${rowAt("0", "s.id")} AND ${rowAt(String(maxPosition), "s.id")} ORDER BY d.id LIMIT 1)`
const next = (table: string) => `(SELECT min(d.due_at) FROM ${table} d WHERE d.subscription = s.id AND d.due_at > ?)`
// From an exchange to its subscriptions, both in the order of their names.
const overviews = `SELECT ${subscriptionColumns.replaceAll("subscriptions.", "s.")}, x.name,
    pending, bytes, dead_letters, o.name, ${first("deliveries", "ifnull(d.written_at, e.written_at)")},
    ${first("delayed", "e.written_at")}, ${next("delayed")}, ${next("scheduled")},
    wait_until, attempts, first_failed_at, wait_reason, wait_position, failing_since
  FROM exchanges x CROSS JOIN subscriptions s ON s.exchange = x.id CROSS JOIN leases l ON l.subscription = s.id
  LEFT JOIN owners o ON o.id = owner AND o.expires_at > ? WHERE TRUE`
