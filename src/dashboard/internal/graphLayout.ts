/**
 * The places of a graph's nodes: a layer behind all nodes that write to it, and a row of its own. The leaves have whole rows in
 * the order of the graph, and a node is in the middle of what it writes to, or near the first of many, so no two nodes of a
 * layer meet.
 */

export interface Place {
  readonly layer: number
  readonly row: number
}

export interface GraphLayout {
  readonly places: ReadonlyArray<Place>
  readonly layers: number
  readonly rows: number
}

/** Takes the nodes downstream of each node, as indexes, those of no other node first. */
export const graphLayout = (downstream: ReadonlyArray<ReadonlyArray<number>>): GraphLayout => {
  const layers = downstream.map(() => 0)
  const rows = downstream.map(() => 0)
  const order = topological(downstream)
  const ranks = downstream.map(() => 0)
  for (const [rank, node] of order.entries()) ranks[node] = rank
  for (const node of order) {
    for (const next of downstream[node] ?? []) {
      // An edge back to where a circle began is no step.
      if ((ranks[next] ?? 0) <= (ranks[node] ?? 0)) continue
      layers[next] = Math.max(layers[next] ?? 0, (layers[node] ?? 0) + 1)
    }
  }

  let leaves = 0
  const seen = new Set<number>()
  // A stack of its own: a chain of sinks may be longer than the stack of calls.
  const place = (root: number) => {
    const open: Array<{ readonly node: number; readonly own: ReadonlyArray<number> }> = []
    const enter = (node: number) => {
      seen.add(node)
      const own = (downstream[node] ?? []).filter((next) => !seen.has(next))
      for (const next of own) seen.add(next)
      open.push({ node, own })
    }
    const at = new Map<number, number>()
    enter(root)
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const done = at.get(top.node) ?? 0
      const next = top.own[done]
      if (next !== undefined) {
        at.set(top.node, done + 1)
        enter(next)
        continue
      }
      open.pop()
      const [first, last] = [top.own[0], top.own.at(-1)]
      rows[top.node] = first === undefined || last === undefined ? leaves++ : between(rows[first] ?? 0, rows[last] ?? 0)
    }
  }
  for (const node of order) if (!seen.has(node)) place(node)
  return {
    places: downstream.map((_, node) => ({ layer: layers[node] ?? 0, row: rows[node] ?? 0 })),
    layers: layers.reduce((most, layer) => Math.max(most, layer), 0) + 1,
    rows: Math.max(1, leaves)
  }
}

// internals

/** How many rows a node is below the first of those that it writes to, at most: both are seen together. */
const mostBelow = 4

const between = (first: number, last: number): number => Math.min((first + last) / 2, first + mostBelow)

/** Each node before those downstream of it, but for edges that close a circle. */
const topological = (downstream: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<number> => {
  const after: Array<number> = []
  const seen = new Set<number>()
  for (const root of Array.from(downstream.keys()).toReversed()) {
    if (seen.has(root)) continue
    seen.add(root)
    const open: Array<{ readonly node: number; next: number }> = [{ node: root, next: 0 }]
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      // From the last to the first, so that the reversed order is that of the graph.
      const all = downstream[top.node] ?? []
      const next = all[all.length - 1 - top.next++]
      if (next === undefined) {
        after.push(top.node)
        open.pop()
      } else if (!seen.has(next)) {
        seen.add(next)
        open.push({ node: next, next: 0 })
      }
    }
  }
  return after.toReversed()
}
