import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted, Schema, Stream } from "effect"
import { EventQueue, EventSink } from "effect-events"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { GraphView, TapView } from "../../src/dashboard/internal/dashboardApi.ts"
import { makeTaps } from "../../src/dashboard/internal/taps.ts"
import { failing, idOf, quiet, serve, until } from "../support/dashboard.ts"

type Line = typeof TapView.Type
const lineOf = Schema.decodeUnknownSync(Schema.fromJsonString(TapView))

type Send = Effect.Success<ReturnType<typeof serve>>["send"]

/** Reads a tap from its first line on, which says that it waits. */
const opened = Effect.fnUntraced(function* (send: Send, path: string) {
  const response = yield* send(path)
  assert.strictEqual(response.status, 200)
  assert.strictEqual(response.headers.get("content-type"), "application/x-ndjson")
  assert.strictEqual(response.headers.get("cache-control"), "no-store")
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  const next = Effect.promise(async (): Promise<Line | undefined> => {
    while (!text.includes("\n")) {
      const { done, value } = await reader.read()
      if (done) return undefined
      text += value
    }
    const [line = "", ...rest] = text.split("\n")
    text = rest.join("\n")
    return lineOf(line)
  })
  const rest = Effect.gen(function* () {
    const lines: Array<Line> = []
    for (let line = yield* next; line !== undefined; line = yield* next) lines.push(line)
    return lines
  })
  const first = yield* next
  assert.strictEqual(first?.what, "waiting")
  return { next, rest, leave: Effect.promise(() => reader.cancel()) }
})

describe("a tap", () => {
  it.live("shows the next events of a node and ends, without their content", () =>
    Effect.gen(function* () {
      const { queue } = yield* failing("orders")
      const { read, send } = yield* serve(SinkDashboard.layer({ path: "/events", roots: [queue], readOnly: true }))
      const graph = yield* read(GraphView, "/events/api/graph")
      const id = idOf(graph, "orders")
      assert.deepStrictEqual(graph.nodes.find((node) => node.id === id)?.taps, queue.node.taps)
      yield* queue.write({ id: "before", total: 1 })
      yield* queue.flush
      const tap = yield* opened(send, `/events/api/nodes/${id}/tap?events=6`)
      const from = Date.now()
      yield* EventSink.writeAll(queue, [
        { id: "secret", total: 2 },
        { id: "secret", total: 3 }
      ])
      yield* queue.flush
      yield* queue.write({ id: "secret", total: 4 })
      const lines = yield* tap.rest
      assert.deepStrictEqual(
        lines.map(({ reason, what }) => [what, reason]),
        [
          ["accepted", null],
          ["accepted", null],
          ["deadLettered", "Failed"],
          ["deadLettered", "Failed"],
          ["accepted", null],
          ["deadLettered", "Failed"]
        ]
      )
      assert.isTrue(lines.every(({ at }) => at >= from && at <= Date.now()))
      assert.notInclude(JSON.stringify(lines), "secret")
      assert.isTrue(lines.every((line) => !("text" in line)))
      // It has ended by itself.
      assert.isUndefined(queue.node.observers())
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("shows the content of any event where that is allowed, clipped", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(EventSink.make((_: unknown) => Effect.void))
      const { read, send } = yield* serve(
        SinkDashboard.layer({ path: "/events", roots: [queue], content: "shown", readOnly: true })
      )
      const id = idOf(yield* read(GraphView, "/events/api/graph"), "EventQueue")
      const circular: Record<string, unknown> = { id: "a" }
      circular["self"] = circular
      const events = [
        { id: "a1", text: "<b>" },
        "x".repeat(10_000),
        circular,
        10n,
        undefined,
        new Uint8Array(3),
        { token: Redacted.make("secret") },
        {
          get id() {
            throw new Error("no id")
          }
        }
      ]
      const tap = yield* opened(send, `/events/api/nodes/${id}/tap?events=${2 * events.length}`)
      yield* EventSink.writeAll(queue, events)
      const lines = yield* tap.rest
      const texts = lines.filter(({ what }) => what === "accepted").map(({ text }) => text)
      assert.strictEqual(texts[0], '{"id":"a1","text":"<b>"}')
      assert.strictEqual(texts[1]?.length, 4000)
      assert.match(texts[2] ?? "", /^\{"id":"a"/)
      assert.deepStrictEqual(texts.slice(4, 6), ["null", "3 bytes"])
      assert.notInclude(texts[6], "secret")
      assert.strictEqual(texts[7], "an event that has no text (object)")
    }).pipe(Effect.scoped)
  )

  it.live("is woken by no batch that has delivered nothing: an empty page would end its stream", () =>
    Effect.gen(function* () {
      const { queue } = yield* failing("orders")
      const seen: Array<readonly [string, number]> = []
      const end = queue.node.observe((what, events) => void seen.push([what, events.length]))
      yield* queue.write({ id: "a", total: 1 })
      yield* queue.flush
      end()
      assert.deepStrictEqual(seen, [
        ["accepted", 1],
        ["deadLettered", 1]
      ])
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("ends with its connection, and costs nothing before and after", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(EventSink.make((_: string) => Effect.void))
      const { read, send } = yield* serve(SinkDashboard.layer({ path: "/events", roots: [queue], readOnly: true }))
      const id = idOf(yield* read(GraphView, "/events/api/graph"), "EventQueue")
      assert.isUndefined(queue.node.observers())
      const tap = yield* opened(send, `/events/api/nodes/${id}/tap`)
      assert.strictEqual(queue.node.observers()?.size, 1)
      yield* queue.write("a")
      assert.strictEqual((yield* tap.next)?.what, "accepted")
      yield* tap.leave
      yield* until(
        Effect.sync(() => queue.node.observers()),
        (observers) => observers === undefined
      )
    }).pipe(Effect.scoped)
  )

  it.live("is refused where there is nothing to see, and where twenty are open", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(EventSink.make((_: string) => Effect.void, { name: "leaf" }))
      const { read, send, text } = yield* serve(
        SinkDashboard.layer({ path: "/events", roots: [queue], readOnly: true })
      )
      const graph = yield* read(GraphView, "/events/api/graph")
      const pathOf = (name: string) => `/events/api/nodes/${idOf(graph, name)}/tap`
      assert.strictEqual((yield* text(pathOf("leaf"))).status, 409)
      assert.strictEqual((yield* text("/events/api/nodes/other/tap")).status, 404)
      for (const events of ["0", "501", "1.5"]) {
        assert.strictEqual((yield* text(`${pathOf("EventQueue")}?events=${events}`)).status, 400, events)
      }
      const taps = yield* Effect.forEach(Array.from({ length: 20 }), () => opened(send, pathOf("EventQueue")))
      assert.strictEqual((yield* text(pathOf("EventQueue"))).status, 429)
      yield* taps[0]!.leave
      yield* until(send(pathOf("EventQueue")), ({ status }) => status === 200)
    }).pipe(Effect.scoped)
  )

  it.effect("ends after ten minutes, and makes room for others, also where its viewer keeps it and reads nothing", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(EventSink.make((_: string) => Effect.void))
      const taps = makeTaps(false)
      const open = Effect.gen(function* () {
        const pull = yield* Stream.toPull(yield* taps.open(queue.node, 2))
        assert.deepInclude((yield* pull)[0], { what: "waiting" })
        return pull
      })
      const [pull] = yield* Effect.all([open, ...Array.from({ length: 19 }, () => open)])
      assert.strictEqual((yield* Effect.flip(taps.open(queue.node, 2)))._tag, "TooManyTaps")
      yield* queue.write("a")
      yield* TestClock.adjust("10 minutes")
      assert.isUndefined(queue.node.observers())
      yield* Effect.asVoid(open)
      // What it has is there to be read.
      const kinds = (yield* pull).map(({ what }) => what)
      assert.include(kinds, "accepted")
    }).pipe(Effect.scoped)
  )

  it.effect("says that it waits, and ends after ten minutes", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(EventSink.make((_: string) => Effect.void))
      const stream = yield* makeTaps(false).open(queue.node, 2)
      const reading = yield* Effect.forkChild(Stream.runCollect(stream))
      yield* TestClock.adjust(0)
      for (let i = 0; i < 40; i++) {
        yield* TestClock.adjust("14 seconds")
        assert.strictEqual(queue.node.observers()?.size, 1, `at the wait ${i}`)
        yield* TestClock.adjust("1 second")
      }
      const lines = yield* Fiber.join(reading)
      assert.deepStrictEqual(
        lines.map(({ at, what }) => [what, at]),
        Array.from({ length: 41 }, (_, i) => ["waiting", i * 15_000])
      )
      assert.isUndefined(queue.node.observers())
    }).pipe(Effect.scoped)
  )
})
