/** Writes events for the subscriptions that match. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { EventStoreError, Limits, NewEvent, Operations, Published } from "../../EventStore.ts"
import { patternsOf } from "../../../internal/patternsOf.ts"
import type { Announcing } from "./announcing.ts"
import { type CountedCapacity, fits, type Held, makeCountedCapacity, sums } from "./countedCapacity.ts"
import type { Parts } from "./parts.ts"
import { array, headersOf, milliseconds, type Numeric, numbersOf, textArray, timeOf } from "./postgresRows.ts"
import { publishStatements } from "./publishStatements.ts"
import { problem, type Runner } from "./runner.ts"

/**
 * Why events cannot be stored: the server would refuse them too, and end the transaction of the caller for that. `largest` is
 * the largest payload in bytes.
 */
const refusalOf = (events: ReadonlyArray<NewEvent>, largest: number): string | undefined => {
  for (const { contentType, id, payload, tenant, topic, trace } of events) {
    if (payload.length > largest) {
      return `a payload of ${payload.length} bytes is larger than the client can read, ${largest}`
    }
    for (const [what, text] of Object.entries({ topic, tenant, "content type": contentType, trace, id })) {
      if (text?.includes("\0") === true) return `a ${what} has a NUL, which no text of Postgres has`
    }
  }
  return undefined
}

/** The events' kinds, each a tenant and topic, and the kind of each event. */
const kindsOf = (events: ReadonlyArray<NewEvent>) => {
  const numbers = new Map<string, number>()
  const tenants: Array<string> = []
  const topics: Array<string> = []
  const sizes = new Map<string, Limits>()
  const kindOf = events.map(({ payload, tenant = "", topic = "" }) => {
    // no text of Postgres has a NUL
    const key = `${tenant}\0${topic}`
    let kind = numbers.get(key)
    if (kind === undefined) {
      numbers.set(key, (kind = tenants.push(tenant)))
      topics.push(topic)
    }
    const { bytes, rows } = sizes.get(key) ?? { bytes: 0, rows: 0 }
    sizes.set(key, { rows: rows + 1, bytes: bytes + payload.length })
    return kind
  })
  const patterns = topics.flatMap((topic, at) => patternsOf(topic).map((pattern) => [at + 1, pattern] as const))
  return {
    kindOf,
    sizes,
    topics,
    params: [
      textArray(tenants),
      array(patterns.map(([kind]) => kind)),
      textArray(patterns.map(([, pattern]) => pattern))
    ],
    keys: [...numbers.keys()]
  }
}

/** The ids of events with the first place, from 1 on, at which each stands; and their times, or nothing where none has any. */
const specialOf = (events: ReadonlyArray<NewEvent>) => {
  if (events.every(({ due, id }) => due === undefined && id === undefined)) return undefined
  const firsts = new Map<string, number>()
  const places = events.map(({ id, tenant = "" }, at) => {
    if (id === undefined) return undefined
    // half a character is stored as U+FFFD
    const key = `${tenant}\0${id}`.replaceAll(/\p{Surrogate}/gu, "\uFFFD")
    const first = firsts.get(key) ?? at + 1
    firsts.set(key, first)
    return first
  })
  return [
    textArray(events.map(({ id = "" }) => id)),
    array(places),
    array(events.map(({ due }) => (due !== undefined && "at" in due ? timeOf(due.at) : undefined))),
    array(events.map(({ due }) => (due !== undefined && "after" in due ? milliseconds(due.after) : undefined)))
  ]
}

/** Arrays as text, of positions and of each kind's matches: to read a row for each event costs more. */
interface PublishedRow {
  readonly positions: string
  readonly matches: string
  /**
   * Of a publish with ids that are kept: for each event the place of the one that takes the row of its id, negative where none of
   * that id is kept, 0 without an id; and those places whose ids are stored already, with the positions of the originals.
   */
  readonly leaders?: string | null
  readonly doubles?: string | null
  readonly originals?: string | null
}

/** The answer of each event. */
const publishedOf = (row: PublishedRow | undefined, kindOf: ReadonlyArray<number>) => {
  const matches = numbersOf(row?.matches)
  const originals = numbersOf(row?.originals ?? undefined)
  const doubles = new Map(numbersOf(row?.doubles ?? undefined).map((place, n) => [place, originals[n] ?? 0]))
  const leaders = numbersOf(row?.leaders ?? undefined)
  const positions = numbersOf(row?.positions)
  return positions.map((position, at): Published => {
    const leader = leaders[at] ?? 0
    // Before the first that is kept none is a duplicate of it.
    const earlier = leader > 0 && leader <= at ? positions[leader - 1] : undefined
    const original = doubles.get(Math.abs(leader)) ?? earlier
    return original === undefined
      ? { position, matched: matches[(kindOf[at] ?? 0) - 1] ?? 0 }
      : { position: original, matched: 0, isDuplicate: true }
  })
}

interface HeldRow {
  readonly kind: Numeric
  readonly subscription: Numeric
  readonly rows: Numeric
  readonly bytes: Numeric
}

/** `largest` is the largest payload that the client can read again, in bytes. */
export const publishing = (run: Runner, parts: Parts, announcing: Announcing, largest: number) => {
  const loud = publishStatements(parts)
  const silent = publishStatements({ ...parts, notify: "NULL::text" })
  const capacities = new Map<string, CountedCapacity>()

  const capacityOf = (exchange: string): CountedCapacity => {
    let capacity = capacities.get(exchange)
    if (capacity === undefined) capacities.set(exchange, (capacity = makeCountedCapacity()))
    return capacity
  }

  const publish: Operations["publish"] = Effect.fnUntraced(function* (exchange, events, limits) {
    const detail = refusalOf(events, largest)
    if (detail !== undefined) return yield* Effect.fail(problem("publish", "Invalid", detail))
    const joins = yield* run.inTransaction
    const kinds = kindsOf(events)
    const special = specialOf(events)
    const params = [
      exchange,
      ...kinds.params,
      textArray(kinds.topics),
      array(kinds.kindOf),
      textArray(events.map(headersOf)),
      events.map(({ payload }) => payload),
      ...(special ?? [])
    ]
    const published = (rows: Effect.Effect<ReadonlyArray<PublishedRow>, EventStoreError>) =>
      Effect.map(rows, ([row]) => publishedOf(row, kinds.kindOf))
    const commit = Effect.suspend(() => {
      const leads = announcing.leads()
      const text = leads ? loud : silent
      const committed = published(
        run.prepared("publish", special === undefined ? text.publish : text.publishSpecial, params)
      )
      if (leads) return committed
      return Effect.onExit(committed, (exit) =>
        Effect.sync(() => {
          // What failed may have been committed.
          if (Exit.isFailure(exit) || exit.value.some(({ matched }) => matched > 0)) announcing.late()
        })
      )
    })
    const join = published(run.join("publish", special === undefined ? loud.join : loud.joinSpecial, params))
    const add = joins ? join : commit
    const added = Effect.sync(() => capacities.get(exchange)?.added(kinds.sizes))
    const noted = joins ? run.client.afterCommit(added) : added
    // What passes the limits counts for what does not.
    if (limits === undefined) return yield* Effect.tap(add, noted)
    const capacity = capacityOf(exchange)
    const count = Effect.map(
      (joins ? run.join : run.read)<HeldRow>("publish", loud.held, [exchange, ...kinds.params]),
      (rows) =>
        rows.map(({ bytes, kind, rows, subscription }): Held => ({
          kind: kinds.keys[Number(kind) - 1] ?? "",
          subscription: Number(subscription),
          rows: Number(rows),
          bytes: Number(bytes)
        }))
    )
    if (!joins) return yield* capacity.admit(limits, kinds.sizes, count, add)
    // on the transaction's own connection: the pool may have no other
    const held = yield* count
    const subscriptionsOf = (key: string) =>
      held.flatMap(({ kind, subscription }) => (kind === key ? [subscription] : []))
    const more = sums(kinds.sizes, subscriptionsOf)
    if (!fits(limits, more, new Map(held.map((one) => [one.subscription, one])))) return undefined
    return yield* Effect.tap(add, noted)
  })

  return { publish, capacities }
}
