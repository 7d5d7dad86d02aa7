/** Events that wait for others to share their request: of an `HttpSink`, and in the queue of an `Endpoint`. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { EventSink, SinkGraph } from "effect-events"
import * as Endpoint from "effect-events/http/Endpoint"
import * as HttpSink from "effect-events/http/HttpSink"
import { settle } from "../support/virtual.ts"
import { many, note, notes, one } from "./support/envelopes.ts"
import { fakeClient } from "./support/receiver.ts"

/** Answers each request by its text, and notes it with its time. */
const receiver = (statusOf: (text: string) => number = () => 200) => {
  const requests: Array<readonly [at: number, text: string]> = []
  const client = fakeClient((request) =>
    Effect.clockWith((clock) =>
      Effect.sync(() => {
        const body = request.body._tag === "Uint8Array" ? request.body.body : new Uint8Array()
        const text = new TextDecoder().decode(body)
        requests.push([clock.currentTimeMillisUnsafe(), text])
        return new Response(undefined, { status: statusOf(text) })
      })
    )
  )
  return { requests, layer: Layer.succeed(HttpClient.HttpClient)(client) }
}

const options = { name: "hooks", url: "http://receiver.test/hook", envelope: many }
const pass = (millis: number) => Effect.andThen(TestClock.adjust(millis), settle)

describe("HttpSink with maxAge", () => {
  const writing = Effect.fnUntraced(function* (statusOf?: (text: string) => number) {
    const { layer, requests } = receiver(statusOf)
    const sink = yield* Effect.provide(HttpSink.make({ ...options, maxEvents: 3, maxAge: 100 }), layer)
    const write = (text: string) => Effect.forkChild(Effect.exit(sink.write(note(text))), { startImmediately: true })
    return { requests, sink, write }
  })

  it.effect("shares a request between writers, for as long as one may wait", () =>
    Effect.gen(function* () {
      const { requests, sink, write } = yield* writing()
      yield* write("a")
      yield* pass(60)
      yield* write("b")
      yield* pass(60)
      for (const text of ["c", "d", "e", "f"]) yield* write(text)
      yield* pass(100)
      assert.deepStrictEqual(requests, [
        [100, "[a,b]"],
        [120, "[c,d,e]"],
        [220, "[f]"]
      ])
      assert.deepStrictEqual(
        [sink.node, ...sink.node.downstream().map(({ node }) => node)].map(({ kind }) => kind),
        ["BatchingSink", "HttpSink"]
      )
    })
  )

  it.effect("fails the writer of a refused event alone, and all where the receiver is down", () =>
    Effect.gen(function* () {
      const refused = yield* writing((text) => (text.includes("bad") ? 400 : 200))
      const writes = yield* Effect.forEach(["a", "bad", "c"], refused.write)
      yield* settle
      const exits = yield* Effect.forEach(writes, (write) => Fiber.join(write))
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true])
      const down = yield* writing(() => 503)
      yield* Effect.forEach(["a", "b", "c"], down.write)
      yield* settle
      assert.strictEqual(down.requests.length, 1)
    })
  )

  it.effect("is a sink as before where a request holds one event", () =>
    Effect.gen(function* () {
      const { layer, requests } = receiver()
      const sink = yield* Effect.provide(HttpSink.make({ ...options, envelope: one, maxAge: "1 hour" }), layer)
      yield* sink.write(note("a"))
      assert.strictEqual(requests.length, 1)
      assert.strictEqual(sink.node.kind, "HttpSink")
    })
  )
})

describe("Endpoint with maxAge", () => {
  const queued = Effect.fnUntraced(function* (more: { readonly maxEvents?: number; readonly maxAge?: number }) {
    const { layer, requests } = receiver()
    const endpoint = yield* Effect.provide(Endpoint.make({ ...options, ...more, onDisabled: () => Effect.void }), layer)
    return { endpoint, requests }
  })

  it.effect("fills requests up, and keeps the age of events", () =>
    Effect.gen(function* () {
      const { endpoint, requests } = yield* queued({ maxEvents: 3, maxAge: 100 })
      yield* endpoint.write(note("a"))
      yield* pass(50)
      yield* EventSink.writeAll(endpoint, notes("b", "c", "d"))
      yield* settle
      yield* pass(99)
      assert.deepStrictEqual(requests, [[50, "[a,b,c]"]])
      yield* pass(1)
      assert.deepStrictEqual(requests.slice(1), [[150, "[d]"]])
      // The queue waits, and nothing below it.
      assert.notInclude(SinkGraph.toMermaid(endpoint), "BatchingSink")
    })
  )

  it.effect("waits for nothing at its close, and without maxAge", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { endpoint, requests } = yield* Scope.provide(queued({ maxEvents: 3, maxAge: 100_000 }), scope)
      yield* endpoint.write(note("a"))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(requests, [[0, "[a]"]])
      const other = yield* queued({ maxEvents: 3 })
      yield* other.endpoint.write(note("a"))
      yield* settle
      assert.deepStrictEqual(other.requests, [[0, "[a]"]])
    })
  )
})
