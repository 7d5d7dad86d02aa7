/** What there is to know of subscriptions, and of what became of an event. */
import * as Effect from "effect/Effect"
import type {
  DeadLetterReason,
  DeliveryState,
  DeliveryStatus,
  EventKey,
  EventStatus,
  Operations,
  Overview,
  StoredAttempt,
  Wait
} from "../../EventStore.ts"
import { eventOf, isOf, isTopicOf, now, type Parts, pendingOf, storedId } from "./parts.ts"
import {
  array,
  clock,
  limit,
  type Numeric,
  numberOf,
  numbersOf,
  positionOf,
  type SubscriptionRow,
  subscriptionOf
} from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

const insightStatements = (parts: Parts) => {
  const { attempts, deadLetters, delayed, deliveries, events, exchanges, ids, leases } = parts
  const { outcomes, owners, scheduled, subscriptions } = parts
  const first = (table: string) => `(
    SELECT coalesce(delivery.written_at, (SELECT written_at FROM ${events} WHERE position = ${eventOf("delivery")})) AS written_at
    FROM ${table} AS delivery WHERE delivery.subscription = subscription.id ORDER BY delivery.position LIMIT 1
  )`
  const next = (table: string) => `(
    SELECT due_at FROM ${table} AS delivery
    WHERE delivery.subscription = subscription.id AND delivery.due_at > ${now} ORDER BY delivery.due_at LIMIT 1
  )`
  const settings = `settings AS MATERIALIZED (SELECT ${clock} AS now)`
  const wanted = "(SELECT event FROM wanted)"
  /** A state of a delivery of an event. The first part that has one counts. */
  const state = (part: number, table: string, state: string, position: string, columns: string) =>
    `SELECT ${part} AS part, delivery.subscription, delivery.${position} AS position, ${state} AS state, ${columns},
    delivery.topic, delivery.written_at FROM ${table} AS delivery`
  const none = "NULL::bigint AS at, NULL::text AS reason, NULL::text AS cause"
  const inOrder = state(1, deliveries, "'Pending'", "position", `delivery.attempts, NULL::bigint AS due_at, ${none}`)
  const aside = state(1, delayed, "'Pending'", "position", `delivery.attempts, delivery.due_at, ${none}`)
  const coming = state(2, scheduled, "'Scheduled'", "event", `0 AS attempts, delivery.due_at, ${none}`)
  const dead = state(
    3,
    deadLetters,
    "'DeadLettered'",
    "position",
    "delivery.attempts, NULL::bigint AS due_at, delivery.dead_lettered_at AS at, delivery.reason, delivery.cause"
  )
  const ended = state(
    4,
    outcomes,
    "delivery.state",
    "event",
    "0 AS attempts, NULL::bigint AS due_at, delivery.at, NULL::text AS reason, NULL::text AS cause"
  )

  const page = (failed: string) => `SELECT event, topic, at, took, error, detail FROM ${attempts}
WHERE subscription = $1::bigint AND EXISTS (SELECT FROM ${leases} WHERE subscription = $1::bigint)
AND (at, event) < ($2::float8, $3::bigint) ${failed}
ORDER BY at DESC, event DESC LIMIT $4::bigint`

  return {
    /** Of the subscription `$1` those before the time `$2` and the event `$3`. */
    attempts: page(""),
    failedAttempts: page("AND error IS NOT NULL"),

    overview: `WITH ${settings}
SELECT subscription.*, exchange.name AS exchange_name, pending.rows, pending.bytes, owner.name AS owner,
  (SELECT count(*) FROM ${deadLetters} AS letter WHERE letter.subscription = subscription.id) AS dead_letters,
  least(${first(deliveries)}, ${first(delayed)}) AS oldest, least(${next(delayed)}, ${next(scheduled)}) AS next_due,
  lease.not_before, lease.attempts, lease.first_failed_at, lease.reason AS wait_reason, lease.waits_for, lease.failing_since
FROM ${exchanges} AS exchange
JOIN ${subscriptions} AS subscription ON subscription.exchange = exchange.id
JOIN ${leases} AS lease ON lease.subscription = subscription.id
LEFT JOIN ${owners} AS owner ON owner.id = lease.owner AND NOT owner.gone AND owner.expires_at > ${now}
CROSS JOIN LATERAL (
  SELECT count(*) AS rows, coalesce(sum(bytes), 0) AS bytes FROM ${pendingOf("subscription.id", parts)} AS pending
) AS pending
WHERE ($1::text IS NULL OR exchange.name = $1) AND ($2::text IS NULL OR subscription.tenant = $2)
AND ($3::text IS NULL OR subscription.name = $3) AND ($4::bigint[] IS NULL OR subscription.id = ANY($4::bigint[]))
ORDER BY exchange.name, subscription.tenant, subscription.name`,

    /**
     * Of the exchange `$1` the event at `$2`, or of the tenant `$3` with the id `$4`. A delivery that shares its
     * event is found by that; or it is the only one, at that position: only then the subscriptions of the exchange are searched one by one.
     */
    status: `WITH ${settings},
exchange AS MATERIALIZED (SELECT id FROM ${exchanges} WHERE name = $1),
wanted AS MATERIALIZED (
  SELECT $2::bigint AS event, (SELECT tenant FROM ${events} WHERE position = $2::bigint) AS tenant WHERE $2::bigint IS NOT NULL
  UNION ALL
  SELECT position, tenant FROM ${ids}
  WHERE exchange = (SELECT id FROM exchange) AND tenant = $3 AND id = ${storedId("$4::text")} AND expires_at > ${now}
),
by_event AS MATERIALIZED (
  ${[
    ...[inOrder, aside, dead].map((text) => `${text} WHERE ${isOf("delivery", wanted)}`),
    ...[coming, ended].map((text) => `${text} WHERE delivery.event = ${wanted}`)
  ].join("\n  UNION ALL ")}
),
by_position AS MATERIALIZED (
  SELECT found.* FROM ${subscriptions} AS subscription CROSS JOIN LATERAL (
    ${[inOrder, aside, dead]
      .map(
        (text) =>
          `${text} WHERE delivery.subscription = subscription.id AND delivery.position = ${wanted} AND delivery.event IS NULL`
      )
      .join("\n    UNION ALL ")}
  ) AS found
  WHERE subscription.exchange = (SELECT id FROM exchange) AND NOT EXISTS (SELECT FROM by_event)
  AND subscription.tenant = coalesce((SELECT tenant FROM wanted), subscription.tenant)
),
found AS MATERIALIZED (
  SELECT DISTINCT ON (found.subscription) found.*, subscription.tenant
  FROM (SELECT * FROM by_event UNION ALL SELECT * FROM by_position) AS found
  JOIN ${subscriptions} AS subscription
  ON subscription.id = found.subscription AND subscription.exchange = (SELECT id FROM exchange)
  ORDER BY found.subscription, found.part
),
event AS MATERIALIZED (
  SELECT ${wanted} AS position, found.tenant, coalesce(found.topic, event.topic) AS topic,
    coalesce(found.written_at, event.written_at) AS written_at
  FROM found LEFT JOIN ${events} AS event ON event.position = ${wanted} LIMIT 1
)
SELECT event.position, event.topic, event.written_at, subscription.name,
  found.state, found.at, found.reason, found.cause,
  coalesce(found.attempts, 0)
    + CASE WHEN lease.waits_for = found.position AND found.state = 'Pending' THEN lease.attempts ELSE 0 END AS failed,
  CASE WHEN found.state IN ('Pending', 'Scheduled') THEN (
    SELECT max(at) FROM unnest(ARRAY[found.due_at, lease.not_before]) AS time (at) WHERE at > ${now}
  ) END AS next_at,
  EXISTS (SELECT FROM unnest(subscription.topics) AS pattern WHERE ${isTopicOf("event.topic", "pattern")}) AS matches,
  tried.begun::text AS begun, tried.took::text AS took, tried.errors, tried.details
FROM event
JOIN ${subscriptions} AS subscription
ON subscription.exchange = (SELECT id FROM exchange) AND subscription.tenant = event.tenant
LEFT JOIN found ON found.subscription = subscription.id
LEFT JOIN LATERAL (SELECT * FROM ${leases} AS lease WHERE lease.subscription = subscription.id LIMIT 1) AS lease ON true
LEFT JOIN LATERAL (
  SELECT array_agg(at ORDER BY kept_at, place) AS begun, array_agg(took ORDER BY kept_at, place) AS took,
    array_agg(error ORDER BY kept_at, place) AS errors, array_agg(detail ORDER BY kept_at, place) AS details
  FROM ${attempts} AS tried WHERE tried.event = event.position AND -tried.subscription = -subscription.id
) AS tried ON true
ORDER BY subscription.name`
  }
}

interface OverviewRow extends SubscriptionRow {
  readonly exchange_name: string
  readonly rows: Numeric
  readonly bytes: Numeric
  readonly dead_letters: Numeric
  readonly owner: string | null
  readonly oldest: Numeric | null
  readonly next_due: Numeric | null
  readonly not_before: Numeric
  readonly attempts: Numeric
  readonly first_failed_at: Numeric | null
  readonly wait_reason: string | null
  readonly waits_for: Numeric | null
  readonly failing_since: Numeric | null
}

const overviewOf = (row: OverviewRow): Overview => ({
  ...subscriptionOf(row.exchange_name)(row),
  pending: Number(row.rows),
  bytes: Number(row.bytes),
  deadLetters: Number(row.dead_letters),
  owner: row.owner ?? undefined,
  oldest: numberOf(row.oldest),
  nextDue: numberOf(row.next_due),
  wait: waitOf(row),
  failingSince: numberOf(row.failing_since)
})

const waitOf = ({ attempts, first_failed_at, not_before, wait_reason, waits_for }: OverviewRow): Wait | undefined =>
  Number(not_before) === 0
    ? undefined
    : {
        until: Number(not_before),
        attempts: Number(attempts),
        firstFailedAt: numberOf(first_failed_at),
        reason: wait_reason ?? undefined,
        position: numberOf(waits_for)
      }

interface AttemptRow {
  readonly event: Numeric
  readonly topic: string
  readonly at: number
  readonly took: number
  readonly error: string | null
  readonly detail: string | null
}

const attemptOf = ({ at, detail, error, event, took, topic }: AttemptRow): StoredAttempt => ({
  position: Number(event),
  topic,
  at,
  took,
  error: error ?? undefined,
  detail: detail ?? undefined
})

interface StatusRow {
  readonly position: Numeric
  readonly topic: string
  readonly written_at: Numeric
  readonly name: string
  readonly state: "Pending" | "Scheduled" | "DeadLettered" | "Delivered" | "Dropped" | "Purged" | null
  readonly at: Numeric | null
  readonly reason: DeadLetterReason | null
  readonly cause: string | null
  readonly failed: Numeric
  readonly next_at: Numeric | null
  readonly matches: boolean
  readonly begun: string | null
  readonly took: string | null
  readonly errors: ReadonlyArray<string | null> | null
  readonly details: ReadonlyArray<string | null> | null
}

const stateOf = ({ at, cause, failed, matches, next_at, reason, state }: StatusRow): DeliveryState => {
  switch (state) {
    case null:
      return { _tag: matches ? "Unknown" : "Unmatched" }
    case "Pending":
    case "Scheduled":
      return { _tag: "Pending", failed: Number(failed), nextAt: numberOf(next_at) }
    case "DeadLettered":
      return { _tag: state, at: Number(at), failed: Number(failed), reason: reason ?? "Failed", cause: cause ?? "" }
    default:
      return { _tag: state, at: Number(at) }
  }
}

const attemptsOf = ({ begun, details, errors, took }: StatusRow): DeliveryStatus["attempts"] => {
  const times = numbersOf(begun ?? undefined)
  const durations = numbersOf(took ?? undefined)
  return times.map((at, n) => ({
    at,
    took: durations[n] ?? 0,
    error: errors?.[n] ?? undefined,
    detail: details?.[n] ?? undefined
  }))
}

const statusOf = (rows: ReadonlyArray<StatusRow>): EventStatus | undefined => {
  const [first] = rows
  return (
    first && {
      position: Number(first.position),
      topic: first.topic,
      writtenAt: Number(first.written_at),
      deliveries: rows.map((row) => ({ subscription: row.name, state: stateOf(row), attempts: attemptsOf(row) }))
    }
  )
}

export const insight = (run: Runner, parts: Parts) => {
  const text = insightStatements(parts)
  const keyOf = (event: EventKey) =>
    typeof event === "number" ? [positionOf(event), null, null] : [null, event.tenant ?? "", event.id]
  return {
    overview: ({ exchange, ids, name, tenant }) =>
      Effect.map(
        run.read<OverviewRow>("overview", text.overview, [
          exchange ?? null,
          tenant ?? null,
          name ?? null,
          ids === undefined ? null : array(ids)
        ]),
        (rows) => rows.map(overviewOf)
      ),
    attempts: (subscription, { before, failedOnly = false, limit: most }) =>
      Effect.map(
        run.read<AttemptRow>("attempts", failedOnly ? text.failedAttempts : text.attempts, [
          subscription,
          before?.at ?? "Infinity",
          before?.position ?? 0,
          limit(most)
        ]),
        (rows) => rows.map(attemptOf)
      ),
    status: (exchange, event) =>
      // no text of Postgres has a NUL
      typeof event === "object" && `${event.tenant ?? ""}${event.id}`.includes("\0")
        ? Effect.undefined
        : Effect.map(run.read<StatusRow>("status", text.status, [exchange, ...keyOf(event)]), statusOf)
  } satisfies Partial<Operations>
}
