/**
 * The series of a node in a registry of metrics. `Metric.registerUnsafe` gives a series a function that a snapshot reads, so
 * nothing is updated when an event passes. A node has one set of series in a registry, whichever layers show it.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import { pendingOf, type SinkNode } from "../node.ts"
import * as Handles from "./handles.ts"

const breakerStates = { closed: 0, "half-open": 1, open: 2 } as const
const deliveryStates = { active: 0, paused: 1, disabled: 2 } as const

/** The series of a node, shared by those that show it. */
interface Shown {
  users: number
  readonly known: () => void
  readonly end: () => void
}

/** What is shown in a registry, and under which labels. */
interface Registered {
  readonly nodes: Map<SinkNode, Shown>
  readonly labels: Set<string>
}

const registries = new WeakMap<object, Registered>()

export interface Series {
  /** The part knows more by now: what it did not know before gets its series. */
  readonly known: () => void
  readonly end: () => void
}

/** Begins the series of a node. */
export const makeSeries = (node: SinkNode, context: Context.Context<never>): Series => {
  const registry = Context.get(context, Metric.MetricRegistry)
  const registered = registries.get(registry) ?? { nodes: new Map(), labels: new Set() }
  registries.set(registry, registered)
  const { nodes } = registered
  const shown = nodes.get(node) ?? register(node, context, registered.labels)
  nodes.set(node, shown)
  shown.users++
  return {
    known: shown.known,
    end: () => {
      if (--shown.users > 0) return
      nodes.delete(node)
      shown.end()
    }
  }
}

// internals

const register = (node: SinkNode, context: Context.Context<never>, labels: Set<string>): Shown => {
  const { figures, kind } = node
  const label = labelOf(node, labels)
  const registered: Array<Metric.Registration> = []
  const series = <State>(
    metric: Metric.Metric<number, State>,
    get: (context: Context.Context<never>) => State,
    more?: Metric.Metric.AttributeSet
  ) => {
    const own = Metric.withAttributes(metric, { sink: label.sink, kind, ...more })
    registered.push(Metric.registerUnsafe(own, context, { get, update: () => {}, modify: () => {} }))
  }
  const counter = (metric: Metric.Counter<number>, read: () => number, more?: Metric.Metric.AttributeSet) => {
    // What another process takes from a store is not accepted any more, and no counter may fall.
    let count = 0
    series(metric, () => ({ count: (count = Math.max(count, read())), incremental: true }), more)
  }
  const gauge = (metric: Metric.Gauge<number>, read: (context: Context.Context<never>) => number) =>
    series(metric, (context) => ({ value: read(context) }))

  const { account, attempts, breaker, drops = [], oldestAge, stored } = figures
  const pending = () => figures.waiting?.() ?? pendingOf(account())
  gauge(Handles.pending, pending)
  if (figures.isUncounted !== true) {
    counter(Handles.accepted, () => account().accepted)
    counter(Handles.delivered, () => account().delivered)
    gauge(Handles.inFlight, () => account().inFlight)
  }
  if (figures.filters === true) counter(Handles.filtered, () => account().filtered)
  for (const reason of drops) counter(Handles.dropped, () => account().droppedBy[reason] ?? 0, { reason })
  if (attempts !== undefined) counter(Handles.attempts, attempts)
  if (oldestAge !== undefined) {
    gauge(Handles.oldestAge, (context) => {
      if (pending() === 0) return 0
      return (oldestAge(Context.get(context, Clock.Clock).currentTimeMillisUnsafe()) ?? 0) / 1000
    })
  }
  // A strategy that has no breaker has no state either.
  if (breaker?.() !== undefined) gauge(Handles.breakerState, () => breakerStates[breaker() ?? "closed"])
  if (stored !== undefined || figures.hasDeadLetters === true) {
    counter(Handles.deadLettered, () => account().deadLettered)
  }
  if (stored !== undefined) gauge(Handles.leaseHeld, () => (stored().isLeased ? 1 : 0))
  let unwatch = () => {}
  if (figures.isTimed === true) {
    const { record, state } = Handles.makeDurations()
    series(Handles.processDuration, state)
    unwatch = figures.watch({ processed: record })
  }

  let [knowsState, knowsDeadLetters] = [false, false]
  const known = () => {
    if (stored === undefined) return
    const { deadLetters, state } = stored()
    if (!knowsState && state !== undefined) {
      knowsState = true
      gauge(Handles.deliveryState, () => deliveryStates[stored().state ?? "active"])
    }
    if (knowsDeadLetters || deadLetters === undefined) return
    knowsDeadLetters = true
    gauge(Handles.deadLetters, () => stored().deadLetters ?? 0)
  }
  known()
  return {
    users: 0,
    known,
    end: () => {
      unwatch()
      label.free()
      for (const { remove } of registered) remove()
    }
  }
}

/** The name of the node, with a number from 2 on where another of its kind has that name: no series may stand for two sinks. */
const labelOf = ({ kind, name }: SinkNode, labels: Set<string>) => {
  const keyOf = (sink: string) => JSON.stringify([kind, sink])
  let sink = name
  for (let n = 2; labels.has(keyOf(sink)); n++) sink = `${name}#${n}`
  labels.add(keyOf(sink))
  return { sink, free: () => void labels.delete(keyOf(sink)) }
}
