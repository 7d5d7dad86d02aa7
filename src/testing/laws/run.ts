/** Runs one scenario of the law suite in virtual time, bounded: what never ends is found out and not waited for. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"
import type { Subject } from "./subject.ts"
import { type Line, World } from "./world.ts"

/** Virtual time that a scenario has, in milliseconds. */
const virtualLimit = 20 * 60_000
/** Turns that a fiber has until it waits again, and that a scenario has for all fibers that do not. */
const turnsOfOne = 10_000
const turnsOfAll = 25 * turnsOfOne

/** What happens to a part; what is wrong is noted in the world. */
export type Scenario = (world: World) => Effect.Effect<void, unknown>

/** Runs a scenario to its end, or as far as it goes, and answers with what it found. */
export const run = (
  subject: Subject,
  scenario: Scenario,
  seed: string | number,
  limit: number = virtualLimit
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const logs: Array<Line> = []
    return driven(subject, scenario, logs, limit).pipe(
      Effect.provideService(Logger.CurrentLoggers, new Set([into(logs)])),
      Effect.provideService(References.MinimumLogLevel, "Info"),
      Random.withSeed(seed),
      Effect.provide(TestClock.layer({ warningDelay: turnsOfOne })),
      Effect.provideService(Clock.Clock, turns())
    )
  })

/**
 * Stands in for the clock of the machine, with turns for milliseconds: how far a fiber comes in so many of them does not
 * depend on how fast the machine is, or how busy. Time goes by in sleeps that are slept to their end, and in no others.
 */
const turns = (): Clock.Clock => {
  let passed = 0
  const millis = () => passed
  const nanos = () => BigInt(passed) * 1_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.suspend(() => {
        let left = Duration.toMillis(duration)
        const turns = Effect.whileLoop({ while: () => left-- > 0, body: () => Effect.yieldNow, step: () => {} })
        return Effect.map(turns, () => void (passed += Duration.toMillis(duration)))
      })
  }
}

const driven = Effect.fnUntraced(function* (
  subject: Subject,
  scenario: Scenario,
  logs: ReadonlyArray<Line>,
  limit: number
) {
  const context = yield* Effect.context<never>()
  const clock = yield* Effect.service(Clock.Clock)
  const world = new World(subject, logs, yield* Effect.service(Random.Random), context, clock)
  // The scenario sleeps, and here the clock is moved, so that all that happens between two moments has happened before
  // the second comes.
  const story = Effect.andThen(
    world.rest,
    Effect.andThen(
      world.open,
      Effect.suspend(() => scenario(world))
    )
  )
  const fiber = Effect.runForkWith(context)(story)
  const turnsPassed = TestClock.withLive(Clock.currentTimeMillis)
  let exit = fiber.pollUnsafe()
  while (exit === undefined) {
    yield* TestClock.adjust("10 seconds")
    exit = fiber.pollUnsafe()
    if (exit !== undefined) break
    if (world.now > limit) {
      world.violate(`nothing moves after ${limit / 60_000} minutes of virtual time`)
      break
    }
    if ((yield* turnsPassed) > turnsOfAll) {
      world.violate(`it did not come to rest within ${turnsOfAll} turns of its fibers`)
      break
    }
  }
  if (exit !== undefined && Exit.isFailure(exit)) world.violate(`the scenario broke off: ${Cause.pretty(exit.cause)}`)
  fiber.interruptUnsafe()
  world.end()
  return world.evidence
})

const into = (logs: Array<Line>) =>
  Logger.make<unknown, void>(({ cause, fiber, logLevel, message }) => {
    const text = [
      ...(Array.isArray(message) ? message : [message]),
      ...Object.entries(fiber.getRef(References.CurrentLogAnnotations)).flat(),
      ...(cause.reasons.length > 0 ? [Cause.pretty(cause)] : [])
    ]
    logs.push({ level: logLevel, text: text.map(String).join(" ") })
  })
