/** What the laws of stores must know of a store to judge it. */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { EventStore } from "../../../durable/EventStore.ts"

/**
 * The data of one scenario, and how to get at it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Data {
  /** Opens the data. Each time that it is built is another handle, as another process has it. */
  readonly layer: Layer.Layer<EventStore, unknown>
  /**
   * Runs an effect in a transaction of the store's own database, which commits when it succeeds and rolls back when it
   * fails. For stores whose `publish` can be part of one.
   */
  readonly transaction?: (<A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, unknown>) | undefined
}

/**
 * How to make a store's data, and what the store can do.
 *
 * @category options
 * @since 0.1.0
 */
export interface SubjectOptions {
  readonly name: string
  /** Makes data for one scenario, new and empty. The scope takes it away. */
  readonly make: Effect.Effect<Data, unknown, Scope.Scope>
  /**
   * Which clock the store goes by: `"real"` by default, which the suite waits for, or Effect's `Clock`, which it moves
   * (`"virtual"`).
   */
  readonly time?: "real" | "virtual" | undefined
  /** How many handles the data can have at a time: `"many"` by default. */
  readonly handles?: "one" | "many" | undefined
  /** Whether data is still there when it is opened again: `true` by default. */
  readonly persists?: boolean | undefined
  /** How long after a commit of any handle `changes` may have its element, on the store's clock; 1 second by default. */
  readonly within?: Duration.Input | undefined
  /**
   * The events that a limit counts exactly: `"all"` by default, or only those of one handle (`"own"`), for a store that
   * reads after a while what other processes publish.
   */
  readonly limits?: "all" | "own" | undefined
  /** How much real time a scenario has; 30 seconds by default. */
  readonly limit?: Duration.Input | undefined
}

/**
 * A store whose laws can be checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  readonly name: string
  readonly isVirtual: boolean
  readonly hasManyHandles: boolean
  readonly persists: boolean
  readonly within: Duration.Duration
  readonly limitsAll: boolean
  readonly limit: Duration.Duration
  /** @internal */
  readonly make: Effect.Effect<Data, unknown, Scope.Scope>
}

/**
 * Describes a store to the suite.
 *
 * @category constructors
 * @since 0.1.0
 */
export const subject = (options: SubjectOptions): Subject => ({
  name: options.name,
  isVirtual: options.time === "virtual",
  hasManyHandles: options.handles !== "one",
  persists: options.persists !== false,
  within: Duration.fromInputUnsafe(options.within ?? "1 second"),
  limitsAll: options.limits !== "own",
  limit: Duration.fromInputUnsafe(options.limit ?? "30 seconds"),
  make: options.make
})
