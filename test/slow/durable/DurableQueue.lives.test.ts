import * as fc from "fast-check"
import { Effect } from "effect"
import type { EventStore, MemoryStore } from "effect-events/durable"
import { describe, expect, it } from "vitest"
import { type Life, violationsOf } from "../../durable/support/life.ts"
import { error } from "../../durable/support/store.ts"

/**
 * The seed of the run, which stands in the message of a failure with the path to the life that failed:
 *
 *     EFFECT_EVENTS_SEED=… EFFECT_EVENTS_PATH=… npx vitest run test/slow/durable/DurableQueue.lives.test.ts
 *
 * `EFFECT_EVENTS_RUNS` is for longer searches.
 */
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 2 ** 31)
const path = process.env["EFFECT_EVENTS_PATH"]
const numRuns = Number(process.env["EFFECT_EVENTS_RUNS"] ?? 100)

const lives: fc.Arbitrary<Life> = fc.record(
  {
    seed: fc.nat().map(String),
    taker: fc.constantFrom<Life["taker"]>("plain", "plain", "batch", "sync"),
    batchSize: fc.constantFrom(1, 3, 8),
    concurrency: fc.constantFrom(1, 1, 2, 4),
    keys: fc.constantFrom(0, 2, 5),
    capacity: fc.constantFrom(0, 0, 3, 8),
    slowCodec: fc.boolean(),
    leaseTtl: fc.constantFrom(300, 1_000, 5_000),
    processes: fc.integer({ min: 1, max: 3 }),
    steps: fc.integer({ min: 1, max: 60 }),
    badDeliveries: fc.constantFrom(0, 10, 40),
    badCalls: fc.constantFrom(0, 0, 5, 25)
  },
  { noNullPrototype: true }
)

type Operations = EventStore.Operations

/** Stores that break their contract in one way: the search must notice each. */
const flaws: Readonly<Record<string, (store: Operations, memory: MemoryStore.Memory) => Operations>> = {
  "answers an append before it stores it, and loses some": (store) => {
    let n = 0
    return {
      ...store,
      append: (...args) => (++n % 5 === 0 ? Effect.succeed(true) : store.append(...args))
    }
  },
  "stores half of a batch whose append fails": (store) => ({
    ...store,
    append: (queue, [head, ...tail], limits) =>
      tail.length === 1
        ? Effect.andThen(store.append(queue, [head], limits), Effect.fail(error("append")))
        : store.append(queue, [head, ...tail], limits)
  }),
  "acknowledges what comes next too": (store) => ({
    ...store,
    acknowledge: (lease, keys) => store.acknowledge(lease, [...keys, Math.max(...keys) + 1])
  }),
  "loses what it dead-letters": (store) => ({
    ...store,
    deadLetter: (lease, [head, ...tail]) =>
      Effect.andThen(store.deadLetter(lease, [head, ...tail]), Effect.exit(store.purge(lease.queue, [head.key])))
  }),
  "gives the queue out from its other end": (store) => ({
    ...store,
    next: (lease, limits) => Effect.map(store.next(lease, limits), (stored) => stored.toReversed())
  }),
  "acknowledges nothing, and says that it did": (store) => ({ ...store, acknowledge: () => Effect.void }),
  "asks for no lease": (store, memory) => ({
    ...store,
    next: (lease, { bytes, rows }) => Effect.sync(() => memory.queue(lease.queue).next({ rows, bytes })),
    acquire: (queue) => Effect.succeed({ _tag: "Acquired", lease: { queue, epoch: 1 } }),
    renew: () => Effect.void
  })
}

describe("the lives of durable queues", () => {
  it(
    `lose nothing in ${numRuns} of them, EFFECT_EVENTS_SEED=${seed}`,
    { timeout: numRuns * 3_000 + 240_000 },
    async () => {
      const property = fc.asyncProperty(lives, async (life) => {
        expect(await violationsOf(life)).toEqual([])
      })
      await fc.assert(property, { seed, numRuns, ...(path === undefined ? {} : { path }) })
    }
  )

  it.each(Object.entries(flaws))("are found broken over a store that %s", { timeout: 240_000 }, async (_, flawed) => {
    const property = fc.asyncProperty(lives, async (life) => (await violationsOf(life, flawed)).length === 0)
    const { errorInstance, failed } = await fc.check(property, { seed: 1, numRuns: 40, endOnFailure: true })
    // By what was found, and not by what was thrown.
    expect([failed, String(errorInstance)]).toEqual([true, "Error: Property failed by returning false"])
  })
})
