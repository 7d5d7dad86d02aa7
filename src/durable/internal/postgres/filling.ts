/** Fills what an exchange has retained into new subscriptions that start with the oldest event. */
import { first, isTopicOf, now, type Parts, set } from "./parts.ts"
import { never } from "./postgresRows.ts"

/** How many events one statement reads. */
const most = 10_000

/** How long a fill that is over is kept, in milliseconds: longer than a horizon is cached, and an answer takes. */
const grace = 60_000

/**
 * One batch of one subscription; `$1` are the subscriptions, or NULL for all. Answers whether there was one to fill.
 *
 * A publish that began before the definition was committed does not know the subscription, and may commit after this has
 * read the events. Its events have a lower `version` of the exchange than the subscription. Its transaction may be younger
 * than that of the definition, which may have waited, and is older than the end of the first pass, `xid`. So when all
 * transactions from before that have ended, a second pass fills what the first, whose snapshot is `done`, could not see; what
 * that saw was filled then, and may be acknowledged by now. It waits for a second at least: a publish that had begun may have
 * had no transaction id. A pass of several statements sees with the snapshot of its first, `pass`.
 *
 * What is filled in may stand below the horizon of a process (horizon.ts). So a subscription is read from its beginning while
 * its row is in `fills`, where that stays for a while after the last pass: `position` says that it is over, and `since` since
 * when.
 */
export const fillText = (parts: Parts): string => {
  const { arrivals, deliveries, events, exchanges, fills, notify, own, nextPosition, subscriptions } = parts
  const isEnd = `batch.count < ${most}`
  const ended = (snapshot: string, fill: string) =>
    `${fill}.done IS NOT NULL AND txid_snapshot_xmin(${snapshot}) > ${fill}.xid AND ${fill}.since < ${now} - 1000`
  const isLast = `(${ended("chosen.pass::txid_snapshot", "chosen")})`
  return `WITH ${own},
chosen AS MATERIALIZED (
  SELECT fill.subscription, fill.version, fill.xid, fill.since, fill.position, fill.done,
    coalesce(fill.pass, txid_current_snapshot()::text) AS pass,
    subscription.exchange, subscription.tenant, subscription.topics,
    ${now} - (SELECT retention FROM ${exchanges} WHERE id = subscription.exchange) AS oldest
  FROM ${fills} AS fill JOIN ${subscriptions} AS subscription ON subscription.id = fill.subscription
  WHERE ($1::bigint[] IS NULL OR fill.subscription = ANY($1::bigint[])) AND ${set} AND fill.position < ${never} AND (
    fill.pass IS NOT NULL OR fill.done IS NULL
    OR ${ended("txid_current_snapshot()", "fill")}
  )
  ORDER BY fill.subscription LIMIT 1 FOR UPDATE OF fill SKIP LOCKED
),
batch AS MATERIALIZED (
  SELECT * FROM ${events} WHERE position > (SELECT position FROM chosen) ORDER BY position ${first(most)}
),
filled AS (
  INSERT INTO ${deliveries} (subscription, position)
  SELECT chosen.subscription, batch.position
  FROM chosen CROSS JOIN batch
  WHERE batch.exchange = chosen.exchange AND batch.tenant = chosen.tenant AND batch.version < chosen.version
  AND batch.written_at > chosen.oldest
  AND txid_visible_in_snapshot(batch.xid, chosen.pass::txid_snapshot)
  AND NOT coalesce(txid_visible_in_snapshot(batch.xid, chosen.done::txid_snapshot), false)
  AND EXISTS (SELECT FROM unnest(chosen.topics) AS pattern WHERE ${isTopicOf("batch.topic", "pattern")})
  ORDER BY batch.position
  RETURNING subscription
),
arrived AS (
  INSERT INTO ${arrivals} (position, subscriptions)
  SELECT ${nextPosition}, ARRAY[subscription] FROM filled GROUP BY subscription
),
noted AS (
  UPDATE ${fills} AS fill SET
    position = CASE WHEN NOT ${isEnd} THEN batch.last WHEN ${isLast} THEN ${never} ELSE 0 END,
    xid = CASE WHEN ${isEnd} AND chosen.done IS NULL THEN txid_current() ELSE fill.xid END,
    since = CASE WHEN ${isEnd} THEN ${now} ELSE fill.since END,
    pass = CASE WHEN NOT ${isEnd} THEN chosen.pass END,
    done = CASE WHEN ${isEnd} THEN chosen.pass ELSE fill.done END
  FROM chosen, (SELECT count(*), max(position) AS last FROM batch) AS batch
  WHERE fill.subscription = chosen.subscription
),
gone AS (
  DELETE FROM ${fills} WHERE subscription = ANY(ARRAY(
    SELECT subscription FROM ${fills} WHERE position = ${never} AND since < ${now} - ${grace} FOR UPDATE SKIP LOCKED
  ))
)
SELECT count(*) AS rows, CASE WHEN EXISTS (SELECT FROM filled) THEN ${notify} END AS notified FROM chosen`
}
