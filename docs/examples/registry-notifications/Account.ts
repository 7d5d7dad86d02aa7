/** The account of one endpoint, and whether it is true. Pure: what it judges is handed to it. */
import type { EventSink } from "effect-events"
import type { Entry } from "./Ledger.ts"
import type { Receiver } from "./Receivers.ts"

/** The nodes of an endpoint from the broadcaster's subscription down to the webhook: nothing on the way branches. */
export const pathFrom = (node: EventSink.SinkNode): ReadonlyArray<EventSink.SinkNode> => [
  node,
  ...node.downstream().flatMap(pathFrom)
]

/** Adds up what the nodes of an endpoint say. */
export const total = (path: ReadonlyArray<EventSink.SinkHealth>): EventSink.SinkCounts => {
  const sum = (key: keyof EventSink.SinkCounts) => path.reduce((n, { counts }) => n + counts[key], 0)
  return {
    accepted: path[0]?.counts.accepted ?? 0,
    // The queue is who knows: what the webhook commits in the moment of the close is undelivered, in flight.
    delivered: path.findLast(({ kind }) => kind === "EventQueue")?.counts.delivered ?? 0,
    filtered: sum("filtered"),
    dropped: sum("dropped"),
    undelivered: sum("undelivered"),
    deadLettered: sum("deadLettered"),
    kept: sum("kept")
  }
}

const settled = (counts: EventSink.SinkCounts): number =>
  counts.delivered + counts.filtered + counts.dropped + counts.undelivered + counts.deadLettered + counts.kept

/** The conservation equation, for every node and for the endpoint as a whole. */
export const conservation = (path: ReadonlyArray<EventSink.SinkHealth>): ReadonlyArray<string> => {
  const accounts = [...path, { kind: "the endpoint", counts: total(path) }]
  return accounts
    .filter(({ counts }) => counts.accepted !== settled(counts))
    .map(({ counts, kind }) => `${kind} accepted ${counts.accepted} events and accounts for ${settled(counts)}`)
}

/**
 * Whether a receiver got what its endpoint wants: once repeated events are removed, everything in order and nothing
 * else. Of what it was allowed to give up, and reported, the receiver may have some: an answer can get lost.
 */
export const sequence = (
  wanted: ReadonlyArray<string>,
  kept: ReadonlyArray<string>,
  lost: ReadonlySet<string> = new Set()
): ReadonlyArray<string> => {
  const got = new Set(kept)
  const places = new Map<string, number>()
  for (const id of wanted) if (!places.has(id)) places.set(id, places.size)

  const missing = [...places.keys()].filter((id) => !got.has(id) && !lost.has(id))
  const strange = [...got].filter((id) => !places.has(id))
  const late: Array<string> = []
  let last = -1
  for (const id of got) {
    const place = places.get(id)
    if (place === undefined || lost.has(id)) continue
    if (place < last) late.push(id)
    else last = place
  }
  return [...some(missing, "never came"), ...some(strange, "should not have come"), ...some(late, "came out of order")]
}

const some = (ids: ReadonlyArray<string>, what: string): ReadonlyArray<string> => {
  const [first] = ids
  if (first === undefined) return []
  return [ids.length === 1 ? `event ${first} ${what}` : `event ${first} and ${ids.length - 1} more ${what}`]
}

/** Everything that is wrong with an endpoint after `sent` events were sent to it: nothing, or a lie has come to light. */
export const faults = (
  sent: number,
  path: ReadonlyArray<EventSink.SinkHealth>,
  entry: Entry,
  receiver: Receiver
): ReadonlyArray<string> => {
  const { accepted, delivered, dropped, filtered, undelivered } = total(path)
  const found = [
    ...conservation(path),
    ...sequence(entry.wanted, receiver.kept, entry.mayGiveUp ? entry.lost : undefined)
  ]
  const demand = (holds: boolean, otherwise: string) => void (holds || found.push(otherwise))
  demand(accepted === sent, `${sent} events were sent, and it accepted ${accepted}`)
  demand(
    filtered === sent - entry.wanted.length,
    `${sent - entry.wanted.length} events are not for it, and it filtered ${filtered}`
  )
  demand(
    dropped + undelivered === entry.reports,
    `${dropped + undelivered} events were given up, and ${entry.reports} of them reported`
  )
  // Its answer to a request may not have come through.
  demand(
    delivered <= receiver.acknowledged && receiver.acknowledged <= delivered + entry.unsure + entry.inFlight,
    `it delivered ${delivered} events, and the receiver acknowledged ${receiver.acknowledged}`
  )
  return found
}
