/**
 * A store of the durable parts in memory, for tests: it keeps every promise of a store, and no event beyond its process.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { EventStore } from "./EventStore.ts"
import * as Internal from "./internal/memory/memory.ts"

/**
 * The data of a memory store. Exchanges live as long as this value: stores over it come and go as processes do over a
 * file.
 *
 * @category models
 * @since 0.1.0
 */
export interface Memory extends Internal.Memory {}

/**
 * An empty memory, for `layerOver`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeMemory: Effect.Effect<Memory> = Internal.makeMemory

/**
 * A store over a memory that outlives it, for tests: two stores over one memory are as two processes over one file, and
 * the next store finds the events of the one before.
 *
 * **Example** (Finding the events of the store before)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore, MemoryStore } from "effect-events/durable"
 *
 * const program = Effect.gen(function* () {
 *   const memory = yield* MemoryStore.makeMemory
 *   const store = Effect.provide(EventStore.EventStore, MemoryStore.layerOver(memory))
 *   const [audit] = yield* (yield* store).define("orders", [{ name: "audit", topics: ["*"] }])
 *   yield* (yield* store).publish("orders", [{ payload: new TextEncoder().encode("1") }])
 *   console.log((yield* (yield* store).figures(audit?.id ?? 0))?.pending)
 * })
 *
 * Effect.runPromise(program)
 * // prints: 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOver = (memory: Memory): Layer.Layer<EventStore> =>
  Layer.sync(EventStore, () => Internal.operations(memory))

/**
 * A store in memory, for tests: empty each time the layer is built. Its time is that of Effect's `Clock`, so that a
 * `TestClock` moves its leases.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<EventStore> = Layer.unwrap(Effect.map(makeMemory, layerOver))
