/** The statements of a settlement. */
import { bytesOf, content, eventOf, keepOutcomes, laneOf, now, ofLane, onePlan, type Parts, set } from "./parts.ts"

/** How many attempts of a delivery are kept. */
export const mostAttempts = 10

/**
 * Keeps attempts, `$n` the subscription of each, and then position, time, duration, error and detail, and outcomes of `ended`. A
 * settlement has its lease to itself or, as another of the same owner, the rows of a delivery: so no row is counted twice.
 */
const outcomesText = (parts: Parts, n: number, ended: string): string => {
  const { attempts, delayed, deliveries, events } = parts
  const found = (table: string) => `
    SELECT ${eventOf("delivery")} AS event, delivery.topic FROM ${table} AS delivery
    WHERE delivery.subscription = tried.subscription AND delivery.position BETWEEN tried.position AND tried.position`
  const rows = `SELECT ${eventOf("ended")} AS event, ended.topic, ended.written_at, ended.dropped, held.subscription, held.keeps
    FROM (${ended}) AS ended JOIN held ON held.subscription = ended.subscription`
  return `,
tried AS MATERIALIZED (
  SELECT tried.*, held.keeps FROM unnest($${n}::bigint[], $${n + 1}::bigint[], $${n + 2}::float8[], $${n + 3}::float8[], $${n + 4}::text[], $${n + 5}::text[])
    WITH ORDINALITY AS tried (subscription, position, at, took, error, detail, place)
  JOIN held ON held.subscription = tried.subscription AND held.same AND held.keeps IS NOT NULL
),
noted AS (
  INSERT INTO ${attempts} (event, subscription, kept_at, exchange, place, at, took, topic, error, detail)
  SELECT delivery.event, tried.subscription, ${now}, tried.keeps, tried.place, tried.at, tried.took,
    coalesce(delivery.topic, (SELECT topic FROM ${events} WHERE position = delivery.event)), tried.error, tried.detail
  FROM tried CROSS JOIN LATERAL (SELECT event, topic FROM (${found(deliveries)} UNION ALL${found(delayed)}
  ) AS delivery LIMIT 1) AS delivery
  RETURNING event, subscription
),
trimmed AS (
  DELETE FROM ${attempts} WHERE ctid = ANY(ARRAY(
    SELECT old.at
    FROM (SELECT event, subscription, count(*) AS rows FROM noted GROUP BY event, subscription) AS more CROSS JOIN LATERAL (
      SELECT ctid AS at FROM ${attempts} AS kept WHERE kept.event = more.event AND -kept.subscription = -more.subscription
      ORDER BY kept.kept_at DESC, kept.place DESC OFFSET ${mostAttempts} - more.rows
    ) AS old
  ))
),
ended AS (${keepOutcomes(rows, "CASE WHEN ended.dropped THEN 'Dropped' ELSE 'Delivered' END", parts)}
)`
}

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
 *
 * **Outcomes.** There are texts for leases of which outcomes are kept, with `keeps`, and texts for the others, which do
 * nothing for a lease of which they are: the answer says so, and the settlement is given again in the other text. So what is
 * kept costs nothing where nothing is, and none is left out by a process that has not heard of it yet.
 */
export const settleStatements = (parts: Parts, keeps: boolean) => {
  const { deadLetters, delayed, deliveries, events, leases, notify, own } = parts
  const held = (lock: string, same: string) => `held AS MATERIALIZED (
  SELECT lease.subscription, ${keeps ? same : `(${same} AND lease.keeps IS NULL)`} AS same, lease.keeps
  FROM (SELECT * FROM unnest($2::bigint[], $3::bigint[]) AS given (subscription, epoch) ORDER BY subscription) AS given
  CROSS JOIN LATERAL (
    SELECT subscription, version, keeps FROM ${leases} AS lease
    WHERE lease.subscription = given.subscription AND (lease.epoch = given.epoch AND lease.owner = $1::int AND ${set}) IS TRUE
    FOR ${lock}
  ) AS lease
)`
  const isUnchanged = `lease.version = (SELECT version FROM ${leases} AS before WHERE before.subscription = given.subscription)`
  /** A row for each lease that is held, with what was removed. */
  const answer = `SELECT held.subscription, held.same, held.keeps IS NOT NULL AS keeps, removed.rows, removed.bytes,
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
  const columns = `position, event, ${content}`
  const columnsOf = (row: string) => columns.replaceAll(/\w+/g, (column) => `${row}.${column}`)
  const isGiven = (row: string) => `given.subscription = ${row}.subscription AND given.position = ${row}.position`
  /** What is kept of the attempts `$n` and of what is removed for good. */
  const kept = (n: number, removed: string) => (keeps ? outcomesText(parts, n, removed) : "")

  return {
    /** For what is acknowledged in order, which is almost all: `$4`, `$5` subscription and position of each, `$7` if it is dropped. */
    acknowledge: onePlan(`WITH ${own},
${held("SHARE", "true")},
removed AS (
  DELETE FROM ${deliveries} AS delivery
  WHERE ctid = ANY(ARRAY(
    SELECT found.at
    FROM unnest($4::bigint[], $5::bigint[]) AS given (subscription, position) CROSS JOIN ${found(deliveries)}
    WHERE given.subscription = ANY(ARRAY(SELECT subscription FROM held WHERE same))
  ))
  RETURNING delivery.subscription, ${keeps ? "delivery.position, delivery.event, delivery.topic, delivery.written_at, " : ""}${bytes("delivery")}
)${kept(
      8,
      `SELECT removed.*, given.dropped
  FROM removed JOIN unnest($4::bigint[], $5::bigint[], $7::boolean[]) AS given (subscription, position, dropped)
  ON ${isGiven("removed")}`
    )}
${answer}`),

    /**
     * Also what is set aside, and waits. Of a lane that something became of, the first row has the time: that of its `Again`,
     * its own where it was the first before, or now. Rows are set aside in order, so that pages of the index get full.
     *
     * The statement's snapshot may be older than what it waited for, such as another settlement of the same lease, and then
     * it would take a row for the first that is gone. So where the lease has changed since the snapshot nothing is done.
     *
     * What is waited for may be purged: that is the end of the wait. `$18` are failing, and `$19` are not any more.
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
  SELECT found.at, given.*, ${laneOf("found")} AS of_lane FROM given CROSS JOIN ${found(delayed)}
),
out_of_lane AS (
  DELETE FROM ${delayed} AS delivery
  WHERE ctid = ANY(ARRAY(SELECT at FROM in_lane WHERE what IN ('ack', 'drop', 'dead')))
  RETURNING delivery.*
),
left_lane AS MATERIALIZED (
  SELECT out_of_lane.*, given.what, given.tried, given.reason, given.cause
  FROM out_of_lane JOIN given ON ${isGiven("out_of_lane")}
),
stays AS MATERIALIZED (
  SELECT at, subscription, position, of_lane AS lane, what, delay, tried FROM in_lane WHERE what IN ('again', 'aside')
),
taken_out AS MATERIALIZED (
  SELECT ordered.*, given.what, given.lane, given.delay, given.tried, given.reason, given.cause
  FROM ordered JOIN given ON ${isGiven("ordered")}
),
moved AS MATERIALIZED (SELECT * FROM taken_out WHERE what IN ('again', 'aside')),
lanes AS MATERIALIZED (
  SELECT subscription, lane, min(position) AS position,
    (array_agg(CASE WHEN what = 'again' THEN delay END ORDER BY position))[1] AS delay
  FROM (
    SELECT subscription, lane, position, what, delay FROM moved
    UNION ALL SELECT subscription, lane, position, what, delay FROM stays
    UNION ALL SELECT subscription, ${laneOf("left_lane")}, NULL, what, NULL FROM left_lane
  ) AS of_lane
  GROUP BY subscription, lane
),
firsts AS MATERIALIZED (
  SELECT lanes.subscription, lanes.lane, before.at, before.position AS before, least(before.position, moved.position) AS position,
    CASE
      WHEN lanes.position = least(before.position, moved.position) AND lanes.delay IS NOT NULL THEN ${now} + lanes.delay
      WHEN before.position < coalesce(moved.position, before.position + 1) AND before.due_at IS NOT NULL THEN before.due_at
      ELSE ${now}
    END AS due_at
  FROM lanes
  LEFT JOIN LATERAL ${ofLane(
    parts,
    "delivery.ctid AS at, delivery.position, delivery.due_at",
    ["lanes.subscription", "lanes.lane"],
    "delivery.ctid <> ALL(ARRAY(SELECT at FROM in_lane WHERE what IN ('ack', 'drop', 'dead')))",
    "1"
  )} AS before ON true
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
  INSERT INTO ${delayed} (subscription, lane, ${columns}, attempts, first_failed_at, due_at)
  SELECT moved.subscription, nullif(moved.lane, moved.position), ${columnsOf("moved")},
    CASE WHEN what = 'again' THEN tried ELSE attempts END,
    CASE WHEN what = 'again' THEN ${now} END,
    CASE WHEN moved.position = firsts.position THEN firsts.due_at END
  FROM moved JOIN firsts ON firsts.subscription = moved.subscription AND firsts.lane = moved.lane
  ORDER BY moved.subscription, moved.position
),
removed AS MATERIALIZED (
  SELECT subscription, what, tried, reason, cause, ${columns}, ${bytes("taken_out")} FROM taken_out WHERE what IN ('ack', 'drop', 'dead')
  UNION ALL
  SELECT subscription, what, tried, reason, cause, ${columns}, ${bytes("left_lane")} FROM left_lane
),
dead AS (
  INSERT INTO ${deadLetters} (subscription, attempts, dead_lettered_at, reason, cause, ${columns})
  SELECT subscription, tried, ${now}, reason, cause, ${columns} FROM removed WHERE what = 'dead'
)${kept(20, "SELECT *, what = 'drop' AS dropped FROM removed WHERE what IN ('ack', 'drop')")},
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
    failing_since = CASE
      WHEN lease.subscription = ANY($18::bigint[]) THEN coalesce(lease.failing_since, ${now})
      WHEN lease.subscription <> ALL($19::bigint[]) THEN lease.failing_since
    END,
    not_before = CASE WHEN wait.waits THEN ${now} + wait.delay WHEN wait.attempts = 0 THEN 0 ELSE lease.not_before END,
    reason = CASE WHEN wait.attempts IS NULL THEN lease.reason WHEN wait.waits THEN wait.reason END,
    waits_for = CASE WHEN wait.attempts IS NULL THEN lease.waits_for WHEN wait.waits THEN wait.position END,
    ready_at = CASE
      WHEN lease.redefined THEN least(lease.ready_at, ${now})
      WHEN wait.waits THEN ${now} + wait.delay
      WHEN wait.attempts = 0 THEN least(CASE WHEN lease.not_before > 0 THEN ${now} ELSE lease.ready_at END, due.due_at)
      ELSE greatest(least(lease.ready_at, due.due_at), lease.not_before)
    END
  FROM held
  LEFT JOIN (
    SELECT subscription, delay, reason, position, is_there AND (attempts > 0 OR delay > 0) AS waits,
      CASE WHEN is_there THEN attempts ELSE 0 END AS attempts
    FROM unnest($13::bigint[], $14::bigint[], $15::bigint[], $16::text[], $17::bigint[])
      AS given (subscription, delay, attempts, reason, position)
    CROSS JOIN LATERAL (
      SELECT position IS NULL OR EXISTS (SELECT FROM ${found(deliveries)}) OR EXISTS (SELECT FROM ${found(delayed)}) AS is_there
    ) AS waited
  ) AS wait
  ON wait.subscription = held.subscription
  LEFT JOIN (SELECT subscription, min(due_at) AS due_at FROM firsts WHERE position IS NOT NULL GROUP BY subscription) AS due
  ON due.subscription = held.subscription
  WHERE lease.subscription = held.subscription AND held.same AND lease.subscription = ANY($2::bigint[])
)
${answer}`)
  }
}
