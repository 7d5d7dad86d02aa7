import * as fc from "fast-check"
import { Effect } from "effect"
import type { EventStore, MemoryStore } from "effect-events/durable"
import { describe, expect, it } from "vitest"
import { acquire, settle, take } from "../../../src/durable/internal/memory/entry.ts"
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
    redelivers: fc.boolean(),
    delays: fc.boolean(),
    ids: fc.boolean(),
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

const settling =
  (change: (settlement: EventStore.Settlement) => EventStore.Settlement) =>
  (store: Operations): Operations => ({
    ...store,
    settle: (owner, [head, ...tail]) => store.settle(owner, [change(head), ...tail.map(change)])
  })

/** Stores that break their contract in one way: the search must notice each. */
const flaws: Readonly<Record<string, (store: Operations, memory: MemoryStore.Memory) => Operations>> = {
  "answers a publish before it stores it, and loses some": (store) => {
    let n = 0
    return {
      ...store,
      publish: (exchange, events, limits) =>
        ++n % 5 === 0
          ? Effect.succeed(events.map(() => ({ position: 1, matched: 1 })))
          : store.publish(exchange, events, limits)
    }
  },
  "stores half of a batch whose publish fails": (store) => ({
    ...store,
    publish: (exchange, [head, ...tail], limits) =>
      tail.length === 1
        ? Effect.andThen(store.publish(exchange, [head], limits), Effect.fail(error("publish")))
        : store.publish(exchange, [head, ...tail], limits)
  }),
  "acknowledges what comes next too": settling((settlement) => ({
    ...settlement,
    settled: settlement.settled.flatMap((one): ReadonlyArray<EventStore.Settled> =>
      one._tag === "Acknowledged" ? [one, { ...one, position: one.position + 1 }] : [one]
    )
  })),
  "loses what it dead-letters": settling((settlement) => ({
    ...settlement,
    settled: settlement.settled.map((one) =>
      one._tag === "DeadLettered" ? { ...one, _tag: "Acknowledged" as const } : one
    )
  })),
  "gives the queue out from its other end": (store) => ({
    ...store,
    take: (owner, wanted) =>
      Effect.map(store.take(owner, wanted), (taken) =>
        taken.map((one) => ({ ...one, deliveries: one.deliveries.toReversed() }))
      )
  }),
  "acknowledges nothing, and says that it did": settling((settlement) => ({ ...settlement, settled: [] })),
  "asks for no lease": (store, memory) => {
    let isAcquired = false
    const entriesOf = (subscriptions: ReadonlyArray<number>) =>
      [...memory.entries.values()].filter(({ subscription }) => subscriptions.includes(subscription.id))
    return {
      ...store,
      claim: (owner, which) =>
        Effect.sync(() => {
          const subscriptions = "exchange" in which ? [] : which
          const acquired = isAcquired ? [] : entriesOf(subscriptions).map((entry) => acquire(entry, owner.id))
          const woken = isAcquired ? subscriptions : []
          isAcquired = true
          return { acquired, woken, inactive: [], wait: 100 }
        }),
      take: (_, wanted) =>
        Effect.clockWith(({ currentTimeMillisUnsafe }) =>
          Effect.sync(() =>
            wanted.flatMap((one) =>
              entriesOf([one.subscription]).map((entry) => ({
                subscription: one.subscription,
                ...take(entry, one, currentTimeMillisUnsafe())
              }))
            )
          )
        ),
      settle: (_, settlements) =>
        Effect.clockWith(({ currentTimeMillisUnsafe }) =>
          Effect.sync(() => {
            for (const one of settlements)
              for (const entry of entriesOf([one.lease.subscription])) settle(entry, one, currentTimeMillisUnsafe())
            return []
          })
        )
    }
  }
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
