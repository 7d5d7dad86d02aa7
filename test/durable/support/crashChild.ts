/**
 * A process that is there to be killed: writes numbered events to a durable queue and delivers them over HTTP, as long as it
 * lives. It says each write that succeeded on a line of its own; what it has said it said before it died.
 */
import { PgClient } from "@effect/sql-pg"
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Layer, Schedule, Schema } from "effect"
import { EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
import { DurableQueue, PostgresStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { Envelope, HttpSink } from "effect-events/http"

/** The arguments of a child. */
export interface Orders {
  readonly store: { readonly sqlite: string } | { readonly postgres: number }
  /** Where it delivers to. */
  readonly url: string
  /** Distinguishes its events from those of other children. */
  readonly run: number
  /** How many events each of its writers writes at once. None: it only delivers what there is, and ends. */
  readonly writers: ReadonlyArray<number>
  readonly batchSize: number
  readonly leaseTtl: number
  readonly concurrency: number
}

export const Numbered = Schema.Struct({ run: Schema.Int, writer: Schema.Int, n: Schema.Int })

const orders: Orders = JSON.parse(process.argv[2] ?? "")

const store =
  "sqlite" in orders.store
    ? SqliteStore.layer({ filename: orders.store.sqlite })
    : Layer.provide(
        PostgresStore.layer({ timeout: "5 seconds" }),
        PgClient.layer({ host: "127.0.0.1", port: orders.store.postgres, username: "postgres", database: "postgres" })
      )

// A pipe takes a line at once: it is out when this returns.
const say = (...words: ReadonlyArray<unknown>) => Effect.sync(() => void process.stdout.write(`${words.join(" ")}\n`))

const program = Effect.gen(function* () {
  const queue = yield* HttpSink.make({ name: "receiver", url: orders.url, envelope: Envelope.ndjson(Numbered) }).pipe(
    RetryingSink.make(ExponentialBackoff.make({ base: "5 millis", factor: "5 millis", max: "50 millis" })),
    Effect.flatMap(
      DurableQueue.make({
        name: "crash",
        schema: Numbered,
        batchSize: orders.batchSize,
        leaseTtl: `${orders.leaseTtl} millis`,
        concurrency: orders.concurrency,
        partitionBy: ({ run, writer }) => `${run}:${writer}`
      })
    )
  )
  yield* say("ready")
  if (orders.writers.length === 0) {
    yield* Effect.retry(queue.flush, Schedule.spaced("100 millis"))
    const dead = yield* queue.deadLetters.list()
    yield* say("dead", dead.length)
    return
  }
  const writer = Effect.fnUntraced(function* (size: number, writer: number) {
    for (let n = 0; ; n += size) {
      const events = Array.from({ length: size }, (_, i) => ({ run: orders.run, writer, n: n + i }))
      // It has no other writer, so that to write again keeps the order.
      yield* EventSink.writeAll(queue, events).pipe(
        Effect.tapError(() => say("again", writer, size)),
        Effect.retry(Schedule.spaced("50 millis"))
      )
      yield* say("wrote", writer, n + size)
      // Slower than what is delivered: what waits at the end is to be delivered too.
      yield* Effect.sleep("10 millis")
    }
  })
  yield* Effect.forEach(orders.writers, writer, { concurrency: "unbounded" })
})

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide([store, NodeHttpClient.layerUndici])))
