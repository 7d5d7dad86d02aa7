/** Removes what a store needs no more: now and then, and soon after a subscription has begun. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Operations } from "../EventStore.ts"

/** How often, and the delay after a subscription has begun: the store may have events for it that were not committed by then. */
const [interval, delay] = ["30 seconds", "1 second"] as const

export const makeSweeping = ({ sweep }: Operations) => {
  const begun = Latch.makeUnsafe()
  const wait = Effect.map(Effect.timeoutOption(begun.await, interval), () => void begun.closeUnsafe())
  return {
    /** A subscription has begun. */
    soon: () => void begun.openUnsafe(),
    loop: Effect.andThen(wait, Effect.sleep(delay)).pipe(
      // What a failure leaves is removed another time. A store that fails is logged where more is asked of it.
      Effect.andThen(Effect.exit(Effect.repeat(sweep, { while: (isMore) => isMore }))),
      Effect.forever
    )
  }
}
