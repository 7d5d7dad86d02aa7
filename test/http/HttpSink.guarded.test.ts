import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric } from "effect"
import { EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
import { HttpClient } from "effect/http"
import * as Endpoint from "../../src/http/Endpoint.ts"
import * as EndpointMetrics from "../../src/http/EndpointMetrics.ts"
import * as GuardedHttpClient from "../../src/http/GuardedHttpClient.ts"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { quiet } from "../support/virtual.ts"
import { many, note, notes, one } from "./support/envelopes.ts"
import { type Case, sideBySide } from "./support/handles.ts"
import { network, open, outside, resolver } from "./support/network.ts"
import { status } from "./support/receiver.ts"
import { open as deliver } from "./support/delivery.ts"

// A guarded client below this library's own sinks, on real sockets.

const guarded = (addresses: (name: string, n: number) => ReadonlyArray<string>) =>
  Layer.provide(GuardedHttpClient.layerNoDns({ allow: open }), resolver(addresses).layer)

const errorOf = (url: string) =>
  Effect.gen(function* () {
    const sink = yield* HttpSink.make({ name: "hooks", url, envelope: one })
    const error = yield* Effect.flip(sink.write(note("x")))
    assert.instanceOf(error, HttpSink.HttpSinkError)
    return error
  })

const backoff = ExponentialBackoff.make({ base: "1 millis", factor: "1 millis" })

describe("a sink over a guarded client", () => {
  it.live.each([
    ["127.0.0.1", "127.0.0.1"],
    ["2130706433", "127.0.0.1"],
    ["[::1]", "::1"],
    ["[::ffff:127.0.0.1]", "::ffff:7f00:1"]
  ] as const)("fails for good at a forbidden address in its url: %s", ([host, shown]) =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const error = yield* errorOf(`http://user:secret@${host}:${port}/hook?token=secret`)
      assert.strictEqual(error.reason._tag, "ForbiddenAddress")
      assert.isFalse(error.transient)
      assert.isFalse(error.maybeCommitted)
      assert.match(
        error.message,
        new RegExp(`^"hooks" could not post to http://.*/hook: ${shown} is not allowed: loopback`)
      )
      assert.notInclude(error.message, "secret")
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded(() => [])))
  )

  it.live("fails for now at a name that is at a forbidden address, and says which", () =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const error = yield* errorOf(`http://evil.example:${port}/hook`)
      assert.isTrue(error.transient)
      assert.isFalse(error.maybeCommitted)
      assert.include(error.message, "evil.example is at 127.0.0.1, which is not allowed: loopback")
      const caught = yield* Effect.fail(error).pipe(
        Effect.catchReason("HttpSinkError", "ForbiddenAddress", ({ address, host, range }) =>
          Effect.succeed([host, address, range.name])
        )
      )
      assert.deepStrictEqual(caught, ["evil.example", "127.0.0.1", "loopback"])
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded(() => ["127.0.0.1"])))
  )

  it.live("fails for now at a name without an address, and surely did not send", () =>
    Effect.gen(function* () {
      const error = yield* errorOf("http://nowhere.example/hook")
      assert.strictEqual(error.reason.message, "no connection (ENOTFOUND)")
      assert.isTrue(error.transient)
    }).pipe(Effect.provide(guarded(() => [])))
  )

  it.live("fails for now where its receiver sends it to a forbidden address", () =>
    Effect.gen(function* () {
      let location = ""
      const { out, port, reached } = yield* network((response, received, n) =>
        status(307, "", { location })(response, received, n)
      )
      location = `http://127.0.0.1:${port}/admin`
      const following = Layer.effect(
        HttpClient.HttpClient,
        Effect.map(HttpClient.HttpClient, HttpClient.followRedirects())
      )
      const error = yield* errorOf(`http://${outside}:${port}/hook`).pipe(
        Effect.provide(
          Layer.provide(
            following,
            guarded(() => [])
          )
        )
      )
      assert.strictEqual(error.reason._tag, "ForbiddenAddress")
      assert.isTrue(error.transient)
      assert.strictEqual(out.requests.length, 1)
      assert.strictEqual(reached(), 0)
    })
  )

  it.live("delivers once the name is at an address that is allowed", () =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network()
      const sink = yield* HttpSink.make({ url: `http://moved.example:${port}/hook`, envelope: one }).pipe(
        RetryingSink.make(backoff, { while: HttpSink.isTransient })
      )
      yield* sink.write(note("hello"))
      assert.deepStrictEqual(
        out.requests.map(({ body }) => body),
        ["hello"]
      )
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded((_, n) => [n <= 5 ? "127.0.0.1" : outside])))
  )
})

describe("an endpoint over a guarded client", () => {
  it.live("drops, one by one, a batch that is bound for a forbidden address, and counts each", () =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const dropped: Array<string> = []
      const endpoint = yield* Endpoint.make({
        name: "forbidden",
        url: `http://127.0.0.1:${port}/hook`,
        envelope: many,
        maxEvents: 4,
        onDisabled: () => Effect.void,
        onDropped: ({ event, reason }) =>
          Effect.sync(() => {
            dropped.push(`${event.text} ${reason._tag === "Failed" ? reason.error.reason._tag : reason._tag}`)
          })
      })
      yield* EventSink.writeAll(endpoint, notes("a", "b", "c"))
      yield* endpoint.flush
      assert.deepStrictEqual(
        dropped,
        ["a", "b", "c"].map((text) => `${text} ForbiddenAddress`)
      )
      const read = (metric: Metric.Counter<number>) =>
        Metric.value(Metric.withAttributes(metric, { endpoint: "forbidden" }))
      assert.isAtLeast((yield* read(EndpointMetrics.errors)).count, 3)
      assert.strictEqual((yield* read(EndpointMetrics.failures)).count, 0)
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded(() => [])), quiet)
  )

  const layer = GuardedHttpClient.layer({ allow: ["127.0.0.0/8"] })
  const delivering: Case<unknown> = {
    name: "a guarded client",
    variants: [1, 4].map((concurrency) => ({
      name: `${concurrency} at once`,
      client: "undici",
      layer,
      concurrency,
      kept: 0
    })),
    script: () => () => undefined,
    run: Effect.fnUntraced(function* (receiver, { concurrency }) {
      const delivery = yield* deliver(receiver, concurrency)
      yield* delivery.writers(20)
      const isFlushed = yield* delivery.flushed
      yield* delivery.close
      return [...(isFlushed ? [] : ["was not flushed"]), ...(yield* delivery.violations)]
    })
  }

  it.live("delivers what it took, in order, and leaves nothing open", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* sideBySide(delivering), [])
    })
  )
})
