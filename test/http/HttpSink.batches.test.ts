import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Redacted, Schema } from "effect"
import { EventSink } from "effect-events"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { createHash } from "node:crypto"
import * as fc from "fast-check"
import * as Envelope from "../../src/http/Envelope.ts"
import * as HttpSink from "../../src/http/HttpSink.ts"
import * as WebhookSignature from "../../src/http/WebhookSignature.ts"
import { runs } from "../support/runs.ts"
import { counted, many, type Note, note, notes, one } from "./support/envelopes.ts"
import { fakeClient } from "./support/receiver.ts"

interface Sent {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly text: string
}

/** Notes what is sent, and accepts it. */
const recording = () => {
  const sent: Array<Sent> = []
  const client = fakeClient((request) =>
    Effect.sync(() => {
      const body = request.body._tag === "Uint8Array" ? request.body.body : new Uint8Array()
      sent.push({ headers: request.headers, body, text: new TextDecoder().decode(body) })
      return new Response()
    })
  )
  return { sent, layer: Layer.succeed(HttpClient.HttpClient)(client) }
}

const options = { name: "hooks", url: "http://receiver.test/hook", envelope: many }

const make = (more: Partial<HttpSink.Options<Note>> = {}) =>
  Effect.gen(function* () {
    const { layer, sent } = recording()
    const sink = yield* Effect.provide(HttpSink.make({ ...options, ...more }), layer)
    return { sent, sink, some: sink.writeSome! }
  })

const tagOf = (error: HttpSink.HttpSinkError | EventSink.SinkClosed) =>
  error._tag === "HttpSinkError" ? error.reason._tag : error._tag

describe("a batch", () => {
  it.effect("is one request, with prefix, separators and suffix", () =>
    Effect.gen(function* () {
      const { sent, sink, some } = yield* make()
      assert.strictEqual(yield* some(notes("a", "b", "c")), 3)
      yield* sink.write(note("d"))
      assert.deepStrictEqual(
        sent.map(({ text }) => text),
        ["[a,b,c]", "[d]"]
      )
      assert.strictEqual(sent[0]!.headers["content-type"], "text/list")
      assert.strictEqual(sink.node.health(0).counts.delivered, 4)
    })
  )

  it.effect("parts may be encoded at once or by an effect, in any order", () =>
    Effect.gen(function* () {
      const { sent, sink, some } = yield* make({
        envelope: {
          ...many,
          encode: (event) => (event.text.startsWith("late") ? Effect.delay(many.encode(event), 1) : many.encode(event))
        }
      })
      const write = yield* Effect.forkChild(some(notes("a", "late b", "c", "late d", "late e", "f")))
      yield* TestClock.adjust("3 millis")
      assert.strictEqual(yield* Fiber.join(write), 6)
      const one = yield* Effect.forkChild(sink.write(note("late x")))
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(one)
      const refused = yield* Effect.forkChild(some(notes("late a", "unspeakable", "c")))
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(refused), 1)
      assert.deepStrictEqual(
        sent.map(({ text }) => text),
        ["[a,late b,c,late d,late e,f]", "[late x]", "[late a]"]
      )
    })
  )

  it.effect("an envelope that throws is a defect of the write, as one that dies is", () =>
    Effect.gen(function* () {
      const dies = (encode: Envelope.Envelope<Note>["encode"]) =>
        Effect.flatMap(make({ envelope: { ...many, encode } }), ({ some }) => Effect.exit(some(notes("a", "b"))))
      const thrown = yield* dies(() => {
        throw new Error("x")
      })
      const died = yield* dies(() => Effect.die(new Error("x")))
      assert.isTrue(Exit.hasDies(thrown) && Exit.hasDies(died))
    })
  )

  it.effect("an envelope for one event makes a sink without batches", () =>
    Effect.map(make({ envelope: one }), ({ some }) => assert.isUndefined(some))
  )

  it.effect("has at most 100 events by default, or maxEvents", () =>
    Effect.gen(function* () {
      const texts = Array.from({ length: 250 }, () => "x")
      assert.strictEqual(yield* (yield* make()).some(notes(...texts)), 100)
      assert.strictEqual(yield* (yield* make({ maxEvents: 7 })).some(notes(...texts)), 7)
      assert.strictEqual(yield* (yield* make({ maxEvents: Infinity })).some(notes(...texts)), 250)
    })
  )

  it.effect("ends before the event that would take it over maxBytes, which counts every byte", () =>
    Effect.gen(function* () {
      const { sent, some } = yield* make({ maxBytes: 7 })
      assert.strictEqual(yield* some(notes("a", "b", "c", "d")), 3)
      assert.strictEqual(sent[0]!.body.length, 7)
      assert.strictEqual(yield* some(notes("ab", "cd")), 2)
      assert.strictEqual(yield* some(notes("ab", "cde")), 1)
    })
  )

  it.effect("ends before an event that is too large alone, which fails when it is the first", () =>
    Effect.gen(function* () {
      const { sent, some } = yield* make({ maxBytes: 7 })
      assert.strictEqual(yield* some(notes("a", "much too large", "b")), 1)
      const error = yield* Effect.flip(some(notes("123456", "b")))
      const reason = error._tag === "HttpSinkError" ? error.reason : undefined
      assert.deepStrictEqual(reason?._tag === "TooLarge" && [reason.bytes, reason.maxBytes], [8, 7])
      assert.strictEqual(sent.length, 1)
    })
  )

  it.effect("ends before an event that cannot be encoded, which fails when it is the first", () =>
    Effect.gen(function* () {
      const { sent, some } = yield* make()
      assert.strictEqual(yield* some(notes("a", "b", "unspeakable", "c")), 2)
      assert.strictEqual(tagOf(yield* Effect.flip(some(notes("unspeakable", "c")))), "Encode")
      assert.strictEqual(sent.length, 1)
    })
  )

  it.effect("ends before an event whose encoding dies, which dies when it is the first", () =>
    Effect.gen(function* () {
      const envelope: Envelope.Envelope<Note> = {
        ...many,
        encode: (event) => (event.text === "deadly" ? Effect.die("dead") : many.encode(event))
      }
      const { some } = yield* make({ envelope })
      assert.strictEqual(yield* some(notes("a", "deadly")), 1)
      assert.strictEqual(yield* Effect.catchDefect(some(notes("deadly")), Effect.succeed), "dead")
    })
  )

  it.effect("ends before an event that needs other headers", () =>
    Effect.gen(function* () {
      const envelope: Envelope.Envelope<Note> = {
        ...many,
        encode: (event) =>
          Effect.map(many.encode(event), ({ body }) => ({ body, headers: { "x-kind": event.text.slice(0, 1) } }))
      }
      const { sent, some } = yield* make({ envelope })
      const events = notes("a1", "a2", "b1", "a3")
      assert.strictEqual(yield* some(events), 2)
      assert.strictEqual(sent[0]!.headers["x-kind"], "a")
    })
  )

  it.effect("any batches carry every event once, in order, within the limits, and each is encoded once", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.string({ maxLength: 12 }).filter((text) => text !== "unspeakable"),
            { maxLength: 40 }
          ),
          fc.integer({ min: 1, max: 9 }),
          fc.integer({ min: 16, max: 80 }),
          (texts, maxEvents, maxBytes) =>
            Effect.runPromise(
              Effect.scoped(
                Effect.gen(function* () {
                  const { encoded, envelope } = counted(many)
                  const { sent, sink } = yield* make({ envelope, maxBytes, maxEvents })
                  const events = notes(...texts.map((text) => text.replaceAll(/[[\],]/g, "_")))
                  yield* EventSink.writeAll(sink, events)
                  const parts = sent.map(({ text }) => text.slice(1, -1).split(","))
                  assert.deepStrictEqual(
                    parts.flat(),
                    events.map(({ text }) => new TextDecoder().decode(new TextEncoder().encode(text)))
                  )
                  for (const [i, { body }] of sent.entries()) {
                    assert.isAtMost(body.length, maxBytes)
                    assert.isAtMost(parts[i]!.length, maxEvents)
                  }
                  assert.deepStrictEqual(
                    events.map((event) => encoded.get(event)),
                    events.map(() => 1)
                  )
                })
              )
            )
        ),
        { numRuns: runs(200) }
      )
    )
  )

  it.effect("texts make the same requests joined as they would one by one, up to the last byte of the limit", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.string({ unit: "binary", maxLength: 12 }), { minLength: 1, maxLength: 40 }),
          fc.integer({ min: 80, max: 200 }),
          fc.constantFrom("\n", "\r\n", "\n…\n"),
          (texts, maxBytes, separator) =>
            Effect.runPromise(
              Effect.scoped(
                Effect.gen(function* () {
                  const ndjson = Envelope.ndjson(Schema.String)
                  const joined = { ...ndjson, join: { ...ndjson.join!, separator: Buffer.from(separator) } }
                  const apart = { ...joined, encode: (text: string) => joined.encode(text) }
                  const bodies = yield* Effect.forEach([joined, apart], (envelope) =>
                    Effect.gen(function* () {
                      const { layer, sent } = recording()
                      const sink = yield* Effect.provide(HttpSink.make({ ...options, envelope, maxBytes }), layer)
                      yield* EventSink.writeAll(sink, texts)
                      return sent.map(({ text }) => text)
                    })
                  )
                  assert.deepStrictEqual(bodies[0], bodies[1])
                  const events = bodies[0]!.flatMap((body) => body.slice(0, -1).split(separator))
                  assert.deepStrictEqual(
                    events.map((event): unknown => JSON.parse(event)),
                    texts.map((text): unknown => JSON.parse(JSON.stringify(text)))
                  )
                })
              )
            )
        ),
        { numRuns: runs(200) }
      )
    )
  )

  it.effect("a separator that is no text leaves the bytes as they are", () =>
    Effect.gen(function* () {
      const ndjson = Envelope.ndjson(Schema.Int)
      const { layer, sent } = recording()
      const envelope = { ...ndjson, join: { ...ndjson.join!, separator: new Uint8Array([0xff]) } }
      const sink = yield* Effect.provide(HttpSink.make({ ...options, envelope }), layer)
      yield* EventSink.writeAll(sink, [1, 2])
      assert.deepStrictEqual(
        sent.map(({ body }) => [...body]),
        [[0x31, 0xff, 0x32, 0x0a]]
      )
    })
  )
})

const [current, old] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"]
const signing = { secrets: [Redacted.make(current)] } as const

const verified = (sent: Sent, secret: string) =>
  WebhookSignature.secret(Redacted.make(secret)).pipe(
    Effect.flatMap((secret) => WebhookSignature.verify({ headers: sent.headers, body: sent.body }, [secret]))
  )

describe("a signed request", () => {
  it.effect.each([
    ["one", one, "x"],
    ["many", many, "[x]"]
  ] as const)("of one event carries its id, as the envelope knows it: %s", ([, envelope, body]) =>
    Effect.gen(function* () {
      const { sent, sink } = yield* make({ envelope, signing })
      yield* sink.write(note("x", "msg-1"))
      assert.strictEqual(sent[0]!.text, body)
      assert.strictEqual((yield* verified(sent[0]!, current)).id, "msg-1")
      assert.strictEqual(sent[0]!.headers["content-type"], envelope.contentType)
    })
  )

  it.effect("is signed by each secret, and by the id of its option", () =>
    Effect.gen(function* () {
      const { sent, sink } = yield* make({
        envelope: one,
        signing: { secrets: [Redacted.make(old), Redacted.make(current)], id: ({ text }) => `id-of-${text}` }
      })
      yield* sink.write(note("x"))
      assert.strictEqual((yield* verified(sent[0]!, current)).id, "id-of-x")
      assert.strictEqual((yield* verified(sent[0]!, old)).id, "id-of-x")
    })
  )

  it.effect("of several events carries an id that is derived from theirs alone, in order", () =>
    Effect.gen(function* () {
      const { sent, some } = yield* make({ signing })
      const ids = ["a", "bc", "grüße"]
      const events = ids.map((id) => note("x", id)) as [Note, ...Array<Note>]
      yield* some(events)
      yield* some(ids.map((id) => note("other", id)) as [Note, ...Array<Note>])
      yield* some([note("x", "ab"), note("x", "c"), note("x", "grüße")])
      yield* some([events[1]!, events[0], events[2]!])
      const got = yield* Effect.forEach(sent, (one) => Effect.map(verified(one, current), ({ id }) => id))
      const expected = `batch_${createHash("sha256").update("1:a2:bc7:grüße").digest("hex").slice(0, 32)}`
      assert.deepStrictEqual(got.slice(0, 2), [expected, expected])
      assert.strictEqual(new Set(got).size, 3)
    })
  )

  it.effect("has the id of the events that it carries, and not of those that it has no room for", () =>
    Effect.gen(function* () {
      const { sent, some } = yield* make({ signing, maxEvents: 2 })
      const [a, b, c] = notes("a", "b", "c") as [Note, Note, Note]
      yield* some([a, b, c])
      yield* some([a, b])
      yield* some([a, c])
      const got = yield* Effect.forEach(sent, (one) => Effect.map(verified(one, current), ({ id }) => id))
      assert.strictEqual(got[0], got[1])
      assert.notStrictEqual(got[0], got[2])
    })
  )

  it.effect("fails with Encode, permanently, for an id that cannot be signed", () =>
    Effect.gen(function* () {
      const { sent, sink } = yield* make({ envelope: one, signing })
      const error = yield* Effect.flip(sink.write(note("x", "a.b")))
      assert.strictEqual(tagOf(error), "Encode")
      assert.strictEqual(error._tag === "HttpSinkError" && error.transient, false)
      assert.strictEqual(sent.length, 0)
    })
  )

  it.effect("needs a good secret, and ids: a sink without is not made", () =>
    Effect.gen(function* () {
      const bad = yield* Effect.flip(make({ signing: { secrets: [Redacted.make("whsec_short")] } }))
      assert.instanceOf(bad, WebhookSignature.InvalidSecret)
      const anonymous = { ...one, id: undefined }
      const defect = yield* Effect.catchDefect(make({ envelope: anonymous, signing }), Effect.succeed)
      assert.instanceOf(defect, Error)
      assert.include(String(defect), "signing.id")
      yield* make({ envelope: anonymous, signing: { ...signing, id: () => "x" } })
    })
  )
})
