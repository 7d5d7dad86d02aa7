import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { makeUnsettled } from "../../src/durable/internal/unsettled.ts"
import { settle } from "../support/virtual.ts"

describe("what waits until the store knows of a delivery", () => {
  it.effect("may wait for the same delivery again as soon as it goes on", () =>
    Effect.gen(function* () {
      const unsettled = makeUnsettled()
      const waiting = yield* Effect.forkChild(
        Effect.repeat(
          Effect.suspend(() => unsettled.known(1)),
          { times: 4 }
        )
      )
      yield* settle
      for (let n = 1; n <= 5; n++) {
        assert.isUndefined(waiting.pollUnsafe())
        unsettled.settled({ settled: [], wait: { delay: Duration.seconds(1), attempts: n } })
        yield* settle
      }
      yield* Fiber.join(waiting)
    })
  )
})
