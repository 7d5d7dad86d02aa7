/**
 * What is downstream of a root, kept while the graph changes. The nodes tell when their edges change and when they close: a
 * snapshot reads the registry before it asks any series, so one that is found by then comes too late for it
 * (test/SinkMetrics.test.ts, "a series that begins within a snapshot").
 */
import type { SinkNode } from "../node.ts"

/** A node downstream of the root. */
interface Place {
  readonly above: Set<SinkNode>
  below: Set<SinkNode>
  /** Ends what was begun for it; nothing once it is over. */
  end: (() => void) | undefined
  readonly unwatch: () => void
}

/** Calls `begin` for each node that is or comes downstream of the root, and what that answers when the node is over or gone. */
export const watchGraph = (root: SinkNode, begin: (node: SinkNode) => () => void): (() => void) => {
  const places = new Map<SinkNode, Place>()

  const add = (node: SinkNode): Place => {
    const place: Place = {
      above: new Set(),
      below: new Set(),
      end: isOver(node) ? undefined : begin(node),
      unwatch: node.figures.watch({ changed: (added) => changed(node, added) })
    }
    places.set(node, place)
    return place
  }
  /** Adds what is new downstream of a node. */
  const reach = (from: SinkNode) => {
    const visited = new Set([from])
    for (const node of visited) {
      const place = places.get(node) ?? add(node)
      place.below = belowOf(node)
      for (const next of place.below) {
        if (!places.has(next)) visited.add(next)
        const { above } = places.get(next) ?? add(next)
        above.add(node)
      }
    }
  }
  const remove = (node: SinkNode, { end, unwatch }: Place) => {
    places.delete(node)
    unwatch()
    end?.()
  }
  /** Ends what no way leads to any more. */
  const sweep = () => {
    const reached = new Set([root])
    for (const node of reached) for (const next of places.get(node)?.below ?? []) reached.add(next)
    for (const [node, place] of places) {
      if (!reached.has(node)) remove(node, place)
      else for (const above of place.above) if (!reached.has(above)) place.above.delete(above)
    }
  }
  /** A node that is over, and those that are as open as it is. */
  const ended = (node: SinkNode) => {
    const over = new Set([node])
    for (const one of over) {
      const place = places.get(one)
      if (place === undefined || !isOver(one)) continue
      place.end?.()
      place.end = undefined
      for (const above of place.above) if (places.get(above)?.end !== undefined) over.add(above)
    }
  }
  const changed = (node: SinkNode, added: SinkNode | undefined) => {
    const place = places.get(node)
    if (place === undefined) return
    if (added !== undefined) {
      // Of a node with thousands of edges the others are not looked at.
      place.below.add(added)
      if (!places.has(added)) reach(added)
      places.get(added)?.above.add(node)
      return
    }
    const below = belowOf(node)
    const kept = new Set([...place.below].filter((one) => below.has(one)))
    const isLess = kept.size < place.below.size
    place.below = kept
    // First the end: what takes a place gets the labels of what was there.
    if (isLess) sweep()
    reach(node)
    ended(node)
  }
  reach(root)
  return () => {
    for (const [node, place] of places) remove(node, place)
  }
}

// internals

const belowOf = (node: SinkNode): Set<SinkNode> => new Set(node.downstream().map((edge) => edge.node))

/** It has closed; or it has no lifetime of its own, and what it writes to has. */
const isOver = (node: SinkNode): boolean =>
  node.figures.account().state === "closed" || (node.state === "closed" && node.downstream().length > 0)
