/**
 * A process that is there to be killed: writes numbered events to a durable queue or broadcaster and delivers them over HTTP,
 * as long as it lives. It says what succeeded on lines of its own; what it has said it said before it died.
 */
import { PgClient } from "@effect/sql-pg"
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Layer, Queue, Schedule, Schema, type Scope } from "effect"
import type { HttpClient } from "effect/http"
import { EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
import * as DurableBroadcaster from "effect-events/durable/DurableBroadcaster"
import * as DurableQueue from "effect-events/durable/DurableQueue"
import type { EventStore } from "effect-events/durable/EventStore"
import { Envelope, HttpSink } from "effect-events/http"
import { createInterface } from "node:readline"
import { type Subscription, topicOf } from "./crashSubscriptions.ts"

/** The arguments of a child. */
export interface Orders {
  readonly store: { readonly sqlite: string } | { readonly postgres: number }
  readonly part: "queue" | "broadcaster"
  /** Where it delivers to: the name of the subscription is appended. */
  readonly url: string
  /** Distinguishes its events from those of other children. */
  readonly run: number
  /** How many events each of its writers writes at once. None: it only delivers what there is, and ends. */
  readonly writers: ReadonlyArray<number>
  /** What it delivers; nothing: it only writes. */
  readonly subscriptions: ReadonlyArray<Subscription>
  readonly batchSize: number
  readonly leaseTtl: number
}

const Numbered = Schema.Struct({ run: Schema.Int, writer: Schema.Int, n: Schema.Int })
type Numbered = typeof Numbered.Type

const orders: Orders = JSON.parse(process.argv[2] ?? "")
const { batchSize, run, subscriptions, writers } = orders

const layerOf = async ({ store }: Orders) => {
  if ("sqlite" in store) {
    const SqliteStore = await import("effect-events/durable/SqliteStore")
    return SqliteStore.layer({ filename: store.sqlite })
  }
  const PostgresStore = await import("effect-events/durable/PostgresStore")
  return Layer.provide(
    PostgresStore.layer({ timeout: "5 seconds" }),
    PgClient.layer({ host: "127.0.0.1", port: store.postgres, username: "postgres", database: "postgres" })
  )
}

// A pipe takes a line at once: it is out when this returns.
const say = (...words: ReadonlyArray<unknown>) => Effect.sync(() => void process.stdout.write(`${words.join(" ")}\n`))
/** Milliseconds of a clock that all processes of the machine share. */
const now = Effect.sync(() => Number(process.hrtime.bigint()) / 1e6)

const receiver = (name: string) =>
  HttpSink.make({ name, url: `${orders.url}${name}`, envelope: Envelope.ndjson(Numbered) }).pipe(
    RetryingSink.make(ExponentialBackoff.make({ base: "5 millis", factor: "5 millis", max: "50 millis" }))
  )
const identity = { name: "crash", schema: Numbered }
const topic = ({ n }: Numbered) => topicOf(n)
const serving = ({ concurrency }: Subscription) => ({
  batchSize,
  leaseTtl: `${orders.leaseTtl} millis` as const,
  concurrency,
  partitionBy: ({ run, writer }: Numbered) => `${run}:${writer}`
})

interface Part {
  readonly sink: EventSink.EventSink<Numbered, unknown>
  /** Waits for all that is stored, and counts the dead letters. */
  readonly finish?: Effect.Effect<number, unknown>
  /** Does what a line asks for. */
  readonly obey?: (line: string) => Effect.Effect<void, unknown, EventStore | HttpClient.HttpClient | Scope.Scope>
}

const queue = Effect.gen(function* (): Effect.fn.Return<
  Part,
  unknown,
  EventStore | HttpClient.HttpClient | Scope.Scope
> {
  const [only] = subscriptions
  if (only === undefined) return { sink: yield* DurableQueue.writer(identity) }
  const made = yield* receiver(only.name).pipe(Effect.flatMap(DurableQueue.make({ ...identity, ...serving(only) })))
  // What was written before it was there is for it too.
  yield* say("added", only.name, 0)
  return {
    sink: made,
    finish: Effect.andThen(
      made.flush,
      Effect.map(made.deadLetters.list(), ({ length }) => length)
    )
  }
})

const broadcaster = Effect.gen(function* (): Effect.fn.Return<
  Part,
  unknown,
  EventStore | HttpClient.HttpClient | Scope.Scope
> {
  if (subscriptions.length === 0) return { sink: yield* DurableBroadcaster.writer({ ...identity, topic }) }
  const made = yield* Effect.retry(
    DurableBroadcaster.make({ ...identity, topic, batchSize }),
    Schedule.spaced("50 millis")
  )
  const add = Effect.fnUntraced(function* (one: Subscription) {
    const { name, topics } = one
    yield* Effect.retry(
      DurableBroadcaster.subscribe(made, receiver(name), { ...serving(one), name, topics }),
      Schedule.spaced("50 millis")
    )
    yield* say("added", name, yield* now)
  })
  yield* Effect.forEach(subscriptions, add)
  const names = subscriptions.map(({ name }) => name)
  const finish = Effect.gen(function* () {
    // A process was killed while it dropped them.
    for (const { name } of yield* made.subscriptions)
      if (!names.includes(name)) yield* DurableBroadcaster.drop(made, name)
    yield* made.flush
    const dead = yield* Effect.forEach(names, (name) => DurableBroadcaster.deadLetters(made, name).list())
    return dead.flat().length
  })
  /** Obeys a line: `add` and a subscription, or `drop` and a name. */
  const obey = Effect.fnUntraced(function* (line: string) {
    const { add: added, drop } = JSON.parse(line) as { readonly add?: Subscription; readonly drop?: string }
    if (added !== undefined) yield* add(added)
    if (drop === undefined) return
    yield* Effect.retry(DurableBroadcaster.drop(made, drop), Schedule.spaced("50 millis"))
    yield* say("dropped", drop)
  })
  return { sink: made, finish, obey }
})

const program = Effect.gen(function* () {
  const { finish, obey, sink }: Part = yield* orders.part === "queue" ? queue : broadcaster
  yield* say("ready")
  if (writers.length === 0 && finish !== undefined) {
    yield* say("dead", yield* Effect.retry(finish, Schedule.spaced("100 millis")))
    return
  }
  const writer = Effect.fnUntraced(function* (size: number, writer: number) {
    for (let n = 0; ; n += size) {
      const events = Array.from({ length: size }, (_, i) => ({ run, writer, n: n + i }))
      const began = yield* now
      // It has no other writer, so that to write again keeps the order.
      yield* EventSink.writeAll(sink, events).pipe(
        Effect.tapError(() => say("again", writer, size)),
        Effect.retry(Schedule.spaced("50 millis"))
      )
      yield* say("wrote", writer, n + size, began)
      // Slower than what is delivered: what waits at the end is to be delivered too.
      yield* Effect.sleep("10 millis")
    }
  })
  if (obey !== undefined) {
    const commands = yield* Queue.unbounded<string>()
    createInterface({ input: process.stdin }).on("line", (line) => Queue.offerUnsafe(commands, line))
    yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(commands), obey)))
  }
  yield* Effect.forEach(writers, writer, { concurrency: "unbounded" })
})

await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide([await layerOf(orders), NodeHttpClient.layerUndici]))
)
