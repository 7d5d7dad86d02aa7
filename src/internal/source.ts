/** Where a drainer takes its events from. */
import type * as Effect from "effect/Effect"
import type { Page } from "./pages.ts"

export interface Source<out A> {
  /**
   * Takes some events: none once there will be no more, `undefined` when none wait. It is no effect, so that no
   * interruption comes between the source and the drainer.
   */
  readonly poll: () => Page<A> | undefined
  /** Waits until there may be events, or no more. */
  readonly wait: Effect.Effect<void>
  /** The next `n` of the taken events are settled: delivered or dropped. */
  readonly settle: (n: number) => void
  /** Takes the rest of the taken events back, if they are not to be delivered any more; asked before each write of them. */
  readonly revoke?: (() => boolean) | undefined
  /** The id of a taken event, by its place among those that were taken last; for a span of its delivery alone. */
  readonly idOf?: ((place: number) => string) | undefined
}
