/** A process that is there to be killed in the middle of plans: it delivers from a durable queue to a log of its attempts. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Schema } from "effect"
import { EventSink } from "effect-events"
import * as DurableQueue from "effect-events/durable/DurableQueue"
import * as Redelivery from "effect-events/durable/Redelivery"
import { appendFileSync } from "node:fs"

/** The arguments of a child. */
export interface PlanOrders {
  readonly store: { readonly sqlite: string } | { readonly postgres: number }
  readonly mode: "ordered" | "keyed" | "unordered"
  /** The file of attempts: event, run and time on each line. */
  readonly log: string
  readonly run: number
  /** The delays of the plan, in milliseconds. */
  readonly delays: readonly [number, ...Array<number>]
  /** Events to be written, each with its time, or 0; those below 100 are refused at each attempt. */
  readonly write: ReadonlyArray<readonly [event: number, deliverAt: number]>
  /** Ends when nothing is pending, and reports the dead letters. */
  readonly finish: boolean
}

const orders: PlanOrders = JSON.parse(process.argv[2] ?? "")

const layerOf = async ({ store }: PlanOrders) => {
  if ("sqlite" in store) {
    const SqliteStore = await import("effect-events/durable/SqliteStore")
    return SqliteStore.layer({ filename: store.sqlite })
  }
  const PostgresStore = await import("effect-events/durable/PostgresStore")
  return Layer.provide(
    PostgresStore.layer(),
    PgClient.layer({ host: "127.0.0.1", port: store.postgres, username: "postgres", database: "postgres" })
  )
}

const receiver = EventSink.make((event: number) =>
  Effect.suspend(() => {
    appendFileSync(orders.log, `${event} ${orders.run} ${Date.now()}\n`)
    return event < 100 ? Effect.delay(Effect.fail("refused"), "20 millis") : Effect.void
  })
)

const program = Effect.gen(function* () {
  const queue = yield* DurableQueue.make({
    name: `plans-${orders.mode}`,
    schema: Schema.Int,
    leaseTtl: "2 seconds",
    redelivery: Redelivery.fromDelays(orders.delays, { jitter: 0 }),
    outcomes: "1 hour",
    concurrency: orders.mode === "ordered" ? 1 : 3,
    partitionBy: orders.mode === "keyed" ? (event: number) => event % 10 : undefined
  })(receiver)
  for (const [event, deliverAt] of orders.write) yield* queue.send(event, deliverAt > 0 ? { deliverAt } : {})
  process.stdout.write("ready\n")
  if (!orders.finish) return yield* Effect.never
  yield* Effect.repeat(Effect.delay(queue.pending, "50 millis"), { until: (pending) => pending === 0 })
  const dead = (yield* queue.deadLetters.list()).map(({ attempts, payload, reason }) => [
    Number(new TextDecoder().decode(payload)),
    attempts,
    reason
  ])
  process.stdout.write(`${JSON.stringify(dead)}\n`)
})

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(await layerOf(orders))))
