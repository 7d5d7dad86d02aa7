import { Clock, Effect } from "effect"

/** The test's clock with a wall clock that can be set. */
export const settable = Effect.map(Effect.clockWith(Effect.succeed), (clock) => {
  let offset = 0
  const millis = () => clock.currentTimeMillisUnsafe() + offset
  const nanos = () => clock.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n
  const settable: Clock.Clock = {
    ...clock,
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos)
  }
  return { set: (by: number) => void (offset += by), provide: Effect.provideService(Clock.Clock, settable) }
})
