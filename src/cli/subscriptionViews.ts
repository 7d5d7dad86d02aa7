/** Subscriptions and the status of an event, as JSON and as tables. */
import type { DeliveryState, DeliveryStatus, EventStatus, Overview } from "../durable/EventStore.ts"
import { type Condition, conditionOf } from "./condition.ts"
import type { Json } from "./rootCommand.ts"
import { ageOf, type Column, dueOf, firstLine, isoOf, printable, type Style, table } from "./table.ts"

export const subscriptionView = (overview: Overview, now: number): Json => {
  const { bytes, deadLetters, exchange, name, nextDue, oldest, owner, pending, tenant, topics, wait } = overview
  const { reason, since, state } = conditionOf(overview, now)
  return {
    exchange,
    subscription: name,
    tenant,
    topics,
    state,
    reason,
    since: isoOf(since),
    pending,
    pendingBytes: bytes,
    oldest: isoOf(oldest),
    nextDue: isoOf(nextDue),
    deadLetters,
    owner,
    wait: wait && {
      until: isoOf(wait.until),
      attempts: wait.attempts,
      firstFailedAt: isoOf(wait.firstFailedAt),
      reason: wait.reason,
      event: wait.position
    }
  }
}

export const subscriptionTable = (overviews: ReadonlyArray<Overview>, style: Style): string => {
  const { now } = style
  const rows = overviews.map((overview): Row => ({ overview, condition: conditionOf(overview, now) }))
  const tenant: Column<Row> = { title: "TENANT", of: ({ overview }) => overview.tenant || undefined }
  const columns: ReadonlyArray<Column<Row>> = [
    { title: "EXCHANGE", of: ({ overview }) => overview.exchange },
    { title: "SUBSCRIPTION", of: ({ overview }) => overview.name },
    ...(overviews.some(({ tenant }) => tenant !== "") ? [tenant] : []),
    { title: "STATE", of: ({ condition }) => condition.state, color: ({ condition }) => colors[condition.state] },
    { title: "FOR", of: ({ condition }) => ageOf(condition.since, now), isNumber: true },
    { title: "PENDING", of: ({ overview }) => overview.pending, isNumber: true },
    { title: "OLDEST", of: ({ overview }) => ageOf(overview.oldest, now), isNumber: true },
    { title: "NEXT DUE", of: ({ overview }) => dueOf(nextOf(overview, now), now), isNumber: true },
    {
      title: "DEAD",
      of: ({ overview }) => overview.deadLetters,
      isNumber: true,
      color: ({ overview }) => (overview.deadLetters > 0 ? yellow : undefined)
    },
    { title: "OWNER", of: ({ overview }) => overview.owner },
    { title: "REASON", of: reasonOf }
  ]
  return table(columns, rows, style)
}

export const statusView = (exchange: string, { deliveries, position, topic, writtenAt }: EventStatus): Json => ({
  exchange,
  event: position,
  topic,
  writtenAt: isoOf(writtenAt),
  deliveries: deliveries.map(({ attempts, state, subscription }) => ({
    subscription,
    state: wordOf(state),
    at: isoOf("at" in state ? state.at : undefined),
    nextAt: isoOf("nextAt" in state ? state.nextAt : undefined),
    failed: "failed" in state ? state.failed : undefined,
    reason: "reason" in state ? state.reason : undefined,
    cause: "cause" in state ? state.cause : undefined,
    attempts: attempts.map(({ at, error, took }) => ({ at: isoOf(at), tookMillis: took, error }))
  }))
})

export const statusText = (exchange: string, status: EventStatus, style: Style): string => {
  const { now } = style
  const { deliveries, position, topic, writtenAt } = status
  const ofTopic = topic === "" ? "" : `, topic ${printable(topic)}`
  const head = `event ${position} of "${printable(exchange)}"${ofTopic}, written ${ageOf(writtenAt, now)} ago (${isoOf(writtenAt)})`
  const columns: ReadonlyArray<Column<DeliveryStatus>> = [
    { title: "SUBSCRIPTION", of: ({ subscription }) => subscription },
    { title: "STATE", of: ({ state }) => wordOf(state) },
    { title: "WHEN", of: ({ state }) => whenOf(state, now), isNumber: true },
    { title: "FAILED", of: ({ state }) => ("failed" in state ? state.failed : undefined), isNumber: true },
    {
      title: "REASON",
      of: ({ state }) => ("cause" in state ? `${state.reason}: ${firstLine(state.cause)}` : undefined)
    }
  ]
  const attempted = deliveries.filter(({ attempts }) => attempts.length > 0)
  return [
    head,
    table(columns, deliveries, style),
    ...attempted.flatMap(({ attempts, subscription }) => [
      `\nattempts of ${printable(subscription)}, the last ${attempts.length}:`,
      table<DeliveryStatus["attempts"][number]>(
        [
          { title: "AT", of: ({ at }) => isoOf(at) },
          { title: "TOOK", of: ({ took }) => `${Math.round(took)}ms`, isNumber: true },
          { title: "RESULT", of: ({ error }) => (error === undefined ? "delivered" : firstLine(error)) }
        ],
        attempts,
        style
      )
    ])
  ].join("\n")
}

// internals

interface Row {
  readonly overview: Overview
  readonly condition: Condition
}

const red = 31
const yellow = 33

const colors: Readonly<Partial<Record<Condition["state"], number>>> = {
  paused: yellow,
  waiting: yellow,
  disabled: red,
  down: red,
  "no process": red
}

/** The next attempt of what waits as a whole, and otherwise what comes due next. */
const nextOf = ({ nextDue, wait }: Overview, now: number): number | undefined =>
  wait !== undefined && (wait.attempts > 0 || wait.until > now) ? wait.until : nextDue

const reasonOf = ({ condition, overview: { wait } }: Row): string | undefined => {
  const reason = firstLine(condition.reason)
  if (condition.state !== "down" && condition.state !== "waiting") return reason
  const failed = wait === undefined || wait.attempts === 0 ? undefined : `${wait.attempts} failed`
  return [failed, reason].filter((text) => text !== undefined).join(": ") || undefined
}

const words = {
  Pending: "pending",
  Delivered: "delivered",
  Dropped: "dropped",
  Purged: "purged",
  DeadLettered: "dead-lettered",
  Unmatched: "unmatched",
  Unknown: "unknown"
} as const

const wordOf = ({ _tag }: DeliveryState): string => words[_tag]

const whenOf = (state: DeliveryState, now: number): string | undefined =>
  "at" in state ? `${ageOf(state.at, now)} ago` : "nextAt" in state ? dueOf(state.nextAt, now) : undefined
