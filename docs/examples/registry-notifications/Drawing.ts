/** The whole graph as lines of text with the figures of each node: what a terminal shows while it runs. */
import type { EventSink } from "effect-events"
import * as Screen from "./Screen.ts"

/** A line, and whether it is about trouble. */
export interface Line {
  readonly text: string
  readonly isTrouble: boolean
}

/** A line for each node below its parent, and a node that several write to below the first of them. */
export const draw = (root: EventSink.SinkNode, now: number): ReadonlyArray<Line> => {
  const rows: Array<{ readonly label: string; readonly health: EventSink.SinkHealth }> = []
  const seen = new Set<EventSink.SinkNode>()
  const visit = (node: EventSink.SinkNode, before: string, own: string, below: string) => {
    seen.add(node)
    const label = node.kind === node.name ? node.kind : `${node.kind} ${node.name}`
    rows.push({ label: `${before}${own}${label}`, health: node.health(now) })
    const next = node
      .downstream()
      .map((edge) => edge.node)
      .filter((other) => !seen.has(other))
    for (const [i, other] of next.entries()) {
      const isLast = i === next.length - 1
      visit(other, `${before}${below}`, isLast ? "└─ " : "├─ ", isLast ? "   " : "│  ")
    }
  }
  visit(root, "", "", "")
  const cells = rows.map(({ health, label }) => [
    label,
    String(health.pending),
    health.oldestAge === undefined ? "" : `${(health.oldestAge / 1000).toFixed(1)} s`,
    String(health.counts.delivered),
    health.counts.deadLettered === 0 ? "" : String(health.counts.deadLettered),
    health.breaker === undefined || health.breaker === "closed" ? "" : health.breaker
  ])
  const [heads = "", rule = "", ...texts] = Screen.table(
    ["sink", "waiting", "oldest", "delivered", "dead", "breaker"],
    cells
  ).split("\n")
  return [
    { text: heads, isTrouble: false },
    { text: rule, isTrouble: false },
    ...texts.map((text, i) => ({ text, isTrouble: rows[i]?.health.breaker === "open" }))
  ]
}
