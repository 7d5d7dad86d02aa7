/** Deletes what is pending of a subscription. */
import * as Effect from "effect/Effect"
import type { Operations } from "../../EventStore.ts"
import { eventOf, keepPurged, now, ofLane, type Parts } from "./parts.ts"
import { countOf, type CountRow, limit } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

/**
 * Two statements in one transaction: the first locks the lease, and the second's snapshot has what was settled before that.
 * What is scheduled a claim may be moving, which waits for the lease then: that is passed over, and is in the order next.
 */
const discardStatements = (parts: Parts) => {
  const { delayed, deliveries, joined, leases, notify, scheduled } = parts
  const gone = (table: string, event: string, order: string, limit: string, condition = "true", lock = "") => `(
  DELETE FROM ${table} AS delivery WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ${table} AS delivery
    WHERE delivery.subscription BETWEEN $1::bigint AND $1::bigint AND ${condition}
    ORDER BY delivery.subscription, ${order} LIMIT ${limit} ${lock}
  ))
  RETURNING ${event} AS event, delivery.topic, delivery.written_at`
  const rest = (...before: ReadonlyArray<string>) =>
    `$2::bigint - ${before.map((one) => `(SELECT count(*) FROM ${one})`).join(" - ")}`

  /** What is left of a lane, beside that of its number, is behind what is deleted of it. */
  const head = ofLane(
    parts,
    "delivery.ctid AS at, delivery.position",
    ["$1::bigint", "lanes.lane", "lanes.position"],
    "delivery.position <> ALL(ARRAY(SELECT position FROM alone))",
    "1"
  )

  return {
    lock: `SELECT subscription FROM ${leases} WHERE subscription = $1::bigint FOR NO KEY UPDATE`,

    discard: `WITH ${joined},
ordered AS ${gone(deliveries, eventOf("delivery"), "position", "$2::bigint")}
),
aside AS ${gone(delayed, eventOf("delivery"), "lane, position", rest("ordered"), "lane IS NOT NULL")}, delivery.lane, delivery.position
),
alone AS ${gone(delayed, eventOf("delivery"), "position", rest("ordered", "aside"), "lane IS NULL")}, delivery.position
),
coming AS ${gone(scheduled, "delivery.event", "due_at, event", rest("ordered", "aside", "alone"), "true", "FOR UPDATE SKIP LOCKED")}
),
lanes AS MATERIALIZED (SELECT lane, max(position) AS position FROM aside GROUP BY lane),
freed AS (
  UPDATE ${delayed} AS delivery SET due_at = ${now} WHERE delivery.due_at IS NULL AND ctid = ANY(ARRAY(
    SELECT head.at FROM lanes CROSS JOIN LATERAL ${head} AS head
  ))
),
gone AS MATERIALIZED (
  SELECT * FROM ordered UNION ALL SELECT event, topic, written_at FROM aside
  UNION ALL SELECT event, topic, written_at FROM alone UNION ALL SELECT * FROM coming
),
ended AS (${keepPurged(parts)}
),
woken AS (
  UPDATE ${leases} SET
    version = version + 1, ready_at = ${now}, not_before = 0, attempts = 0, first_failed_at = NULL, reason = NULL, waits_for = NULL
  WHERE subscription = $1::bigint AND EXISTS (SELECT FROM gone)
)
SELECT count(*) AS rows, CASE WHEN count(*) > 0 THEN ${notify} END AS notified FROM gone`
  }
}

export const discarding = (run: Runner, parts: Parts): Operations["discard"] => {
  const text = discardStatements(parts)
  const statement = (text: string, params: ReadonlyArray<unknown>) =>
    run.client.unsafe<CountRow>(text, params).unprepared
  return (subscription, most) =>
    Effect.map(
      run.transaction(
        "discard",
        Effect.flatMap(statement(text.lock, [subscription]), ({ length }) =>
          // what a drop has left is as good as gone
          length === 0 ? Effect.succeed([]) : statement(text.discard, [subscription, Math.max(0, limit(most))])
        )
      ),
      countOf
    )
}
