import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Random } from "effect"
import { TestClock } from "effect/testing"
import { ExponentialBackoff } from "effect-events"

const maxOf = (failures: number, options?: ExponentialBackoff.Options) =>
  Duration.toMillis(ExponentialBackoff.maxDelay(failures, options))

/** The delays after 1 to `n` failures in a row. */
const delays = (n: number, options?: ExponentialBackoff.Options) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(
      Effect.gen(function* () {
        const attempts = ExponentialBackoff.make(options).start("event")
        const waits: Array<number> = []
        for (let i = 0; i < n; i++) {
          const begin = yield* Clock.currentTimeMillis
          yield* attempts.failure("error")
          yield* attempts.proceed() ?? Effect.void
          // To a thousandth: what is left of a fraction depends on how late it is.
          waits.push(Math.round(((yield* Clock.currentTimeMillis) - begin) * 1000) / 1000)
        }
        return waits
      })
    )
    yield* TestClock.adjust("365 days")
    return yield* Fiber.join(fiber)
  })

describe("maxDelay", () => {
  it("is base + factor * 2^(n - 1), and never more than max: 1 second, 1 second and 20 seconds by default", () => {
    assert.deepStrictEqual(
      [1, 2, 3, 4, 5, 6, 7].map((n) => maxOf(n)),
      [2000, 3000, 5000, 9000, 17_000, 20_000, 20_000]
    )
    const options = { base: "10 millis", factor: "5 millis", max: "60 millis" } as const
    assert.deepStrictEqual(
      [1, 2, 3, 4, 5].map((n) => maxOf(n, options)),
      [15, 20, 30, 50, 60]
    )
  })

  it("never decreases with more failures and never exceeds max, for n up to 10,000", () => {
    const optionses: ReadonlyArray<ExponentialBackoff.Options | undefined> = [
      undefined,
      { base: 0, factor: "1 millis", max: "1 hour" },
      { base: 0, factor: 0, max: "1 seconds" },
      { base: "5 seconds", factor: 0 },
      { base: "1 minute", factor: "1 minute", max: "30 seconds" },
      { max: Duration.infinity }
    ]
    for (const options of optionses) {
      const max = options?.max === undefined ? 20_000 : Duration.toMillis(Duration.fromInputUnsafe(options.max))
      let last = 0
      for (let n = 1; n <= 10_000; n++) {
        const bound = maxOf(n, options)
        if (!(bound >= last && bound <= max)) assert.fail(`after ${n} failures: ${bound}`)
        last = bound
      }
    }
  })
})

describe("make", () => {
  it.effect("has nothing to wait for before the first failure", () =>
    Effect.sync(() => {
      assert.isUndefined(ExponentialBackoff.make().start("event").proceed())
    })
  )

  it.effect("a delay is between zero and the bound, and never gives up, for n up to 10,000", () =>
    Effect.gen(function* () {
      const waits = yield* delays(10_000)
      waits.forEach((wait, i) => {
        if (!(wait >= 0 && wait <= maxOf(i + 1))) assert.fail(`after ${i + 1} failures: ${wait}`)
      })
      // It does not collapse: the mean of a uniform delay is half its bound.
      const late = waits.slice(-1000)
      const mean = late.reduce((sum, wait) => sum + wait, 0) / late.length
      assert.isAbove(mean, 9000)
      assert.isBelow(mean, 11_000)
      assert.isAbove(Math.max(...late), 19_000)
      assert.isBelow(Math.min(...late), 1000)
    }).pipe(Random.withSeed("backoff"))
  )

  it.effect("is full jitter by Effect's Random, so a seeded test repeats it", () =>
    Effect.gen(function* () {
      const first = yield* delays(20).pipe(Random.withSeed("seed"))
      assert.deepStrictEqual(yield* delays(20).pipe(Random.withSeed("seed")), first)
      assert.notDeepEqual(yield* delays(20).pipe(Random.withSeed("another")), first)
    })
  )

  it.effect("each write counts its own failures", () =>
    Effect.gen(function* () {
      const strategy = ExponentialBackoff.make({ base: 0, factor: "1 millis", max: "1 hour" })
      const first = strategy.start("event")
      for (let i = 0; i < 20; i++) yield* first.failure("error")
      const second = strategy.start("event")
      yield* second.failure("error")
      const proceed = yield* Effect.forkChild(second.proceed() ?? Effect.void)
      yield* TestClock.adjust("1 millis")
      assert.isDefined(proceed.pollUnsafe())
    })
  )
})
