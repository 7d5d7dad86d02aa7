/** The statements of a store, as text: each one is a transaction of its own. */
import type { Names } from "./names.ts"

/** Milliseconds since 1970 of the server's clock, now, and not when the transaction began. */
export const clock = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

/**
 * **How an owner that lost its lease is kept out.** `acknowledge` and `deadLetter` read the lease of the owner's epoch
 * in the statement that removes the events, and lock its row against change, `FOR SHARE`, until they have committed. A
 * takeover is an UPDATE of that row, so the two come one after the other:
 *
 * - The takeover has the row first. The statement waits for its lock. Its snapshot is older than the takeover's commit and
 *   would show the old epoch; but under READ COMMITTED Postgres checks the newest version of a row that it waited for
 *   against the condition again, finds a greater epoch, and leaves it out. `held` is empty, and `EXISTS`, which is checked
 *   before the first event is searched, removes none.
 * - The statement has the row first. The takeover waits, at most until the statement's end, and what the new owner reads
 *   after it no longer has the events.
 *
 * Under a stricter default isolation the first case is a serialization failure instead, and nothing is done either.
 * `next` takes no lock: it must not hold one while a paused owner does not read the answer. It sees the lease and the
 * events in one snapshot, and so gives events only of a time at which the lease was the owner's.
 *
 * Only the epoch decides. An expired lease is held until another owner takes it or, `expires_at IS NULL`, it was
 * released.
 *
 * A lease that was acquired or renewed at a time further ahead than it lasts is from before the server's clock was set
 * back, or from a server before a failover whose clock was ahead. It has expired too: the lease of a dead owner would
 * last as long again as the clock was wrong, and an owner that lives renews it by the clock as it is.
 *
 * **Settings.** A statement that waits for a row's lock gives up after `lock_timeout`, and what it did is on disk, even
 * where the database's default is not to wait for that. Both are set by the statement itself, `settings`, until its own
 * end, so that they touch no other statement on the connection. There is no transaction in which a paused process could
 * hold a lock: the server ends each statement on its own.
 */
export const statements = ({ channel, deadLetters, events, leases }: Names, lockTimeout: number) => {
  const own = `settings AS MATERIALIZED (
  SELECT ${clock} AS now, (
    set_config('lock_timeout', '${lockTimeout}', true) ||
    set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true)
  ) IS NOT NULL AS ok
)`
  const set = "(SELECT ok FROM settings)"
  // a void has a text, which is empty
  const notify = `pg_notify('${channel}', left($1::text, 1000))::text`
  const held = `held AS MATERIALIZED (
  SELECT FROM ${leases} WHERE queue = $1 AND epoch = $2::bigint AND expires_at IS NOT NULL AND ${set} FOR SHARE
)`
  const removed = (table: string) => `
SELECT
  EXISTS (SELECT FROM held) AS held,
  coalesce(sum(bytes), 0) AS bytes,
  count(*) AS rows,
  CASE WHEN count(*) > 0 THEN ${notify} END AS notified
FROM ${table}`

  /** `now` is of one moment for the whole batch; and an INSERT numbers rows in the order in which they are sorted. */
  const append = (settings: string) => `WITH ${settings},
added AS (
  INSERT INTO ${events} (queue, attempts, written_at, payload)
  SELECT $1, 0, (SELECT now FROM settings), payload
  FROM unnest($2::bytea[]) WITH ORDINALITY AS given (payload, place)
  WHERE ${set}
  ORDER BY place
)
SELECT ${notify} AS notified`

  return {
    append: append(own),
    /** In the application's own transaction, whose settings are not ours to change. */
    join: append(`settings AS MATERIALIZED (SELECT ${clock} AS now, true AS ok)`),

    /**
     * The pair is compared as a pair, and the table keeps no statistics of queues, so that Postgres reads the index in
     * the queue's order and stops. Its plan for `queue = $1` depends on how old its statistics are: while they know
     * little of a queue that has grown since, it reads all of the queue and sorts.
     */
    next: `SELECT owner.held, event.key, event.payload, event.attempts, event.written_at
FROM (
  SELECT EXISTS (
    SELECT FROM ${leases} WHERE queue = $1 AND epoch = $2::bigint AND expires_at IS NOT NULL
  ) AS held
) AS owner
LEFT JOIN LATERAL (
  SELECT head.*, row_number() OVER (ORDER BY key) AS place, sum(octet_length(payload)) OVER (ORDER BY key) AS total
  FROM (
    SELECT key, payload, attempts, written_at
    FROM ${events}
    WHERE (queue, key) >= ($1, $5::bigint) AND queue <= $1 AND owner.held
    ORDER BY queue, key
    LIMIT $3::bigint
  ) AS head
) AS event ON event.place = 1 OR event.total <= $4::float8
ORDER BY event.key`,

    acknowledge: `WITH ${own},
${held},
gone AS (
  DELETE FROM ${events}
  WHERE queue = $1 AND key = ANY($3::bigint[]) AND EXISTS (SELECT FROM held)
  RETURNING octet_length(payload) AS bytes
)
${removed("gone")}`,

    deadLetter: `WITH ${own},
${held},
reported AS (
  SELECT * FROM unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[]) AS given (key, reason, cause, attempts)
),
gone AS (
  DELETE FROM ${events} AS event USING reported
  WHERE event.queue = $1 AND event.key = reported.key AND EXISTS (SELECT FROM held)
  RETURNING event.key, event.written_at, event.payload, reported.reason, reported.cause, reported.attempts
),
deadLettered AS (
  INSERT INTO ${deadLetters} (queue, key, dead_lettered_at, written_at, reason, cause, attempts, payload)
  SELECT $1, key, (SELECT now FROM settings), written_at, reason, cause, attempts, payload FROM gone
  RETURNING octet_length(payload) AS bytes
)
${removed("deadLettered")}`,

    list: `SELECT key, dead_lettered_at, written_at, reason, cause, attempts, payload
FROM ${deadLetters}
WHERE queue = $1 AND (dead_lettered_at, key) > ($2::bigint, $3::bigint)
ORDER BY dead_lettered_at, key
LIMIT $4::bigint`,

    replay: `WITH ${own},
gone AS (
  DELETE FROM ${deadLetters} AS letter USING unnest($2::bigint[]) WITH ORDINALITY AS given (key, place)
  WHERE letter.queue = $1 AND letter.key = given.key AND ${set}
  RETURNING letter.attempts, letter.written_at, letter.payload, given.place
),
added AS (
  INSERT INTO ${events} (queue, attempts, written_at, payload)
  SELECT $1, attempts, written_at, payload FROM gone ORDER BY place
)
SELECT count(*) AS rows, CASE WHEN count(*) > 0 THEN ${notify} END AS notified FROM gone`,

    purge: `WITH ${own},
gone AS (
  DELETE FROM ${deadLetters} WHERE queue = $1 AND key = ANY($2::bigint[]) AND ${set} RETURNING key
)
SELECT count(*) AS rows FROM gone`,

    size: `SELECT
  count(*) AS rows,
  coalesce(sum(octet_length(payload)), 0) AS bytes,
  min(key) AS first,
  max(key) AS last,
  (SELECT count(*) FROM ${deadLetters} WHERE queue = $1) AS dead_letters
FROM ${events} WHERE queue = $1`,

    /** A concurrent request waits for the row, and then reads what the other has left. */
    acquire: `WITH ${own},
taken AS (
  INSERT INTO ${leases} AS lease (queue, epoch, renewed_at, expires_at)
  SELECT $1, 1, ${clock}, ${clock} + $2::bigint WHERE ${set}
  ON CONFLICT (queue) DO UPDATE
  SET epoch = lease.epoch + 1, renewed_at = ${clock}, expires_at = ${clock} + $2::bigint
  WHERE lease.expires_at IS NULL OR lease.expires_at <= ${clock}
  OR lease.renewed_at - ${clock} > lease.expires_at - lease.renewed_at
  RETURNING epoch
)
SELECT
  (SELECT epoch FROM taken) AS epoch,
  (SELECT expires_at - ${clock} FROM ${leases} WHERE queue = $1) AS remaining`,

    renew: `WITH ${own}
UPDATE ${leases} SET renewed_at = ${clock}, expires_at = ${clock} + $3::bigint
WHERE queue = $1 AND epoch = $2::bigint AND expires_at IS NOT NULL AND ${set}
RETURNING epoch`,

    release: `WITH ${own},
freed AS (
  UPDATE ${leases} SET expires_at = NULL
  WHERE queue = $1 AND epoch = $2::bigint AND expires_at IS NOT NULL AND ${set}
  RETURNING epoch
)
SELECT ${notify} AS notified FROM freed`,

    /** The transactions that may have taken keys and not committed yet. */
    holders: `SELECT DISTINCT virtualtransaction AS holder FROM pg_locks
WHERE locktype = 'relation' AND relation = to_regclass($1::text) AND mode = 'RowExclusiveLock'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,

    ping: `SELECT pg_notify('${channel}', '')::text AS notified`
  }
}

export type Statements = ReturnType<typeof statements>
