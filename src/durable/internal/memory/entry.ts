/** A subscription of a memory store with all that is stored for it: plain values, without effects and without a clock. */
import * as Duration from "effect/Duration"
import * as Equal from "effect/Equal"
import { patternsOf } from "../../../internal/patternsOf.ts"
import type {
  Bounds,
  Claimed,
  DeadLetterFilter,
  Delivery,
  Millis,
  Overview,
  Page,
  Position,
  Settled,
  Settlement,
  StoredDeadLetter,
  Subscription,
  Taken,
  Wait,
  Wanted
} from "../../EventStore.ts"
import { type Chain, insert, makeChain, remove, type Row } from "./chain.ts"
import { makeOutcomes, type Outcomes } from "./outcomes.ts"

/** A delivery whose time is to come. */
export interface Scheduled {
  readonly dueAt: Millis
  readonly row: Row
}

/** A dead letter, with the position of its event. */
export interface DeadRow {
  readonly of: Position
  readonly letter: StoredDeadLetter
}

export interface Entry {
  subscription: Subscription
  readonly ordered: Chain
  readonly lanes: Map<number, Chain>
  /** In the order of their times. */
  readonly scheduled: Array<Scheduled>
  /** In the order of their pages. */
  readonly deadLetters: Array<DeadRow>
  pending: number
  bytes: number
  epoch: number
  owner: number | undefined
  /** When there is something that no claim has seen. */
  wakeAt: Millis
  /** Whether its owner has not seen how it is defined. */
  isRedefined: boolean
  /** From the first attempt that fails until one succeeds. */
  wait: Wait | undefined
  failingSince: Millis | undefined
  readonly outcomes: Outcomes
}

/** A time that is over, also when the clock is set back. */
const atOnce = 0
const never = Number.POSITIVE_INFINITY

export const makeEntry = (subscription: Subscription): Entry => ({
  subscription,
  ordered: makeChain(),
  lanes: new Map(),
  scheduled: [],
  deadLetters: [],
  pending: 0,
  bytes: 0,
  epoch: 0,
  owner: undefined,
  wakeAt: never,
  isRedefined: false,
  wait: undefined,
  failingSince: undefined,
  outcomes: makeOutcomes()
})

export const isMatch = ({ tenant, topics }: Subscription, of: { readonly tenant: string; readonly topic: string }) =>
  tenant === of.tenant && topics.some((pattern) => matches(pattern, of.topic))

const matches = (pattern: string, topic: string): boolean => patternsOf(topic).includes(pattern)

/** When a claim finds something, never before the wait of the whole subscription is over. */
export const dueAt = ({ pending, scheduled, wait, wakeAt }: Entry): Millis =>
  pending === scheduled.length ? never : Math.max(wakeAt, wait?.until ?? atOnce)

export const wake = (entry: Entry, at: Millis = atOnce): void => {
  entry.wakeAt = Math.min(entry.wakeAt, at)
}

export const isOfData = (entry: Entry | undefined, given: Uint8Array): boolean =>
  Equal.equals(entry?.subscription.data, given)

export const redefine = (entry: Entry, subscription: Subscription): void => {
  const { data, topics } = entry.subscription
  const isAsBefore = Equal.equals(topics, subscription.topics) && Equal.equals(data, subscription.data)
  entry.subscription = subscription
  entry.isRedefined ||= entry.owner !== undefined && !isAsBefore
}

/** Whether its owner is to be woken. */
export const isNew = (entry: Entry, now: Millis): boolean => entry.isRedefined || dueAt(entry) <= now

/** Marks what is due as seen. */
export const mark = (entry: Entry, now: Millis): void => {
  entry.isRedefined = false
  if (dueAt(entry) > now) return
  entry.wakeAt = Math.min(never, ...dueTimes(entry).filter((due) => due > now))
}

/** Nothing of it is leased, and so all of it is to be seen. */
export const free = (entry: Entry): void => {
  entry.owner = undefined
  entry.wakeAt = Math.min(entry.ordered.first === undefined ? never : atOnce, ...dueTimes(entry))
}

/** As many lanes are in the answer to a claim. */
const mostLanes = 65_536

/** The lanes with the position of the first delivery of each: there is one. */
const lanesOf = (lanes: Entry["lanes"]): Claimed["lanes"] => {
  const all = Array.from(lanes, ([lane, { first }]) => ({ lane, first: first!.position }))
  return all.length <= mostLanes ? all : all.toSorted((one, other) => one.lane - other.lane).slice(0, mostLanes)
}

/** A lease with an epoch greater than any before. */
export const acquire = (entry: Entry, owner: number): Claimed => {
  entry.owner = owner
  entry.isRedefined = false
  entry.epoch++
  const { epoch, failingSince, lanes, subscription, wait } = entry
  const { attempts, firstFailedAt } = wait ?? { attempts: 0, firstFailedAt: undefined }
  return { subscription: subscription.id, epoch, attempts, firstFailedAt, failingSince, lanes: lanesOf(lanes) }
}

/** Stores a delivery in the order of its subscription, or until its time comes. */
export const deliver = (entry: Entry, row: Row, dueAt?: Millis): void => {
  entry.pending++
  entry.bytes += row.event.payload.length
  if (dueAt !== undefined) {
    const at = entry.scheduled.findLastIndex((other) => other.dueAt <= dueAt)
    entry.scheduled.splice(at + 1, 0, { dueAt, row })
    return
  }
  insert(entry.ordered, row)
  wake(entry)
}

/** Puts what has come due to the end of the order, at new positions. */
export const bringDue = (entry: Entry, now: Millis, next: () => Position): void => {
  const rest = entry.scheduled.findIndex(({ dueAt }) => dueAt > now)
  const due = entry.scheduled.splice(0, rest < 0 ? entry.scheduled.length : rest)
  for (const { row } of due) insert(entry.ordered, { ...row, position: next() })
  if (due.length > 0) wake(entry)
}

export const take = (
  entry: Entry,
  { busy, except, limits, perLane }: Wanted,
  now: Millis
): Pick<Taken, "deliveries" | "more"> => {
  if (entry.wait !== undefined && entry.wait.until > now) return { deliveries: [], more: false }
  const taken = new Set(except)
  const rows = [...entry.lanes]
    .filter(([lane, { due }]) => due <= now && !busy.includes(lane))
    .toSorted(([, one], [, other]) => one.due - other.due)
    .flatMap(([lane, chain]) => head(chain, taken, perLane, lane))
  rows.push(...head(entry.ordered, taken, limits.rows + 1, undefined))
  let bytes = 0
  const end = rows.findIndex(({ payload }, n) => {
    bytes += payload.length
    return n > 0 && (n >= limits.rows || bytes > limits.bytes)
  })
  const deliveries = rows.slice(0, end < 0 ? rows.length : end).map((row) => ({ ...row, payload: copy(row.payload) }))
  return { deliveries, more: deliveries.length < rows.length }
}

/** `isKept`: what becomes of deliveries is kept. */
export const settle = (
  entry: Entry,
  { attempts = [], isFailing, settled, wait }: Omit<Settlement, "lease">,
  now: Millis,
  isKept = false
): void => {
  for (const one of isKept ? attempts : []) {
    const row = rowAt(entry, one.position)
    if (row !== undefined) entry.outcomes.attempted(row.of, row.event.topic, one, now)
  }
  for (const one of settled) {
    if (one._tag === "Acknowledged" || one._tag === "DeadLettered") settleForGood(entry, one, now, isKept)
    else setAside(entry, one, now)
  }
  if (isFailing !== undefined) entry.failingSince = isFailing ? (entry.failingSince ?? now) : undefined
  if (wait === undefined) return
  // What is waited for may be purged.
  const isEnd = wait.attempts === 0 && Duration.isZero(wait.delay)
  const isOver = isEnd || (wait.position !== undefined && rowAt(entry, wait.position) === undefined)
  if (isOver && entry.wait === undefined) return
  // A wait with one attempt is the first of what waits now, and for a rest nothing has failed.
  const before = wait.attempts > 1 ? entry.wait?.firstFailedAt : undefined
  const firstFailedAt = wait.attempts === 0 ? undefined : (before ?? now)
  entry.wait = isOver
    ? undefined
    : {
        until: now + Duration.toMillis(wait.delay),
        attempts: wait.attempts,
        firstFailedAt,
        reason: wait.reason,
        position: wait.position
      }
  wake(entry)
}

/** Deletes some of what is pending, and answers how many. */
export const discard = (entry: Entry, limit: number, now: Millis, isKept: boolean): number => {
  let done = 0
  const gone = ({ event, of }: Row) => {
    done++
    entry.pending--
    entry.bytes -= event.payload.length
    if (isKept) entry.outcomes.ended(of, { _tag: "Purged", at: now }, event)
  }
  const empty = (chain: Chain) => {
    const some = [...chain.rows.values()]
      .toSorted((one, other) => one.position - other.position)
      .slice(0, Math.max(0, limit - done))
    for (const { position } of some) gone(remove(chain, position)!)
  }
  empty(entry.ordered)
  for (const [lane, chain] of entry.lanes) {
    const first = chain.first
    empty(chain)
    if (chain.first === undefined) entry.lanes.delete(lane)
    else if (chain.first !== first) chain.due = atOnce
  }
  for (const { row } of entry.scheduled.splice(0, Math.max(0, limit - done))) gone(row)
  if (done === 0) return 0
  entry.wait = undefined
  wake(entry)
  return done
}

export const overview = (entry: Entry, owner: string | undefined, now: Millis): Overview => {
  const { bytes, deadLetters, failingSince, lanes, ordered, pending, scheduled, subscription, wait } = entry
  const aside = [...lanes.values()].flatMap(({ first }) => first ?? [])
  const [first] = aside.toSorted((one, other) => one.position - other.position)
  const written = [ordered.first, first].flatMap((row) => row?.event.writtenAt ?? [])
  const later = scheduled.find(({ dueAt }) => dueAt > now)
  const due = [...dueTimes(entry), ...(later === undefined ? [] : [later.dueAt])].filter((at) => at > now)
  return {
    ...subscription,
    pending,
    bytes,
    deadLetters: deadLetters.length,
    owner,
    oldest: written.length === 0 ? undefined : Math.min(...written),
    nextDue: due.length === 0 ? undefined : Math.min(...due),
    wait,
    failingSince
  }
}

export const bounds = ({ lanes, ordered, scheduled, subscription }: Entry, now: Millis): ReadonlyArray<Bounds> => {
  const chains = [ordered, ...lanes.values()]
  const positions = chains.flatMap(({ first, last }) => (first && last ? [first.position, last.position] : []))
  // One is enough, as all that are coming get positions after the last.
  const coming = scheduled.filter(({ dueAt }) => dueAt <= now).slice(0, 1)
  positions.push(...coming.map(({ row }) => row.position))
  if (positions.length === 0) return []
  const [first, last] = [Math.min(...positions), Math.max(...positions)]
  return [{ subscription: subscription.id, first, last, isComing: coming.length > 0 }]
}

/** Dead letters are listed in the order in which they were dead-lettered. */
export const page = ({ deadLetters }: Entry, { after, limit, ...filter }: Page): ReadonlyArray<StoredDeadLetter> => {
  const found: Array<StoredDeadLetter> = []
  for (const { letter } of deadLetters) {
    if (found.length >= limit) break
    if ((after === undefined || isLater(letter, after)) && isSelected(letter, filter)) found.push(letter)
  }
  return found.map((letter) => ({ ...letter, payload: copy(letter.payload) }))
}

export const isSelected = (
  { cause, deadLetteredAt, position, reason, topic }: StoredDeadLetter,
  filter: DeadLetterFilter
): boolean =>
  (filter.position ?? position) === position &&
  (filter.reason ?? reason) === reason &&
  cause.includes(filter.cause ?? "") &&
  matches(filter.topic ?? "*", topic) &&
  deadLetteredAt >= (filter.from ?? Number.NEGATIVE_INFINITY) &&
  deadLetteredAt < (filter.to ?? Number.POSITIVE_INFINITY)

/** Removes the dead letters of these positions, and answers them. */
export const removeDeadLetters = ({ deadLetters }: Entry, positions: ReadonlyArray<Position>) =>
  positions.flatMap((position) => {
    const at = deadLetters.findIndex(({ letter }) => letter.position === position)
    return at < 0 ? [] : deadLetters.splice(at, 1)
  })

/** Removes the dead letters of an event, and one that is at its position, and answers them. */
export const removeDeadLettersOf = ({ deadLetters }: Entry, event: Position): ReadonlyArray<DeadRow> => {
  const found = deadLetters.filter(({ letter, of }) => letter.position === event || of === event)
  for (const one of found) deadLetters.splice(deadLetters.indexOf(one), 1)
  return found
}

/** Puts what was a dead letter to the end of the order. */
export const deliverAgain = (entry: Entry, { letter, of }: DeadRow, position: Position): void => {
  const { attempts, contentType, payload, topic, trace, writtenAt } = letter
  const event = { payload, topic, contentType, trace, writtenAt }
  deliver(entry, { position, of, event, attempts, firstFailedAt: undefined })
}

/** A copy with memory of its own. `slice` would not do: that of a `Buffer` shares its memory. */
export const copy = (payload: Uint8Array): Uint8Array => new Uint8Array(payload)

// internals

type Of<Tag> = Extract<Settled, { readonly _tag: Tag }>

const dueTimes = ({ lanes }: Entry): ReadonlyArray<Millis> => [...lanes.values()].map(({ due }) => due)

/** The first deliveries of a chain that are not taken. */
const head = (chain: Chain, taken: ReadonlySet<Position>, limit: number, lane: number | undefined) => {
  const rows: Array<Delivery> = []
  for (let row = chain.first; row !== undefined && rows.length < limit; row = row.after) {
    const { attempts, event, firstFailedAt, position } = row
    if (!taken.has(position)) rows.push({ position, ...event, attempts, firstFailedAt, lane })
  }
  return rows
}

/** A pending delivery. */
const rowAt = ({ lanes, ordered }: Entry, position: Position): Row | undefined =>
  [ordered, ...lanes.values()].find(({ rows }) => rows.has(position))?.rows.get(position)

const settleForGood = (
  entry: Entry,
  settled: Of<"Acknowledged" | "DeadLettered">,
  now: Millis,
  isKept: boolean
): void => {
  const { lane, position } = settled
  const chain = lane === undefined ? entry.ordered : entry.lanes.get(lane)
  const isFirst = chain?.first?.position === position
  const row = remove(chain, position)
  if (chain === undefined || row === undefined) return
  if (lane !== undefined && isFirst) {
    chain.due = atOnce
    if (chain.first === undefined) entry.lanes.delete(lane)
    else wake(entry)
  }
  entry.pending--
  entry.bytes -= row.event.payload.length
  if (settled._tag === "Acknowledged") {
    if (isKept)
      entry.outcomes.ended(row.of, { _tag: settled.isDropped === true ? "Dropped" : "Delivered", at: now }, row.event)
    return
  }
  const { attempts, cause, reason } = settled
  const letter = { position, ...row.event, deadLetteredAt: now, reason, cause, attempts }
  const at = entry.deadLetters.findLastIndex((other) => isLater(letter, other.letter))
  entry.deadLetters.splice(at + 1, 0, { of: row.of, letter })
}

const setAside = (entry: Entry, settled: Of<"Again" | "Aside">, now: Millis): void => {
  const { lane, position } = settled
  const chain = entry.lanes.get(lane) ?? makeChain()
  if (settled._tag === "Aside" && chain.rows.has(position)) return
  const row = remove(chain, position) ?? remove(entry.ordered, position)
  if (row === undefined) return
  entry.lanes.set(lane, chain)
  const isAgain = settled._tag === "Again"
  const failed = isAgain ? { attempts: settled.attempts, firstFailedAt: row.firstFailedAt ?? now } : {}
  // It is due when the lane is, of which it may be the first.
  if (!insert(chain, { ...row, ...failed })) return
  chain.due = isAgain ? now + Duration.toMillis(settled.delay) : atOnce
  wake(entry, chain.due)
}

type Place = Pick<StoredDeadLetter, "position" | "deadLetteredAt">

const isLater = (one: Place, other: Place): boolean =>
  one.deadLetteredAt > other.deadLetteredAt ||
  (one.deadLetteredAt === other.deadLetteredAt && one.position > other.position)
