/**
 * Random lives of a store beside a model of it, in virtual time: processes publish, claim, take, settle, leave and die, and
 * subscriptions are paused, replayed, dropped and defined again, in any order. Each event is pending, acknowledged once, or
 * among the dead letters.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { MemoryStore } from "effect-events/durable"
import * as StoreLaws from "effect-events/testing/StoreLaws"
import { brokenInLife, subject } from "../broken/stores.ts"
import { runs } from "../support/runs.ts"
import { violationsOfLife } from "./support/storeLife.ts"

const memory = StoreLaws.subject({
  name: "memory",
  time: "virtual",
  make: Effect.map(MemoryStore.makeMemory, (memory) => ({ layer: MemoryStore.layerOver(memory) }))
})

describe("a life of a store", () => {
  it.live("the store in memory", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= runs(500); seed++) {
        const found = yield* violationsOfLife(memory, `${seed}`)
        assert.isUndefined(found, `${found} (seed "${seed}")`)
      }
    })
  )

  for (const one of brokenInLife) {
    it.live(`finds that ${one.name}`, () =>
      Effect.gen(function* () {
        for (let seed = 1; seed <= 30; seed++)
          if ((yield* violationsOfLife(subject(one), `${seed}`)) !== undefined) return
        assert.fail("nothing was found")
      })
    )
  }
})
