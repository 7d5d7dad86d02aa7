/** The dead letters of a subscription. */
import * as Effect from "effect/Effect"
import type { DeadLetterFilter, Operations } from "../../EventStore.ts"
import { content, eventOf, isOf, isTopicOf, keepPurged, now, type Parts, set, sharedOf } from "./parts.ts"
import {
  array,
  countOf,
  type CountRow,
  type DeadLetterRow,
  deadLetterOf,
  limit,
  positionOf,
  timeOf
} from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

const deadLetterStatements = (parts: Parts) => {
  const { arrivals, deadLetters, deliveries, events, exchanges, leases, notify, own, nextPosition } = parts
  const { subscriptions } = parts
  // what a drop has left is as good as gone
  const isThere = `EXISTS (SELECT FROM ${leases} WHERE subscription = $1::bigint)`

  const eventOfLetter = sharedOf("letter", parts)
  /** `$2` a position, `$3` a reason, `$4` a part of the cause, `$5` a pattern of topics, `$6` from and `$7` to a time. */
  const selected = `FROM ${deadLetters} AS letter ${eventOfLetter}
  WHERE letter.subscription = $1::bigint AND ${isThere}
  AND ($2::bigint IS NULL OR letter.position = $2::bigint) AND ($3::text IS NULL OR letter.reason = $3::text)
  AND ($4::text IS NULL OR strpos(letter.cause, $4::text) > 0)
  AND ($5::text IS NULL OR ${isTopicOf("coalesce(letter.topic, event.topic)", "$5::text")})
  AND ($6::bigint IS NULL OR letter.dead_lettered_at >= $6::bigint)
  AND ($7::bigint IS NULL OR letter.dead_lettered_at < $7::bigint)`

  /** What is numbered goes to the end of the order. */
  const queued = `queued AS (
  INSERT INTO ${deliveries} (subscription, position, attempts, event, ${content})
  SELECT $1::bigint, position, attempts, event, ${content} FROM numbered ORDER BY position
),
arrived AS (
  INSERT INTO ${arrivals} (position, subscriptions)
  SELECT min(position), ARRAY[$1::bigint] FROM numbered HAVING count(*) > 0
)
SELECT count(*) AS rows, CASE WHEN count(*) > 0 THEN ${notify} END AS notified FROM numbered`

  return {
    count: `SELECT count(*) AS rows ${selected}`,

    list: `SELECT letter.position, letter.attempts, letter.dead_lettered_at, letter.reason, letter.cause,
  coalesce(letter.written_at, event.written_at) AS written_at, coalesce(letter.topic, event.topic) AS topic,
  coalesce(letter.headers, event.headers) AS headers, coalesce(letter.payload, event.payload) AS payload
FROM (
  SELECT letter.* ${selected} AND (letter.dead_lettered_at, letter.position) > ($8::bigint, $9::bigint)
  ORDER BY letter.dead_lettered_at, letter.position
  LIMIT $10::bigint
) AS letter
${eventOfLetter}
ORDER BY letter.dead_lettered_at, letter.position`,

    replay: `WITH ${own},
gone AS (
  DELETE FROM ${deadLetters} AS letter USING unnest($2::bigint[]) WITH ORDINALITY AS given (position, place)
  WHERE letter.subscription = $1::bigint AND letter.position = given.position AND ${isThere} AND ${set}
  RETURNING letter.attempts, ${eventOf("letter")} AS event, ${content.replaceAll(/\w+/g, "letter.$&")}, given.place
),
numbered AS MATERIALIZED (
  SELECT ${nextPosition} AS position, sorted.* FROM (SELECT * FROM gone ORDER BY place) AS sorted
),
${queued}`,

    /**
     * The position of a dead letter is its own or that of its event. An event that is retained is kept for some time more: what
     * is put in order has it.
     */
    resend: `WITH ${own},
given AS MATERIALIZED (SELECT * FROM unnest($2::bigint[]) WITH ORDINALITY AS given (position, place)),
dead AS MATERIALIZED (
  SELECT found.at, found.position, min(given.place) AS place
  FROM given CROSS JOIN LATERAL (
    SELECT ctid AS at, position FROM ${deadLetters} WHERE subscription = $1::bigint AND position = given.position
    UNION ALL
    SELECT ctid, position FROM ${deadLetters} AS letter WHERE subscription = $1::bigint AND ${isOf("letter", "given.position")}
  ) AS found
  WHERE ${isThere} AND ${set}
  GROUP BY found.at, found.position
),
gone AS (
  DELETE FROM ${deadLetters} AS letter USING dead
  WHERE letter.subscription = $1::bigint AND letter.position = dead.position
  RETURNING letter.attempts, ${eventOf("letter")} AS event, ${content.replaceAll(/\w+/g, "letter.$&")}, dead.place,
    letter.position AS before
),
retained AS MATERIALIZED (
  SELECT event.position AS event, given.place
  FROM given
  JOIN ${subscriptions} AS subscription ON subscription.id = $1::bigint
  JOIN ${exchanges} AS exchange ON exchange.id = subscription.exchange
  JOIN ${events} AS event ON event.position = given.position AND event.exchange = exchange.id
    AND event.tenant = subscription.tenant AND event.version IS NOT NULL AND event.written_at > ${now} - exchange.retention
  WHERE ${set} AND given.place <> ALL(ARRAY(SELECT place FROM dead))
),
numbered AS MATERIALIZED (
  SELECT ${nextPosition} AS position, sorted.* FROM (
    SELECT attempts, event, ${content}, place, before FROM gone
    UNION ALL
    SELECT NULL, event, NULL, NULL, NULL, NULL, place, NULL FROM retained
    ORDER BY place, before
  ) AS sorted
),
${queued}`,

    purge: `WITH ${own},
gone AS (
  DELETE FROM ${deadLetters} AS letter
  WHERE subscription = $1::bigint AND position = ANY($2::bigint[]) AND ${isThere} AND ${set}
  RETURNING ${eventOf("letter")} AS event, topic, written_at
),
ended AS (${keepPurged(parts)}
)
SELECT count(*) AS rows FROM gone`
  }
}

const filterOf = ({ cause, from, position, reason, to, topic }: DeadLetterFilter) => [
  position === undefined ? null : positionOf(position),
  reason ?? null,
  // as a cause is kept
  cause?.replaceAll("\0", "\uFFFD") ?? null,
  topic ?? null,
  from === undefined ? null : timeOf(from),
  to === undefined ? null : timeOf(to)
]

export const deadLettering = (run: Runner, parts: Parts) => {
  const text = deadLetterStatements(parts)
  return {
    countDeadLetters: (subscription, filter) =>
      Effect.map(run.read<CountRow>("countDeadLetters", text.count, [subscription, ...filterOf(filter)]), countOf),
    deadLetters: (subscription, { after, limit: most, ...filter }) =>
      Effect.map(
        run.read<DeadLetterRow>("deadLetters", text.list, [
          subscription,
          ...filterOf(filter),
          after?.deadLetteredAt ?? -1,
          after?.position ?? 0,
          limit(most)
        ]),
        (rows) => rows.map(deadLetterOf)
      ),
    replay: (subscription, positions) =>
      // a position given twice is moved in its first place
      Effect.map(
        run.write<CountRow>("replay", text.replay, [subscription, array([...new Set(positions.map(positionOf))])]),
        countOf
      ),
    resend: (subscription, positions) =>
      Effect.map(
        run.write<CountRow>("resend", text.resend, [subscription, array([...new Set(positions.map(positionOf))])]),
        countOf
      ),
    purge: (subscription, positions) =>
      Effect.map(run.write<CountRow>("purge", text.purge, [subscription, array(positions.map(positionOf))]), countOf)
  } satisfies Partial<Operations>
}
