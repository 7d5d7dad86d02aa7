/** The subscriptions of a broadcaster for which events wait and which no process serves: in its health, and logged once. */
import * as Effect from "effect/Effect"
import { annotate } from "../../internal/failureLog.ts"
import { makeAccount, makeNode, type SinkEdge, type SinkNode } from "../../internal/node.ts"
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
  /** Those of the last look, with a place in the graph from the second on. */
  let found: ReadonlyMap<string, SinkNode | undefined> = new Map()

  const nodeOf = (subscription: string, pending: number): SinkNode => {
    const reason = { exchange, subscription, reason: "Unserved", detail: undefined } as const
    const account = { ...makeAccount(), accepted: pending, lastError: new NotDelivering(reason) }
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
    const now = new Map<string, SinkNode | undefined>()
    for (const { id, name, state } of yield* store.list({ exchange })) {
      if (state !== "active" || serves(name)) continue
      const figures = yield* store.figures(id)
      if (figures === undefined || figures.owner !== undefined || figures.pending === 0) continue
      now.set(name, before.has(name) ? nodeOf(name, figures.pending) : undefined)
      if (!before.has(name) || before.get(name) !== undefined) continue
      yield* Effect.logWarning(
        `no process serves the subscription "${name}" of "${exchange}", for which ${figures.pending} events wait`
      ).pipe(annotate(node.kind, exchange))
    }
    found = now
    node.figures.changed()
  })
  return {
    look,
    edges: () =>
      [...found.values()].flatMap((node) =>
        node === undefined || serves(node.name) ? [] : { node, acknowledges: false }
      )
  }
}
