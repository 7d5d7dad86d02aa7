/** Settles the deliveries of leases. */
import * as Effect from "effect/Effect"
import type { Operations, Owner, Settled, Settlement, SubscriptionId } from "../../EventStore.ts"
import type { CountedCapacity } from "./countedCapacity.ts"
import type { Horizon } from "./horizon.ts"
import { bytesOf, inLane, now, onePlan, type Parts, set } from "./parts.ts"
import { array, causeOf, milliseconds, type Numeric, textArray } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

/**
 * **How an owner that lost its lease is kept out.** A settlement reads the lease of the owner's epoch in the statement that
 * removes the rows, and locks it against change until it has committed. A takeover is an UPDATE of that row, so the two
 * come one after the other:
 *
 * - The takeover has the row first. The statement waits for its lock. Its snapshot is older than the takeover's commit and
 *   would show the old epoch; but under READ COMMITTED Postgres checks the newest version of a row that it waited for
 *   against the condition again, finds a greater epoch, and leaves it out of `held`, before the first row is searched.
 * - The statement has the row first. The takeover waits, at most until the statement's end, and what the new owner reads
 *   after it no longer has the rows.
 *
 * Under a stricter default isolation the first case is a serialization failure instead, and nothing is done either.
 *
 * Only the epoch decides: an owner whose time is over has its leases until another claim frees them.
 */
const settleStatements = ({ deadLetters, delayed, deliveries, events, leases, notify, own }: Parts) => {
  const held = (lock: string, same: string) => `held AS MATERIALIZED (
  SELECT lease.subscription, ${same} AS same
  FROM (SELECT * FROM unnest($2::bigint[], $3::bigint[]) AS given (subscription, epoch) ORDER BY subscription) AS given
  CROSS JOIN LATERAL (
    SELECT subscription, version FROM ${leases} AS lease
    WHERE lease.subscription = given.subscription AND (lease.epoch = given.epoch AND lease.owner = $1::int AND ${set}) IS TRUE
    FOR ${lock}
  ) AS lease
)`
  const isUnchanged = `lease.version = (SELECT version FROM ${leases} AS before WHERE before.subscription = given.subscription)`
  /** A row for each lease that is held, with what was removed. */
  const answer = `SELECT held.subscription, held.same, removed.rows, removed.bytes,
  CASE WHEN removed.rows > 0 THEN ${notify} END
    AS notified
FROM held LEFT JOIN (
  SELECT subscription, count(*) AS rows, sum(bytes) AS bytes FROM removed GROUP BY subscription
) AS removed ON removed.subscription = held.subscription`
  const bytes = (row: string) => `CASE WHEN $6::boolean THEN ${bytesOf(row, events)} END AS bytes`
  /**
   * The row of a position, found by the index of positions whatever the statistics of the table say. Those of a lease are
   * changed by its owner's settlements alone, which come one after the other, so that a row is where it is found.
   */
  const found = (table: string) => `LATERAL (
    SELECT ctid AS at, * FROM ${table} AS delivery
    WHERE delivery.subscription = given.subscription AND delivery.position BETWEEN given.position AND given.position
    ORDER BY delivery.position LIMIT 1
  ) AS found`
  const content = "position, event, written_at, topic, content_type, trace, payload"
  const contentOf = (row: string) => content.replaceAll(/\w+/g, (column) => `${row}.${column}`)

  return {
    /** For what is acknowledged in order, which is almost all: `$4`, `$5` subscription and position of each. */
    acknowledge: onePlan(`WITH ${own},
${held("SHARE", "true")},
removed AS (
  DELETE FROM ${deliveries} AS delivery
  WHERE ctid = ANY(ARRAY(
    SELECT found.at
    FROM unnest($4::bigint[], $5::bigint[]) AS given (subscription, position) CROSS JOIN ${found(deliveries)}
    WHERE given.subscription = ANY(ARRAY(SELECT subscription FROM held))
  ))
  RETURNING delivery.subscription, ${bytes("delivery")}
)
${answer}`),

    /**
     * Also what is set aside, and waits. Of a lane that something became of, the first row has the time: that of an `Again`,
     * its own where it was the first before, or now.
     *
     * The statement's snapshot may be older than what it waited for, such as another settlement of the same lease, and then
     * it would take a row for the first that is gone. So where the lease has changed since the snapshot nothing is done.
     */
    settle: onePlan(`WITH ${own},
${held("NO KEY UPDATE", isUnchanged)},
given AS MATERIALIZED (
  SELECT *
  FROM unnest($4::bigint[], $5::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[])
    AS given (subscription, position, what, lane, delay, tried, reason, cause)
  WHERE subscription = ANY(ARRAY(SELECT subscription FROM held WHERE same))
),
ordered AS (
  DELETE FROM ${deliveries} AS delivery
  WHERE ctid = ANY(ARRAY(SELECT found.at FROM given CROSS JOIN ${found(deliveries)}))
  RETURNING delivery.*
),
in_lane AS MATERIALIZED (
  SELECT found.at, given.*, found.lane AS of_lane FROM given CROSS JOIN ${found(delayed)}
),
out_of_lane AS (
  DELETE FROM ${delayed} AS delivery
  WHERE ctid = ANY(ARRAY(SELECT at FROM in_lane WHERE what IN ('ack', 'dead')))
  RETURNING delivery.*
),
left_lane AS MATERIALIZED (
  SELECT out_of_lane.*, given.what, given.tried, given.reason, given.cause
  FROM out_of_lane JOIN given ON given.subscription = out_of_lane.subscription AND given.position = out_of_lane.position
),
stays AS MATERIALIZED (
  SELECT at, subscription, position, of_lane AS lane, what, delay, tried FROM in_lane WHERE what IN ('again', 'aside')
),
taken_out AS MATERIALIZED (
  SELECT ordered.*, given.what, given.lane, given.delay, given.tried, given.reason, given.cause
  FROM ordered JOIN given ON given.subscription = ordered.subscription AND given.position = ordered.position
),
moved AS MATERIALIZED (SELECT * FROM taken_out WHERE what IN ('again', 'aside')),
lanes AS MATERIALIZED (
  SELECT subscription, lane, max(delay) FILTER (WHERE what = 'again') AS delay
  FROM (
    SELECT subscription, lane, what, delay FROM moved
    UNION ALL SELECT subscription, lane, what, delay FROM stays
    UNION ALL SELECT subscription, lane, what, NULL FROM left_lane
  ) AS of_lane
  GROUP BY subscription, lane
),
firsts AS MATERIALIZED (
  SELECT lanes.subscription, lanes.lane, before.at, before.position AS before, least(before.position, moved.position) AS position,
    CASE
      WHEN lanes.delay IS NOT NULL THEN ${now} + lanes.delay
      WHEN before.position < coalesce(moved.position, before.position + 1) AND before.due_at IS NOT NULL THEN before.due_at
      ELSE ${now}
    END AS due_at
  FROM lanes
  LEFT JOIN LATERAL (
    SELECT ctid AS at, position, due_at FROM ${delayed} AS delivery
    WHERE ${inLane("delivery", "lanes.subscription", "lanes.lane")}
    AND ctid <> ALL(ARRAY(SELECT at FROM in_lane WHERE what IN ('ack', 'dead')))
    ORDER BY delivery.lane, delivery.position LIMIT 1
  ) AS before ON true
  LEFT JOIN LATERAL (
    SELECT min(position) AS position FROM moved
    WHERE moved.subscription = lanes.subscription AND moved.lane = lanes.lane
  ) AS moved ON true
),
stayed AS (
  UPDATE ${delayed} AS delivery SET
    due_at = CASE WHEN delivery.position = firsts.position THEN firsts.due_at END,
    attempts = coalesce(again.tried, delivery.attempts),
    first_failed_at = CASE WHEN again.tried IS NULL THEN delivery.first_failed_at ELSE coalesce(delivery.first_failed_at, ${now}) END
  FROM (
    SELECT at, subscription, lane, before AS position FROM firsts WHERE before IS NOT NULL
    UNION SELECT at, subscription, lane, position FROM stays
  ) AS rest
  JOIN firsts ON firsts.subscription = rest.subscription AND firsts.lane = rest.lane
  LEFT JOIN stays AS again
  ON again.subscription = rest.subscription AND again.position = rest.position AND again.what = 'again'
  WHERE delivery.ctid = rest.at AND delivery.ctid = ANY(ARRAY(
    SELECT at FROM firsts WHERE before IS NOT NULL UNION ALL SELECT at FROM stays
  ))
),
put_aside AS (
  INSERT INTO ${delayed} (subscription, lane, ${content}, attempts, first_failed_at, due_at)
  SELECT moved.subscription, moved.lane, ${contentOf("moved")},
    CASE WHEN what = 'again' THEN tried ELSE attempts END,
    CASE WHEN what = 'again' THEN ${now} END,
    CASE WHEN moved.position = firsts.position THEN firsts.due_at END
  FROM moved JOIN firsts ON firsts.subscription = moved.subscription AND firsts.lane = moved.lane
),
removed AS MATERIALIZED (
  SELECT subscription, what, tried, reason, cause, ${content}, ${bytes("taken_out")} FROM taken_out WHERE what IN ('ack', 'dead')
  UNION ALL
  SELECT subscription, what, tried, reason, cause, ${content}, ${bytes("left_lane")} FROM left_lane
),
dead AS (
  INSERT INTO ${deadLetters} (subscription, attempts, dead_lettered_at, reason, cause, ${content})
  SELECT subscription, tried, ${now}, reason, cause, ${content} FROM removed WHERE what = 'dead'
),
changed AS (
  UPDATE ${leases} AS lease SET
    version = lease.version + 1,
    attempts = coalesce(wait.attempts, lease.attempts),
    first_failed_at = CASE
      WHEN wait.attempts = 0 THEN NULL
      WHEN wait.attempts = 1 THEN ${now}
      WHEN wait.attempts > 0 THEN coalesce(lease.first_failed_at, ${now})
      ELSE lease.first_failed_at
    END,
    not_before = CASE WHEN wait.attempts = 0 THEN 0 WHEN wait.attempts > 0 THEN ${now} + wait.delay ELSE lease.not_before END,
    ready_at = CASE
      WHEN wait.attempts > 0 THEN ${now} + wait.delay
      WHEN wait.attempts = 0 THEN least(CASE WHEN lease.not_before > 0 THEN ${now} ELSE lease.ready_at END, due.due_at)
      ELSE greatest(least(lease.ready_at, due.due_at), lease.not_before)
    END
  FROM held
  LEFT JOIN unnest($13::bigint[], $14::bigint[], $15::bigint[]) AS wait (subscription, delay, attempts)
  ON wait.subscription = held.subscription
  LEFT JOIN (SELECT subscription, min(due_at) AS due_at FROM firsts WHERE position IS NOT NULL GROUP BY subscription) AS due
  ON due.subscription = held.subscription
  WHERE lease.subscription = held.subscription AND held.same AND lease.subscription = ANY($2::bigint[])
)
${answer}`)
  }
}

const whats = { Acknowledged: "ack", DeadLettered: "dead", Again: "again", Aside: "aside" } as const

const isRemoved = ({ _tag }: Settled) => _tag === "Acknowledged" || _tag === "DeadLettered"

/** The parameters of a report, beside its subscription. */
const reportOf = (settled: Settled) => ({
  what: whats[settled._tag],
  lane: settled.lane,
  delay: settled._tag === "Again" ? milliseconds(settled.delay) : undefined,
  attempts: "attempts" in settled ? settled.attempts : undefined,
  reason: settled._tag === "DeadLettered" ? settled.reason : "",
  cause: settled._tag === "DeadLettered" ? causeOf(settled.cause) : ""
})

interface HeldRow {
  readonly same: boolean
  readonly subscription: Numeric
  readonly rows: Numeric | null
  readonly bytes: Numeric | null
}

export interface SettlingSettings {
  readonly horizon: Horizon
  readonly capacities: ReadonlyMap<string, CountedCapacity>
  /** A lease turned out to be lost. */
  readonly lost: (subscription: SubscriptionId) => void
  /** This process may have something to do that no other is notified of: what it set aside comes due. */
  readonly changed: Effect.Effect<void>
}

export const settling = (run: Runner, parts: Parts, settings: SettlingSettings): Operations["settle"] => {
  const text = settleStatements(parts)
  const counted = (subscription: SubscriptionId) =>
    Array.from(settings.capacities.values()).filter((capacity) => capacity.has(subscription))

  const rowsOf = (owner: Owner, settlements: ReadonlyArray<Settlement>) => {
    // One after the other: what is removed is gone for those that come later.
    const given = new Map<string, { readonly subscription: SubscriptionId; readonly settled: Settled }>()
    for (const { lease, settled } of settlements) {
      for (const one of settled) {
        const key = `${lease.subscription} ${one.position}`
        const before = given.get(key)?.settled
        if (before === undefined || (!isRemoved(before) && one._tag !== "Aside")) {
          given.set(key, { subscription: lease.subscription, settled: one })
        }
      }
    }
    const all = [...given.values()]
    const waits = settlements.flatMap(({ lease, wait }) => (wait === undefined ? [] : [{ ...lease, ...wait }]))
    const params = [
      owner.id,
      array(settlements.map(({ lease }) => lease.subscription)),
      array(settlements.map(({ lease }) => lease.epoch)),
      array(all.map(({ subscription }) => subscription)),
      array(all.map(({ settled }) => settled.position)),
      settlements.some(({ lease }) => counted(lease.subscription).length > 0)
    ]
    if (
      waits.length === 0 &&
      all.every(({ settled }) => settled._tag === "Acknowledged" && settled.lane === undefined)
    ) {
      return run.prepared<HeldRow>("settle", text.acknowledge, params)
    }
    const each = all.map(({ settled }) => reportOf(settled))
    const rows = run.prepared<HeldRow>("settle", text.settle, [
      ...params,
      textArray(each.map(({ what }) => what)),
      array(each.map(({ lane }) => lane)),
      array(each.map(({ delay }) => delay)),
      array(each.map(({ attempts }) => attempts)),
      textArray(each.map(({ reason }) => reason)),
      textArray(each.map(({ cause }) => cause)),
      array(waits.map(({ subscription }) => subscription)),
      array(waits.map(({ delay }) => milliseconds(delay))),
      array(waits.map(({ attempts }) => attempts))
    ])
    return Effect.tap(rows, settings.changed)
  }

  return Effect.fnUntraced(function* (owner, settlements) {
    const lost: Array<SubscriptionId> = []
    let rest: ReadonlyArray<Settlement> = joined(settlements)
    while (rest.length > 0) {
      const held = new Map<SubscriptionId, boolean>()
      for (const { bytes, rows, same, subscription } of yield* rowsOf(owner, rest)) {
        const sum = { rows: Number(rows ?? 0), bytes: Number(bytes ?? 0) }
        held.set(Number(subscription), same)
        settings.horizon.removed(sum.rows)
        for (const capacity of counted(Number(subscription))) capacity.removed(Number(subscription), sum)
      }
      for (const { lease } of rest) if (!held.has(lease.subscription)) lost.push(lease.subscription)
      rest = rest.filter(({ lease }) => held.get(lease.subscription) === false)
    }
    for (const subscription of lost) settings.lost(subscription)
    return lost
  })
}

/** One settlement of each lease: a row can be changed once in a statement. */
const joined = (settlements: ReadonlyArray<Settlement>): ReadonlyArray<Settlement> => {
  const leases = new Map<string, Settlement>()
  for (const one of settlements) {
    const key = `${one.lease.subscription} ${one.lease.epoch}`
    const before = leases.get(key)
    const settled = [...(before?.settled ?? []), ...one.settled]
    leases.set(key, { lease: one.lease, settled, wait: one.wait ?? before?.wait })
  }
  return [...leases.values()]
}
