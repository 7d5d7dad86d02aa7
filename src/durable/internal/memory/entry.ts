/** A subscription of a memory store with all that is stored for it: plain values, without effects and without a clock. */
import * as Duration from "effect/Duration"
import type {
  Bounds,
  Claimed,
  Delivery,
  Millis,
  Page,
  Position,
  Settled,
  Settlement,
  StoredDeadLetter,
  Subscription,
  Taken,
  Wanted
} from "../../EventStore.ts"
import { type Chain, insert, makeChain, remove, type Row } from "./chain.ts"

export interface Entry {
  subscription: Subscription
  readonly ordered: Chain
  readonly lanes: Map<number, Chain>
  /** In the order of their pages. */
  readonly deadLetters: Array<StoredDeadLetter>
  pending: number
  bytes: number
  epoch: number
  owner: number | undefined
  /** When there is something that no claim has seen. */
  wakeAt: Millis
  /** From the first attempt that fails until one succeeds. */
  wait: ({ readonly until: Millis } & Pick<Claimed, "attempts" | "firstFailedAt">) | undefined
}

/** A time that is over, also when the clock is set back. */
const atOnce = 0
const never = Number.POSITIVE_INFINITY

export const makeEntry = (subscription: Subscription): Entry => ({
  subscription,
  ordered: makeChain(),
  lanes: new Map(),
  deadLetters: [],
  pending: 0,
  bytes: 0,
  epoch: 0,
  owner: undefined,
  wakeAt: never,
  wait: undefined
})

export const isMatch = ({ tenant, topics }: Subscription, of: { readonly tenant: string; readonly topic: string }) =>
  tenant === of.tenant &&
  topics.some(
    (pattern) =>
      pattern === "*" || pattern === of.topic || (pattern.endsWith("/*") && of.topic.startsWith(pattern.slice(0, -1)))
  )

/** When a claim finds something, never before the wait of the whole subscription is over. */
export const dueAt = ({ pending, wait, wakeAt }: Entry): Millis =>
  pending === 0 ? never : Math.max(wakeAt, wait?.until ?? atOnce)

export const wake = (entry: Entry, at: Millis = atOnce): void => {
  entry.wakeAt = Math.min(entry.wakeAt, at)
}

/** Marks what is due as seen. */
export const mark = (entry: Entry, now: Millis): void => {
  entry.wakeAt = Math.min(never, ...dueTimes(entry).filter((due) => due > now))
}

/** Nothing of it is leased, and so all of it is to be seen. */
export const free = (entry: Entry): void => {
  entry.owner = undefined
  entry.wakeAt = Math.min(entry.ordered.first === undefined ? never : atOnce, ...dueTimes(entry))
}

/** The lanes with the position of the first delivery of each: there is one. */
const lanesOf = (lanes: Entry["lanes"]): Claimed["lanes"] =>
  Array.from(lanes, ([lane, { first }]) => ({ lane, first: first!.position }))

/** A lease with an epoch greater than any before. */
export const acquire = (entry: Entry, owner: number): Claimed => {
  entry.owner = owner
  entry.epoch++
  const { epoch, lanes, subscription, wait } = entry
  const { attempts, firstFailedAt } = wait ?? { attempts: 0, firstFailedAt: undefined }
  return { subscription: subscription.id, epoch, attempts, firstFailedAt, lanes: lanesOf(lanes) }
}

/** Stores a delivery in the order of its subscription. */
export const deliver = (entry: Entry, row: Row): void => {
  insert(entry.ordered, row)
  entry.pending++
  entry.bytes += row.event.payload.length
  wake(entry)
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

export const settle = (entry: Entry, { settled, wait }: Omit<Settlement, "lease">, now: Millis): void => {
  for (const one of settled) {
    if (one._tag === "Acknowledged" || one._tag === "DeadLettered") settleForGood(entry, one, now)
    else setAside(entry, one, now)
  }
  if (wait === undefined || (wait.attempts === 0 && entry.wait === undefined)) return
  // A wait with one attempt is the first of what waits now.
  const firstFailedAt = wait.attempts > 1 ? (entry.wait?.firstFailedAt ?? now) : now
  entry.wait =
    wait.attempts === 0
      ? undefined
      : { until: now + Duration.toMillis(wait.delay), attempts: wait.attempts, firstFailedAt }
  wake(entry)
}

export const bounds = ({ lanes, ordered, subscription }: Entry): ReadonlyArray<Bounds> => {
  const chains = [ordered, ...lanes.values()]
  const positions = chains.flatMap(({ first, last }) => (first && last ? [first.position, last.position] : []))
  return positions.length === 0
    ? []
    : [{ subscription: subscription.id, first: Math.min(...positions), last: Math.max(...positions) }]
}

/** Dead letters are listed in the order in which they were dead-lettered. */
export const page = ({ deadLetters }: Entry, { after, limit }: Page): ReadonlyArray<StoredDeadLetter> => {
  const from = after === undefined ? 0 : deadLetters.findIndex((deadLetter) => isLater(deadLetter, after))
  return from < 0
    ? []
    : deadLetters.slice(from, from + limit).map((deadLetter) => ({ ...deadLetter, payload: copy(deadLetter.payload) }))
}

/** Removes the dead letters of these positions, and answers them. */
export const removeDeadLetters = ({ deadLetters }: Entry, positions: ReadonlyArray<Position>) =>
  positions.flatMap((position) => {
    const at = deadLetters.findIndex((deadLetter) => deadLetter.position === position)
    return at < 0 ? [] : deadLetters.splice(at, 1)
  })

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

const settleForGood = (entry: Entry, settled: Of<"Acknowledged" | "DeadLettered">, now: Millis): void => {
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
  if (settled._tag === "Acknowledged") return
  const { attempts, cause, reason } = settled
  const deadLetter = { position, ...row.event, deadLetteredAt: now, reason, cause, attempts }
  const at = entry.deadLetters.findLastIndex((other) => isLater(deadLetter, other))
  entry.deadLetters.splice(at + 1, 0, deadLetter)
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
