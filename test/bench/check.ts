/**
 * `npm run bench -- --check`: the benchmark in small, within one process. It fails only when a figure is about half of
 * what it should be, twice: a mistake that doubles the cost of a path, not a busy machine.
 */
import { type Cause, Duration, Effect, Queue, Scope } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"
import { type Partition, partitioned } from "../../src/internal/queue/buffer.ts"
import { collector } from "../support/collector.ts"
import type { Load } from "./model.ts"
import { rows } from "./rows/index.ts"

interface Check {
  readonly title: string
  readonly limit: "at least" | "at most"
  readonly is: number
  readonly measure: Effect.Effect<number>
}

const sampleOf = (rowName: string, label: string, load: Load) => {
  const run = rows.find(({ name }) => name === rowName)?.sides.find((side) => side.label === label)?.run
  if (run === undefined || typeof run === "string") throw new Error(`there is no side "${label}" of "${rowName}"`)
  // Nothing is closed: what was measured may be stuck on purpose.
  return Scope.provide(run(load), Scope.makeUnsafe())
}

/** The least of some turns: what else the machine does only ever adds. */
const least = <A>(sides: ReadonlyArray<A>, measure: (side: A) => Effect.Effect<number>, turns = 12) =>
  Effect.gen(function* () {
    const least = sides.map(() => Number.POSITIVE_INFINITY)
    for (let turn = 0; turn < turns; turn++) {
      for (const [i, side] of sides.entries()) least[i] = Math.min(least[i]!, yield* measure(side))
    }
    return least
  })

/** How many times as much as ours a peer takes. */
const against = (
  row: string,
  peer: string,
  atLeast: number,
  { metric = "wall", n = 10_000, ours = "ours" }: { metric?: string; n?: number; ours?: string } = {}
): Check => ({
  title: `${row}: ${peer} / ${ours}`,
  limit: "at least",
  is: atLeast,
  measure: Effect.gen(function* () {
    const load = { n, millis: 5 }
    const sides = [yield* sampleOf(row, ours, load), yield* sampleOf(row, peer, load)]
    const [own, other] = yield* least(sides, (sample) => Effect.map(sample, (figures) => figures[metric]!))
    return other! / own!
  })
})

const large = 40_000
const growth = 40

/** How many times as much a step takes when there are 40 times as many: 40 times as much where it looks at all of them. */
const growing = (title: string, run: (waiting: number) => Effect.Effect<unknown>): Check => ({
  title: `${title}: a step among ${large.toLocaleString("en")} / among ${(large / growth).toLocaleString("en")}`,
  limit: "at most",
  is: 10,
  measure: Effect.map(
    least(
      [large, large / growth],
      (waiting) =>
        Effect.suspend(() => {
          const began = performance.now()
          return Effect.map(run(waiting), () => (performance.now() - began) / waiting)
        }),
      6
    ),
    ([many, few]) => many! / few!
  )
})

/** A buffer by keys, as a queue has it. */
const byKey = (keyOf: (n: number) => unknown) =>
  Effect.map(Queue.unbounded<Partition<number>, Cause.Done>(), (ready) =>
    partitioned(ready, { joinUpTo: 1, max: 1 }, keyOf)
  )

const takeOldest = (waiting: number) =>
  Effect.map(
    byKey((n) => n % 1000),
    (buffer) => {
      for (let n = 0; n < waiting; n++) buffer.offer(n, n % 1000)
      for (let n = 0; n < waiting; n++) {
        buffer.takeOldest()
        buffer.offer(waiting + n, n % 1000)
      }
    }
  )

const turns = (waiting: number) =>
  Effect.map(
    byKey((n) => n),
    (buffer) => {
      const source = buffer.source(0)
      for (let n = 0; n < waiting; n++) buffer.offer(n, n)
      for (let n = 0; n < waiting; n++) {
        source.poll()
        source.settle(1)
      }
    }
  )

/** The first event stays where it is, so that what is acknowledged leaves from behind it. */
const acknowledged = (waiting: number) =>
  Effect.gen(function* () {
    const store = yield* EventStore.EventStore
    const [subscription] = yield* store.define("events", [{ name: "s", topics: ["*"] }])
    const [first, ...others] = Array.from({ length: 100 }, () => ({ payload: new Uint8Array(1) }))
    for (let n = 0; n < waiting / 100; n++) yield* store.publish("events", [first!, ...others])
    const owner = yield* store.renew({ name: "owner" }, Duration.hours(1))
    const [lease] = (yield* store.claim(owner, [subscription!.id], 1)).acquired
    const wanted = { ...lease!, limits: { rows: 101, bytes: 1000 }, except: [], busy: [], perLane: 1 }
    for (let n = 1; n < waiting / 100; n++) {
      const [taken] = yield* store.take(owner, [wanted])
      const [, ...deliveries] = taken!.deliveries
      const settled = deliveries.map(({ position }) => ({ _tag: "Acknowledged", position }) as const)
      yield* store.settle(owner, [{ lease: lease!, settled }])
    }
  }).pipe(Effect.orDie, Effect.provide(MemoryStore.layer))

const bytes: Check = {
  title: "bytes-queue: bytes of a waiting event",
  limit: "at most",
  is: 16,
  measure: Effect.suspend(() => {
    // Without the flag of the benchmark's own processes.
    globalThis.gc = collector() as NodeJS.GCFunction
    const sample = Effect.flatten(sampleOf("bytes-queue", "ours", { n: 200_000, millis: 0 }))
    return Effect.map(sample, (figures) => figures["bytes"]!)
  })
}

const checks: ReadonlyArray<Check> = [
  against("queue-write", "Effect Queue, take", 0.6),
  against("queue-writeAll", "Effect Queue, offerAll and takeAll", 0.3),
  against("broadcast-10", "Effect PubSub, takeAll and a yield", 0.6, { n: 2000 }),
  against("retrier", "Effect.retry", 2, { n: 5000 }),
  against("backlog", "ours, 10 waiting", 0.5, { ours: "ours, 1,000 waiting", metric: "typical" }),
  growing("a queue by keys that drops its oldest", takeOldest),
  growing("the turns of as many keys", turns),
  growing("acknowledging in a store in memory", acknowledged),
  bytes
]

/** Prints what each check finds, and answers whether all hold. */
export const check = Effect.gen(function* () {
  let failed = 0
  for (const { is, limit, measure, title } of checks) {
    const holds = (value: number) => (limit === "at least" ? value >= is : value <= is)
    const first = yield* measure
    const values = holds(first) ? [first] : [first, yield* measure]
    const isFine = holds(values.at(-1)!)
    if (!isFine) failed++
    const found = values.map((value) => value.toFixed(2)).join(", then ")
    console.log(`${isFine ? "ok    " : "FAILED"}  ${title}: ${found} (${limit} ${is})`)
  }
  return failed === 0
})
