/**
 * How many files, functions and calls of `src` one event runs through, by V8's precise coverage between two marks: an
 * event of a running pipeline, `flush` included, that meets no poll. A generator counts once for each time it is created, not resumed.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { Session } from "node:inspector/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Schema, type Scope } from "effect"
import { Breaker, EventQueue, EventSink, ExponentialBackoff, RetryingSink, RetryStrategy } from "effect-events"
import { DurableQueue } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { Envelope, HttpSink } from "effect-events/http"
import { HttpClient, HttpClientResponse } from "effect/http"

export interface Hops {
  readonly pipeline: string
  readonly files: number
  readonly functions: number
  readonly calls: number
  /** One line a file: its functions, and how often each was called. */
  readonly trail: ReadonlyArray<string>
}

const Order = Schema.Struct({ id: Schema.String })
type Order = typeof Order.Type

const order: Order = { id: "a" }
const sink = EventSink.make((_: Order) => Effect.void)

const accepting = HttpClient.make((request) =>
  Effect.promise(async () => HttpClientResponse.fromWeb(request, new Response(null, { status: 202 })))
)

const inMemory = Effect.gen(function* () {
  const queue = yield* EventQueue.make(sink)
  return Effect.andThen(queue.write(order), queue.flush)
})

const overHttp = Effect.gen(function* () {
  const breaker = yield* Breaker.make({ threshold: 5, backoff: "1 second" })
  const queue = yield* HttpSink.make({
    name: "receiver",
    url: "http://127.0.0.1/orders",
    envelope: Envelope.json(Order, { id: ({ id }) => id })
  }).pipe(RetryingSink.make(ExponentialBackoff.make().pipe(RetryStrategy.combine(breaker))), EventQueue.make())
  return Effect.andThen(queue.write(order), queue.flush)
}).pipe(Effect.provideService(HttpClient.HttpClient, accepting))

const onDisk = Effect.gen(function* () {
  const queue = yield* sink.pipe(DurableQueue.make({ name: "orders", schema: Order }))
  // the store acknowledges after the flush
  return queue.write(order).pipe(Effect.andThen(queue.flush), Effect.andThen(Effect.sleep("300 millis")))
})

export const hops: Effect.Effect<ReadonlyArray<Hops>, unknown> = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-events-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true }))
  )
  // no poll of the file falls into an event
  const store = SqliteStore.layer({ filename: join(folder, "events.db"), pollInterval: "1 minute" })
  const session = yield* profiler
  return yield* Effect.all([
    hopsOf(session, "EventQueue | sink", inMemory),
    hopsOf(session, "EventQueue | RetryingSink | HttpSink", overHttp),
    hopsOf(session, "DurableQueue on SQLite | sink", onDisk).pipe(Effect.provide(store))
  ])
}).pipe(Effect.scoped)

// internals

const profiler = Effect.acquireRelease(
  Effect.promise(async () => {
    const session = new Session()
    session.connect()
    await session.post("Profiler.enable")
    await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false })
    return session
  }),
  (session) => Effect.sync(() => session.disconnect())
)

/** The functions that were called and how often, by file. */
type Calls = ReadonlyMap<string, ReadonlyArray<readonly [string, number]>>

/** The calls since the last time. */
const takeCalls = async (session: Session): Promise<Calls> => {
  const { result } = await session.post("Profiler.takePreciseCoverage")
  return new Map(
    result.flatMap(({ functions, url }) => {
      const [, file] = /\/src\/(.*)\.ts$/.exec(url) ?? []
      const called = functions
        .filter(({ functionName, ranges: [range] }) => functionName !== "" || range!.startOffset > 0)
        .map(({ functionName, ranges: [range] }) => [functionName || "=>", range!.count] as const)
        .filter(([, count]) => count > 0)
      return file === undefined || called.length === 0 ? [] : [[file, called]]
    })
  )
}

const hopsOf = <E, E2, R>(
  session: Session,
  pipeline: string,
  make: Effect.Effect<Effect.Effect<void, E>, E2, R>
): Effect.Effect<Hops, E | E2, Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const one = yield* make
    // the first events start what starts on demand
    yield* Effect.andThen(one, one)
    yield* Effect.promise(() => takeCalls(session))
    const called = Effect.andThen(
      one,
      Effect.promise(() => takeCalls(session))
    )
    // a poll of the store falls into some events and not into others
    const runs = yield* Effect.all(Array.from({ length: 3 }, () => called))
    return runs.map((run) => summary(pipeline, run)).reduce((best, run) => (run.calls < best.calls ? run : best))
  }).pipe(Effect.scoped)

const summary = (pipeline: string, called: Calls): Hops => {
  const all = [...called.values()].flat()
  return {
    pipeline,
    files: called.size,
    functions: all.length,
    calls: all.reduce((total, [, count]) => total + count, 0),
    trail: [...called].map(
      ([file, list]) => `${file}: ${list.map(([name, count]) => (count > 1 ? `${name} x${count}` : name)).join(", ")}`
    )
  }
}
