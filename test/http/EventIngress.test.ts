import { assert, describe, it } from "@effect/vitest"
import { Context, Data, type Duration, Effect, Exit, Fiber, Layer, Redacted, Schema, Scope } from "effect"
import { HttpRouter } from "effect/http"
import { TestClock } from "effect/testing"
import { Webhook } from "standardwebhooks"
import { EventQueue, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import { collector } from "../support/collector.ts"
import type { Log } from "../support/virtual.ts"
import { open, quiet, withLogs } from "../support/virtual.ts"
import { until } from "./support/delivery.ts"
import { asking, type Request } from "./support/ingress.ts"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
type Order = typeof Order.Type
const one = Envelope.json(Order, { id: ({ id }) => id })
const many = Envelope.ndjson(Order, { id: ({ id }) => id })
const order = (id: string, total = 1): Order => ({ id, total })

const json = (body: unknown, headers: Record<string, string> = {}): Request => ({
  headers: { "content-type": "application/json", ...headers },
  body: typeof body === "string" ? body : JSON.stringify(body)
})
const lines = (...ids: ReadonlyArray<string>): Request => ({
  headers: { "content-type": "application/x-ndjson" },
  body: ids.map((id) => JSON.stringify(order(id))).join("\n")
})

/** An ingress over a sink, and the calls of its onAnswer. */
const ingress = <E = never>(
  sink: EventSink.EventSink<Order, E>,
  options: Partial<EventIngress.Options<Order, E>> = {}
) => {
  const answers: Array<EventIngress.Answer> = []
  return Effect.map(
    EventIngress.make<Order, E>(sink, {
      envelopes: [one, many],
      onAnswer: (answer) => void answers.push(answer),
      ...options
    }),
    (handle) => ({ ask: asking(handle), answers })
  )
}

/** Waits in real time until something holds: bodies are read by the platform. */
const eventually = (holds: () => boolean) =>
  Effect.map(until(holds, 4000), (came) => assert.isTrue(came, `never held: ${holds}`))
/** Gives what should not happen the time to. */
const pause = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))

const idsOf = (sink: TestSink.TestSink<Order, unknown>) => sink.received.map(({ id }) => id)

const no = Effect.fail("no" as const)

class Full extends Data.TaggedError("Full")<{ readonly secret: string }> {}

describe("an answer", () => {
  it.effect("is 202 when all events are committed, and not before", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>()
      const { answers, ask } = yield* ingress(sink)
      const asked = yield* Effect.forkChild(ask(lines("a", "b")))
      yield* eventually(() => sink.attempts === 1)
      yield* pause
      assert.isUndefined(asked.pollUnsafe())
      yield* sink.release
      const { headers, status, text } = yield* Fiber.join(asked)
      assert.deepStrictEqual([status, text, headers["content-length"]], [202, "", "0"])
      assert.deepStrictEqual(idsOf(sink), ["a", "b"])
      assert.deepStrictEqual(answers, [{ status: 202, events: 2, duplicates: 0 }])
    })
  )

  it.effect("of a batch sink comes after writes of batches, and no event is written twice", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>({ batchSize: 2 })
      const { ask } = yield* ingress(sink)
      assert.strictEqual((yield* ask(lines("a", "b", "c", "d", "e"))).status, 202)
      assert.deepStrictEqual(sink.batches, [2, 2, 1])
      assert.deepStrictEqual(idsOf(sink), ["a", "b", "c", "d", "e"])
    })
  )

  it.effect(
    "is 400 for a body that the envelope does not decode, with what is wrong and where, and without the body",
    () =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const { answers, ask } = yield* ingress(sink)
        const bad = yield* ask(json({ id: "a", total: "hunter2" }))
        assert.strictEqual(bad.status, 400)
        assert.strictEqual(bad.headers["content-type"], "application/problem+json")
        assert.deepStrictEqual(JSON.parse(bad.text), {
          type: "about:blank",
          title: "Bad Request",
          status: 400,
          detail: 'Expected number at ["total"]'
        })
        const line = yield* ask({ ...lines("a"), body: '{"id":"a","total":1}\n{"id":"b"}' })
        assert.deepStrictEqual([line.status, line.detail], [400, 'Missing key at ["total"] on line 2'])
        const text = yield* ask(json('{"id":"hunter2",}'))
        assert.deepStrictEqual([text.status, text.detail], [400, "not JSON at line 1, column 17"])
        const deep = yield* ask(json("[".repeat(5000) + "]".repeat(5000)))
        assert.deepStrictEqual([deep.status, deep.detail], [400, "nested too deeply at line 1, column 1001"])
        assert.strictEqual((yield* ask(json(""))).status, 400)
        assert.strictEqual((yield* ask({ headers: { "content-type": "application/json" } })).status, 400)
        // Nothing of a request with one bad event.
        assert.deepStrictEqual(sink.received, [])
        const problem = { status: 400, detail: 'Missing key at ["total"] on line 2' }
        assert.deepStrictEqual(answers[1], { status: 400, events: 0, duplicates: 0, problem })
      })
  )

  it.effect("is 405 with Allow for every other method", () =>
    Effect.gen(function* () {
      const { ask } = yield* ingress(yield* TestSink.recording<Order>())
      for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
        const { headers, status } = yield* ask({ method })
        assert.deepStrictEqual([status, headers["allow"]], [405, "POST"], method)
      }
    })
  )

  it.effect("is 413 for a body of more than maxBytes, whatever its content-length says", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const body = JSON.stringify(order("a"))
      const { ask } = yield* ingress(sink, { maxBytes: body.length })
      assert.strictEqual((yield* ask(json(body))).status, 202)
      const { detail, headers, status } = yield* ask(json(`${body} `))
      assert.deepStrictEqual([status, detail], [413, `The body is larger than ${body.length} bytes`])
      assert.isUndefined(headers["retry-after"])
      let pulled = 0
      const endless = new ReadableStream<Uint8Array>(
        { pull: (to) => (pulled++, to.enqueue(new Uint8Array(10))) },
        { highWaterMark: 0 }
      )
      assert.strictEqual((yield* ask({ ...json(""), body: endless })).status, 413)
      assert.isBelow(pulled, 10)
      // Judged by its header, nothing is read.
      const untouched = new ReadableStream<Uint8Array>(
        { pull: () => assert.fail("the body was read") },
        { highWaterMark: 0 }
      )
      const said = yield* ask({ ...json("", { "content-length": String(body.length + 1) }), body: untouched })
      assert.deepStrictEqual([said.status, said.headers["connection"]], [413, "close"])
    })
  )

  it.effect("is 415 for a content type that no envelope accepts, with the accepted ones", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { ask } = yield* ingress(sink)
      const expected = "Expected application/json or application/x-ndjson, got"
      for (const type of ["text/xml", "application/jsonp", "application/json; charset=latin1", "json"]) {
        const { detail, headers, status } = yield* ask({ headers: { "content-type": type }, body: "{}" })
        assert.deepStrictEqual([status, detail], [415, `${expected} "${type}" in header "content-type"`])
        assert.strictEqual(headers["accept"], "application/json, application/x-ndjson")
      }
      const none = yield* ask({ body: new Uint8Array(3) })
      assert.deepStrictEqual([none.status, none.detail], [415, `${expected} none in header "content-type"`])
      const good = { "content-type": "Application/JSON ; charset=UTF-8" }
      assert.strictEqual((yield* ask({ headers: good, body: JSON.stringify(order("a")) })).status, 202)
    })
  )

  it.effect("is 415 for an event in binary mode with data of another type, and 202 for one without data", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<CloudEvent.CloudEvent<number | undefined>>()
      const data = CloudEvent.optional(CloudEvent.json(Schema.Int))
      const ask = asking(yield* EventIngress.make(sink, { envelopes: [CloudEvent.binary(data)] }))
      const headers = { "ce-specversion": "1.0", "ce-type": "t", "ce-source": "/a", "ce-id": "1" }
      const xml = { ...headers, "content-type": "text/xml", "content-length": "4" }
      const { detail, status } = yield* ask({ headers: xml, body: "<a/>" })
      const expected = 'Expected a header "ce-specversion" and JSON in UTF-8, got "text/xml" in header "content-type"'
      assert.deepStrictEqual([status, detail], [415, expected])
      for (const type of ["application/json", "application/vnd.order+json; charset=UTF-8"]) {
        const good = yield* ask({ headers: { ...headers, "content-type": type, "ce-id": type }, body: "1" })
        assert.strictEqual(good.status, 202)
      }
      const none = yield* ask({ headers: { ...xml, "content-length": "0" }, body: "" })
      assert.strictEqual(none.status, 202)
      assert.deepStrictEqual(
        sink.received.map(({ data }) => data),
        [1, 1, undefined]
      )
    })
  )

  it.effect("is 415 for an encoded body, with the one accepted coding", () =>
    Effect.gen(function* () {
      const { ask } = yield* ingress(yield* TestSink.recording<Order>())
      for (const coding of ["gzip", "br", "deflate, gzip", "identity, gzip", "x"]) {
        const { headers, status } = yield* ask(json(order("a"), { "content-encoding": coding }))
        assert.deepStrictEqual([status, headers["accept-encoding"]], [415, "identity"], coding)
      }
      assert.strictEqual((yield* ask(json(order("a"), { "content-encoding": "identity" }))).status, 202)
    })
  )

  it.effect("is 400 for a body that is shorter than its content-length, even one of whole lines", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { ask } = yield* ingress(sink)
      const { body, headers } = lines("a", "b")
      const cut = yield* ask({
        headers: { ...headers, "content-length": String(String(body).length + 1) },
        body: String(body)
      })
      assert.deepStrictEqual([cut.status, cut.detail], [400, "The body ended too early"])
      assert.deepStrictEqual(sink.received, [])
    })
  )

  it.effect("is 408 for a body that does not come in time, and the connection closes", () =>
    Effect.gen(function* () {
      const { ask } = yield* ingress(yield* TestSink.recording<Order>(), { bodyTimeout: "3 seconds" })
      let pulled = 0
      const slow = new ReadableStream<Uint8Array>({
        pull: (to) => (pulled++ === 0 ? to.enqueue(new Uint8Array(1)) : new Promise(() => {}))
      })
      const asked = yield* Effect.forkChild(ask({ ...json("", { "content-length": "10" }), body: slow }))
      yield* eventually(() => pulled > 1)
      yield* TestClock.adjust("2999 millis")
      yield* pause
      assert.isUndefined(asked.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { headers, status } = yield* Fiber.join(asked)
      assert.deepStrictEqual([status, headers["connection"]], [408, "close"])
    })
  )
})

describe("503", () => {
  /** One request, and the log of it. */
  const asked = <E>(sink: EventSink.EventSink<Order, E>, options: Partial<EventIngress.Options<Order, E>> = {}) =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { answers, ask } = yield* ingress(sink, options)
        const answer = yield* ask(json(order("hunter2")))
        return { answer, answers, logs }
      })
    )
  const clean = (logs: ReadonlyArray<Log>) => assert.notInclude(logs.map(({ line }) => line).join(), "hunter2")

  it.effect("is the answer of a closed sink", () =>
    Effect.gen(function* () {
      const { close, part } = yield* open(TestSink.recording<Order>())
      yield* close
      const { answer, answers, logs } = yield* asked(part)
      assert.deepStrictEqual(
        [answer.status, answer.headers["retry-after"], answer.detail],
        [503, "5", "The receiver is closed"]
      )
      const problem = { status: 503, detail: "The receiver is closed" }
      assert.deepStrictEqual(answers, [{ status: 503, events: 0, duplicates: 0, problem }])
      assert.deepStrictEqual(
        logs.map(({ level }) => level),
        ["WARN"]
      )
      clean(logs)
    })
  )

  it.effect("is the answer of a full queue, and 202 that of a queue with room", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>()
      const queue = yield* EventQueue.make({ capacity: 1, overflow: "reject", drainTimeout: 0 })(sink)
      const { ask } = yield* ingress(queue)
      assert.strictEqual((yield* ask(json(order("a")))).status, 202)
      assert.strictEqual((yield* quiet(ask(json(order("b"))))).status, 503)
      yield* sink.release
      yield* queue.flush
      assert.strictEqual((yield* quiet(ask(json(order("b"))))).status, 202)
      yield* queue.flush
      assert.deepStrictEqual(idsOf(sink), ["a", "b"])
    })
  )

  it.effect("is the answer to any error of the sink, and the log has the tag of the error alone", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: Order) => Effect.fail(new Full({ secret: "hunter2" })))
      const { answer, logs } = yield* asked(sink, { retryAfter: "1200 millis" })
      assert.deepStrictEqual([answer.status, answer.headers["retry-after"]], [503, "2"])
      assert.include(logs[0]?.line, "the sink failed with Full")
      clean([...logs, { level: "", line: answer.text }])
    })
  )

  it.effect("is the answer to a defect of the sink, and to an interrupted write", () =>
    Effect.gen(function* () {
      for (const make of [
        EventSink.make((_: Order) => Effect.die(new Error("no such table"))),
        EventSink.make((order: Order) => Effect.die(order)),
        EventSink.make((_: Order) => Effect.interrupt)
      ]) {
        const { answer, logs } = yield* asked(yield* make)
        assert.deepStrictEqual(
          [answer.status, answer.headers["retry-after"], answer.detail],
          [503, "5", "The events could not be committed"]
        )
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
        clean(logs)
      }
    })
  )

  it.effect("is the answer to a defect of an envelope or of an option", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: Order) => Effect.fail(new Full({ secret: "hunter2" })))
      const bug = (): never => {
        throw new Error("bug")
      }
      for (const options of [
        { envelopes: [{ ...one, decode: bug }] },
        { envelopes: [{ ...one, identity: bug }] },
        { refusal: bug },
        { refusal: () => ({ status: 200 }) }
      ] satisfies ReadonlyArray<Partial<EventIngress.Options<Order, Full>>>) {
        const { answer, logs } = yield* asked<Full>(sink, options)
        assert.strictEqual(answer.status, 503)
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
        clean(logs)
      }
    })
  )

  it.effect("is the answer of a sink that is slower than writeTimeout, and the write is interrupted", () =>
    Effect.gen(function* () {
      let interrupted = 0
      const sink = yield* EventSink.make((_: Order) =>
        Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      )
      const { ask } = yield* ingress(sink, { writeTimeout: "2 seconds", retryAfter: "1 minute" })
      const asked = yield* Effect.forkChild(quiet(ask(json(order("a")))))
      yield* eventually(() => sink.node.health(0).inFlight === 1)
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(asked.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { detail, headers, status } = yield* Fiber.join(asked)
      assert.deepStrictEqual([status, headers["retry-after"]], [503, "60"])
      assert.strictEqual(detail, "The commit did not end in time, but may succeed")
      yield* eventually(() => interrupted === 1)
    })
  )

  it.effect("does not wait for a write that refuses interruption, and the write claims its id until its end", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>({ uninterruptible: true })
      const { ask } = yield* ingress(sink, { writeTimeout: "2 seconds" })
      for (const _ of ["first", "duplicate"]) {
        const asked = yield* Effect.forkChild(quiet(ask(json(order("a")))))
        yield* eventually(() => sink.attempts === 1)
        yield* pause
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(asked)).status, 503)
      }
      yield* sink.release
      yield* eventually(() => sink.received.length === 1)
      const again = yield* Effect.forkChild(quiet(ask(json(order("a")))))
      yield* pause
      yield* TestClock.adjust("2 seconds")
      // It committed in the end, and at most once more: its own interruption hid that.
      assert.strictEqual((yield* Fiber.join(again)).status, 202)
    })
  )

  it.effect("is replaced by the answer of refusal", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: Order) => Effect.fail(new Full({ secret: "hunter2" })))
      const { answer, logs } = yield* asked<Full>(sink, {
        refusal: (error) => ({ status: 409, detail: `not now: ${error._tag}` })
      })
      assert.deepStrictEqual([answer.status, answer.detail], [409, "not now: Full"])
      assert.isUndefined(answer.headers["retry-after"])
      assert.deepStrictEqual(
        logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`),
        ['WARN EventIngress "EventIngress" refused a request with 409: not now: Full']
      )
      const limited = yield* asked<Full>(sink, { refusal: () => ({ status: 429 }) })
      assert.deepStrictEqual([limited.answer.status, limited.answer.headers["retry-after"]], [429, "5"])
      const waits = yield* asked<Full>(sink, { refusal: () => ({ status: 500, retryAfter: "2 minutes" }) })
      assert.deepStrictEqual([waits.answer.status, waits.answer.headers["retry-after"]], [500, "120"])
      const atOnce = yield* asked<Full>(sink, { refusal: () => ({ status: 503, retryAfter: 0 }) })
      assert.strictEqual(atOnce.answer.headers["retry-after"], "1")
    })
  )

  it.effect("is logged at doubling counts, and the recovery once", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<Order>({ times: 9 })
        const { ask } = yield* ingress(sink)
        for (let n = 1; n <= 11; n++) yield* ask(json(order("a")))
        const said = logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`)
        assert.deepStrictEqual(said, [
          'WARN EventIngress "EventIngress" did not commit a request because the sink failed with TestError',
          ...[2, 4, 8].map(
            (n) =>
              `WARN EventIngress "EventIngress" did not commit ${n} requests, the last because the sink failed with TestError`
          ),
          'INFO EventIngress "EventIngress" commits requests again, after 9 not committed'
        ])
      })
    )
  )

  it.effect("does not end with a duplicate, since the sink is not written to", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { close, part } = yield* open(TestSink.recording<Order>())
        const { ask } = yield* ingress(part)
        yield* ask(json(order("a")))
        yield* close
        const statuses: Array<number> = []
        for (const request of [json(order("b")), json(order("a")), lines(), json(order("c")), json(order("d"))]) {
          statuses.push((yield* ask(request)).status)
        }
        assert.deepStrictEqual(statuses, [503, 202, 202, 503, 503])
        assert.deepStrictEqual(
          logs.map(({ line }) => JSON.parse(line).message),
          ["a request", "2 requests, the last"].map(
            (n) => `EventIngress "EventIngress" did not commit ${n} because the sink is closed`
          )
        )
      })
    )
  )
})

describe("a duplicate", () => {
  it.effect("is answered with 202, and not written again within the window", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { answers, ask } = yield* ingress(sink, { deduplicate: { window: "1 minute" } })
      assert.strictEqual((yield* ask(json(order("a")))).status, 202)
      yield* TestClock.adjust("59999 millis")
      assert.strictEqual((yield* ask(json(order("a", 2)))).status, 202)
      assert.deepStrictEqual(sink.received, [order("a")])
      // A duplicate does not prolong the window.
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* ask(json(order("a", 3)))).status, 202)
      assert.deepStrictEqual(sink.received, [order("a"), order("a", 3)])
      assert.deepStrictEqual(
        answers.map(({ events, duplicates }) => [events, duplicates]),
        [
          [1, 0],
          [0, 1],
          [1, 0]
        ]
      )
    })
  )

  it.effect("is recognised for 10 minutes by default", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { ask } = yield* ingress(sink)
      for (const wait of ["0 millis", "599999 millis", "1 millis"] as const) {
        yield* TestClock.adjust(wait)
        yield* ask(json(order("a")))
      }
      assert.strictEqual(sink.received.length, 2)
    })
  )

  it.effect("is recognised within a request, and the other events are written", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>({ batchSize: 10 })
      const { answers, ask } = yield* ingress(sink)
      yield* ask(lines("a", "b", "a"))
      yield* ask(lines("c", "b", "d"))
      assert.deepStrictEqual(idsOf(sink), ["a", "b", "c", "d"])
      assert.deepStrictEqual(
        answers.map(({ events, duplicates }) => [events, duplicates]),
        [
          [2, 1],
          [2, 1]
        ]
      )
    })
  )

  it.effect("is written with deduplicate: false, and where events have no id", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const off = yield* ingress(sink, { deduplicate: false })
      const nameless = yield* ingress(sink, { envelopes: [Envelope.json(Order)] })
      for (const { ask } of [off, off, nameless, nameless]) yield* ask(json(order("a")))
      assert.strictEqual(sink.received.length, 4)
    })
  )

  it.effect("is written again after maxIds other ids", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { ask } = yield* ingress(sink, { deduplicate: { maxIds: 2 } })
      for (const id of ["a", "b", "a", "c", "b", "a"]) yield* ask(json(order(id)))
      assert.deepStrictEqual(idsOf(sink), ["a", "b", "c", "a"])
    })
  )

  it.effect("is recognised by ids of any length, and a long id is kept as its digest", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { ask } = yield* ingress(sink)
      const long = "x".repeat(100_000)
      for (const id of [`${long}a`, `${long}b`, `${long}a`, "\ud800".repeat(200), "\ud801".repeat(200)]) {
        assert.strictEqual((yield* ask(json(order(id)))).status, 202)
      }
      assert.deepStrictEqual(
        idsOf(sink).map((id) => id.length),
        [100_001, 100_001, 200, 200]
      )
    })
  )

  it.effect("is recognised by ids that keep no memory of their requests", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: Order) => Effect.void)
      // A slice of a text that is long keeps all of it in V8.
      const { ask } = yield* ingress(sink, { envelopes: [Envelope.json(Order, { id: ({ id }) => id.slice(0, 36) })] })
      const collect = collector()
      const held = () => {
        collect()
        return process.memoryUsage().heapUsed
      }
      const send = (n: number) => ask(json(order(`${n}`.padStart(36, "0") + "x".repeat(500_000))))
      yield* send(0)
      const before = held()
      for (let n = 1; n <= 100; n++) assert.strictEqual((yield* send(n)).status, 202)
      assert.isBelow(held() - before, 10 * 1024 * 1024)
    })
  )

  it.effect("waits for the first write, is never acknowledged before it, and never written", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>()
      const { ask } = yield* ingress(sink)
      const asked = yield* Effect.forEach([1, 2, 3, 4], () => Effect.forkChild(ask(json(order("a")))))
      yield* eventually(() => sink.attempts === 1)
      yield* pause
      assert.deepStrictEqual(
        asked.map((fiber) => fiber.pollUnsafe()),
        [undefined, undefined, undefined, undefined]
      )
      yield* sink.release
      const answers = yield* Effect.forEach(asked, Fiber.join)
      assert.deepStrictEqual(
        answers.map(({ status }) => status),
        [202, 202, 202, 202]
      )
      assert.deepStrictEqual([sink.attempts, idsOf(sink)], [1, ["a"]])
    })
  )

  it.effect("is written when the first write failed", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.make<Order, "no">((attempt, hold) =>
        attempt === 1 ? Effect.andThen(hold, no) : Effect.void
      )
      const { ask } = yield* ingress(sink)
      const first = yield* Effect.forkChild(quiet(ask(json(order("a")))))
      yield* eventually(() => sink.attempts === 1)
      const others = yield* Effect.forEach([1, 2], () => Effect.forkChild(ask(json(order("a")))))
      yield* pause
      assert.strictEqual(sink.attempts, 1)
      yield* sink.release
      assert.strictEqual((yield* Fiber.join(first)).status, 503)
      for (const other of others) assert.strictEqual((yield* Fiber.join(other)).status, 202)
      assert.deepStrictEqual([sink.attempts, idsOf(sink)], [2, ["a"]])
    })
  )

  it.effect("that waits for longer than writeTimeout is answered with 503", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>({ uninterruptible: true })
      const { ask } = yield* ingress(sink, { writeTimeout: "2 seconds" })
      const first = yield* Effect.forkChild(quiet(ask(json(order("a")))))
      yield* eventually(() => sink.attempts === 1)
      yield* TestClock.adjust("1 second")
      const second = yield* Effect.forkChild(quiet(ask(json(order("a")))))
      yield* pause
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(first)).status, 503)
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(second)).status, 503)
      yield* sink.release
    })
  )

  it.effect("of a request that was committed in part writes the other events", () =>
    Effect.gen(function* () {
      for (const batchSize of [undefined, 1]) {
        const sink = yield* TestSink.make<Order, "no">((attempt) => (attempt === 3 ? Effect.fail("no") : Effect.void), {
          batchSize
        })
        const { answers, ask } = yield* ingress(sink)
        assert.strictEqual((yield* quiet(ask(lines("a", "b", "c", "d")))).status, 503)
        assert.strictEqual((yield* quiet(ask(lines("a", "b", "c", "d")))).status, 202)
        assert.deepStrictEqual(idsOf(sink), ["a", "b", "c", "d"])
        assert.deepStrictEqual(answers.at(-1), { status: 202, events: 2, duplicates: 2 })
      }
    })
  )

  it.effect("never makes two requests wait for each other", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.make<Order>(() => Effect.yieldNow)
      const { ask } = yield* ingress(sink)
      const asked = yield* Effect.forEach(
        [
          ["a", "b", "c"],
          ["c", "b", "a"],
          ["b", "c", "d"]
        ],
        (ids) => Effect.forkChild(ask(lines(...ids)))
      )
      for (const one of asked) assert.strictEqual((yield* Fiber.join(one)).status, 202)
      assert.deepStrictEqual(idsOf(sink).toSorted(), ["a", "b", "c", "d"])
    })
  )

  it.effect("is recognised when the sender of the first disconnected during the write", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>()
      const { ask } = yield* ingress(sink)
      const gone = yield* Effect.forkChild(ask(json(order("a"))))
      yield* eventually(() => sink.attempts === 1)
      gone.interruptUnsafe()
      const duplicate = yield* Effect.forkChild(ask(json(order("a"))))
      yield* pause
      yield* sink.release
      assert.strictEqual((yield* Fiber.join(duplicate)).status, 202)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(gone)))
      assert.deepStrictEqual([sink.attempts, idsOf(sink)], [1, ["a"]])
    })
  )

  it.effect("of a CloudEvent has the same source and the same id", () =>
    Effect.gen(function* () {
      const data = CloudEvent.json(Schema.Int)
      const sink = yield* TestSink.recording<CloudEvent.CloudEvent<number>>()
      const handle = yield* EventIngress.make(sink, {
        envelopes: [CloudEvent.binary(data), CloudEvent.structured(data)]
      })
      const ask = asking(handle)
      const event = (source: string, id: string): Request => ({
        headers: { "content-type": "application/cloudevents+json" },
        body: JSON.stringify({ specversion: "1.0", type: "t", source, id, data: 1 })
      })
      for (const [source, id] of [
        ["/a", "1"],
        ["/b", "1"],
        ["/a", "1"],
        ["/a1", "2"],
        ["/a", "12"]
      ] as const) {
        assert.strictEqual((yield* ask(event(source, id))).status, 202)
      }
      const binary = { "ce-specversion": "1.0", "ce-type": "t", "ce-source": "/a", "ce-id": "1" }
      assert.strictEqual((yield* ask(json("1", binary))).status, 202)
      assert.deepStrictEqual(
        sink.received.map(({ id, source }) => [source, id]),
        [
          ["/a", "1"],
          ["/b", "1"],
          ["/a1", "2"],
          ["/a", "12"]
        ]
      )
    })
  )
})

describe("a signature", () => {
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  const older = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
  const verify = { secrets: [Redacted.make(secret), Redacted.make(older)] } as const

  /** As a sender signs it that uses the reference library, at a time of the test's clock. */
  const signed = (id: string, request: Request, at = 0, key = secret): Request => ({
    ...request,
    headers: {
      ...request.headers,
      "webhook-id": id,
      "webhook-timestamp": String(at),
      "webhook-signature": new Webhook(key).sign(id, new Date(at * 1000), String(request.body))
    }
  })

  it.effect("is needed, of a secret of the options and of the exact bytes, before anything is decoded", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const envelope = { ...one, decode: () => assert.fail("it was decoded") }
        const { ask, answers } = yield* ingress(sink, { verify, envelopes: [envelope] })
        const body = json(order("a"))
        const bad: ReadonlyArray<readonly [Request, string]> = [
          [body, "the header webhook-id is missing"],
          [signed("m", body, 0, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "no v1 signature matches"],
          [{ ...signed("m", body), body: `${String(body.body)} ` }, "no v1 signature matches"],
          [signed("m", body, -301), "the header webhook-timestamp is not whole seconds since 1970"],
          [signed("m", body, 301), "the timestamp is 301 seconds ahead, and 300 are tolerated"]
        ]
        for (const [request, why] of bad) {
          const { detail, headers, status } = yield* ask(request)
          assert.deepStrictEqual([status, detail], [401, `The signature was refused: ${why}`])
          assert.strictEqual(headers["www-authenticate"], "StandardWebhooks")
        }
        const problem = { status: 401, detail: `The signature was refused: ${bad[0]?.[1]}` }
        assert.deepStrictEqual(answers[0], { status: 401, events: 0, duplicates: 0, problem })
        assert.deepStrictEqual(sink.received, [])
        assert.deepStrictEqual(
          logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`),
          [
            ["a request", bad[0]?.[1]],
            ["2 requests, the last", bad[1]?.[1]],
            ["4 requests, the last", bad[3]?.[1]]
          ].map(
            ([n, why]) =>
              `WARN EventIngress "EventIngress" did not authenticate ${n} with 401: The signature was refused: ${why}`
          )
        )
      })
    )
  )

  it.effect("is accepted of both secrets", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { ask } = yield* ingress(sink, { verify })
      assert.strictEqual((yield* ask(signed("m1", json(order("a"))))).status, 202)
      assert.strictEqual((yield* ask(signed("m2", json(order("b")), 0, older))).status, 202)
      assert.deepStrictEqual(idsOf(sink), ["a", "b"])
    })
  )

  it.effect("has the id of the request, which counts in place of the ids of its events", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.make<Order, "no">((attempt) => (attempt === 5 ? no : Effect.void))
      const { ask } = yield* ingress(sink, { verify })
      yield* ask(signed("m1", json(order("a"))))
      yield* ask(signed("m1", json(order("a"))))
      yield* ask(signed("m2", json(order("a", 2))))
      assert.deepStrictEqual(sink.received, [order("a"), order("a", 2)])
      // Of one that was committed in part, the rest.
      assert.strictEqual((yield* quiet(ask(signed("m3", lines("x", "x", "y"))))).status, 503)
      assert.strictEqual((yield* quiet(ask(signed("m3", lines("x", "x", "y"))))).status, 202)
      assert.deepStrictEqual(idsOf(sink).slice(2), ["x", "x", "y"])
    })
  )

  it.effect("cannot be replayed within its tolerance", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { ask } = yield* ingress(sink, { verify: { ...verify, tolerance: "20 minutes" } })
      const minute = 60
      const first = signed("m", json(order("a")), 20 * minute)
      assert.strictEqual((yield* ask(first)).status, 202)
      // As long as its second is not over, it is exactly as old as the tolerance.
      for (const time of ["39 minutes", "1 minute", "999 millis"] as const) {
        yield* TestClock.adjust(time)
        assert.strictEqual((yield* ask(first)).status, 202)
        assert.strictEqual(sink.received.length, 1)
      }
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* quiet(ask(first))).status, 401)
    })
  )

  it.effect("with an invalid secret fails the layer", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const error = yield* Effect.flip(ingress(sink, { verify: { secrets: [Redacted.make("whsec_short")] } }))
      assert.strictEqual(error._tag, "InvalidSecret")
    })
  )
})

describe("the handshake", () => {
  const ask = (headers: Record<string, string>, handshake: EventIngress.Handshake) =>
    Effect.gen(function* () {
      const { answers, ask } = yield* ingress(yield* TestSink.recording<Order>(), { handshake })
      const answer = yield* ask({ method: "OPTIONS", headers })
      assert.strictEqual(answers[0]?.status, answer.status)
      return [answer.status, answer.headers["webhook-allowed-origin"], answer.headers["webhook-allowed-rate"]]
    })
  const origin = { "webhook-request-origin": "EventEmitter.example.com" }
  const rate = { ...origin, "webhook-request-rate": "120" }

  it.effect("permits the origins of the options, by the requested name, and the requested rate", () =>
    Effect.gen(function* () {
      const known = { origins: ["other.example", "eventemitter.EXAMPLE.com"] }
      assert.deepStrictEqual(yield* ask(origin, known), [200, "EventEmitter.example.com", "*"])
      assert.deepStrictEqual(yield* ask(rate, known), [200, "EventEmitter.example.com", "*"])
      assert.deepStrictEqual(yield* ask(origin, { ...known, rate: 100 }), [200, "EventEmitter.example.com", "100"])
      assert.deepStrictEqual(yield* ask(rate, { ...known, rate: 100 }), [200, "EventEmitter.example.com", "100"])
      assert.deepStrictEqual(yield* ask(rate, { ...known, rate: 1000 }), [200, "EventEmitter.example.com", "120"])
      assert.deepStrictEqual(yield* ask(origin, { origins: "*" }), [200, "*", "*"])
    })
  )

  it.effect("consents to nothing else", () =>
    Effect.gen(function* () {
      const refused = [200, undefined, undefined]
      assert.deepStrictEqual(yield* ask(origin, { origins: ["example.com"] }), refused)
      assert.deepStrictEqual(yield* ask({}, { origins: "*" }), refused)
      for (const bad of ["0", "-1", "1.5", "many", "", "1e3"]) {
        const [status, ...consent] = yield* ask({ ...origin, "webhook-request-rate": bad }, { origins: "*" })
        assert.deepStrictEqual([status, ...consent], [400, undefined, undefined], bad)
      }
    })
  )

  it.effect("has the methods in Allow, and never calls the callback", () =>
    Effect.gen(function* () {
      const { ask } = yield* ingress(yield* TestSink.recording<Order>(), { handshake: { origins: "*" } })
      const callback = { ...origin, "webhook-request-callback": "http://169.254.169.254/latest" }
      assert.strictEqual((yield* ask({ method: "OPTIONS", headers: callback })).headers["allow"], "POST, OPTIONS")
      const put = yield* ask({ method: "PUT" })
      assert.deepStrictEqual([put.status, put.headers["allow"]], [405, "POST, OPTIONS"])
    })
  )
})

describe("an ingress", () => {
  it.effect("decodes by the first envelope that accepts a request, and custom envelopes accept their media type", () =>
    Effect.gen(function* () {
      const named = (name: string): Envelope.Envelope<string> => ({
        contentType: "text/x-name",
        join: undefined,
        id: undefined,
        encode: () => assert.fail(),
        decode: () => Effect.succeed([name])
      })
      const test = (headers: Readonly<Record<string, string | undefined>>) => headers["x-kind"] === "b"
      const sink = yield* TestSink.recording<string>()
      const handle = yield* EventIngress.make(sink, {
        envelopes: [{ ...named("b"), accepts: { test, expected: 'a header "x-kind"' } }, named("a"), named("c")]
      })
      const ask = asking(handle)
      const headers = { "content-type": "text/x-name" }
      yield* ask({ headers, body: "" })
      yield* ask({ headers: { ...headers, "x-kind": "b" }, body: "" })
      assert.deepStrictEqual(sink.received, ["a", "b"])
      const neither = yield* ask({ headers: { "content-type": "x/y" }, body: "" })
      assert.strictEqual(
        neither.detail,
        'Expected a header "x-kind" or text/x-name or text/x-name, got "x/y" in header "content-type"'
      )
    })
  )

  it.effect("accepts a request without events, as of a registry", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<unknown>()
      const handle = yield* EventIngress.make(sink, { envelopes: [Envelope.registry] })
      const { status } = yield* asking(handle)({
        headers: { "content-type": Envelope.registry.contentType },
        body: '{"events":[]}'
      })
      assert.deepStrictEqual([status, sink.attempts], [202, 0])
    })
  )

  it.effect("accepts a request without a body, where an event can be without data", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<CloudEvent.CloudEvent<number | undefined>>()
      const data = CloudEvent.optional(CloudEvent.json(Schema.Int))
      const handle = yield* EventIngress.make(sink, { envelopes: [CloudEvent.binary(data)] })
      const headers = { "ce-specversion": "1.0", "ce-type": "t", "ce-source": "/a", "ce-id": "1" }
      assert.strictEqual((yield* asking(handle)({ headers })).status, 202)
      assert.deepStrictEqual(
        sink.received.map(({ data, id }) => [id, data]),
        [["1", undefined]]
      )
    })
  )

  it.effect("answers all the same when onAnswer throws", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const { ask } = yield* ingress(sink, {
          onAnswer: () => {
            throw new Error("bug")
          }
        })
        assert.strictEqual((yield* ask(json(order("a")))).status, 202)
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
      })
    )
  )

  it.effect("dies of invalid limits", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const bad: ReadonlyArray<readonly [Partial<EventIngress.Options<Order>>, string]> = [
        [{ maxBytes: 0 }, "maxBytes"],
        [{ deduplicate: { maxIds: 0 } }, "deduplicate.maxIds"],
        [{ handshake: { origins: "*", rate: 0.5 } }, "handshake.rate"]
      ]
      for (const [options, what] of bad) {
        const exit = yield* Effect.exit(ingress(sink, options))
        assert.include(String(Exit.isFailure(exit) && exit.cause), `EventIngress: ${what} must be a whole number`)
      }
    })
  )

  it.effect("closes an inline sink with its own layer, and leaves the sink of a tag to its layer", () =>
    Effect.gen(function* () {
      class Orders extends Context.Service<Orders, EventSink.EventSink<Order>>()("test/Orders") {}
      let inline: EventSink.EventSink<Order> | undefined
      const make = Effect.tap(TestSink.recording<Order>(), (sink) => Effect.sync(() => void (inline = sink)))
      const scope = yield* Scope.make()
      const routes = Layer.merge(
        EventIngress.layer(Orders, { path: "/tag", envelopes: [one] }),
        EventIngress.layer(make, { path: "/inline", envelopes: [one] })
      )
      const tagged = yield* TestSink.recording<Order>()
      yield* Layer.buildWithScope(
        routes.pipe(Layer.provide(HttpRouter.layer), Layer.provide(Layer.succeed(Orders, tagged))),
        scope
      )
      assert.strictEqual(inline?.node.state, "open")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([inline?.node.state, tagged.node.state], ["closed", "open"])
    })
  )
})

// The types. The defaults are what the options take:
const _defaults: Pick<
  EventIngress.Options<Order>,
  "maxBytes" | "bodyTimeout" | "writeTimeout" | "retryAfter"
> = EventIngress.defaults
const _window: Duration.Input = EventIngress.defaults.window

// A sink of more is one of these events, and no sink of others is.
const _more = (sink: EventSink.EventSink<unknown>) => EventIngress.make(sink, { envelopes: [one] })
// @ts-expect-error
const _others = (sink: EventSink.EventSink<number>) => EventIngress.make(sink, { envelopes: [one] })

// `refusal` gets the error of the sink.
const _refusal = (sink: EventSink.EventSink<Order, Full>) =>
  EventIngress.layer(sink, { path: "/", envelopes: [one], refusal: ({ secret }) => ({ status: secret.length }) })
