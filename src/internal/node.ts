/** A sink's place in the graph: its kind, its name, its account, and the sinks downstream. The part itself keeps it. */
import type * as Clock from "effect/Clock"
import type { Effect } from "effect/Effect"
import type * as Types from "effect/Types"

/**
 * Where a sink is in its life: `closing` means that it accepts nothing more and is still delivering.
 *
 * @category models
 * @since 0.1.0
 */
export type SinkState = "open" | "closing" | "closed"

/**
 * The account of a sink since it was made, in events. At rest `accepted` is the sum of the others; while it runs the
 * difference is what is pending.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkCounts {
  /** Writes that succeeded, each event of a batch counted. */
  readonly accepted: number
  /** Downstream writes that succeeded. */
  readonly delivered: number
  /** Events that a filter remaining back. */
  readonly filtered: number
  /** Events dropped, each with a reason. */
  readonly dropped: number
  /** Events that the close could not deliver and returned or reported. */
  readonly undelivered: number
  /** Events of a durable part that were moved to its dead letters. */
  readonly deadLettered: number
  /** Events that the close of a durable part left in its store. */
  readonly remaining: number
}

/**
 * The last error or defect that a node met, and how many it has met.
 *
 * @category models
 * @since 0.1.0
 */
export interface LastError {
  /** The error of a failed write, or a defect. */
  readonly error: unknown
  /** When it was met, in milliseconds of the `Clock`. */
  readonly at: number
  /** How many errors and defects the node has met since it was made, this one included. */
  readonly count: number
}

/**
 * The health of one node of a graph as a plain value.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkHealth {
  readonly kind: string
  readonly name: string
  readonly state: SinkState
  /** Events accepted and not yet settled; of a part whose writes wait for a batch, the events of these writes. */
  readonly pending: number
  /** How long the oldest pending event has waited, in milliseconds (to about 10 ms); `undefined` when none waits. */
  readonly oldestAge: number | undefined
  /** Writes, or events of a batch, that are with the downstream now. */
  readonly inFlight: number
  /** The breaker's state, for a sink that has one. */
  readonly breaker: "closed" | "open" | "half-open" | undefined
  /** How many attempts at its writes downstream there were, for a part that counts them. */
  readonly attempts?: number
  /** Those of `counts.dropped` by the reason that `onDropped` gets, once there are some. */
  readonly droppedBy?: DroppedBy
  /** What a durable part knows of its store. */
  readonly stored?: StoredHealth
  /** The last error or defect that this node met; `undefined` when there was none. It stays when deliveries succeed again. */
  readonly lastError: LastError | undefined
  readonly counts: SinkCounts
}

/**
 * What `SinkGraph.tap` shows of an event.
 *
 * @category models
 * @since 0.1.0
 */
export type TapKind = "accepted" | "delivered" | "dropped" | "deadLettered"

/** Sees events of a part. `reason` is that of a drop or of a dead letter. */
export type Observer = (what: TapKind, events: ReadonlyArray<unknown>, reason: string | undefined) => void

/**
 * How many events a part has dropped, by the tag of their `DropReason`.
 *
 * @category models
 * @since 0.1.0
 */
export type DroppedBy = { readonly [R in "Failed" | "Died" | "Overflow" | "Lagged"]?: number }

/**
 * What a durable part knows of its subscription in the store. It asks the store for `state` and `deadLetters` under
 * `SinkMetrics` alone, and notes what it changes itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredHealth {
  /** Whether this process has the lease: it delivers, and no other process does. */
  readonly isLeased: boolean
  /** Whether the subscription is delivered, as far as this process has seen; `undefined` before that. */
  readonly state: "active" | "paused" | "disabled" | undefined
  /** How many dead letters there are now, as far as this process has seen; `undefined` before that. */
  readonly deadLetters: number | undefined
}

/**
 * An edge of the graph: a sink that another writes to.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkEdge {
  readonly node: SinkNode
  /** Whether a write succeeds only when the sink at this end has committed the event. */
  readonly acknowledges: boolean
  /** Which events go over it, for a part that routes them: the case, or the pattern of a subscription. */
  readonly label?: string | undefined
}

/**
 * A sink's place in the graph. Two wrappers of one sink see the same node.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkNode {
  readonly kind: string
  /** The name given in the options, or the key of the tag of the layer that made it, or else the kind. */
  readonly name: string
  readonly state: SinkState
  /** The sinks that this one writes to now. */
  readonly downstream: () => ReadonlyArray<SinkEdge>
  /** Where an event is when a write of it has succeeded: `undefined` where the sinks downstream, or the receiver, have it. */
  readonly acknowledges: "memory" | "store" | undefined
  /** The health at `now`, in milliseconds of the `Clock`. */
  readonly health: (now: number) => SinkHealth
  /** What `SinkGraph.tap` shows of its events: nothing of those of a node that hands each on within its write. */
  readonly taps: ReadonlyArray<TapKind>
  /**
   * Those that see its events now, if there are some.
   *
   * @internal
   */
  readonly observers: () => ReadonlySet<Observer> | undefined
  /**
   * Adds an observer, and answers what removes it.
   *
   * @internal
   */
  readonly observe: (observer: Observer) => () => void
  /**
   * Names a node that has no name yet: the first name stays, so that an alias does not rename its target.
   *
   * @internal
   */
  readonly nameOnce: (name: string) => void
  /**
   * Whether `state` is `"open"`, for a wrapper that asks at each event: a call costs 0.3 ns where a getter costs 6.
   *
   * @internal
   */
  readonly isOpen: () => boolean
  /**
   * What metrics read, figure by figure, and watch.
   *
   * @internal
   */
  readonly figures: Figures
}

/** What watches a node. While none does, a drainer reads no clock. */
export interface Watcher {
  /** The edges of the node have changed, by one to `added` if that is given; or it has closed. */
  readonly changed?: (added?: SinkNode) => void
  /** A write of its drainer has ended, or a batch of them, after so many seconds. */
  readonly processed?: (seconds: number) => void
}

/** One object for all accounts of a part. */
export interface Watch {
  watchers: ReadonlyArray<Watcher> | undefined
}

export interface Figures extends Keeping {
  /** The account, brought up to date. */
  readonly account: () => Readonly<Account>
  /** Answers what ends the watch. */
  readonly watch: (watcher: Watcher) => () => void
  /** The edges of the node have changed, by one more if that is given. */
  readonly changed: (added?: SinkNode) => void
}

/** What a part knows of itself beside its account, each where it keeps it. */
interface Keeping {
  /** How many events its writes wait with, for a part that accepts none of them before it is settled. */
  readonly waiting?: (() => number) | undefined
  readonly oldestAge?: ((now: number) => number | undefined) | undefined
  readonly breaker?: (() => SinkHealth["breaker"]) | undefined
  readonly attempts?: (() => number) | undefined
  readonly stored?: (() => StoredHealth) | undefined
  /** Asks the store for what `stored` answers. */
  readonly refresh?: Effect<void> | undefined
  /** The reasons that it may drop an event for. */
  readonly drops?: ReadonlyArray<keyof DroppedBy> | undefined
  /** Whether it may have filtered events, and dead letters. */
  readonly filters?: boolean | undefined
  /** Whether it counts dead letters of a store that it does not show. */
  readonly hasDeadLetters?: boolean | undefined
  /** Whether it delivers by a drainer of its own, whose writes are timed. */
  readonly isTimed?: boolean | undefined
  /** Its account is what the store has now, and counts nothing. */
  readonly isUncounted?: boolean | undefined
}

/** The account and the state of a part, written by the part at every event: plain fields, apart from what reads them. */
export interface Account extends Types.Mutable<SinkCounts> {
  state: SinkState
  inFlight: number
  lastError: LastError | undefined
  /** There while something observes the part: one comparison is what an event costs while nothing does. */
  observers: Set<Observer> | undefined
  readonly droppedBy: Types.Mutable<DroppedBy>
  readonly watch: Watch
}

export const makeAccount = (watch: Watch = { watchers: undefined }): Account => ({
  state: "open",
  accepted: 0,
  delivered: 0,
  filtered: 0,
  dropped: 0,
  undelivered: 0,
  deadLettered: 0,
  remaining: 0,
  inFlight: 0,
  lastError: undefined,
  observers: undefined,
  droppedBy: {},
  watch
})

/** Keeps an error for the health, with its time. */
export const noteError = (account: Account, error: unknown, clock: Clock.Clock) => {
  const count = (account.lastError?.count ?? 0) + 1
  account.lastError = { error, at: clock.currentTimeMillisUnsafe(), count }
}

/** Shows events to observers, after the account has them and before others are woken for it. */
export const notify = (
  observers: ReadonlySet<Observer>,
  what: TapKind,
  events: ReadonlyArray<unknown>,
  reason?: string
) => {
  // Of a batch none may be delivered.
  if (events.length === 0) return
  for (const observe of observers) observe(what, events, reason)
}

/** Counts dropped events. */
export const drop = (account: Account, reason: keyof DroppedBy, n = 1): void => {
  account.dropped += n
  account.droppedBy[reason] = (account.droppedBy[reason] ?? 0) + n
}

/** The part has closed. */
export const endAccount = (account: Account): void => {
  account.state = "closed"
  notifyWatchers(account.watch)
}

/** How many events are accepted and not settled. */
export const pendingOf = (account: Account): number =>
  account.accepted -
  account.delivered -
  account.filtered -
  account.dropped -
  account.undelivered -
  account.deadLettered -
  account.remaining

export interface NodeOptions extends Keeping {
  readonly kind: string
  readonly name: string | undefined
  readonly account: Account
  readonly downstream?: (() => ReadonlyArray<SinkEdge>) | undefined
  readonly taps?: ReadonlyArray<TapKind> | undefined
  readonly acknowledges?: SinkNode["acknowledges"]
  /** The state of a part without a lifetime of its own: it is as open as the sink that it writes to. */
  readonly state?: (() => SinkState) | undefined
  /** Brings the account up to date, for a part that does not keep it at every event. */
  readonly update?: (() => void) | undefined
}

export const makeNode = ({
  account,
  acknowledges,
  downstream = () => [],
  kind,
  name,
  state = () => account.state,
  taps = [],
  update,
  ...keeping
}: NodeOptions): SinkNode => ({
  kind,
  downstream,
  acknowledges,
  get name() {
    return name ?? kind
  },
  get state() {
    return state()
  },
  nameOnce: (first) => {
    name ??= first
  },
  isOpen: () => state() === "open",
  taps,
  observers: () => account.observers,
  observe: (observer) => {
    const observers = (account.observers ??= new Set())
    observers.add(observer)
    return () => {
      observers.delete(observer)
      if (observers.size === 0) account.observers = undefined
    }
  },
  health: (now) => {
    update?.()
    const { droppedBy, inFlight, lastError, observers: _, state: __, watch: ___, ...counts } = account
    const { attempts, breaker, oldestAge, stored, waiting } = keeping
    const pending = waiting?.() ?? pendingOf(account)
    return {
      kind,
      name: name ?? kind,
      state: state(),
      pending,
      oldestAge: pending === 0 ? undefined : oldestAge?.(now),
      inFlight,
      breaker: breaker?.(),
      lastError,
      counts,
      ...(attempts && { attempts: attempts() }),
      ...(account.dropped > 0 && { droppedBy: { ...droppedBy } }),
      ...(stored && { stored: stored() })
    }
  },
  figures: {
    ...keeping,
    account: () => {
      update?.()
      return account
    },
    watch: (watcher) => watchBy(account.watch, watcher),
    changed: (added) => notifyWatchers(account.watch, added)
  }
})

/** The edge to a sink whose commit a write waits for, or does not. */
export const edgeTo = (sink: { readonly node: SinkNode }, acknowledges: boolean): SinkEdge => ({
  node: sink.node,
  acknowledges
})

/** The edges to sinks whose commit a write waits for: one for each sink, whatever the number of its labels. */
export const edgesTo = (routes: Iterable<readonly [label: string, sink: { readonly node: SinkNode }]>) => {
  const labels = new Map<SinkNode, Array<string>>()
  for (const [label, { node }] of routes) labels.set(node, [...(labels.get(node) ?? []), label])
  return Array.from(labels, ([node, all]): SinkEdge => ({ node, acknowledges: true, label: all.join(", ") }))
}

/** Whether `to` is `from` itself or somewhere downstream of it. */
export const reaches = (from: SinkNode, to: SinkNode): boolean => {
  const seen = new Set<SinkNode>([from])
  for (const node of seen) {
    if (node === to) return true
    for (const next of node.downstream()) seen.add(next.node)
  }
  return false
}

// internals

const watchBy = (watch: Watch, watcher: Watcher) => {
  watch.watchers = [...(watch.watchers ?? []), watcher]
  return () => {
    const others = watch.watchers?.filter((one) => one !== watcher) ?? []
    watch.watchers = others.length > 0 ? others : undefined
  }
}

const notifyWatchers = ({ watchers = [] }: Watch, added?: SinkNode) => {
  for (const { changed } of watchers) changed?.(added)
}
