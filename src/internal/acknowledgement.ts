/**
 * What a write's success promises, along a graph: a part that keeps events in memory succeeds before its receiver has them,
 * and loses them with the process. Between a store and its receiver, or in front of a store, that loses acknowledged events.
 * Such a wiring is a mistake in the program, and so a defect.
 */
import type { SinkNode } from "./node.ts"

/** Throws where a part that stores would delete an event as soon as a part below it has the event in memory. */
export const refuseMemoryBelow = (part: SinkNode, below: SinkNode): void => {
  const path = pathTo(part, below, "memory")
  const culprit = path?.at(-1)
  if (path === undefined || culprit === undefined) return
  const instead: Readonly<Record<string, string>> = {
    EventQueue: " (of an Endpoint, by Endpoint.unqueued)",
    Broadcaster: " (for several receivers, by DurableBroadcaster)"
  }
  throw new Error(
    `${labelOf(part)} would delete events that are in memory only: ${labelsOf(path)} succeeds before its receiver has the event. Leave ${labelOf(culprit)} out${instead[culprit.kind] ?? ""}, or mark it by EventSink.acknowledgeFromMemory`
  )
}

/** Throws where a part that keeps events in memory would acknowledge an event before a part below it has stored the event. */
export const refuseStoreBelow = (part: SinkNode, below: SinkNode): void => {
  const path = pathTo(part, below, "store")
  const culprit = path?.at(-1)
  if (path === undefined || culprit === undefined) return
  const several = part.kind === "Broadcaster" ? " (for several receivers, to a DurableBroadcaster)" : ""
  throw new Error(
    `${labelOf(part)} would acknowledge events before ${labelOf(culprit)} has stored them: ${labelsOf([part, ...path])}. Write to ${labelOf(culprit)} without ${part.kind}${several}, or mark it by EventSink.acknowledgeFromMemory`
  )
}

/** A part whose sinks come later too, such as a router by topic, has them judged for what stands above it. */
export const judgesEdges = (part: SinkNode): void => void above.set(part, {})

/** Throws where a sink that comes later would have been refused at the construction of what stands above. */
export const judgeEdge = (part: SinkNode, added: SinkNode): void => {
  const { memory, store } = above.get(part) ?? {}
  if (store !== undefined) refuseMemoryBelow(store, added)
  if (memory !== undefined) refuseStoreBelow(memory, added)
}

/** Throws where batches would end at a part below that has them in memory, and delivers them otherwise. */
export const refuseQueueBelow = (part: SinkNode, below: SinkNode): void => {
  const path = pathTo(undefined, below, "memory")
  const culprit = path?.at(-1)
  if (path === undefined || culprit === undefined) return
  throw new Error(
    `${labelOf(part)} would batch for a part that keeps events in memory, and not for the receiver: ${labelsOf([part, ...path])}. Leave ${labelOf(culprit)} out, put it in front of ${part.kind}, or mark it by EventSink.acknowledgeFromMemory`
  )
}

// internals

/** What was made above a part whose sinks come later too: one of each kind is enough to judge them. */
const above = new WeakMap<SinkNode, { store?: SinkNode; memory?: SinkNode }>()

const labelOf = ({ kind, name }: SinkNode): string => (name === kind ? kind : `${kind} "${name}"`)
const labelsOf = (path: ReadonlyArray<SinkNode>): string => path.map(labelOf).join(" -> ")

/**
 * The way to the first part that acknowledges so, over the edges that a success depends on. Where there is none, `part`, if
 * there is one, is noted as standing above.
 */
const pathTo = (
  part: SinkNode | undefined,
  from: SinkNode,
  what: "memory" | "store"
): ReadonlyArray<SinkNode> | undefined => {
  // A map is iterated in the order of insertion, what is inserted meanwhile included.
  const paths = new Map<SinkNode, ReadonlyArray<SinkNode>>([[from, [from]]])
  for (const [node, path] of paths) {
    if (node.acknowledges === what) return path
    // A part of the other kind was judged when it was made.
    if (node.acknowledges !== undefined) continue
    for (const { acknowledges, node: next } of node.downstream()) {
      if (acknowledges && !paths.has(next)) paths.set(next, [...path, next])
    }
  }
  if (part !== undefined)
    for (const node of paths.keys()) {
      const noted = above.get(node)
      if (noted !== undefined) noted[what === "memory" ? "store" : "memory"] ??= part
    }
  return undefined
}
