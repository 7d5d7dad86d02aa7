/** An ingress over a durable queue: what a sender sends twice is stored once, whatever process receives it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Schema, Scope } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { Webhook } from "standardwebhooks"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import { quiet } from "../support/virtual.ts"
import { asking, type Request } from "./support/ingress.ts"

const Order = Schema.Struct({ order: Schema.String })
type Received = EventSink.Stamped<typeof Order.Type>
const byOrder = Envelope.json(Order, { id: ({ order }) => order })
const many = Envelope.ndjson(Order, { id: ({ order }) => order })
const bare = Envelope.json(Order)

const json = (...orders: ReadonlyArray<string>): Request => ({
  headers: { "content-type": orders.length === 1 ? "application/json" : "application/x-ndjson" },
  body: orders.map((order) => JSON.stringify({ order })).join("\n")
})
const secretOf = (n: number) => `whsec_${Buffer.alloc(24, n).toString("base64")}`
const [acme, globex] = [secretOf(1), secretOf(2)]
const signed = (secret: string, id: string, request: Request, at: number): Request => ({
  ...request,
  headers: {
    ...request.headers,
    "webhook-id": id,
    "webhook-timestamp": String(at),
    "webhook-signature": new Webhook(secret).sign(id, new Date(at * 1000), String(request.body))
  }
})

/** A process that receives over a store, and delivers. */
const process = Effect.fnUntraced(function* (
  memory: MemoryStore.Memory,
  options: Partial<EventIngress.Options<typeof Order.Type, DurableQueue.DurableWriteError>> = {}
) {
  const scope = yield* Scope.make()
  const received: Array<Received> = []
  const store = yield* Effect.provide(EventStore.EventStore, MemoryStore.layerOver(memory))
  const make = DurableQueue.make({
    name: "orders",
    schema: DurableQueue.stamped(Order),
    id: ({ id }: Received) => id,
    deduplication: "1 hour"
  })(EventSink.make((event: Received) => Effect.sync(() => void received.push(event))))
  const queue = yield* make.pipe(Effect.provideService(EventStore.EventStore, store), Scope.provide(scope))
  const handle = yield* EventIngress.makeStamped(queue, { envelopes: [byOrder, many], ...options }).pipe(
    Scope.provide(scope)
  )
  return { received, queue, ask: asking(handle), close: Scope.close(scope, Exit.void) }
})

const ids = (all: ReadonlyArray<Received>) => all.map(({ id }) => id)

describe("an ingress over a durable queue", () => {
  it.effect("stores once what is sent twice, to another process and after a restart", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const first = yield* process(memory)
      const statuses = [yield* first.ask(json("a")), yield* first.ask(json("a", "b"))].map(({ status }) => status)
      yield* first.queue.flush
      yield* first.close
      const second = yield* process(memory)
      statuses.push((yield* second.ask(json("b"))).status, (yield* second.ask(json("c"))).status)
      yield* second.queue.flush
      assert.deepStrictEqual(statuses, [202, 202, 202, 202])
      assert.deepStrictEqual([ids(first.received), ids(second.received)], [["a", "b"], ["c"]])
      yield* second.close
    }).pipe(quiet)
  )

  it.effect("knows signed requests by their ids, each sender's apart, and their events by their places", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const verify = {
        senders: { acme: { secrets: [Redacted.make(acme)] }, "globex/eu": { secrets: [Redacted.make(globex)] } }
      } as const
      const options = { verify, deduplicate: false as const }
      const first = yield* process(memory, options)
      yield* first.ask(signed(acme, "m1", json("a", "b"), 0))
      yield* first.close
      const second = yield* process(memory, options)
      yield* second.ask(signed(acme, "m1", json("a", "b"), 0))
      yield* second.ask(signed(globex, "m1", json("a"), 0))
      yield* second.queue.flush
      const expected = ["acme/0/m1", "acme/1/m1", "globex%2Feu/0/m1"]
      assert.deepStrictEqual([...ids(first.received), ...ids(second.received)], expected)
      yield* second.close
    }).pipe(quiet)
  )

  it.effect("stamps the time of the request, and a random id where there is none; a long id is its digest", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { ask, queue, received } = yield* process(memory, { envelopes: [bare] })
      yield* TestClock.adjust("5 seconds")
      yield* ask(json("a"))
      yield* ask(json("a"))
      const other = yield* process(memory)
      for (const long of ["x".repeat(300), "x".repeat(300), "y".repeat(300)]) yield* other.ask(json(long))
      yield* queue.flush
      assert.deepStrictEqual(
        received.map(({ time }) => time),
        [5000, 5000, 5000, 5000]
      )
      const [one = "", two = "", three = "", four = ""] = ids(received)
      assert.notStrictEqual(one, two)
      assert.match(one, /^[0-9a-f-]{36}$/)
      assert.match(three, /^sha256:[0-9a-f]{64}$/)
      assert.notStrictEqual(three, four)
    }).pipe(quiet)
  )

  it.effect("stamps ids as digests that not every store has, and tells them apart", () =>
    Effect.gen(function* () {
      const { ask, queue, received } = yield* process(yield* MemoryStore.makeMemory)
      for (const id of ["a\0", "\ud800", "\udbff", "\ud83d\ude00"]) yield* ask(json(id))
      yield* queue.flush
      const [nul, ...others] = ids(received)
      const halves = others.slice(0, 2)
      for (const id of [nul, ...halves]) assert.match(id ?? "", /^sha256:[0-9a-f]{64}$/)
      assert.strictEqual(new Set([nul, ...halves]).size, 3)
      assert.strictEqual(others[2], "\ud83d\ude00")
    }).pipe(quiet)
  )
})
