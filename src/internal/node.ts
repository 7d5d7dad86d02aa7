/** A sink's place in the graph: its kind, its name, its account, and the sinks downstream. The part itself keeps it. */
import type * as Effect from "effect/Effect"
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
 * The health of one node of a graph as a plain value.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkHealth {
  readonly kind: string
  readonly name: string
  readonly state: SinkState
  /** Events accepted and not yet settled. */
  readonly pending: number
  /** How long the oldest pending event has waited, in milliseconds (to about 10 ms); `undefined` when none waits. */
  readonly oldestAge: number | undefined
  /** Writes, or events of a batch, that are with the downstream now. */
  readonly inFlight: number
  /** The breaker's state, for a sink that has one. */
  readonly breaker: "closed" | "open" | "half-open" | undefined
  /** The last error or defect that this node met; `undefined` when there was none. */
  readonly lastError: unknown
  readonly counts: SinkCounts
}

/**
 * Why a control failed, such as the error of a store.
 *
 * @category models
 * @since 0.1.0
 */
export interface ControlFailure {
  readonly message: string
}

/**
 * Whether a sink delivers.
 *
 * @category models
 * @since 0.1.0
 */
export interface ControlState {
  /** `paused` keeps what is written until it is resumed; `disabled` means that the receiver is not tried any more. */
  readonly state: "active" | "paused" | "disabled"
  readonly reason: string | undefined
  /** Since when it is in this state, in milliseconds since 1970, where that is known. */
  readonly since: number | undefined
}

/**
 * An event that was given up.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkDeadLetter {
  /** Identifies it within its sink. */
  readonly position: number
  readonly topic: string
  readonly reason: string
  /** What went wrong, as text. */
  readonly cause: string
  readonly attempts: number
  /** In milliseconds since 1970. */
  readonly writtenAt: number
  readonly deadLetteredAt: number
  /** The size of its payload. */
  readonly bytes: number
  readonly contentType: string | undefined
  /** Its payload as text, where the content was asked for. */
  readonly text?: string | undefined
}

/**
 * Dead letters of a sink: all fields must match.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkDeadLetterFilter {
  readonly position?: number | undefined
  readonly reason?: string | undefined
  /** What the cause contains. */
  readonly cause?: string | undefined
  readonly topic?: string | undefined
  /** Dead-lettered at this time or after it, and before that. */
  readonly from?: number | undefined
  readonly to?: number | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface SinkDeadLetterPage extends SinkDeadLetterFilter {
  /** The last of the page before. */
  readonly after?: Pick<SinkDeadLetter, "position" | "deadLetteredAt"> | undefined
  readonly limit: number
  /** Whether the payloads are wanted: by default they are not. */
  readonly content?: boolean | undefined
}

/**
 * The dead letters of a sink, for a page or a command that manages them.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkDeadLetters {
  readonly count: (filter?: SinkDeadLetterFilter) => Effect.Effect<number, ControlFailure>
  readonly list: (page: SinkDeadLetterPage) => Effect.Effect<ReadonlyArray<SinkDeadLetter>, ControlFailure>
  /** Delivers those again that match at the call, or those at some positions, and answers how many. */
  readonly replay: DeadLetterAction
  /** Deletes those for good that match at the call, or those at some positions, and answers how many. */
  readonly purge: DeadLetterAction
}

/**
 * @category models
 * @since 0.1.0
 */
export type DeadLetterAction = (
  selection: SinkDeadLetterFilter | ReadonlyArray<number>,
  options?: {
    readonly onProgress?:
      ((progress: { readonly done: number; readonly selected: number }) => Effect.Effect<void>) | undefined
  }
) => Effect.Effect<number, ControlFailure>

/**
 * What a sink can be asked to do, beside writes: what a dashboard offers. A control that is absent is not offered.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkControls {
  readonly state: Effect.Effect<ControlState, ControlFailure>
  /** Stops delivery until `resume`, and keeps what is written. */
  readonly pause?: ((reason?: string) => Effect.Effect<void, ControlFailure>) | undefined
  /** Delivers again, after `pause` or where the receiver was disabled. */
  readonly resume?: Effect.Effect<void, ControlFailure> | undefined
  /** Sends nothing to the receiver until `enable`: what is written goes where the sink was made to send it then. */
  readonly disable?: Effect.Effect<void, ControlFailure> | undefined
  readonly enable?: Effect.Effect<void, ControlFailure> | undefined
  readonly deadLetters?: SinkDeadLetters | undefined
  /** How many events wait and how many dead letters there are, of all processes: the node's health is what this one knows. */
  readonly figures?:
    Effect.Effect<{ readonly pending: number; readonly deadLetters: number }, ControlFailure> | undefined
  /**
   * Whether this process delivers, at no cost: `held` it does, `standby` another process does or will, `suspended` the store
   * has stopped delivery.
   */
  readonly lease?: (() => "held" | "standby" | "suspended") | undefined
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
  /** What it can be asked to do; absent where that is nothing. */
  readonly controls?: SinkControls | undefined
  /**
   * Names a node that has no name yet: the first name stays, so that an alias does not rename its target.
   *
   * @internal
   */
  readonly nameOnce: (name: string) => void
  /**
   * Gives controls to a node that has none, for a part that is made of others.
   *
   * @internal
   */
  readonly controlOnce: (controls: SinkControls) => void
  /**
   * Whether `state` is `"open"`, for a wrapper that asks at each event: a call costs 0.3 ns where a getter costs 6.
   *
   * @internal
   */
  readonly isOpen: () => boolean
}

/** The account and the state of a part, written by the part at every event: plain fields, apart from what reads them. */
export interface Account extends Types.Mutable<SinkCounts> {
  state: SinkState
  inFlight: number
  lastError: unknown
}

export const makeAccount = (): Account => ({
  state: "open",
  accepted: 0,
  delivered: 0,
  filtered: 0,
  dropped: 0,
  undelivered: 0,
  deadLettered: 0,
  remaining: 0,
  inFlight: 0,
  lastError: undefined
})

/** How many events are accepted and not settled. */
export const pendingOf = (account: Account): number =>
  account.accepted -
  account.delivered -
  account.filtered -
  account.dropped -
  account.undelivered -
  account.deadLettered -
  account.remaining

export interface NodeOptions {
  readonly kind: string
  readonly name: string | undefined
  readonly account: Account
  readonly downstream?: (() => ReadonlyArray<SinkEdge>) | undefined
  readonly acknowledges?: SinkNode["acknowledges"]
  /** The state of a part without a lifetime of its own: it is as open as the sink that it writes to. */
  readonly state?: (() => SinkState) | undefined
  /** Brings the account up to date, for a part that does not keep it at every event. */
  readonly update?: (() => void) | undefined
  readonly oldestAge?: ((now: number) => number | undefined) | undefined
  readonly breaker?: (() => SinkHealth["breaker"]) | undefined
  readonly controls?: SinkControls | undefined
}

export const makeNode = ({
  account,
  acknowledges,
  breaker,
  controls,
  downstream = () => [],
  kind,
  name,
  oldestAge,
  state = () => account.state,
  update
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
  get controls() {
    return controls
  },
  controlOnce: (first) => {
    controls ??= first
  },
  isOpen: () => state() === "open",
  health: (now) => {
    update?.()
    const { inFlight, lastError, state: _, ...counts } = account
    const pending = pendingOf(account)
    return {
      kind,
      name: name ?? kind,
      state: state(),
      pending,
      oldestAge: pending === 0 ? undefined : oldestAge?.(now),
      inFlight,
      breaker: breaker?.(),
      lastError,
      counts
    }
  }
})

/** The edge to a sink whose commit a write waits for, or does not. */
export const edgeTo = (sink: { readonly node: SinkNode }, acknowledges: boolean): SinkEdge => ({
  node: sink.node,
  acknowledges
})

/** Whether `to` is `from` itself or somewhere downstream of it. */
export const reaches = (from: SinkNode, to: SinkNode): boolean => {
  const seen = new Set<SinkNode>([from])
  for (const node of seen) {
    if (node === to) return true
    for (const next of node.downstream()) seen.add(next.node)
  }
  return false
}
