import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Result, Schema, SchemaGetter, SchemaIssue } from "effect"
import * as fc from "fast-check"
import * as Envelope from "../../src/http/Envelope.ts"
import { masked } from "./support/masked.ts"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The request that carries these events. */
const join = <A>(envelope: Envelope.Envelope<A>, parts: ReadonlyArray<Envelope.Part>): Uint8Array => {
  const { prefix, separator, suffix } = envelope.join ?? assert.fail("one event a request")
  const bodies = parts.flatMap(({ body }, i) => (i === 0 ? [body] : [separator, body]))
  return Buffer.concat([prefix, ...bodies, suffix])
}

const request = (contentType: string | undefined, body: string | Uint8Array): Envelope.Message => ({
  headers: { "content-type": contentType },
  body: typeof body === "string" ? encoder.encode(body) : body
})

/** The decoded events, or the message of the failure. A defect fails the test. */
const decode = <A>(envelope: Envelope.Envelope<A>, body: string | Uint8Array, contentType = envelope.contentType) =>
  Effect.map(Effect.result(envelope.decode(request(contentType, body))), (result) => {
    if (Result.isSuccess(result)) return result.success
    assert.instanceOf(result.failure, Envelope.EnvelopeError)
    assert.strictEqual(result.failure.direction, "decode")
    return result.failure.message
  })

const encodeError = <A>(envelope: Envelope.Envelope<A>, event: A) =>
  Effect.map(Effect.flip(envelope.encode(event)), ({ direction, message }) => {
    assert.strictEqual(direction, "encode")
    return message
  })

/** Runs a property of effects; a counterexample and its seed are in the error. */
const holds = <A>(
  arbitrary: fc.Arbitrary<A>,
  property: (a: A) => Effect.Effect<unknown, unknown>,
  examples: ReadonlyArray<A> = []
) =>
  Effect.promise(() =>
    fc.assert(
      fc.asyncProperty(arbitrary, async (a) => void (await Effect.runPromise(property(a)))),
      { examples: examples.map((a): [A] => [a]) }
    )
  )

const Order = Schema.Struct({
  id: Schema.String,
  at: Schema.Date,
  total: Schema.Number,
  note: Schema.optionalKey(Schema.String),
  any: Schema.Unknown
})
type Order = typeof Order.Type

// A JSON text has no -0.
const json = fc
  .jsonValue({ maxDepth: 2, noUnicodeString: false })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown)
const text = fc.oneof(fc.string({ unit: "binary" }), fc.string(), fc.constantFrom("\uFEFFa", "\uD800", "a\nb\r\n", ""))
const order: fc.Arbitrary<Order> = fc.record(
  {
    id: text,
    at: fc.date({ noInvalidDate: true, min: new Date(-8.64e15), max: new Date(8.64e15) }),
    total: fc.double().filter((n) => !Object.is(n, -0)),
    note: text,
    any: json
  },
  { requiredKeys: ["id", "at", "total", "any"], noNullPrototype: true }
)

const Small = Schema.Struct({ id: Schema.String, n: Schema.Int })
const lines = Envelope.ndjson(Small, { id: (event) => event.id })

describe("json", () => {
  const orders = Envelope.json(Order, { id: (event) => event.id })

  it.effect("an event that is encoded and decoded again is the same", () =>
    holds(order, (event) =>
      Effect.gen(function* () {
        const { body, headers } = yield* orders.encode(event)
        assert.deepStrictEqual(headers, {})
        assert.deepStrictEqual(yield* decode(orders, body), [event])
      })
    )
  )

  it.effect("is application/json, one event a request, with the id of the option", () =>
    Effect.gen(function* () {
      const envelope = Envelope.json(Small)
      assert.strictEqual(envelope.contentType, "application/json")
      assert.isUndefined(envelope.join)
      assert.isUndefined(envelope.id)
      assert.strictEqual(orders.id?.({ id: "a", at: new Date(), total: 1, any: null }), "a")
      const { body } = yield* envelope.encode({ id: "ü", n: 1 })
      assert.strictEqual(decoder.decode(body), '{"id":"ü","n":1}')
    })
  )

  it.effect("accepts its media type in any case and with any parameters, and no other", () =>
    Effect.gen(function* () {
      const body = '{"id":"a","n":1}'
      const envelope = Envelope.json(Small)
      for (const type of [
        "application/json",
        "Application/JSON ; charset=UTF-8",
        'application/json;x="a;b"',
        "application/json;charset=us-ascii"
      ]) {
        assert.deepStrictEqual(yield* decode(envelope, body, type), [{ id: "a", n: 1 }], type)
      }
      for (const type of [
        "text/json",
        "application/json, application/json",
        "application/jsonx",
        "application/a+json",
        ""
      ]) {
        assert.strictEqual(
          yield* decode(envelope, body, type),
          `Expected application/json in header "content-type", got ${JSON.stringify(type)}`
        )
      }
      assert.strictEqual(
        yield* decode(envelope, body, "application/json; charset=iso-8859-1"),
        'Expected UTF-8 in header "content-type", got "application/json; charset=iso-8859-1"'
      )
      const none = yield* Effect.flip(envelope.decode({ headers: {}, body: encoder.encode(body) }))
      assert.strictEqual(none.message, 'Missing header "content-type": expected application/json')
    })
  )

  it.effect("takes another media type by option, and throws for a text that is not one", () =>
    Effect.gen(function* () {
      const envelope = Envelope.json(Small, { contentType: "application/vnd.acme.order+json; version=1" })
      const body = '{"id":"a","n":1}'
      assert.deepStrictEqual(yield* decode(envelope, body), [{ id: "a", n: 1 }])
      assert.deepStrictEqual(yield* decode(envelope, body, "APPLICATION/vnd.acme.order+json"), [{ id: "a", n: 1 }])
      assert.include(yield* decode(envelope, body, "application/json"), "Expected application/vnd.acme.order+json")
      const slow = `a/b${";   ".repeat(60)}!`
      for (const contentType of ["", "json", "a/b\r\nx: y", "a/b;c", "ä/b", slow]) {
        assert.throws(() => Envelope.json(Small, { contentType }), RangeError, "Envelope.json: contentType")
      }
      for (const contentType of ["a/b;", 'a/b ; c=d ;; e="f\\"g"', "a/b; charset=utf-8"]) {
        assert.strictEqual(Envelope.json(Small, { contentType }).contentType, contentType)
      }
    })
  )

  it.effect("the error has the place where an event does not fit its schema, and nothing else of the event", () =>
    Effect.gen(function* () {
      const secret = "s".repeat(50)
      const envelope = Envelope.json(
        Schema.Struct({ a: Schema.Array(Schema.Struct({ b: Schema.Int })), c: Schema.String })
      )
      const wrong = (b: unknown) => JSON.stringify({ a: [{ b: 1 }, { b }], c: secret })
      assert.strictEqual(yield* decode(envelope, wrong("x")), 'Expected number at ["a"][1]["b"]')
      assert.strictEqual(yield* decode(envelope, wrong(undefined)), 'Missing key at ["a"][1]["b"]')
      assert.strictEqual(yield* decode(envelope, "[]"), "Expected object")
      assert.strictEqual(
        yield* encodeError(envelope, { a: [{ b: 0.5 }], c: secret }),
        'Expected an integer at ["a"][0]["b"]'
      )
      const error = yield* Effect.flip(envelope.decode(request("application/json", wrong(secret))))
      assert.notInclude(JSON.stringify([error.message, String(error.cause), error.cause]), "sss")
    })
  )

  it.effect("the error has the line and column at which a body is not JSON, and quotes none of the body", () =>
    Effect.gen(function* () {
      const any = Envelope.json(Schema.Unknown)
      const cases: ReadonlyArray<readonly [body: string, message: string]> = [
        ['{"a":secret}', "not JSON at line 1, column 6"],
        ['{"a":1}secret', "not JSON at line 1, column 8"],
        ['{\n  "a": 1,\n}', "not JSON at line 3, column 1"],
        ["[1,]", "not JSON at line 1, column 4"],
        ['{"a" 1}', "not JSON at line 1, column 6"],
        ["{1:2}", "not JSON at line 1, column 2"],
        ['"se\tcret"', "not JSON at line 1, column 4"],
        ['"\\x"', "not JSON at line 1, column 2"],
        ["01", "not JSON at line 1, column 2"],
        ["NaN", "not JSON at line 1, column 1"],
        ["", "not JSON since it ends too early, at line 1, column 1"],
        ["[[1", "not JSON since it ends too early, at line 1, column 4"],
        ['{"a":"b', "not JSON since it ends too early, at line 1, column 8"],
        ["]", "not JSON at line 1, column 1"]
      ]
      for (const [body, message] of cases) assert.strictEqual(yield* decode(any, body), message, body)
    })
  )

  it.effect("the place of a fault is the engine's, where the engine names one", () =>
    holds(
      fc.tuple(json, fc.nat(), fc.constantFrom("", "x", '"', "{", "]", ",", ":", "\\", "1", "\u0001", "\n")),
      ([value, at, put]) =>
        Effect.gen(function* () {
          const good = JSON.stringify(value, null, 1)
          const place = at % (good.length + 1)
          const body = good.slice(0, place) + put + good.slice(place + (at % 2))
          const answer = yield* decode(Envelope.json(Schema.Unknown), body)
          // An answer that is not a message is the decoded value, which may have a `toString` of its own.
          if (typeof answer !== "string") return void JSON.parse(body)
          const [, line, column] = /line (\d+), column (\d+)$/.exec(answer) ?? []
          if (line === undefined) return void JSON.parse(body)
          const rows = body.split("\n")
          assert.isAtMost(Number(line), rows.length)
          const offset =
            rows.slice(0, Number(line) - 1).join("\n").length + (Number(line) > 1 ? 1 : 0) + Number(column) - 1
          assert.strictEqual(answer.includes("too early"), offset >= body.length)
          // The engine's place, where its message has one; within a malformed number, escape or word it names a later one.
          const engine = Exit.match(yield* Effect.exit(Effect.sync((): unknown => JSON.parse(body))), {
            onSuccess: () => assert.fail("it is JSON"),
            onFailure: (cause) => String(Cause.squash(cause))
          })
          const [, position] = /at position (\d+)/.exec(engine) ?? []
          if (position !== undefined && !/number|[Ee]scape|Unexpected string/.test(engine))
            assert.strictEqual(offset, Number(position))
        }),
      masked.map((text) => [JSON.parse(text), 0, ""])
    )
  )

  it.effect("the error has the byte at which a body is not UTF-8", () =>
    Effect.gen(function* () {
      const envelope = Envelope.json(Schema.String)
      const at = (...bytes: ReadonlyArray<number>) =>
        Buffer.concat([Buffer.from('"ü\uFFFD'), Buffer.from(bytes), Buffer.from('"')])
      for (const bytes of [[0xff], [0xc0, 0xa0], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]) {
        assert.strictEqual(yield* decode(envelope, at(...bytes)), "not UTF-8 at byte 6")
      }
      assert.deepStrictEqual(yield* decode(envelope, at(0xe2, 0x82, 0xac)), ["ü\uFFFD€"])
    })
  )

  it.effect("passes over a byte order mark in front, but not one within the data", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* decode(Envelope.json(Schema.String), '\uFEFF"\uFEFFa"'), ["\uFEFFa"])
    })
  )

  it.effect("endless nesting is a typed failure, of decoding and of encoding", () =>
    Effect.gen(function* () {
      const nested = (n: number) => `${"[".repeat(n)}${"]".repeat(n)}`
      interface Tree extends ReadonlyArray<Tree> {}
      const Tree: Schema.Codec<Tree> = Schema.Array(Schema.suspend(() => Tree))
      for (const schema of [Tree, Schema.Unknown]) {
        const envelope = Envelope.json<unknown>(schema)
        assert.strictEqual(yield* decode(envelope, nested(200_000)), "nested too deeply at line 1, column 1001")
        assert.strictEqual(yield* decode(envelope, `\n${nested(1001)}`), "nested too deeply at line 2, column 1001")
        // A decoded event can be encoded.
        const [event] = yield* envelope.decode(request(envelope.contentType, nested(1000)))
        yield* envelope.encode(event)
      }
      assert.deepStrictEqual(yield* decode(Envelope.json(Tree), nested(3)), [[[[]]]])
      assert.strictEqual(
        yield* decode(Envelope.json(Schema.Unknown), `${"[".repeat(200_000)}x`),
        "not JSON at line 1, column 200001"
      )
      let deep: ReadonlyArray<unknown> = []
      for (let i = 0; i < 200_000; i++) deep = [deep]
      for (const schema of [Schema.Unknown, Schema.Any]) {
        assert.strictEqual(yield* encodeError(Envelope.json<unknown>(schema), deep), "nested too deeply")
      }
    })
  )

  it.effect("a value that is not JSON is a typed failure", () =>
    Effect.gen(function* () {
      const circle: Array<unknown> = []
      circle.push(circle)
      for (const value of [circle, 1n, undefined]) {
        assert.strictEqual(yield* encodeError(Envelope.json<unknown>(Schema.Any), value), "not a JSON value")
        assert.match(
          yield* encodeError(Envelope.json<unknown>(Schema.Unknown), value),
          /Expected JSON|nested|JSON value/
        )
      }
    })
  )

  it.effect("a defect of a schema stays a defect", () =>
    Effect.gen(function* () {
      const broken = Schema.String.check(
        Schema.makeFilter(() => {
          throw new RangeError("no verdict")
        })
      )
      const exit = yield* Effect.exit(Envelope.json(broken).encode("a"))
      assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.some(({ _tag }) => _tag === "Die"))
    })
  )

  it.effect("of equal keys the last one counts, and __proto__ is a key like any other", () =>
    Effect.gen(function* () {
      const records = Envelope.json(Schema.Record(Schema.String, Schema.Unknown))
      const structs = Envelope.json(Small)
      assert.deepStrictEqual(yield* decode(structs, '{"id":"a","n":1,"id":"b"}'), [{ id: "b", n: 1 }])
      const hostile = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
      const [record] = (yield* records.decode(request("application/json", hostile))) as [object]
      assert.deepStrictEqual(Object.keys(record), ["__proto__", "constructor"])
      assert.strictEqual(Object.getPrototypeOf(record), Object.prototype)
      assert.isUndefined(({} as { polluted?: unknown }).polluted)
      // A missing key is not found in a prototype that the sender has chosen.
      assert.strictEqual(yield* decode(structs, '{"__proto__":{"id":"a","n":1}}'), 'Missing key at ["id"]')
      assert.strictEqual(decoder.decode((yield* records.encode(record as Record<string, unknown>)).body), hostile)
    })
  )

  it.effect("the message is bounded, however long a key is", () =>
    Effect.gen(function* () {
      const envelope = Envelope.json(Schema.Record(Schema.String, Schema.Int))
      const message = yield* decode(envelope, JSON.stringify({ ["k".repeat(1_000_000)]: "x" }))
      assert.isBelow(message.length, 600)
      assert.isBelow((yield* decode(envelope, "{}", `a/${"b".repeat(1_000_000)}`)).length, 600)
    })
  )
})

describe("ndjson", () => {
  it.effect("the parts of many events make one request, which has all of them in order", () =>
    Effect.gen(function* () {
      const envelope = Envelope.ndjson(Order)
      assert.strictEqual(envelope.contentType, "application/x-ndjson")
      yield* holds(fc.array(order, { maxLength: 5 }), (events) =>
        Effect.gen(function* () {
          const parts = yield* Effect.forEach(events, envelope.encode)
          const body = join(envelope, parts)
          assert.deepStrictEqual(yield* decode(envelope, body), events)
          if (events.length > 0) assert.strictEqual(decoder.decode(body).split("\n").length, events.length + 1)
        })
      )
    })
  )

  it.effect("each line is ended by a line feed", () =>
    Effect.gen(function* () {
      const parts = yield* Effect.forEach([1, 2], (n) => lines.encode({ id: "a\nb", n }))
      assert.strictEqual(decoder.decode(join(lines, parts)), '{"id":"a\\nb","n":1}\n{"id":"a\\nb","n":2}\n')
      assert.strictEqual(lines.id?.({ id: "x", n: 1 }), "x")
    })
  )

  it.effect("decoding takes a last line without an end, CR LF, and blank lines at the end", () =>
    Effect.gen(function* () {
      const one = '{"id":"a","n":1}'
      const event = { id: "a", n: 1 }
      for (const body of [
        `${one}\n${one}`,
        `${one}\r\n${one}\r\n`,
        `${one}\n${one}\n\n \t\r\n\n`,
        `\uFEFF${one}\n${one}\n`
      ]) {
        assert.deepStrictEqual(yield* decode(lines, body), [event, event], JSON.stringify(body))
      }
      for (const body of ["", "\n", "\r\n\r\n"]) assert.deepStrictEqual(yield* decode(lines, body), [])
    })
  )

  it.effect("a bad line is refused with its number, and the whole request with it", () =>
    Effect.gen(function* () {
      const one = '{"id":"a","n":1}'
      assert.strictEqual(yield* decode(lines, `${one}\n${one}\n{"id":secret}`), "not JSON at line 3, column 7")
      assert.strictEqual(
        yield* decode(lines, `${one}\n\n${one}`),
        "not JSON since it ends too early, at line 2, column 1"
      )
      assert.strictEqual(
        yield* decode(lines, `${one}\n{"id":"a","n":"b"}\n${one}`),
        'Expected number at ["n"] on line 2'
      )
      assert.strictEqual(yield* decode(lines, `${one}${one}`), "not JSON at line 1, column 17")
      assert.strictEqual(
        yield* decode(lines, Buffer.from([...encoder.encode(`${one}\n`), 0xff])),
        `not UTF-8 at byte ${one.length + 1}`
      )
      assert.include(yield* decode(lines, one, "application/json"), "Expected application/x-ndjson")
    })
  )

  it.effect("takes a hundred thousand events in a request, and as many blank lines", () =>
    Effect.gen(function* () {
      const events = yield* lines.decode(
        request(lines.contentType, '{"id":"a","n":1}\n'.repeat(100_000) + "\n".repeat(100_000))
      )
      assert.strictEqual(events.length, 100_000)
    })
  )

  it.effect("keeps the bytes of an event while others are encoded, of any length", () =>
    holds(fc.array(fc.string({ unit: "binary", maxLength: 6000, size: "max" }), { maxLength: 40 }), (texts) =>
      Effect.gen(function* () {
        const envelope = Envelope.ndjson(Schema.String)
        const parts = yield* Effect.forEach(texts, envelope.encode)
        assert.deepStrictEqual(
          parts.map(({ body }) => decoder.decode(body)),
          texts.map((text) => JSON.stringify(text))
        )
      })
    )
  )
})

describe("types", () => {
  it("the type of the events is the schema's", () => {
    const envelope: Envelope.Envelope<{ readonly id: string; readonly n: number }> = Envelope.json(Small, {
      id: ({ id }) => id
    })
    assert.isFunction(envelope.encode)
    // @ts-expect-error a schema that needs services is refused
    const needy = () => Envelope.json(Small as Schema.Codec<string, string, "service">)
    // @ts-expect-error events have no such field
    const nowhere = () => Envelope.ndjson(Small, { id: (event) => event.nothing })
    assert.isFunction(needy)
    assert.isFunction(nowhere)
  })
})

describe("schemas with effects", () => {
  const Slow = Schema.String.pipe(
    Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transformEffect((text: string) => Effect.as(Effect.yieldNow, text.toLowerCase())),
      encode: SchemaGetter.transformEffect((text: string) =>
        text === "bad"
          ? Effect.andThen(
              Effect.yieldNow,
              Effect.fail(new SchemaIssue.InvalidValue({ message: "not this one" }, text))
            )
          : Effect.as(Effect.yieldNow, text.toUpperCase())
      )
    })
  )

  it.effect("encode and decode as schemas without effects do", () =>
    Effect.gen(function* () {
      const envelope = Envelope.ndjson(Schema.Struct({ id: Slow }))
      const part = yield* envelope.encode({ id: "a" })
      assert.strictEqual(decoder.decode(part.body), '{"id":"A"}')
      assert.deepStrictEqual(yield* decode(envelope, join(envelope, [part])), [{ id: "a" }])
      assert.include(yield* encodeError(envelope, { id: "bad" }), "not this one")
    })
  )

  it.effect("a transformation that throws is a defect, at the call or later", () =>
    Effect.gen(function* () {
      const thrower = Schema.String.pipe(
        Schema.decodeTo(Schema.String, {
          decode: SchemaGetter.passthrough(),
          encode: SchemaGetter.transform((_: string): string => {
            throw new Error("mine")
          })
        })
      )
      const exit = yield* Effect.exit(Envelope.json(thrower).encode("x"))
      assert.isTrue(Exit.hasDies(exit))
    })
  )
})
