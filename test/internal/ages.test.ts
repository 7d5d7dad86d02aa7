/** How old waiting events are, against a list of the times at which they were offered. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { makeAges } from "../../src/internal/ages.ts"
import { runs } from "../support/runs.ts"

/** What an age may be off by, in milliseconds. */
const resolution = 10

const step = fc.record({
  offered: fc.integer({ min: 1, max: 3 }),
  settled: fc.nat(3),
  millis: fc.nat(40)
})

describe("ages", () => {
  it.effect("answers with the age of the oldest event, however many have been settled", () =>
    Effect.gen(function* () {
      const context = yield* Effect.context<never>()
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 150, maxLength: 400 }), (steps) =>
            Effect.gen(function* () {
              const waiting: Array<number> = []
              const ages = makeAges(context, () => waiting.length)
              for (const { millis, offered, settled } of steps) {
                const now = yield* Clock.currentTimeMillis
                ages.offer(offered)
                for (let i = 0; i < offered; i++) waiting.push(now)
                // The clock is read once until the next microtask.
                yield* Effect.promise(() => Promise.resolve())
                yield* TestClock.adjust(millis)
                waiting.splice(0, settled)
                if (waiting.length === 0) continue
                const later = yield* Clock.currentTimeMillis
                const error = ages.oldest(waiting.length, later) - (later - waiting[0]!)
                assert.isAtLeast(error, 0)
                assert.isBelow(error, resolution)
              }
            }).pipe(Effect.provideContext(context), Effect.runPromise)
          ),
          { numRuns: runs(100) }
        )
      )
    })
  )
})
