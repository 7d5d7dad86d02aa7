/**
 * What a sink tells of itself: its kind, its name, what lies downstream, and its account. The sinks write it, health
 * checks and pictures read it.
 */

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
  /** Writes that succeeded, each event of a group counted. */
  readonly accepted: number
  /** Downstream writes that succeeded. */
  readonly delivered: number
  /** Events that a filter kept back. */
  readonly filtered: number
  /** Events given up, each with a reason. */
  readonly dropped: number
  /** Events that the close could not deliver and returned or reported. */
  readonly undelivered: number
  /** Events of a durable queue that were moved to its dead letters. */
  readonly deadLettered: number
  /** Events that the close of a durable queue left on disk. */
  readonly kept: number
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
  /** Writes, or events of a group, that are with the downstream now. */
  readonly inFlight: number
  /** The breaker's state, for a sink that has one. */
  readonly breaker: "closed" | "open" | "half-open" | undefined
  /** The last error or defect that this node met; `undefined` when there was none. */
  readonly lastError: unknown
  readonly counts: SinkCounts
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
  /** The nodes that this one writes to now. */
  readonly downstream: () => ReadonlyArray<SinkNode>
  /** The health at `now`, in milliseconds of the `Clock`. */
  readonly health: (now: number) => SinkHealth
}

/** The mutable side of a `SinkNode`, kept by the part itself. */
export class Node implements SinkNode {
  readonly kind: string
  readonly downstream: () => ReadonlyArray<SinkNode>
  accepted = 0
  delivered = 0
  filtered = 0
  dropped = 0
  undelivered = 0
  deadLettered = 0
  kept = 0
  inFlight = 0
  lastError: unknown = undefined
  /** Brings the counts up to date, for a part that does not keep them at every event. */
  update: () => void = () => {}
  oldestAge: (now: number) => number | undefined = () => undefined
  breaker: () => SinkHealth["breaker"] = () => undefined
  private given: string | undefined
  private ownState: SinkState = "open"

  constructor(kind: string, name: string | undefined, downstream: () => ReadonlyArray<SinkNode> = () => []) {
    this.kind = kind
    this.given = name
    this.downstream = downstream
  }

  get name(): string {
    return this.given ?? this.kind
  }

  get state(): SinkState {
    return this.ownState
  }
  set state(state: SinkState) {
    this.ownState = state
  }

  /** Names a node that has no name yet: the first name stays, so that an alias does not rename its target. */
  nameOnce(name: string): void {
    this.given ??= name
  }

  get pending(): number {
    this.update()
    const settled = this.delivered + this.filtered + this.dropped + this.undelivered + this.deadLettered + this.kept
    return this.accepted - settled
  }

  health(now: number): SinkHealth {
    const { pending } = this
    const { accepted, deadLettered, delivered, dropped, filtered, kept, undelivered } = this
    return {
      kind: this.kind,
      name: this.name,
      state: this.state,
      pending,
      oldestAge: pending === 0 ? undefined : this.oldestAge(now),
      inFlight: this.inFlight,
      breaker: this.breaker(),
      lastError: this.lastError,
      counts: { accepted, delivered, filtered, dropped, undelivered, deadLettered, kept }
    }
  }
}

/** A node of a part without a lifetime of its own: it is as open as what it writes to. */
export class PassingNode extends Node {
  private readonly dst: SinkNode

  constructor(kind: string, name: string | undefined, dst: SinkNode) {
    super(kind, name, () => [dst])
    this.dst = dst
  }

  override get state(): SinkState {
    return this.dst.state
  }
}

/** Whether `to` is `from` itself or somewhere downstream of it. */
export const reaches = (from: SinkNode, to: SinkNode): boolean => {
  const seen = new Set<SinkNode>([from])
  for (const node of seen) {
    if (node === to) return true
    for (const next of node.downstream()) seen.add(next)
  }
  return false
}
