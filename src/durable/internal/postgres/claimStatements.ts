/** The statements of the lives of owners, and of their leases. */
import { content, dueAt, first, laneDueAt, now, onePlan, type Parts, set } from "./parts.ts"
import { never } from "./postgresRows.ts"

/** How many arrivals, and leases of owners that are gone, one claim turns into times; and how many that are due it puts in place. */
export const most = 1_000

/** Up to this many subscriptions are looked up one by one, and not among all that are due. */
export const few = 100

/**
 * How many lanes of a lease are in the answer, which is as many as keys have. Those that are positions, of what waits without a
 * key, are read in the order of their times: which of them are in the answer does not matter where there are more.
 */
const mostLanes = 65_536

/** When to claim again what another claim had locked, in milliseconds. */
const again = 10

/**
 * An owner that was renewed at a time further ahead than it lasts is from before the server's clock was set back, or from
 * a server before a failover whose clock was ahead. Its time is over too: a dead owner would last as long again as the
 * clock was wrong, and one that lives is renewed by the clock as it is.
 */
const isOver = `(gone OR expires_at <= ${now} OR renewed_at - ${now} > expires_at - renewed_at)`

/**
 * **Why no arrival is slept through.** A claim marks leases in one statement, and rows are read by a later one, `take`,
 * whose snapshot has what was committed before the mark. An arrival that another claim has locked is passed over; as that
 * claim is not visible yet, the answer then says to claim again soon.
 *
 * **Why no due time is lost.** The statement's snapshot may be older than the lock of a row that it waited for. What it
 * would then write from other tables, such as the next due time, may lack what was committed in between. Each change of a
 * lease counts its `version` up, and where that differs from the snapshot's the lease stays due: it is claimed once too
 * often.
 *
 * **Why what is scheduled comes once.** A claim moves rows whose time has come, at positions after all others, and
 * touches their leases as an arrival does. What another claim has locked it passes over, and says to claim again soon. Each
 * answer has the next of the times, whosever it is, and a writer notifies: so all processes claim when it has come. Most
 * claims have nothing to move, and their text only looks for the first of the times.
 *
 * **Why no new definition is slept through.** It leaves an arrival that is marked as such. The claim that turns it marks the lease
 * of another owner as `redefined`, from when it is ready at once, even while its subscription waits, until a claim of that owner.
 *
 * **Why owners are read to a limit.** Postgres takes a table that was never analyzed for one of some hundred rows, and a subquery
 * for each made a claim dear enough to be compiled: 150 ms of the server's CPU for one of 2 ms.
 *
 * **Locks.** Leases are locked in the order of their subscriptions, and then those that are free, which wait for none. An
 * owner that is found to be over while its own claim runs may acquire all the same: claims free the leases of owners that
 * are gone for as long as their rows are there. What acquires and moves nothing need not be on disk: after a crash its
 * arrivals are there again. Positions are to be on disk before they are given out, so that none comes a second time.
 */
export const claimStatements = (parts: Parts) => {
  const { arrivals, delayed, deliveries, exchanges, leases, notify, own, owners, nextPosition, scheduled } = parts

  /** What is due, and its move to the end of the order. */
  const brought = `coming AS MATERIALIZED (
  SELECT * FROM (
    SELECT ctid AS at, due_at FROM ${scheduled}
    WHERE due_at >= $7::bigint AND due_at <= ${now} ORDER BY due_at, event ${first(most)}
  ) AS coming LIMIT ${most}
),
brought AS (
  DELETE FROM ${scheduled} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ${scheduled} WHERE ctid = ANY(ARRAY(SELECT at FROM coming)) AND ${set} FOR UPDATE SKIP LOCKED
  ))
  RETURNING *
),
placed AS (
  INSERT INTO ${deliveries} (subscription, position, event, ${content})
  SELECT subscription, ${nextPosition}, event, ${content}
  FROM (SELECT * FROM brought ORDER BY due_at, event) AS sorted
),
`

  /**
   * `$2` are subscriptions, each once, or, of a claim of a `whole` exchange, its name. `$4` is where arrivals begin, `$5` owners that
   * are gone, `$6` what the process knows it has, if that is in doubt, `$7` where due times begin.
   */
  const claim = (brings: boolean, of: "few" | "many" | "whole") => {
    // subscriptions by a hash, however many there are, and an exchange by its index
    const isGiven =
      of === "whole" ? "exchange = (SELECT id FROM wanted)" : "(subscription IN (SELECT unnest($2::bigint[]))) IS TRUE"
    // few are looked up one by one: others may be as many as there are
    const among = (condition: string) =>
      of === "few" ? `asked WHERE ${condition}` : `${leases} WHERE ${condition} AND ${isGiven}`
    const isFree = "owner IS NULL AND active"
    const isOpen = "subscription <> ALL(ARRAY(SELECT subscription FROM known)) AND EXISTS (SELECT FROM me)"
    const freeColumns = "subscription, exchange, version, not_before, ready_at"
    const free =
      of === "few"
        ? `SELECT lease.* FROM (SELECT unnest($2::bigint[]) AS id) AS given CROSS JOIN LATERAL (
    SELECT ${freeColumns} FROM ${leases}
    WHERE subscription = given.id AND (${isFree} AND ready_at <= ${now}) IS TRUE AND ${isOpen}
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS lease
  ORDER BY ready_at LIMIT least($3::bigint, ${most})`
        : `SELECT ${freeColumns} FROM ${among(`${isFree} AND ready_at <= ${now}`)} AND ${isOpen}
  ORDER BY ready_at LIMIT least($3::bigint, ${most})
  FOR NO KEY UPDATE SKIP LOCKED`
    const wanted = `wanted AS MATERIALIZED (SELECT id FROM ${exchanges} WHERE name = $2::text),
`
    const asked = `asked AS MATERIALIZED (
  SELECT lease.* FROM (SELECT unnest($2::bigint[]) AS id) AS given CROSS JOIN LATERAL (
    SELECT subscription, owner, active, ready_at FROM ${leases} WHERE subscription = given.id LIMIT 1
  ) AS lease
),
`
    return onePlan(`WITH ${own},
${of === "whole" ? wanted : ""}me AS MATERIALIZED (SELECT id FROM ${owners} WHERE id = $1::int AND NOT gone),
over AS MATERIALIZED (
  SELECT id FROM ${owners} WHERE id <> $1::int AND (${isOver} OR id = ANY($5::int[])) AND ${set}
  FOR NO KEY UPDATE SKIP LOCKED
),
ended AS (UPDATE ${owners} SET gone = true WHERE id = ANY(ARRAY(SELECT id FROM over)) AND NOT gone),
arrived AS MATERIALIZED (
  SELECT position FROM ${arrivals} WHERE position >= $4::bigint ORDER BY position ${first(most)}
),
turned AS (
  DELETE FROM ${arrivals} WHERE position = ANY(ARRAY(
    SELECT position FROM ${arrivals} WHERE position = ANY(ARRAY(SELECT position FROM arrived)) FOR UPDATE SKIP LOCKED
  ))
  RETURNING subscriptions, redefined
),
${brings ? brought : ""}due AS MATERIALIZED (
  SELECT subscription FROM ${leases}
  WHERE owner = $1::int AND ready_at <= ${now} AND active AND (not_before <= ${now} OR redefined)
  ORDER BY ready_at ${first(most)}
),
orphans AS MATERIALIZED (
  SELECT lease.subscription
  FROM over CROSS JOIN LATERAL (
    SELECT subscription FROM ${leases} WHERE owner = over.id ORDER BY ready_at ${first(most)}
  ) AS lease
  LIMIT ${most}
),
seen AS MATERIALIZED (
  SELECT mark.subscription, bool_or(mark.touched) AS touched, bool_or(mark.redefined) AS redefined,
    max(lease.version) AS version
  FROM (
    SELECT unnest(
      ARRAY(SELECT unnest(subscriptions) FROM turned WHERE redefined IS NULL)${brings ? " || ARRAY(SELECT DISTINCT subscription FROM brought)" : ""}
    ) AS subscription, true AS touched, false AS redefined
    UNION ALL
    SELECT unnest(subscriptions), false, true FROM turned WHERE redefined
    UNION ALL
    SELECT unnest(
      ARRAY(SELECT subscription FROM due) || ARRAY(SELECT subscription FROM orphans) ||
      ARRAY(SELECT subscription FROM ${leases} WHERE owner = $1::int AND $6::bigint[] IS NOT NULL ORDER BY ready_at)
    ), $6::bigint[] IS NOT NULL, $6::bigint[] IS NOT NULL
  ) AS mark
  CROSS JOIN LATERAL (SELECT version FROM ${leases} WHERE subscription = mark.subscription LIMIT 1) AS lease
  GROUP BY mark.subscription ORDER BY mark.subscription
),
known AS MATERIALIZED (
  SELECT lease.subscription, lease.exchange, lease.active, lease.not_before, lease.ready_at,
    seen.version = lease.version AS same,
    seen.touched, seen.redefined OR lease.redefined AS redefined,
    lease.owner IS NULL AS free,
    coalesce(lease.owner = ANY(ARRAY(SELECT id FROM over)), false)
      OR coalesce(lease.owner = $1::int AND lease.subscription <> ALL($6::bigint[]), false) AS orphan,
    coalesce(lease.owner = $1::int AND (lease.subscription <> ALL($6::bigint[])) IS NOT TRUE, false) AS mine
  FROM seen
  CROSS JOIN LATERAL (
    SELECT subscription, exchange, version, owner, active, not_before, ready_at, redefined FROM ${leases} AS lease
    WHERE lease.subscription = seen.subscription AND ${set}
    FOR NO KEY UPDATE
  ) AS lease
),
free AS MATERIALIZED (
  ${free}
),
judged AS MATERIALIZED (
  SELECT known.*,
    mine AND active AND (redefined OR not_before <= ${now} AND (touched OR ready_at <= ${now})) AS woken,
    active AND (free OR orphan) AND not_before <= ${now} AND (touched OR orphan OR ready_at <= ${now})
      AND (${isGiven}) IS TRUE AND EXISTS (SELECT FROM me) AS claimable
  FROM known
  UNION ALL
  (SELECT subscription, exchange, true, not_before, ready_at,
    version = (SELECT version FROM ${leases} AS before WHERE before.subscription = free.subscription),
    false, false, true, false, false, false, true
  FROM free LIMIT ${most})
),
decided AS MATERIALIZED (
  SELECT *, claimable AND count(*) FILTER (WHERE claimable) OVER (ORDER BY ready_at, subscription) <= $3::bigint AS acquired
  FROM judged
),
changed AS (
  UPDATE ${leases} AS lease SET
    owner = CASE WHEN acquired THEN $1::int WHEN orphan THEN NULL ELSE lease.owner END,
    epoch = lease.epoch + acquired::int,
    version = lease.version + 1,
    redefined = decided.redefined AND NOT (acquired OR woken OR free OR orphan),
    ready_at = CASE
      WHEN NOT acquired AND NOT mine THEN CASE
        WHEN orphan THEN greatest(lease.not_before, least(lease.ready_at, ${now}))
        WHEN decided.redefined AND NOT free THEN least(lease.ready_at, ${now})
        WHEN touched THEN least(lease.ready_at, greatest(${now}, lease.not_before))
        ELSE lease.ready_at
      END
      WHEN NOT acquired AND NOT (woken AND lease.ready_at <= ${now}) THEN lease.ready_at
      WHEN NOT acquired AND lease.not_before > ${now} THEN lease.not_before
      WHEN NOT same THEN least(lease.ready_at, ${now})
      ELSE ${laneDueAt(parts, `due_at > ${now}`)}
    END
  FROM decided
  WHERE lease.subscription = decided.subscription AND lease.subscription = ANY(ARRAY(SELECT subscription FROM decided))
  RETURNING lease.subscription, lease.exchange, lease.active, lease.ready_at, lease.owner, lease.epoch, lease.attempts, lease.first_failed_at, lease.failing_since,
    acquired, woken, orphan
),
${of === "few" ? asked : ""}next AS MATERIALIZED (
  SELECT (
    SELECT due_at FROM ${scheduled} WHERE due_at >= $7::bigint ${brings ? `AND due_at > ${now}` : ""} ORDER BY due_at LIMIT 1
  ) AS due_at
),
future AS (
  SELECT expires_at AS ready_at FROM (
    SELECT id, expires_at FROM ${owners}
    WHERE id <> $1::int AND id <> ALL(ARRAY(SELECT id FROM over)) AND NOT gone ORDER BY expires_at ${first(most)}
  ) AS other
  WHERE (SELECT subscription FROM ${among("owner = other.id AND active")} ORDER BY ready_at LIMIT 1) IS NOT NULL
  UNION ALL
  (SELECT ready_at FROM ${leases}
    WHERE owner = $1::int AND active AND ready_at > ${now} AND ready_at < ${never}
    AND subscription <> ALL(ARRAY(SELECT subscription FROM decided)) ORDER BY ready_at LIMIT 1)
  UNION ALL
  (SELECT ready_at FROM ${among(`${isFree} AND ready_at > ${now} AND ready_at < ${never}`)} ORDER BY ready_at LIMIT 1)
  UNION ALL
  SELECT ready_at FROM changed
  WHERE active AND ready_at < ${never} AND (owner = $1::int OR owner IS NULL AND ready_at > ${now} AND ${isGiven})
  UNION ALL
  SELECT due_at FROM next WHERE due_at IS NOT NULL
  UNION ALL
  SELECT ${now} + ${again}
  WHERE (SELECT count(*) FROM arrived) > (SELECT count(*) FROM turned)
  ${brings ? "OR (SELECT count(*) FROM coming) > (SELECT count(*) FROM brought)" : ""}
  OR ${most} IN (${["arrived", "due", "orphans", ...(brings ? ["coming"] : [])].map((one) => `(SELECT count(*) FROM ${one})`).join(", ")})
  OR (SELECT count(*) FROM decided WHERE claimable) < $3::bigint AND (
    SELECT subscription FROM ${among(`${isFree} AND ready_at <= ${now}`)}
    AND subscription <> ALL(ARRAY(SELECT subscription FROM decided)) AND EXISTS (SELECT FROM me)
    ORDER BY ready_at LIMIT 1
  ) IS NOT NULL
)
SELECT claims.*, (SELECT min(ready_at) FROM future) - ${now} AS wait,
  (SELECT min(position) FROM arrived) AS first, (SELECT max(position) FROM arrived) AS last,
  (SELECT count(*) FROM turned) AS turned, ${brings ? "(SELECT count(*) FROM brought)" : "0"} AS brought, ${now} AS at,
  (SELECT due_at FROM next) AS next, ${brings ? "(SELECT min(due_at) FROM coming)" : "(SELECT due_at FROM next)"} AS coming,
  (SELECT array_agg(subscription)::text FROM ${leases} WHERE owner = $1::int AND NOT active) AS inactive,
  EXISTS (SELECT FROM ${owners} WHERE id <> $1::int AND locked AND NOT gone) AS others,
  CASE
    WHEN EXISTS (SELECT FROM changed WHERE orphan AND NOT acquired) THEN ${notify}
    WHEN NOT EXISTS (SELECT FROM changed WHERE acquired)${brings ? " AND NOT EXISTS (SELECT FROM brought)" : ""}
    THEN set_config('synchronous_commit', 'off', true)
  END AS done
FROM (SELECT) AS one
LEFT JOIN (
  SELECT changed.subscription, attempts, first_failed_at, failing_since, CASE WHEN acquired THEN epoch END AS epoch, lanes.lanes, lanes.firsts
  FROM changed LEFT JOIN LATERAL (
    SELECT array_agg(lane)::text AS lanes, array_agg(position)::text AS firsts FROM (
      SELECT * FROM (
        (SELECT lane, position FROM ${delayed} AS lane
        WHERE lane.subscription BETWEEN changed.subscription AND changed.subscription
        AND due_at IS NOT NULL AND lane.lane IS NOT NULL AND changed.acquired
        ORDER BY lane.subscription, lane.lane ${first(mostLanes)})
        UNION ALL
        (SELECT position, position FROM ${delayed} AS lane
        WHERE lane.subscription BETWEEN changed.subscription AND changed.subscription
        AND due_at IS NOT NULL AND lane.lane IS NULL AND changed.acquired
        ORDER BY lane.subscription, lane.due_at ${first(mostLanes)})
      ) AS lane
      ORDER BY lane LIMIT ${mostLanes}
    ) AS lane
  ) AS lanes ON true
  WHERE acquired OR woken
) AS claims ON true`)
  }

  return {
    renew: `WITH ${own},
kept AS (
  UPDATE ${owners} SET renewed_at = ${now}, expires_at = ${now} + $3::bigint
  WHERE id = $1::int AND NOT gone AND ${set}
  RETURNING id
),
made AS (
  INSERT INTO ${owners} (name, renewed_at, expires_at)
  SELECT $2, ${now}, ${now} + $3::bigint WHERE NOT EXISTS (SELECT FROM kept)
  RETURNING id
)
SELECT id FROM kept UNION ALL SELECT id FROM made`,

    few: { claim: claim(false, "few"), bring: claim(true, "few") },
    many: { claim: claim(false, "many"), bring: claim(true, "many") },
    whole: { claim: claim(false, "whole"), bring: claim(true, "whole") },

    /**
     * All leases of the owner, and the owner with them, where `$2` is NULL: the owner is locked first, as by a claim that takes it
     * for gone, which waits for its leases.
     */
    release: onePlan(`WITH ${own},
mine AS MATERIALIZED (
  SELECT id FROM ${owners} WHERE id = $1::int AND $2::bigint[] IS NULL AND ${set} FOR NO KEY UPDATE
),
seen AS MATERIALIZED (
  SELECT subscription, version FROM ${leases}
  WHERE owner = $1::int AND ($2::bigint[] IS NULL OR subscription = ANY($2::bigint[])) AND ${set}
  AND (SELECT count(*) FROM mine) >= 0
),
locked AS MATERIALIZED (
  SELECT lease.subscription, lease.version = seen.version AS same
  FROM (SELECT * FROM seen ORDER BY subscription) AS seen
  CROSS JOIN LATERAL (
    SELECT subscription, version FROM ${leases} AS lease
    WHERE lease.subscription = seen.subscription AND (lease.owner = $1::int) IS TRUE
    AND ($2::bigint[] IS NULL OR (lease.subscription, lease.epoch) IN (SELECT * FROM unnest($2::bigint[], $3::bigint[])))
    FOR NO KEY UPDATE
  ) AS lease
),
freed AS (
  UPDATE ${leases} AS lease SET owner = NULL, redefined = false, version = lease.version + 1, ready_at = greatest(
    lease.not_before,
    ${dueAt("same", parts)}
  )
  FROM locked
  WHERE lease.subscription = locked.subscription AND lease.subscription = ANY(ARRAY(SELECT subscription FROM locked))
  RETURNING lease.subscription
),
ended AS (
  UPDATE ${owners} SET gone = true WHERE id = $1::int AND $2::bigint[] IS NULL AND (SELECT count(*) FROM locked) >= 0
)
SELECT ${notify} AS notified FROM freed LIMIT 1`)
  }
}
