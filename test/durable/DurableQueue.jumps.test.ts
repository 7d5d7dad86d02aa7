/** Plans and times under a wall clock that is set ahead and back: nothing is skipped, and nothing comes early by the store's clock. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { EventSink } from "effect-events"
import { Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { randomFrom } from "../support/random.ts"
import { runs } from "../support/runs.ts"
import { settable } from "../support/settable.ts"
import { quiet } from "../support/virtual.ts"
import { no } from "./support/attempts.ts"
import { start } from "./support/process.ts"

const delays = [2_000, 4_000, 8_000, 16_000] as const
const minutes = 60_000

const modes = {
  "in order": { concurrency: 1 },
  "by key": { concurrency: 2, partitionBy: (n: number) => n % 10 },
  "out of order": { concurrency: 2 }
} as const

describe.each(Object.entries(modes))("plans under a clock that jumps, %s", (_, mode) => {
  it.effect("no attempt is skipped or repeated, and none comes before its delay is over", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= runs(50); seed++) {
        const random = randomFrom(seed)
        const clock = yield* settable
        const attempts: Array<{ readonly event: number; readonly at: number }> = []
        const play = Effect.gen(function* () {
          const sink = yield* EventSink.make((event: number) =>
            Effect.flatMap(Clock.currentTimeMillis, (at) => {
              attempts.push({ event, at })
              return event <= 2 ? no : Effect.void
            })
          )
          const { close, queue } = yield* start(sink, {
            ...mode,
            redelivery: Redelivery.fromDelays(delays, { jitter: 0 })
          })
          yield* EventSink.writeAll(queue, [1, 3, 2, 4])
          const dueAt = (yield* Clock.currentTimeMillis) + 30_000
          yield* queue.send(5, { deliverAt: dueAt })
          for (let step = 0; step < 40; step++) {
            yield* TestClock.adjust(Math.floor(random() * 5_000))
            if (random() < 0.2) clock.set(Math.floor((random() - 0.5) * 10 * minutes))
          }
          // However far it was set back.
          yield* TestClock.adjust(60 * minutes)
          yield* queue.flush
          const of = (event: number) => attempts.filter((one) => one.event === event).map(({ at }) => at)
          for (const event of [1, 2]) {
            const times = of(event)
            assert.strictEqual(times.length, delays.length + 1, `seed ${seed}: attempts of ${event}`)
            delays.forEach((delay, i) => {
              const gap = times[i + 1]! - times[i]!
              assert.isAtLeast(gap, delay, `seed ${seed}: after attempt ${i + 1} of ${event}`)
            })
          }
          assert.deepStrictEqual([of(3).length, of(4).length, of(5).length], [1, 1, 1], `seed ${seed}: the others`)
          assert.isAtLeast(of(5)[0]!, dueAt, `seed ${seed}: before its time`)
          const dead = yield* queue.deadLetters.list()
          assert.deepStrictEqual(
            dead.map(({ attempts, reason }) => [attempts, reason]),
            [
              [5, "Exhausted"],
              [5, "Exhausted"]
            ],
            `seed ${seed}`
          )
          yield* close
        })
        yield* clock.provide(Effect.scoped(play))
      }
    }).pipe(quiet)
  )
})
