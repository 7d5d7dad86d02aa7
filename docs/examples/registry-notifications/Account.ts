/** The account of one endpoint, and whether it is true. Pure: what it judges is handed to it. */
import type { EventSink } from "effect-events"
import type { Entry } from "./Ledger.ts"
import type { DeadLetter } from "./DeadLetters.ts"
import type { Stored } from "./Stored.ts"
import type { Receiver } from "./Receivers.ts"

/** A node and those below it, down to the webhook: nothing on the way branches. */
const pathFrom = (node: EventSink.SinkNode): ReadonlyArray<EventSink.SinkNode> => [
  node,
  ...node.downstream().flatMap((edge) => pathFrom(edge.node))
]

/** The nodes of the endpoint of a name, from its subscription to `broadcaster` down. */
export const pathOf = (broadcaster: EventSink.SinkNode, name: string): ReadonlyArray<EventSink.SinkNode> =>
  broadcaster.downstream().flatMap(({ node }) => (node.name === name ? pathFrom(node) : []))

/** What is known of an endpoint when a run is over, from all sides. */
export interface Evidence {
  /** What its nodes say, which know of this run only. */
  readonly path: ReadonlyArray<EventSink.SinkHealth>
  readonly entry: Entry
  readonly receiver: Pick<Receiver, "kept" | "acknowledged">
  /** What earlier runs had left in the file: events, and dead letters. */
  readonly carried: Stored
  /** All dead letters there are now. */
  readonly deadLetters: ReadonlyArray<DeadLetter>
}

/** Adds up what the nodes of an endpoint say, of which the first, the subscription, begins with what it found in the file. */
export const total = (path: ReadonlyArray<EventSink.SinkHealth>): EventSink.SinkCounts => {
  const sum = (key: keyof EventSink.SinkCounts) => path.reduce((n, { counts }) => n + counts[key], 0)
  return {
    accepted: path[0]?.counts.accepted ?? 0,
    // The subscription's count: what the webhook commits in the moment of the close remains, in flight.
    delivered: path[0]?.counts.delivered ?? 0,
    filtered: sum("filtered"),
    dropped: sum("dropped"),
    undelivered: sum("undelivered"),
    deadLettered: sum("deadLettered"),
    remaining: sum("remaining")
  }
}

const settled = (counts: EventSink.SinkCounts): number =>
  counts.delivered + counts.filtered + counts.dropped + counts.undelivered + counts.deadLettered + counts.remaining

/** The conservation equation, for every node and for the endpoint as a whole. */
export const conservation = (path: ReadonlyArray<EventSink.SinkHealth>): ReadonlyArray<string> => {
  const accounts = [...path, { kind: "the endpoint", counts: total(path) }]
  return accounts
    .filter(({ counts }) => counts.accepted !== settled(counts))
    .map(({ counts, kind }) => `${kind} accepted ${counts.accepted} events and accounts for ${settled(counts)}`)
}

/** What became of each event that an endpoint wants: the receiver has it, or it is a dead letter, or it is missing. */
export const fates = (
  wanted: ReadonlyArray<string>,
  kept: ReadonlyArray<string>,
  lost: ReadonlySet<string | undefined>
): { readonly delivered: number; readonly dead: number; readonly missing: number } => {
  const got = new Set(kept)
  const delivered = wanted.filter((id) => got.has(id)).length
  const dead = wanted.filter((id) => !got.has(id) && lost.has(id)).length
  return { delivered, dead, missing: wanted.length - delivered - dead }
}

/**
 * Whether a receiver got what its endpoint wants: once repeated events are removed, everything in order and nothing
 * else. Of what it was allowed to give up, and reported, the receiver may have some: an answer can get lost.
 */
export const sequence = (
  wanted: ReadonlyArray<string>,
  kept: ReadonlyArray<string>,
  lost: ReadonlySet<string | undefined> = new Set()
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

/** Everything that is wrong with an endpoint at the end: nothing, or a lie has come to light. */
export const faults = ({ carried, entry, deadLetters, path, receiver }: Evidence): ReadonlyArray<string> => {
  const { accepted, deadLettered, delivered, dropped, remaining, undelivered } = total(path)
  const lost = new Set(deadLetters.map(({ id }) => id))
  // Of the input as a whole, whichever run has sent it.
  const found = [...conservation(path), ...sequence(entry.wanted, receiver.kept, entry.mayGiveUp ? lost : undefined)]
  const demand = (holds: boolean, otherwise: string) => void (holds || found.push(otherwise))
  demand(
    entry.mayGiveUp || deadLetters.length === 0,
    `it may give nothing up, and gave up ${deadLetters.length} events`
  )
  demand(dropped + undelivered + remaining === 0, `${dropped + undelivered + remaining} events are left`)
  // Of this run.
  const given = carried.waiting + entry.sent
  demand(accepted === given, `${given} events were stored for it, and it accepted ${accepted}`)
  const dead = deadLetters.length - carried.deadLetters
  demand(deadLettered === dead, `${deadLettered} events were given up, and ${dead} are dead letters`)
  // Its answer to a request may not have come through.
  demand(
    delivered <= receiver.acknowledged && receiver.acknowledged <= delivered + entry.maybeCommitted,
    `it delivered ${delivered} events, and the receiver acknowledged ${receiver.acknowledged}`
  )
  return found
}
