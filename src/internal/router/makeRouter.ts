/** What routers with fixed cases have in common: each event to the one sink that its case names, single and in batches. */
import * as Effect from "effect/Effect"
import { edgesTo, type SinkState } from "../node.ts"
import { filtered, noteOutcome, open } from "../receipt.ts"
import { type AnySource, type EventSink, fromSource, makePart, makeSink, WriteSync } from "../sink.ts"
import { leading } from "../turns.ts"

/** Builds the sinks in order, and the router over them. A key without a case goes to `orElse`. */
export const makeRouter = (
  keyOf: (event: never) => string,
  cases: Readonly<Record<string, AnySource>>,
  orElse: AnySource | "ignore" | undefined,
  name: string | undefined
) =>
  Effect.gen(function* () {
    const routes = new Map<string, EventSink<unknown, unknown>>()
    // The types of the public makers say that a case takes its events: here they are any.
    const build = (source: AnySource) => fromSource(source) as Effect.Effect<EventSink<unknown, unknown>>
    for (const [key, source] of Object.entries(cases)) routes.set(key, yield* build(source))
    const rest = orElse === undefined || orElse === "ignore" ? orElse : yield* build(orElse)
    return routing(keyOf as (event: unknown) => string, routes, rest, name)
  })

// internals

type AnySink = EventSink<unknown, unknown>

const routing = (
  keyOf: (event: unknown) => string,
  routes: ReadonlyMap<string, AnySink>,
  rest: AnySink | "ignore" | undefined,
  name: string | undefined
) => {
  const labelled = [...routes]
  if (rest !== undefined && rest !== "ignore") labelled.push(["orElse", rest])
  const sinks = [...new Set(labelled.map(([, sink]) => sink))]
  const isOpen = () => sinks.some(({ node }) => node.isOpen())
  /** As open as the sink that is open the longest: the others refuse their own events. */
  const state = (): SinkState =>
    isOpen() ? "open" : sinks.some(({ node }) => node.state === "closing") ? "closing" : "closed"
  const { account, closed, node } = makePart({
    kind: "EventRouter",
    name,
    downstream: () => edgesTo(labelled),
    filters: rest === "ignore",
    state,
    update: () => void (account.accepted = account.delivered + account.filtered)
  })

  /** The sink of an event, and nothing of one that is ignored. */
  const routeOf = (event: unknown): AnySink | undefined => {
    const key = keyOf(event)
    const sink = routes.get(key) ?? rest
    if (sink === undefined)
      throw new Error(`${node.kind} "${node.name}" has no case for an event with the tag "${key}"`)
    return sink === "ignore" ? undefined : sink
  }
  const isFor = (event: unknown, sink: AnySink | undefined): boolean => {
    try {
      return routeOf(event) === sink
    } catch {
      // It is a defect of its own write, as the first event of a later batch.
      return false
    }
  }
  /** Whether a sink is open, and the events count as filtered. */
  const ignored = (n: number): boolean => {
    if (!isOpen()) return false
    account.filtered += n
    return true
  }
  const delivered = <B>(n: number, answer: B): B => {
    account.delivered += n
    return answer
  }
  const deliveredOne = () => void account.delivered++

  const writeTo = (sink: AnySink | undefined, event: unknown) => {
    if (sink !== undefined) return Effect.map(sink.write(event), deliveredOne)
    return ignored(1) ? noteOutcome(node, filtered) : closed
  }
  const syncTo = (sink: AnySink | undefined, event: unknown): boolean => {
    if (sink === undefined) return ignored(1)
    return sink[WriteSync]?.(event) === true && delivered(1, true)
  }
  const isSync = sinks.length > 0 && sinks.every((sink) => sink[WriteSync] !== undefined)
  const takesBatches = sinks.length > 0 && sinks.every(({ writeSome }) => writeSome !== undefined)

  return makeSink<unknown, unknown>({
    node,
    writeSync: isSync ? (event) => syncTo(routeOf(event), event) : undefined,
    write: (event) =>
      Effect.suspend(() => {
        const sink = routeOf(event)
        if (!isSync || open.receipts > 0) return writeTo(sink, event)
        // A sink that is closed answers with a `SinkClosed` of its own name.
        return syncTo(sink, event) ? Effect.void : writeTo(sink, event)
      }),
    writeSome: takesBatches
      ? (events) =>
          Effect.suspend(() => {
            const some = leading(events)
            const sink = routeOf(some[0])
            let n = 1
            while (n < some.length && isFor(some[n], sink)) n++
            if (sink?.writeSome === undefined) return ignored(n) ? Effect.as(noteOutcome(node, filtered, n), n) : closed
            return Effect.map(sink.writeSome(leading(some, n)), (committed) => delivered(committed, committed))
          })
      : undefined
  })
}
