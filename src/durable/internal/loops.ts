/** Fibers that run for ever, of which none ends with what its work dies of. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TracerEnabled } from "effect/References"
import { logLine } from "../../internal/failureLog.ts"

export interface Loops {
  /** Starts them, unless they run. */
  readonly start: () => void
  readonly isRunning: () => boolean
  /** Interrupts all but the first, which ends by itself, and waits for that; an interruption interrupts it. */
  readonly stop: () => Effect.Effect<void>
}

/** The delay before a loop begins again that has died, or that its store has interrupted. */
const [restartDelay, interruptDelay] = ["1 second", "100 millis"] as const

/** What the deliveries of a store are in the log: they are those of all its queues and subscriptions. */
const deliveries = { kind: "EventStore", name: "EventStore" }

export const makeLoops = (context: Context.Context<never>, loops: ReadonlyArray<Effect.Effect<void>>): Loops => {
  let fibers: Array<Fiber.Fiber<void>> = []
  // Each statement of a loop would be a trace of its own.
  const untraced = Context.add(context, TracerEnabled, false)
  const run = (loop: Effect.Effect<void>, i: number, first = loop): void => {
    const fiber = Effect.runForkWith(untraced)(first)
    fibers[i] = fiber
    // What interrupts a loop, such as a store of the application's own, ends a turn of it.
    fiber.addObserver((exit) => {
      if (fibers[i] !== fiber) return
      const pause =
        Exit.isFailure(exit) && Cause.hasDies(exit.cause)
          ? Effect.andThen(
              logLine(deliveries, "Error", "has a loop that died, and begins again", {}, exit.cause),
              Effect.sleep(restartDelay)
            )
          : Effect.sleep(interruptDelay)
      run(loop, i, Effect.andThen(pause, loop))
    })
  }
  return {
    isRunning: () => fibers.length > 0,
    start: () => {
      if (fibers.length === 0) loops.forEach((loop, i) => run(loop, i))
    },
    stop: () => {
      const [first, ...others] = fibers
      fibers = []
      for (const fiber of others) fiber.interruptUnsafe()
      if (first === undefined) return Effect.void
      return Effect.asVoid(Effect.onInterrupt(Fiber.await(first), () => Fiber.interrupt(first)))
    }
  }
}
