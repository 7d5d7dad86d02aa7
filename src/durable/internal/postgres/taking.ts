/** Reads the first deliveries of leases. */
import * as Effect from "effect/Effect"
import type { Delivery, Operations, SubscriptionId, Wanted } from "../../EventStore.ts"
import type { Horizon } from "./horizon.ts"
import { first, laneOf, ofLane, onePlan, type Parts, sharedOf } from "./parts.ts"
import { array, clock, type DeliveryRow, deliveryOf, limit, type Numeric } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

/**
 * It takes no lock: it must not hold one while a paused owner does not read the answer. It sees the lease and the rows in
 * one snapshot, and so gives rows only of a time at which the lease was the owner's.
 *
 * Pairs are compared as pairs, and the table keeps no statistics of subscriptions, so that Postgres reads the index in
 * order and stops. Its plan for `subscription = $1` depends on how old its statistics are: while they know little of a
 * subscription that has grown since, it reads all of it and sorts. The plan is also to know roughly how many leases and rows
 * are wanted, `leases` and `rows` at most: a statement that seems to read a large part of a table is compiled first (JIT),
 * which takes longer than all the rest. To the planner each row is one of an event that is to be looked up, so that it expects a
 * tenth of them.
 */
const takeText = (parts: Parts, leases: number, rows: number): string => {
  const { delayed, deliveries, fills } = parts
  const followers = ofLane(
    parts,
    "*",
    ["wanted.subscription", "first.lane"],
    "delivery.position <> ALL(wanted.excluded)",
    "wanted.per_lane"
  )
  return onePlan(`WITH wanted AS MATERIALIZED (
  SELECT wanted.*, ${clock} AS now,
    CASE WHEN (SELECT subscription FROM ${fills} WHERE subscription = wanted.subscription LIMIT 1) IS NULL
      THEN wanted."from" ELSE 0 END AS beginning,
    ARRAY(SELECT position FROM unnest($8::bigint[], $9::bigint[]) AS given (place, position)
      WHERE given.place = wanted.place) AS excluded,
    ARRAY(SELECT lane FROM unnest($10::bigint[], $11::bigint[]) AS given (place, lane)
      WHERE given.place = wanted.place) AS busy
  FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::float8[], $6::bigint[], $7::bigint[]) WITH ORDINALITY
    AS wanted (subscription, epoch, rows, bytes, per_lane, "from", place)
  LIMIT ${leases}
)
SELECT wanted.subscription, lease.not_before > wanted.now AS waits, delivery.*
FROM wanted
CROSS JOIN LATERAL (
  SELECT not_before FROM ${parts.leases} AS lease
  WHERE lease.subscription = wanted.subscription AND (lease.epoch = wanted.epoch AND lease.owner = $1::int AND lease.active) IS TRUE
  LIMIT 1
) AS lease
LEFT JOIN LATERAL (
  SELECT head.*,
    row_number() OVER (ORDER BY head.part, head.due_at, head.lane, head.position) AS place,
    sum(octet_length(head.payload)) OVER (ORDER BY head.part, head.due_at, head.lane, head.position) AS total,
    lead(true, 1, false) OVER (ORDER BY head.part, head.due_at, head.lane, head.position) AS more
  FROM (
    SELECT 0 AS part, first.due_at, first.lane, follower.position, follower.attempts, follower.first_failed_at,
      coalesce(follower.written_at, event.written_at) AS written_at, coalesce(follower.topic, event.topic) AS topic,
      coalesce(follower.headers, event.headers) AS headers, coalesce(follower.payload, event.payload) AS payload
    FROM (SELECT * FROM (SELECT * FROM (
      SELECT ${laneOf("lane")} AS lane, due_at FROM ${delayed} AS lane
      WHERE lane.subscription = wanted.subscription AND lane.due_at IS NOT NULL AND lane.due_at <= wanted.now
      AND ${laneOf("lane")} <> ALL(wanted.busy)
      ORDER BY lane.due_at
      LIMIT wanted.rows + 1
    ) AS one LIMIT ${rows}) AS one ${first(rows)}) AS first
    CROSS JOIN LATERAL ${followers} AS follower
    ${sharedOf("follower", parts)}
    UNION ALL
    SELECT 1, NULL, NULL, ordered.position, ordered.attempts, NULL,
      coalesce(ordered.written_at, event.written_at), coalesce(ordered.topic, event.topic),
      coalesce(ordered.headers, event.headers), coalesce(ordered.payload, event.payload)
    FROM (SELECT * FROM (SELECT * FROM (
      SELECT * FROM ${deliveries} AS delivery
      WHERE (delivery.subscription, delivery.position) >= (wanted.subscription, wanted.beginning)
      AND delivery.subscription <= wanted.subscription
      AND delivery.position <> ALL(wanted.excluded)
      ORDER BY delivery.subscription, delivery.position
      LIMIT wanted.rows + 1
    ) AS one LIMIT ${rows}) AS one ${first(rows)}) AS ordered
    ${sharedOf("ordered", parts)}
  ) AS head
  WHERE lease.not_before <= wanted.now
) AS delivery ON delivery.place = 1 OR delivery.place <= wanted.rows AND delivery.total <= wanted.bytes
ORDER BY wanted.place, delivery.place`)
}

type TakeRow = { readonly subscription: Numeric; readonly waits: boolean; readonly more: boolean } & (
  DeliveryRow | { readonly position: null }
)

export const taking = (run: Runner, parts: Parts, horizon: Horizon): Operations["take"] => {
  const texts = new Map<string, string>()
  const textOf = (leases: number, rows: number): string => {
    const sizes = [leases > 1 ? leastPower(leases) : 1, leastPower(rows)] as const
    const key = sizes.join(" ")
    let text = texts.get(key)
    if (text === undefined) texts.set(key, (text = takeText(parts, ...sizes)))
    return text
  }
  return Effect.fnUntraced(function* (owner, wanted) {
    const before = yield* horizon.current("take")
    /** Numbers of each lease, beside the place of the lease. */
    const each = (of: (one: (typeof wanted)[number]) => ReadonlyArray<number>) => {
      const flat = wanted.flatMap((one, at) => of(one).map((value) => [at + 1, value] as const))
      return [array(flat.map(([place]) => place)), array(flat.map(([, value]) => value))]
    }
    const rows = yield* run.preparedRead<TakeRow>("take", textOf(wanted.length, rowsOf(wanted) + 1), [
      owner.id,
      array(wanted.map(({ subscription }) => subscription)),
      array(wanted.map(({ epoch }) => epoch)),
      array(wanted.map(({ limits }) => limit(limits.rows))),
      array(wanted.map(({ limits }) => limit(limits.bytes))),
      array(wanted.map(({ perLane }) => limit(perLane))),
      array(wanted.map(({ subscription }) => horizon.from(subscription))),
      ...each(({ except }) => except),
      ...each(({ busy }) => busy)
    ])
    const taken = new Map<
      SubscriptionId,
      { readonly deliveries: Array<Delivery>; more: boolean; readonly waits: boolean }
    >()
    for (const row of rows) {
      const subscription = Number(row.subscription)
      const one = taken.get(subscription) ?? { deliveries: [], more: false, waits: row.waits }
      taken.set(subscription, one)
      if (row.position === null) continue
      one.deliveries.push(deliveryOf(row))
      one.more = row.more
    }
    for (const { except, subscription } of wanted) {
      const { deliveries = [], waits = true } = taken.get(subscription) ?? {}
      if (waits) continue
      const ordered = deliveries.filter(({ lane }) => lane === undefined)
      for (const { position } of ordered) horizon.given(position)
      // where lanes took all the room, what stands in order may not have been read
      if (ordered.length === 0 && deliveries.length > 0) continue
      const first = Math.min(ordered[0]?.position ?? Infinity, ...except)
      horizon.read(subscription, Number.isFinite(first) ? first : undefined, before)
    }
    return Array.from(taken, ([subscription, { deliveries, more }]) => ({ subscription, deliveries, more }))
  })
}

const rowsOf = (wanted: ReadonlyArray<Wanted>): number =>
  wanted.reduce((most, { limits }) => Math.max(most, limit(limits.rows)), 0)

/** The least of a few powers that is not less. */
const leastPower = (of: number): number => [100, 1_000, 10_000].find((power) => power >= of) ?? Number.MAX_SAFE_INTEGER
