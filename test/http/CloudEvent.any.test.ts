import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import {
  batchedType,
  minimal,
  refusal,
  request,
  requestOf,
  structuredType,
  trip,
  wire,
  wireHeaders
} from "./support/cloudEvents.ts"

const binary = CloudEvent.binary(CloudEvent.any)
const structured = CloudEvent.structured(CloudEvent.any)
const batched = CloudEvent.batched(CloudEvent.any)

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const base64 = (text: string) => Buffer.from(text, "latin1").toString("base64")
const bytes = (...octets: ReadonlyArray<number>): CloudEvent.AnyData => ({
  _tag: "Bytes",
  bytes: new Uint8Array(octets)
})

/** What a relay makes of a request: the JSON that it posts on. */
const relayed = (body: unknown) =>
  Effect.gen(function* () {
    const events = yield* batched.decode(request(batchedType, body))
    return JSON.parse(textOf((yield* requestOf(batched, events)).body)) as unknown
  })

describe("data of any kind", () => {
  it.effect("the mixed batch of the JSON format goes in and comes out the same", () =>
    Effect.gen(function* () {
      const some = {
        specversion: "1.0",
        time: "2018-04-05T17:31:00Z",
        comexampleextension1: "value",
        comexampleothervalue: 5
      }
      const batch = [
        {
          ...some,
          type: "com.example.someevent",
          source: "/mycontext/4",
          id: "B234-1234-1234",
          datacontenttype: "application/vnd.apache.thrift.binary",
          data_base64: base64("... text within bytes ...")
        },
        {
          ...some,
          type: "com.example.someotherevent",
          source: "/mycontext/9",
          id: "C234-1234-1234",
          datacontenttype: "application/json",
          data: { appinfoA: "abc", appinfoB: 123, appinfoC: true }
        }
      ]
      assert.deepStrictEqual(yield* relayed(batch), batch)
      assert.deepStrictEqual(yield* relayed([]), [])
    })
  )

  const xml = "application/xml"
  /** Events as they stand in JSON; their data; and the body and the type that they have in binary mode. */
  const forms: ReadonlyArray<
    readonly [event: object, data: CloudEvent.AnyData, body: string, type: string | undefined]
  > = [
    [{ data: { a: 1 } }, { _tag: "Json", text: '{"a":1}' }, '{"a":1}', "application/json"],
    [{ data: "text" }, { _tag: "Json", text: '"text"' }, '"text"', "application/json"],
    [{ data: "" }, { _tag: "Json", text: '""' }, '""', "application/json"],
    [{ data: null }, { _tag: "Json", text: "null" }, "null", "application/json"],
    [{ data: 1.5 }, { _tag: "Json", text: "1.5" }, "1.5", "application/json"],
    [{ data: [] }, { _tag: "Json", text: "[]" }, "[]", "application/json"],
    [
      { datacontenttype: "text/json", data: '{"a":1}' },
      { _tag: "Json", text: '"{\\"a\\":1}"' },
      '"{\\"a\\":1}"',
      "text/json"
    ],
    [{ datacontenttype: "A/b+JSON; v=1", data: false }, { _tag: "Json", text: "false" }, "false", "A/b+JSON; v=1"],
    [
      { datacontenttype: xml, data: '<much wow="xml"/>' },
      { _tag: "Text", text: '<much wow="xml"/>' },
      '<much wow="xml"/>',
      xml
    ],
    [{ datacontenttype: "text/plain", data: "\uFEFF1" }, { _tag: "Text", text: "\uFEFF1" }, "\uFEFF1", "text/plain"],
    [{ datacontenttype: "image/png", data_base64: "/wA=" }, bytes(255, 0), "\xff\0", "image/png"],
    [
      { datacontenttype: "image/png", data_base64: base64("ascii") },
      bytes(97, 115, 99, 105, 105),
      "ascii",
      "image/png"
    ],
    [{ datacontenttype: "text/plain", data_base64: "/w==" }, bytes(255), "\xff", "text/plain"],
    [
      { datacontenttype: "text/plain; charset=latin1", data_base64: "5A==" },
      bytes(228),
      "\xe4",
      "text/plain; charset=latin1"
    ],
    [{ datacontenttype: "application/json", data_base64: base64("{") }, bytes(123), "{", "application/json"],
    [{}, { _tag: "None" }, "", undefined],
    [{ datacontenttype: "application/json" }, { _tag: "None" }, "", "application/json"]
  ]

  it.effect("each form of data is the same after each mode, and after one mode and another", () =>
    Effect.gen(function* () {
      for (const [rest, data, body, type] of forms) {
        const event = { ...wire, ...rest }
        const label = JSON.stringify(rest)
        const [read] = yield* structured.decode(request(structuredType, event))
        assert.deepStrictEqual(read?.data, data, label)
        assert.deepStrictEqual(JSON.parse(textOf((yield* requestOf(structured, [read!])).body)), event, label)
        assert.deepStrictEqual(yield* relayed([event, event]), [event, event], label)

        const sent = yield* binary.encode(read!)
        const isText = data._tag === "Json" || data._tag === "Text"
        assert.strictEqual(Buffer.from(sent.body).toString(isText ? "utf8" : "latin1"), body, label)
        assert.strictEqual(sent.headers["content-type"], type, label)
        const [back] = yield* trip(binary, [read!])
        const { datacontenttype: _, ...untyped } = { ...read!, data }
        assert.deepStrictEqual(back, type === undefined ? untyped : { ...untyped, datacontenttype: type }, label)
        // The implied type is explicit then, as section 3.1.2 of the JSON format has it.
        const again = type === undefined ? event : { ...event, datacontenttype: type }
        assert.deepStrictEqual(JSON.parse(textOf((yield* requestOf(structured, [back!])).body)), again, label)
      }
    })
  )

  it.effect("bytes without a type, or of JSON, have the same octets in binary mode", () =>
    Effect.gen(function* () {
      const [octets] = yield* structured.decode(request(structuredType, { ...wire, data_base64: "/wA=" }))
      const body = textOf((yield* requestOf(structured, [octets!])).body)
      assert.deepStrictEqual(JSON.parse(body), { ...wire, data_base64: "/wA=" })
      const sent = yield* binary.encode(octets!)
      assert.deepStrictEqual([...sent.body], [255, 0])
      assert.strictEqual(sent.headers["content-type"], "application/octet-stream")
      assert.strictEqual((yield* trip(binary, [octets!]))[0]?.datacontenttype, "application/octet-stream")

      const encoded = { ...wire, datacontenttype: "application/json", data_base64: base64('{ "a": 1 }') }
      const [json] = yield* structured.decode(request(structuredType, encoded))
      assert.deepStrictEqual(yield* trip(structured, [json!]), [json!])
      assert.strictEqual(textOf((yield* binary.encode(json!)).body), '{ "a": 1 }')
      assert.deepStrictEqual((yield* trip(binary, [json!]))[0]?.data, { _tag: "Json", text: '{ "a": 1 }' })
    })
  )

  it.effect("data that is no string, of a type that is not JSON, is JSON", () =>
    Effect.gen(function* () {
      const event = { ...wire, datacontenttype: "text/plain", data: { a: 1 } }
      assert.deepStrictEqual(yield* relayed([event]), [event])
      const [read] = yield* structured.decode(request(structuredType, event))
      assert.deepStrictEqual(read?.data, { _tag: "Json", text: '{"a":1}' })
      assert.deepStrictEqual((yield* trip(binary, [read!]))[0]?.data, { _tag: "Text", text: '{"a":1}' })
    })
  )

  it.effect("in binary mode the type and the body decide", () =>
    Effect.gen(function* () {
      const dataOf = (type: string | undefined, body: string | Uint8Array) =>
        Effect.map(binary.decode(request(type, body, wireHeaders)), ([event]) => event?.data)
      const cases: ReadonlyArray<readonly [type: string | undefined, body: string | Uint8Array, tag: string]> = [
        ["application/json", " [1, 2.0]\n", "Json"],
        ["application/json; charset=utf-8", "{}", "Json"],
        ["application/json", "{", "Bytes"],
        ["application/json; charset=utf-16", "{}", "Bytes"],
        ["application/json", "[".repeat(1001) + "]".repeat(1001), "Bytes"],
        [undefined, "{}", "Json"],
        [undefined, "plain", "Bytes"],
        ["text/csv", "a,b", "Text"],
        ["text/csv", new Uint8Array([0xff]), "Bytes"],
        ["application/soap+xml", "<a/>", "Text"],
        ["application/x-www-form-urlencoded", "a=1", "Text"],
        ["application/vnd.custom; charset=UTF-8", "a", "Text"],
        ["application/vnd.custom", "a", "Bytes"],
        ["application/octet-stream", "a", "Bytes"],
        ["text/plain", "", "None"]
      ]
      for (const [type, body, tag] of cases) {
        const data = (yield* dataOf(type, body)) ?? assert.fail("no data")
        assert.strictEqual(data._tag, tag, `${type} ${body.toString().slice(0, 20)}`)
        const event = CloudEvent.make({ ...minimal, data, datacontenttype: type })
        const octets = typeof body === "string" ? new TextEncoder().encode(body) : body
        assert.deepStrictEqual((yield* binary.encode(event)).body, octets)
        // The JSON format takes whatever came.
        const [read] = yield* trip(structured, [event])
        assert.strictEqual(read?.data._tag, tag)
      }
    })
  )

  it.effect("no digit of a number is lost", () =>
    Effect.gen(function* () {
      const data =
        '{"id":9007199254740993,"price":0.12345678901234567890,"far":1e400,"near":1.0,"text":"9007199254740993"}'
      const body = `[${JSON.stringify({ ...wire, datacontenttype: "application/json" }).slice(0, -1)},"data":${data}}]`
      const events = yield* batched.decode(request(batchedType, body))
      const out = textOf((yield* requestOf(batched, events)).body)
      assert.include(out, '"id":9007199254740993,"price":0.12345678901234567890,"far":1e400')
      assert.include(textOf((yield* binary.encode(events[0]!)).body), '"id":9007199254740993')
      const [exact] = yield* binary.decode(request("application/json", data, wireHeaders))
      assert.strictEqual(textOf((yield* binary.encode(exact!)).body), data)
      assert.include(textOf((yield* structured.encode(exact!)).body), '"far":1e400')
    })
  )

  it.effect("text whose type names another encoding is sent as the UTF-8 that it is", () =>
    Effect.gen(function* () {
      const event = { ...wire, datacontenttype: "text/plain; charset=iso-8859-1", data: "ä" }
      const [read] = yield* structured.decode(request(structuredType, event))
      const { body, headers } = yield* binary.encode(read!)
      assert.deepStrictEqual([textOf(body), headers["content-type"]], ["ä", "text/plain; charset=utf-8"])
      assert.deepStrictEqual(JSON.parse(textOf((yield* structured.encode(read!)).body)), event)
    })
  )

  it.effect("what a program says wrong is refused: JSON that is none, text of a JSON type", () =>
    Effect.gen(function* () {
      const encodeError = (data: CloudEvent.AnyData, datacontenttype?: string) =>
        Effect.forEach([binary, structured, batched], (envelope) =>
          Effect.map(
            Effect.flip(envelope.encode(CloudEvent.make({ ...minimal, data, datacontenttype }))),
            ({ message }) => message
          )
        )
      for (const message of yield* encodeError({ _tag: "Json", text: "{" })) {
        assert.strictEqual(message, 'not JSON since it ends too early, at line 1, column 2 at ["data"]')
      }
      for (const message of yield* encodeError({ _tag: "Text", text: "a" }, "application/json")) {
        assert.strictEqual(
          message,
          'Expected a type of text that is not JSON, got "application/json" at ["datacontenttype"]'
        )
      }
      for (const message of yield* encodeError({ _tag: "Text", text: "\uD800" })) {
        assert.strictEqual(message, 'Lone surrogate at ["data"]')
      }
      const text = CloudEvent.make({ ...minimal, data: { _tag: "Text", text: "a" } as CloudEvent.AnyData })
      assert.strictEqual((yield* trip(structured, [text]))[0]?.datacontenttype, "text/plain; charset=utf-8")
    })
  )

  it.effect("the attributes keep to the rules, with the place of the one that does not", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* refusal(batched, request(batchedType, [{ ...wire }, { ...wire, dataschema: "#" }])),
        'Expected an absolute URI at [1]["dataschema"]'
      )
      assert.strictEqual(
        yield* refusal(structured, request(structuredType, { ...wire, data_base64: "!" })),
        'Expected Base64 at ["data_base64"]'
      )
      const surrogate = { ...wire, datacontenttype: "text/plain", data: "\uD800" }
      assert.strictEqual(
        yield* refusal(batched, request(batchedType, [wire, surrogate])),
        'Lone surrogate at [1]["data"]'
      )
      const long = JSON.stringify(wire).replace("{", '{"ext":12345678901234567890,')
      assert.include(
        yield* refusal(structured, request(structuredType, long)),
        '32-bit integer or a boolean at ["ext"]'
      )
    })
  )

  it.effect("a store keeps it", () =>
    Effect.gen(function* () {
      const codec = Schema.toCodecJson(CloudEvent.schema(CloudEvent.AnyData))
      for (const [rest] of forms) {
        const events = yield* structured.decode(request(structuredType, { ...wire, ...rest }))
        const stored = JSON.stringify(yield* Schema.encodeEffect(codec)(events[0]!))
        assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(codec)(JSON.parse(stored)), events[0])
      }
    })
  )

  it.effect("any data is the same after a second trip through any mode", () =>
    Effect.promise(() => {
      const json = fc.json({ maxDepth: 2 }).map((text): CloudEvent.AnyData => ({ _tag: "Json", text }))
      const text = fc
        .string({ unit: "binary", minLength: 1 })
        .filter((text) => text.isWellFormed())
        .map((text): CloudEvent.AnyData => ({ _tag: "Text", text }))
      const octets = fc
        .uint8Array({ minLength: 1, maxLength: 20 })
        .map((bytes): CloudEvent.AnyData => ({ _tag: "Bytes", bytes }))
      const type = (...types: ReadonlyArray<string>) => fc.option(fc.constantFrom(...types), { nil: undefined })
      const event = fc.oneof(
        fc.tuple(json, type("application/json", "a/b+json")),
        fc.tuple(text, type("text/plain", "application/xml; charset=utf-8")),
        fc.tuple(octets, type("image/png", "application/octet-stream"))
      )
      const property = fc.asyncProperty(event, async ([data, datacontenttype]) => {
        const event = CloudEvent.make({
          ...minimal,
          data,
          ...(datacontenttype === undefined ? {} : { datacontenttype })
        })
        for (const first of [binary, structured, batched]) {
          const once = await Effect.runPromise(trip(first, [event]))
          for (const second of [binary, structured, batched]) {
            const twice = await Effect.runPromise(Effect.flatMap(trip(second, once), (events) => trip(first, events)))
            const arrived = twice[0]?.data ?? assert.fail("no event")
            if (data._tag !== "Json" || arrived._tag !== "Json") assert.deepStrictEqual(arrived, data)
            else assert.deepStrictEqual(JSON.parse(arrived.text), JSON.parse(data.text))
          }
        }
      })
      return fc.assert(property, { numRuns: 200 })
    })
  )
})
