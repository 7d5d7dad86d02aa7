/** The subscriptions of a broadcaster for which events wait and which no process serves: in its health, and logged once. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { logLine, numbered } from "../../internal/failureLog.ts"
import { type LastError, makeAccount, makeNode, type SinkEdge, type SinkNode } from "../../internal/node.ts"
import type { EventStoreError, Operations } from "../EventStore.ts"
import { NotDelivering } from "./error.ts"

export interface Options {
  readonly store: Operations
  readonly node: SinkNode
  /** Whether this process serves a subscription of that name. */
  readonly serves: (name: string) => boolean
}

export interface Unserved {
  /** Looks at all subscriptions. One that is found twice in a row counts as served by no process: a takeover is faster. */
  readonly look: Effect.Effect<void, EventStoreError>
  /** To their places in the graph, as they were found. */
  readonly edges: () => ReadonlyArray<SinkEdge>
}

export const makeUnserved = ({ node, serves, store }: Options): Unserved => {
  const exchange = node.name
  /** Those of the last look, with a place in the graph from the second on, and when they were found first. */
  let found: ReadonlyMap<string, { readonly node: SinkNode | undefined; readonly at: number }> = new Map()

  const nodeOf = (subscription: string, pending: number, at: number): SinkNode => {
    const error = new NotDelivering({ exchange, subscription, reason: "Unserved", detail: undefined })
    const lastError: LastError = { error, at, count: 1 }
    const account = { ...makeAccount(), accepted: pending, lastError }
    return makeNode({
      kind: "Subscription",
      name: subscription,
      account,
      acknowledges: "store",
      state: () => "closed",
      isUncounted: true
    })
  }
  const look = Effect.gen(function* () {
    const before = found
    const now = new Map<string, { readonly node: SinkNode | undefined; readonly at: number }>()
    const time = yield* Clock.currentTimeMillis
    for (const { id, name, state } of yield* store.list({ exchange })) {
      if (state !== "active" || serves(name)) continue
      const figures = yield* store.figures(id)
      if (figures === undefined || figures.owner !== undefined || figures.pending === 0) continue
      const seen = before.get(name)
      const at = seen?.at ?? time
      now.set(name, { at, node: seen && nodeOf(name, figures.pending, at) })
      if (seen === undefined || seen.node !== undefined) continue
      const { pending } = figures
      yield* logLine(
        node,
        "Warn",
        `has a subscription "${name}" that no process serves, with ${numbered(pending, "event")} pending`,
        { events: pending }
      )
    }
    found = now
    node.figures.changed()
  })
  return {
    look,
    edges: () =>
      [...found.values()].flatMap(({ node }) =>
        node === undefined || serves(node.name) ? [] : { node, acknowledges: false }
      )
  }
}
