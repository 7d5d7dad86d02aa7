/** What has become of an event, as the subscriptions of its exchange have it. */
import type {
  DeadLetterReason,
  DeliveryState,
  DeliveryStatus,
  EventKey,
  EventStatus,
  Millis,
  Position,
  SubscriptionId
} from "../../EventStore.ts"
import { positionOfId } from "./idRows.ts"
import { attemptsOfEvent, type Ended } from "./outcomeRows.ts"
import { patternsOf } from "./patternsOf.ts"
import type { Sql } from "./prepared.ts"
import { isMoved, isPosition, positionBits, positionOf, rowAt } from "./sqliteSchema.ts"
import { topicsOf } from "./subscriptionRows.ts"

export const eventStatus = (sql: Sql, name: string, event: EventKey, now: Millis): EventStatus | undefined => {
  const [exchange] = sql.row<[number]>("SELECT id FROM exchanges WHERE name = ?", name) ?? []
  if (exchange === undefined) return undefined
  const position = typeof event === "number" ? event : positionOfId(sql, exchange, event.tenant ?? "", event.id, now)
  if (position === undefined || !isPosition(position)) return undefined
  const subscriptions = sql.rows<SubscriptionRow>(subscriptionsOf, exchange)
  const waits = new Map(subscriptions.map(([id, , , , ...wait]) => [id, wait]))
  const known = new Map<SubscriptionId, Known>()
  const add = (subscription: SubscriptionId, state: DeliveryState, topic: string, writtenAt: Millis): void => {
    if (!known.has(subscription)) known.set(subscription, { state, topic, writtenAt })
  }
  const addPending = ([id, at, attempts, dueAt, topic, writtenAt]: PendingRow): void => {
    const [until, failed, waitsFor] = waits.get(id) ?? [0, 0, null]
    const nextAt = Math.max(dueAt ?? 0, until)
    const state = { failed: attempts + (waitsFor === at ? failed : 0), nextAt: nextAt > now ? nextAt : undefined }
    add(id, { _tag: "Pending", ...state }, topic, writtenAt)
  }
  for (const table of ["deliveries", "delayed"] as const) {
    for (const row of sql.rows<PendingRow>(inPlace(pending[table]), position, exchange, position)) addPending(row)
    for (const row of sql.rows<PendingRow>(moved(pending[table]), position)) addPending(row)
  }
  for (const row of sql.rows<PendingRow>(inPlace(pending.scheduled), position, exchange, position)) addPending(row)
  const dead = [
    ...sql.rows<DeadRow>(inPlace(deadLetters), position, exchange, position),
    ...sql.rows<DeadRow>(moved(deadLetters), position)
  ]
  for (const [id, at, failed, reason, cause, topic, writtenAt] of dead)
    add(id, { _tag: "DeadLettered", at, failed, reason, cause }, topic, writtenAt)
  for (const [id, at, state, topic, writtenAt] of sql.rows<OutcomeRow>(outcomes, position, exchange))
    add(id, { _tag: state, at }, topic, writtenAt)

  const found = subscriptions.find(([id]) => known.has(id))
  const of = found && known.get(found[0])
  if (found === undefined || of === undefined) return undefined
  const { topic, writtenAt } = of
  const patterns = patternsOf(topic)
  const isMatch = (topics: string) => topicsOf(topics).some((pattern) => patterns.includes(pattern))
  const attempts = attemptsOfEvent(sql, position, exchange)
  const deliveries = subscriptions.flatMap(([id, tenant, subscription, topics]): ReadonlyArray<DeliveryStatus> => {
    if (tenant !== found[1]) return []
    const state = known.get(id)?.state ?? { _tag: isMatch(topics) ? "Unknown" : "Unmatched" }
    return [{ subscription, state, attempts: attempts.get(id) ?? [] }]
  })
  return { position, topic, writtenAt, deliveries }
}

// internals

interface Known extends Pick<EventStatus, "topic" | "writtenAt"> {
  readonly state: DeliveryState
}

type SubscriptionRow = readonly [
  ...[SubscriptionId, tenant: string, name: string, topics: string],
  ...[waitUntil: Millis, failed: number, waitsFor: Position | null]
]
type PendingRow = readonly [
  ...[SubscriptionId, at: Position, attempts: number, dueAt: Millis | null, topic: string, writtenAt: Millis]
]
type DeadRow = readonly [
  ...[SubscriptionId, at: Millis, failed: number, reason: DeadLetterReason, cause: string],
  ...[topic: string, writtenAt: Millis]
]
type OutcomeRow = readonly [SubscriptionId, at: Millis, state: Ended, topic: string, writtenAt: Millis]

const subscriptionsOf = `SELECT id, tenant, name, topics, wait_until, attempts, wait_position
  FROM subscriptions JOIN leases ON subscription = id WHERE subscriptions.exchange = ? ORDER BY tenant, name`

interface Table {
  readonly name: string
  readonly columns: string
}
const ofRow = `d.id >> ${positionBits}`
const ofEvent = "e.topic, e.written_at"
const pending = {
  deliveries: {
    name: "deliveries",
    columns: `${ofRow}, ${positionOf}, attempts, NULL, ifnull(d.topic, e.topic), ifnull(d.written_at, e.written_at)`
  },
  delayed: { name: "delayed", columns: `${ofRow}, ${positionOf}, attempts, due_at, ${ofEvent}` },
  scheduled: { name: "scheduled", columns: `${ofRow}, ${positionOf}, 0, due_at, ${ofEvent}` }
}
const deadLetters = {
  name: "dead_letters",
  columns: `${ofRow}, dead_lettered_at, attempts, d.reason, cause, ${ofEvent}`
}
const atPosition = rowAt("?", "s.id")
/** Those that are at the position of their event, which may be in the delivery. */
const inPlace = ({ columns, name }: Table) =>
  `SELECT ${columns.replaceAll(positionOf, `d.${positionOf}`)}
    FROM subscriptions s CROSS JOIN ${name} d ON d.id = ${atPosition} LEFT JOIN events e ON e.position = d.event
    WHERE s.exchange = ? AND ifnull(d.event = ?, TRUE)`
/** Those at a later position. */
const moved = ({ columns, name }: Table) =>
  `SELECT ${columns} FROM ${name} d JOIN events e ON e.position = event WHERE event = ? AND ${isMoved}`
const outcomes = `SELECT ${ofRow}, at, d.state, topic, written_at
  FROM subscriptions s CROSS JOIN outcomes d ON d.id = ${atPosition} WHERE s.exchange = ?`
