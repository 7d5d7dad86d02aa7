/** What a sink can be asked to do beside writes: what crosses from a durable part to a dashboard. */
import type * as Effect from "effect/Effect"
import type { SinkNode } from "./node.ts"

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
 * Which dead letters a page has, and how many.
 *
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
 * A change of the dead letters that match a filter.
 *
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
 * One attempt of a sink at its receiver, which is over. It holds neither content nor what authenticates.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkAttempt {
  /** When it was begun, in milliseconds since 1970. */
  readonly at: number
  /** In milliseconds. */
  readonly duration: number
  /** How many events it carried. */
  readonly events: number
  /** What came of it in a word, such as the status of an answer, or the tag of an error where there was none. */
  readonly outcome: string
  /** Why it failed, as text; nothing where the receiver has accepted. */
  readonly error: string | undefined
}

/**
 * What a sink can be asked to do, beside writes: what a dashboard offers. A control that is absent is not offered.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkControls {
  /** Without it the sink is always `active`. */
  readonly state?: Effect.Effect<ControlState, ControlFailure> | undefined
  /** Stops delivery until `resume`, and keeps what is written. */
  readonly pause?: ((reason?: string) => Effect.Effect<void, ControlFailure>) | undefined
  /** Delivers again, after `pause` or where the receiver was disabled. */
  readonly resume?: Effect.Effect<void, ControlFailure> | undefined
  /** Sends nothing to the receiver until `enable`: what is written goes where the sink was made to send it then. */
  readonly disable?: Effect.Effect<void, ControlFailure> | undefined
  readonly enable?: Effect.Effect<void, ControlFailure> | undefined
  readonly deadLetters?: SinkDeadLetters | undefined
  /** The last attempts at its receiver, the newest first: as many as the sink keeps. */
  readonly attempts?: Effect.Effect<ReadonlyArray<SinkAttempt>, ControlFailure> | undefined
  /** How many events wait and how many dead letters there are, of all processes: the node's health is what this one knows. */
  readonly figures?:
    Effect.Effect<{ readonly pending: number; readonly deadLetters: number }, ControlFailure> | undefined
  /**
   * Whether this process delivers, at no cost: `held` it does, `standby` another process does or will, `suspended` the store
   * has stopped delivery.
   */
  readonly lease?: (() => "held" | "standby" | "suspended") | undefined
}

/** Beside the nodes, which know of their events alone. */
const all = new WeakMap<SinkNode, SinkControls>()

/** Says what a sink can be asked to do: the first to say so stays, so that a part that is made of others speaks for them. */
export const controlledBy = (node: SinkNode, controls: SinkControls | undefined): void => {
  if (controls !== undefined && !all.has(node)) all.set(node, controls)
}

/**
 * What the sink at a node can be asked to do beside writes; nothing where that is nothing.
 *
 * @category health
 * @since 0.1.0
 */
export const controlsOf = (node: SinkNode): SinkControls | undefined => all.get(node)
