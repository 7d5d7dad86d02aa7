/**
 * What a dashboard knows of a graph: its nodes with their health, the last 15 minutes of each, and what their stores say of
 * them. A sample is taken once a second while there is a viewer, and every five seconds otherwise. Stores are asked only while
 * there is a viewer, and never for many nodes at once.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { describeCause } from "../../internal/describeCause.ts"
import {
  controlsOf,
  type ControlState,
  type EventSink,
  type SinkControls,
  type SinkHealth,
  type SinkNode
} from "../../EventSink.ts"
import { withoutConstruction } from "../../internal/context.ts"
import type { GraphView, HistoryView, NodeView, Offer } from "./dashboardApi.ts"
import { graphLayout } from "./graphLayout.ts"
import { type History, makeHistory } from "./history.ts"
import { troubleOf } from "./trouble.ts"

/** Any sink: for a look it does not matter what it takes and how it fails. */
export type AnySink = EventSink<never, unknown>

/** A node that is watched. */
export interface Watched {
  readonly id: string
  readonly node: SinkNode
}

export interface Monitor {
  readonly find: (id: string) => Watched | undefined
  readonly graph: Effect.Effect<Pick<typeof GraphView.Type, "revision" | "layers" | "rows" | "nodes" | "edges">>
  /** What has changed after a sequence number, each node in JSON; all of it where the graph is another. */
  readonly live: (
    revision: string | undefined,
    since: number | undefined
  ) => Effect.Effect<{
    readonly revision: string
    readonly at: number
    readonly sequence: number
    readonly nodes: ReadonlyArray<string>
  }>
  readonly history: (seconds: number, id: string | undefined) => Effect.Effect<typeof HistoryView.Type>
  /** Has the store of a node asked again soon: it was changed. */
  readonly changed: (id: string) => Effect.Effect<void>
}

interface Entry extends Watched {
  /** What the node has been made with. */
  readonly controls: SinkControls | undefined
  readonly history: History
  health: SinkHealth
  /** The delivered events at the last sample. */
  delivered: number
  error: string | undefined
  errorAt: number | undefined
  droppedAt: number | undefined
  deadAt: number | undefined
  control: ControlState | undefined
  /** What the store says that waits. */
  stored: number | undefined
  deadLetters: number | undefined
  unread: string | undefined
  /** When the store was asked last: the one that waits longest is next. */
  readAt: number
  /** When it was asked last for its figures. */
  countedAt: number
  /** What it looks like in JSON, and the sequence number at which that changed. */
  json: string
  sequence: number
}

/** How many seconds a sample stands for: what a viewer asks for is one, so that the loop takes none beside it. */
const [askedSeconds, viewedSeconds, unviewedSeconds] = [1, 2, 5]
/** A look is not repeated within so many milliseconds, however many viewers there are. */
const leastInterval = 250
/** A viewer that has not asked for so long is gone. */
const viewerTimeout = 5_000
/** How many nodes have their stores asked in a second. */
const readsPerSecond = 20
/** Some stores must count: the figures of a node are asked for that often at most, in milliseconds, unless it was changed. */
const countInterval = 2_000
/** The same of a node that this process delivers, whose health has most of them. */
const countIntervalOfHeld = 5_000
const readTimeout = "5 seconds"
/** The longest text of an error. */
const maxError = 500

export const makeMonitor = Effect.fnUntraced(function* (
  roots: ReadonlyArray<AnySink>,
  instance: string
): Effect.fn.Return<Monitor, never, Scope.Scope> {
  const clock = yield* Clock.clockWith(Effect.succeed)
  let entries = new Map<SinkNode, Entry>()
  let byId = new Map<string, Entry>()
  let edges: ReadonlyArray<readonly [from: Entry, to: Entry, acknowledges: boolean]> = []
  let ids = 0
  let revisions = 0
  let sequence = 0
  let lookedAt = Number.NEGATIVE_INFINITY
  let viewedAt = Number.NEGATIVE_INFINITY
  /** When stores were asked last. */
  let readAt = Number.NEGATIVE_INFINITY
  const startedAt = clock.currentTimeMillisUnsafe()
  let sampledAt = startedAt
  /** How many seconds the samples of before stand for. */
  let sampledSeconds = 0

  const entryOf = (node: SinkNode, health: SinkHealth): Entry => ({
    id: `${instance}-${++ids}`,
    node,
    controls: controlsOf(node),
    history: makeHistory(),
    health,
    delivered: health.counts.delivered,
    error: textOf(health.lastError?.error),
    errorAt: health.lastError?.at,
    droppedAt: undefined,
    deadAt: undefined,
    control: undefined,
    stored: undefined,
    deadLetters: undefined,
    unread: undefined,
    readAt: Number.NEGATIVE_INFINITY,
    countedAt: Number.NEGATIVE_INFINITY,
    json: "",
    sequence: 0
  })
  /** One whose node is gone, with the same name and kind: its place in the graph is another object now. */
  const successorOf = (node: SinkNode, gone: ReadonlyMap<string, Array<Entry>>, now: number) => {
    const health = node.health(now)
    const entry = gone.get(placeOf(node))?.shift()
    if (entry === undefined) return entryOf(node, health)
    return { ...entry, node, controls: controlsOf(node), health, delivered: health.counts.delivered }
  }

  /** Brings nodes and edges up to date. */
  const walk = (now: number): void => {
    const reached = new Set(roots.map(({ node }) => node))
    const links: Array<readonly [SinkNode, SinkNode, boolean]> = []
    // A set is iterated in the order of insertion, what is inserted meanwhile included: nearest first.
    for (const node of reached) {
      for (const { acknowledges, node: next } of node.downstream()) {
        reached.add(next)
        links.push([node, next, acknowledges])
      }
    }
    const isSame =
      reached.size === entries.size &&
      links.length === edges.length &&
      links.every(([from, to], i) => edges[i]?.[0].node === from && edges[i]?.[1].node === to)
    if (isSame) return
    const gone = new Map<string, Array<Entry>>()
    for (const [node, entry] of entries) {
      if (reached.has(node)) continue
      const of = gone.get(placeOf(node))
      if (of === undefined) gone.set(placeOf(node), [entry])
      else of.push(entry)
    }
    const found = new Map<SinkNode, Entry>()
    for (const node of reached) found.set(node, entries.get(node) ?? successorOf(node, gone, now))
    entries = found
    byId = new Map(Array.from(found.values(), (entry) => [entry.id, entry]))
    edges = links.flatMap(([from, to, acknowledges]) => {
      const [one, other] = [found.get(from), found.get(to)]
      return one === undefined || other === undefined ? [] : [[one, other, acknowledges] as const]
    })
    revisions++
  }
  /** Reads the health of every node. */
  const look = (now: number): void => {
    lookedAt = now
    walk(now)
    for (const entry of entries.values()) {
      const { counts, lastError } = entry.health
      entry.health = entry.node.health(now)
      if (entry.health.counts.dropped > counts.dropped) entry.droppedAt = now
      if (entry.health.counts.deadLettered > counts.deadLettered) {
        entry.deadAt = now
        entry.countedAt = Number.NEGATIVE_INFINITY
      }
      if (entry.health.lastError === lastError) continue
      entry.error = textOf(entry.health.lastError?.error)
      entry.errorAt = entry.health.lastError?.at
    }
  }
  const isViewed = () => clock.currentTimeMillisUnsafe() - viewedAt < viewerTimeout
  /** Looks, and takes a sample where so many seconds have none. */
  const sample = (now: number, least: number): void => {
    const due = Math.floor((now - startedAt) / 1000) - sampledSeconds
    if (due < least) return
    const seconds = Math.max(0.001, (now - sampledAt) / 1000)
    sampledSeconds += due
    sampledAt = now
    look(now)
    for (const entry of entries.values()) {
      const { delivered } = entry.health.counts
      entry.history.push(pendingOf(entry), Math.max(0, delivered - entry.delivered) / seconds, due)
      entry.delivered = delivered
    }
  }
  const view = () => {
    const now = clock.currentTimeMillisUnsafe()
    viewedAt = now
    sample(now, askedSeconds)
    if (now - lookedAt >= leastInterval) look(now)
  }
  /** Writes down what has changed in the looks since the last time. */
  const write = () => {
    const now = lookedAt
    const next = sequence + 1
    for (const entry of entries.values()) {
      const json = JSON.stringify(viewOf(entry, now))
      if (json === entry.json) continue
      entry.json = json
      entry.sequence = next
      sequence = next
    }
  }

  const read = (entry: Entry): Effect.Effect<void> => {
    const { controls } = entry
    if (controls === undefined || !isRead(entry)) return Effect.void
    const now = clock.currentTimeMillisUnsafe()
    entry.readAt = now
    const interval = controls.lease?.() === "held" ? countIntervalOfHeld : countInterval
    const isDue = controls.figures !== undefined && now - entry.countedAt >= interval
    if (isDue) entry.countedAt = now
    return Effect.all([controls.state ?? Effect.undefined, (isDue && controls.figures) || Effect.undefined]).pipe(
      Effect.timeoutOrElse({
        duration: readTimeout,
        orElse: () => Effect.fail({ message: `no answer within ${readTimeout}` })
      }),
      Effect.sandbox,
      Effect.match({
        onFailure: (cause) => void (entry.unread = describeCause(cause).slice(0, maxError)),
        onSuccess: ([control, figures]) => {
          entry.unread = undefined
          entry.control = control
          if (figures === undefined) return
          // Also those that another process has given up.
          if (figures.deadLetters > (entry.deadLetters ?? figures.deadLetters)) entry.deadAt = lookedAt
          entry.deadLetters = figures.deadLetters
          entry.stored = figures.pending
        }
      })
    )
  }
  const reads = Effect.suspend(() => {
    if (!isViewed()) return Effect.void
    readAt = clock.currentTimeMillisUnsafe()
    const some = Array.from(entries.values())
      .filter(isRead)
      .toSorted((a, b) => a.readAt - b.readAt)
      .slice(0, readsPerSecond)
    return Effect.forEach(some, read, { concurrency: 4, discard: true })
  })

  // What comes after this is news to the first viewer.
  look(startedAt)
  const sampling = Effect.repeat(
    Effect.sync(() => sample(clock.currentTimeMillisUnsafe(), isViewed() ? viewedSeconds : unviewedSeconds)),
    Schedule.fixed("1 second")
  )
  const reading = Effect.repeat(reads, Schedule.spaced("1 second"))
  // What a store is asked for has nothing to do with the span of the construction.
  const loops = Effect.runForkWith(withoutConstruction(yield* Effect.context<never>()))(
    Effect.all([sampling, reading], { concurrency: "unbounded", discard: true })
  )
  yield* Effect.addFinalizer(() => Fiber.interrupt(loops))

  const revisionOf = () => `${instance}.${revisions}`
  return {
    find: (id) => byId.get(id),
    graph: Effect.sync(() => {
      view()
      const all = [...entries.values()]
      const indexes = new Map(all.map((entry, i) => [entry, i]))
      const downstream = all.map((): Array<number> => [])
      for (const [from, to] of edges) downstream[indexes.get(from) ?? 0]?.push(indexes.get(to) ?? 0)
      const { layers, places, rows } = graphLayout(downstream)
      return {
        revision: revisionOf(),
        layers,
        rows,
        nodes: all.map(({ controls, id, node }, i) => ({
          id,
          kind: node.kind,
          name: node.name,
          layer: places[i]?.layer ?? 0,
          row: places[i]?.row ?? 0,
          offers: offersOf(controls),
          taps: node.taps
        })),
        edges: edges.map(([from, to, acknowledges]) => ({ from: from.id, to: to.id, acknowledges }))
      }
    }),
    live: (revision, since) =>
      Effect.gen(function* () {
        // The first viewer after a while does not have to wait for what stores say.
        view()
        if (lookedAt - readAt > viewerTimeout) yield* Effect.timeoutOption(reads, "1 second")
        write()
        const all = since === undefined || revision !== revisionOf()
        const nodes = []
        for (const entry of entries.values()) if (all || entry.sequence > since) nodes.push(entry.json)
        return { revision: revisionOf(), at: lookedAt, sequence, nodes }
      }),
    history: (seconds, id) =>
      Effect.sync(() => {
        view()
        const some = id === undefined ? [...entries.values()] : [byId.get(id)].filter((one) => one !== undefined)
        return {
          at: sampledAt,
          seconds,
          nodes: some.map((entry) => ({ id: entry.id, ...entry.history.buckets(seconds) }))
        }
      }),
    changed: (id) => {
      const entry = byId.get(id)
      if (entry === undefined) return Effect.void
      entry.countedAt = Number.NEGATIVE_INFINITY
      return read(entry)
    }
  }
})

// internals

/** The kind and the name of a node as a key: in JSON no two pairs have the same. */
const placeOf = ({ kind, name }: SinkNode): string => JSON.stringify([kind, name])

const textOf = (error: unknown): string | undefined =>
  error === undefined ? undefined : describeCause(Cause.fail(error)).slice(0, maxError)

/** A tenth of a second is as much as a reader sees. */
const rounded = (n: number): number => Math.round(n * 10) / 10

/** What waits: of a sink that another process delivers, or that is paused, only its store knows. */
const pendingOf = ({ controls, health, stored }: Entry): number =>
  stored !== undefined && health.state === "open" && controls?.lease?.() !== "held"
    ? Math.max(stored, health.pending)
    : health.pending

const viewOf = (entry: Entry, now: number): typeof NodeView.Type => {
  const { control, controls, deadLetters, error, errorAt } = entry
  const pending = pendingOf(entry)
  const health = pending === entry.health.pending ? entry.health : { ...entry.health, pending }
  const { breaker, counts, inFlight, oldestAge, state } = health
  return {
    id: entry.id,
    state,
    pending,
    rate: rounded(entry.history.rate()),
    age: oldestAge === undefined ? null : Math.round(oldestAge / 100) * 100,
    inFlight,
    breaker: breaker ?? null,
    lease: controls?.lease?.() ?? null,
    control:
      control === undefined
        ? null
        : { state: control.state, reason: control.reason ?? null, since: control.since ?? null },
    deadLetters: deadLetters ?? null,
    trouble: troubleOf(pending === entry.health.pending ? entry : { ...entry, health }, now) ?? null,
    error: error ?? null,
    errorAt: errorAt ?? null,
    counts
  }
}

/** Whether there is something to be asked for at each round. */
const isRead = ({ controls }: Entry): boolean => controls?.state !== undefined || controls?.figures !== undefined

const offersOf = (controls: SinkControls | undefined): ReadonlyArray<typeof Offer.Type> =>
  controls === undefined
    ? []
    : (["pause", "resume", "disable", "enable", "deadLetters", "attempts"] as const).filter(
        (offer) => controls[offer] !== undefined
      )
