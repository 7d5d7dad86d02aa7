import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import * as StoreLaws from "effect-events/testing/StoreLaws"
import { broken, subject } from "./broken/stores.ts"

describe("StoreLaws", () => {
  describe("catches", () => {
    for (const one of broken) {
      it.live(`${one.name}: it breaks ${one.law}`, () =>
        Effect.gen(function* () {
          // A random scenario may need more than one seed.
          for (let seed = 1; seed <= 20; seed++) {
            const violations = yield* StoreLaws.check(subject(one), { laws: [one.law], seed: `${seed}` })
            if (violations.length > 0) return
          }
          assert.fail("the law is not broken")
        })
      )
    }

    it("a broken store for each law", () => {
      assert.deepStrictEqual(
        StoreLaws.laws.map(({ number }) => number),
        [...new Set(broken.map(({ law }) => law))].toSorted((a, b) => a - b)
      )
    })

    it.live("a store that never answers", () =>
      Effect.gen(function* () {
        const silent = subject({ name: "silent", flaw: () => ({ figures: () => Effect.never }) })
        const [violation] = yield* StoreLaws.check({ ...silent, limit: Duration.millis(50) }, { laws: [11] })
        assert.include(violation?.what, "did not end within 50ms")
      })
    )

    it.live("data that cannot be made", () =>
      Effect.gen(function* () {
        const none = StoreLaws.subject({ name: "none", make: Effect.fail("no room") })
        const [violation] = yield* StoreLaws.check(none, { laws: [10] })
        assert.include(violation?.what, "no room")
      })
    )
  })

  describe("finds nothing wrong with a store that keeps every law", () => {
    for (const law of StoreLaws.laws) {
      it.live(`${law.number}: ${law.title}`, () =>
        Effect.gen(function* () {
          const honest = subject({ name: "honest", flaw: () => ({}) })
          for (const seed of ["a", "b", "c"]) {
            const violations = yield* StoreLaws.check(honest, { laws: [law.number], seed })
            assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
          }
        })
      )
    }
  })
})
