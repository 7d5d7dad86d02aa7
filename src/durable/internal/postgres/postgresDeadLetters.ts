/** The dead letters of a subscription. */
import * as Effect from "effect/Effect"
import type { Operations } from "../../EventStore.ts"
import { type Parts, set } from "./parts.ts"
import { array, type DeadLetterRow, deadLetterOf, limit, type Numeric } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

const deadLetterStatements = (parts: Parts) => {
  const { arrivals, deadLetters, deliveries, events, leases, notify, own, positions } = parts
  // what a drop has left is as good as gone
  const isThere = `EXISTS (SELECT FROM ${leases} WHERE subscription = $1::bigint)`
  const content = "event, written_at, topic, content_type, trace, payload"

  return {
    list: `SELECT letter.position, letter.attempts, letter.dead_lettered_at, letter.reason, letter.cause,
  coalesce(letter.written_at, event.written_at) AS written_at, coalesce(letter.topic, event.topic) AS topic,
  coalesce(letter.content_type, event.content_type) AS content_type, coalesce(letter.trace, event.trace) AS trace,
  coalesce(letter.payload, event.payload) AS payload
FROM (
  SELECT * FROM ${deadLetters}
  WHERE subscription = $1::bigint AND (dead_lettered_at, position) > ($2::bigint, $3::bigint) AND ${isThere}
  ORDER BY dead_lettered_at, position
  LIMIT $4::bigint
) AS letter
LEFT JOIN LATERAL (SELECT * FROM ${events} WHERE position = letter.event LIMIT 1) AS event ON true
ORDER BY letter.dead_lettered_at, letter.position`,

    replay: `WITH ${own},
gone AS (
  DELETE FROM ${deadLetters} AS letter USING unnest($2::bigint[]) WITH ORDINALITY AS given (position, place)
  WHERE letter.subscription = $1::bigint AND letter.position = given.position AND ${isThere} AND ${set}
  RETURNING letter.attempts, ${content.replaceAll(/\w+/g, "letter.$&")}, given.place
),
numbered AS MATERIALIZED (
  SELECT nextval('${positions}') AS position, sorted.* FROM (SELECT * FROM gone ORDER BY place) AS sorted
),
queued AS (
  INSERT INTO ${deliveries} (subscription, position, attempts, ${content})
  SELECT $1::bigint, position, attempts, ${content} FROM numbered ORDER BY position
),
arrived AS (
  INSERT INTO ${arrivals} (position, subscriptions)
  SELECT min(position), ARRAY[$1::bigint] FROM numbered HAVING count(*) > 0
)
SELECT count(*) AS rows, CASE WHEN count(*) > 0 THEN ${notify} END AS notified FROM numbered`,

    purge: `WITH ${own},
gone AS (
  DELETE FROM ${deadLetters}
  WHERE subscription = $1::bigint AND position = ANY($2::bigint[]) AND ${isThere} AND ${set}
  RETURNING position
)
SELECT count(*) AS rows FROM gone`
  }
}

interface CountRow {
  readonly rows: Numeric
}

export const deadLettering = (run: Runner, parts: Parts) => {
  const text = deadLetterStatements(parts)
  const countOf = ([row]: ReadonlyArray<CountRow>) => Number(row?.rows ?? 0)
  return {
    deadLetters: (subscription, { after, limit: most }) =>
      Effect.map(
        run.read<DeadLetterRow>("deadLetters", text.list, [
          subscription,
          after?.deadLetteredAt ?? -1,
          after?.position ?? 0,
          limit(most)
        ]),
        (rows) => rows.map(deadLetterOf)
      ),
    replay: (subscription, positions) =>
      // a position given twice is moved in its first place
      Effect.map(run.write<CountRow>("replay", text.replay, [subscription, array([...new Set(positions)])]), countOf),
    purge: (subscription, positions) =>
      Effect.map(run.write<CountRow>("purge", text.purge, [subscription, array(positions)]), countOf)
  } satisfies Partial<Operations>
}
