/** Removes what nothing needs any more. */
import * as Effect from "effect/Effect"
import type { Operations } from "../../EventStore.ts"
import { fillText } from "./filling.ts"
import { first, isOf, now, type Parts, set } from "./parts.ts"
import { countOf, type CountRow, type Numeric } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

/** How many rows of a table one statement removes, and how many events it looks at. */
const most = 1_000

/** How much longer than its retention an event is kept, so that it is not removed while it is filled in; in milliseconds. */
const grace = 60_000

const sweepStatements = (parts: Parts) => {
  const { attempts, deadLetters, delayed, deliveries, dropped, events, exchanges, ids, leases, outcomes, own, owners } =
    parts
  const { scheduled } = parts
  const unneeded = (table: string, condition = isOf("other", "event.position")) =>
    `(SELECT subscription FROM ${table} AS other WHERE ${condition} LIMIT 1) IS NULL`
  const ofDropped = (table: string) => `(
  DELETE FROM ${table} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ${table} WHERE subscription = ANY(ARRAY(SELECT subscription FROM ended)) AND ${set} LIMIT ${most}
  ))
  RETURNING subscription
)`
  /** A settlement may be removing a row too. */
  const tooOld = (table: string, at: string) => `(
  DELETE FROM ${table} WHERE ctid = ANY(ARRAY(
    SELECT old.ctid FROM ${exchanges} AS exchange CROSS JOIN LATERAL (
      SELECT ctid FROM ${table} AS kept
      WHERE kept.exchange = exchange.id AND kept.${at} < ${now} - exchange.outcomes ORDER BY kept.${at} ${first(most)}
      FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE ${set} LIMIT ${most}
  ))
  RETURNING 1
)`
  const none = (table: string) =>
    `NOT EXISTS (SELECT FROM ${table} AS other WHERE other.subscription = ended.subscription)`

  return {
    /** A publisher whose transaction was open at the drop may still leave rows: they go when all from before have ended. */
    dropped: `WITH ${own},
ended AS MATERIALIZED (SELECT * FROM ${dropped} ORDER BY subscription LIMIT ${most} FOR UPDATE SKIP LOCKED),
a AS ${ofDropped(deliveries)},
b AS ${ofDropped(delayed)},
c AS ${ofDropped(deadLetters)},
d AS ${ofDropped(scheduled)},
forgotten AS (
  DELETE FROM ${dropped} WHERE subscription = ANY(ARRAY(
    SELECT subscription FROM ended
    WHERE xid < txid_snapshot_xmin(txid_current_snapshot()) AND since < ${now} - 1000
    AND ${none(deliveries)} AND ${none(delayed)} AND ${none(deadLetters)} AND ${none(scheduled)}
  ))
)
SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) + (SELECT count(*) FROM c) + (SELECT count(*) FROM d) AS rows`,

    /** From `$1` on: events that are no longer retained, and have no deliveries or dead letters. */
    events: `WITH ${own},
seen AS MATERIALIZED (
  SELECT * FROM (
    SELECT ctid AS at, position, exchange, written_at FROM ${events} WHERE position > $1::bigint ORDER BY position ${first(most)}
  ) AS event LIMIT ${most}
),
gone AS (
  DELETE FROM ${events} WHERE ctid = ANY(ARRAY(
    SELECT event.at FROM seen AS event
    WHERE ${set} AND event.written_at <= ${now} - coalesce(
      (SELECT retention + CASE WHEN retention > 0 THEN ${grace} ELSE 0 END FROM ${exchanges} WHERE id = event.exchange), 0
    )
    AND ${unneeded(deliveries)} AND ${unneeded(delayed)} AND ${unneeded(deadLetters)}
    AND ${unneeded(scheduled, "other.event = event.position")}
  ))
)
SELECT count(*) AS rows, max(position) AS last FROM seen`,

    /** Ids whose window is over, and outcomes and attempts that are older than their exchange keeps them. */
    kept: `WITH ${own},
a AS (
  DELETE FROM ${ids} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ${ids} WHERE expires_at <= ${now} AND ${set} ORDER BY expires_at ${first(most)} FOR UPDATE SKIP LOCKED
  ))
  RETURNING 1
),
b AS ${tooOld(outcomes, "at")},
c AS ${tooOld(attempts, "kept_at")}
SELECT greatest((SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM c)) AS rows`,

    owners: `WITH ${own}
DELETE FROM ${owners} AS owner
WHERE gone AND greatest(renewed_at, expires_at) < ${now} - ${grace} AND ${set}
AND NOT EXISTS (SELECT FROM ${leases} AS lease WHERE lease.owner = owner.id)`
  }
}

interface SweptRow extends CountRow {
  readonly last?: Numeric | null
}

export const sweeping = (run: Runner, parts: Parts): Operations["sweep"] => {
  const text = sweepStatements(parts)
  const fill = fillText(parts)
  /** Up to where events were looked at. */
  let position = 0
  return Effect.gen(function* () {
    const filled = yield* run.write<SweptRow>("sweep", fill, [null])
    const dropped = yield* run.write<SweptRow>("sweep", text.dropped, [])
    const kept = yield* run.write<SweptRow>("sweep", text.kept, [])
    yield* run.write("sweep", text.owners, [])
    const seen = yield* run.write<SweptRow>("sweep", text.events, [position])
    const isEnd = countOf(seen) < most
    position = isEnd ? 0 : Number(seen[0]?.last ?? 0)
    return !isEnd || countOf(kept) >= most || [filled, dropped].some((rows) => countOf(rows) > 0)
  })
}
