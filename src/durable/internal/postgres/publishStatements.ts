/** The statements of a publish. */
import { content, now, onePlan, type Parts, pendingOf, set, storedId } from "./parts.ts"

export const publishStatements = (parts: Parts) => {
  const { arrivals, deliveries, events, exchanges, ids, joined, notify, own, nextPosition, routes, scheduled } = parts
  /** `$1` the exchange, `$2` the tenant of each kind of event, `$3`, `$4` the patterns of each kind. */
  const matched = `exchange AS MATERIALIZED (
  SELECT id, version, retention > 0 AS retains, deduplication FROM ${exchanges} WHERE name = $1
),
matched AS MATERIALIZED (
  SELECT DISTINCT given.kind, route.subscription
  FROM unnest($3::int[], $4::text[]) AS given (kind, pattern)
  CROSS JOIN LATERAL (
    SELECT subscription FROM ${routes}
    WHERE exchange = (SELECT id FROM exchange) AND tenant = ($2::text[])[given.kind] AND pattern = given.pattern
    OFFSET 0
  ) AS route
)`

  /** How many subscriptions each kind matches. */
  const counted = `counted AS MATERIALIZED (
  SELECT array_agg(count ORDER BY kind) AS counts
  FROM (
    SELECT kind, count(matched.subscription)
    FROM generate_series(1, cardinality($2::text[])) AS kind LEFT JOIN matched USING (kind)
    GROUP BY kind
  ) AS counted
)`

  /**
   * `now` is of one moment for the whole batch; and rows are numbered in the order in which they are given. The table of
   * arrivals is locked before the first position is taken: see horizon.ts.
   */
  const publish = (settings: string) =>
    onePlan(`WITH ${settings},
${matched},
${counted},
given AS MATERIALIZED (
  SELECT ${nextPosition} AS position, event.*,
    ((SELECT counts FROM counted))[event.kind] > 1 OR (SELECT retains FROM exchange) AS shared
  FROM unnest($6::int[], $7::text[], $8::bytea[]) AS event (kind, headers, payload)
  WHERE ${set}
),
stored AS (
  INSERT INTO ${events} (position, exchange, version, xid, tenant, ${content})
  SELECT position, exchange.id, exchange.version, txid_current(), ($2::text[])[kind], ${now}, ($5::text[])[kind],
    nullif(headers, ''), payload
  FROM given CROSS JOIN exchange
  WHERE shared
),
queued AS (
  INSERT INTO ${deliveries} (subscription, position, ${content})
  SELECT subscription, position, CASE WHEN NOT shared THEN ${now} END, CASE WHEN NOT shared THEN ($5::text[])[given.kind] END,
    CASE WHEN NOT shared THEN nullif(headers, '') END, CASE WHEN NOT shared THEN payload END
  FROM given JOIN matched ON matched.kind = given.kind
),
arrived AS (
  INSERT INTO ${arrivals} (position, subscriptions)
  SELECT min(position), ARRAY(SELECT DISTINCT subscription FROM matched) FROM given HAVING EXISTS (SELECT FROM matched)
),
notified AS MATERIALIZED (SELECT ${notify} AS notified FROM matched LIMIT 1)
SELECT array_agg(position)::text AS positions, (SELECT counts::text FROM counted) AS matches,
  (SELECT notified FROM notified) AS notified
FROM given`)

  /**
   * The same of events of which some have an id, `$9` with the place of the first of the same id in `$10`, or a time, in
   * `$11` or after `$12`.
   *
   * **Why one of an id is stored.** The first of those that are kept, the `leader`, takes the row of the id, which waits for a
   * transaction that has it until that ends. Where none is kept the first looks for the row: its place is negative then.
   * Rows are taken in the order of their ids, so that two publishes do not wait for each other. An event is stored whose
   * position the row then has; of the others the row has the position of the original, which `doubles` answers. It is
   * changed for that too: what is read after it may be gone, and what is read before it may not be there yet. The id of an
   * event that is stored nowhere is over at once.
   */
  const special = (settings: string) =>
    onePlan(`WITH ${settings},
${matched},
${counted},
given AS MATERIALIZED (
  SELECT ${nextPosition} AS position, event.*, coalesce(event.at, ${now} + event.delay) AS due_at
  FROM unnest(
    $6::int[], $7::text[], $8::bytea[], $9::text[], $10::int[], $11::bigint[], $12::bigint[]
  ) WITH ORDINALITY AS event (kind, headers, payload, id, first, at, delay, place)
  WHERE ${set}
),
led AS MATERIALIZED (
  SELECT given.*, coalesce(CASE WHEN first IS NULL THEN 0 ELSE min(place) FILTER (WHERE kept) OVER (PARTITION BY first) END, -first)
    AS leader
  FROM (
    SELECT given.*, ((SELECT counts FROM counted))[kind] > 0
      OR ((SELECT retains FROM exchange) AND (due_at > ${now}) IS NOT TRUE) IS TRUE AS kept
    FROM given
  ) AS given
),
named AS (
  INSERT INTO ${ids} AS named (exchange, tenant, id, position, expires_at, place)
  SELECT exchange.id, given.tenant, given.id, given.position,
    ${now} + CASE WHEN given.kept THEN exchange.deduplication ELSE 0 END, given.place
  FROM (
    SELECT position, place, leader, kept, ($2::text[])[kind] AS tenant, ${storedId("id")} AS id FROM led
  ) AS given
  CROSS JOIN exchange
  WHERE abs(given.leader) = given.place AND exchange.deduplication > 0
  ORDER BY given.tenant COLLATE "C", given.id COLLATE "C"
  ON CONFLICT (exchange, tenant, id) DO UPDATE SET
    position = CASE WHEN named.expires_at <= ${now} THEN EXCLUDED.position ELSE named.position END,
    expires_at = CASE WHEN named.expires_at <= ${now} THEN EXCLUDED.expires_at ELSE named.expires_at END,
    place = EXCLUDED.place
  RETURNING named.position, named.place
),
fresh AS MATERIALIZED (
  SELECT given.position, given.kind, given.headers, given.payload,
    CASE WHEN given.due_at > ${now} THEN given.due_at END AS due_at,
    ((SELECT counts FROM counted))[given.kind] > 1
      OR (SELECT retains FROM exchange) AND (given.due_at > ${now}) IS NOT TRUE AS shared
  FROM given
  WHERE first IS NULL OR (SELECT deduplication > 0 FROM exchange) IS NOT TRUE
  OR (position IN (SELECT position FROM named)) IS TRUE
),
stored AS (
  INSERT INTO ${events} (position, exchange, version, xid, tenant, ${content})
  SELECT position, exchange.id, CASE WHEN due_at IS NULL THEN exchange.version END, txid_current(), ($2::text[])[kind], ${now},
    ($5::text[])[kind], nullif(headers, ''), payload
  FROM fresh CROSS JOIN exchange
  WHERE shared
),
addressed AS MATERIALIZED (
  SELECT matched.subscription, fresh.position, fresh.due_at, CASE WHEN NOT shared THEN ${now} END AS written_at,
    CASE WHEN NOT shared THEN ($5::text[])[fresh.kind] END AS topic,
    CASE WHEN NOT shared THEN nullif(headers, '') END AS headers, CASE WHEN NOT shared THEN payload END AS payload
  FROM fresh JOIN matched ON matched.kind = fresh.kind
),
queued AS (
  INSERT INTO ${deliveries} (subscription, position, ${content})
  SELECT subscription, position, ${content} FROM addressed WHERE due_at IS NULL
),
waiting AS (
  INSERT INTO ${scheduled} (subscription, due_at, event, ${content})
  SELECT subscription, due_at, position, ${content} FROM addressed WHERE due_at IS NOT NULL
),
arrived AS (
  INSERT INTO ${arrivals} (position, subscriptions)
  SELECT min(position), array_agg(DISTINCT subscription) FROM addressed WHERE due_at IS NULL HAVING count(*) > 0
),
notified AS MATERIALIZED (SELECT ${notify} AS notified FROM addressed LIMIT 1),
doubles AS MATERIALIZED (
  SELECT place, position FROM named WHERE (position IN (SELECT position FROM given)) IS NOT TRUE
)
SELECT array_agg(position ORDER BY place)::text AS positions, (SELECT counts::text FROM counted) AS matches,
  CASE WHEN (SELECT deduplication > 0 FROM exchange) THEN array_agg(leader ORDER BY place)::text END AS leaders,
  (SELECT array_agg(place)::text FROM doubles) AS doubles, (SELECT array_agg(position)::text FROM doubles) AS originals,
  (SELECT notified FROM notified) AS notified
FROM led`)

  return {
    publish: publish(own),
    join: publish(joined),
    publishSpecial: special(own),
    joinSpecial: special(joined),
    /** How much each subscription holds that a kind matches. */
    held: `WITH ${matched}
SELECT matched.kind, matched.subscription, count(pending.bytes) AS rows, coalesce(sum(pending.bytes), 0) AS bytes
FROM matched LEFT JOIN LATERAL ${pendingOf("matched.subscription", parts)} AS pending ON true
GROUP BY matched.kind, matched.subscription`
  }
}
