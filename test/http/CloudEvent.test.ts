import { assert, describe, it } from "@effect/vitest"
import { CloudEvent as SdkEvent, HTTP, type CloudEventV1, type Message as SdkMessage } from "cloudevents"
import { Effect, Result, Schema } from "effect"
import * as fc from "fast-check"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import type * as Envelope from "../../src/http/Envelope.ts"
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

const encoder = new TextEncoder()
const decoder = new TextDecoder()

const encodeError = <A>(envelope: Envelope.Envelope<A>, event: A) =>
  Effect.map(Effect.flip(envelope.encode(event)), ({ direction, message }) => {
    assert.strictEqual(direction, "encode")
    return message
  })

const holds = <A>(arbitrary: fc.Arbitrary<A>, property: (a: A) => Effect.Effect<unknown, unknown>) =>
  Effect.promise(() => fc.assert(fc.asyncProperty(arbitrary, async (a) => void (await Effect.runPromise(property(a))))))

const Order = Schema.Struct({ total: Schema.Int, at: Schema.Date })
const order = { total: 3, at: new Date(0) }
const orders = CloudEvent.json(Order)
const unknowns = CloudEvent.json(Schema.Unknown)

/** An event with the attribute that an envelope adds. */
const arrived = <D>(event: CloudEvent.CloudEvent<D>, kind: CloudEvent.Data<D>): CloudEvent.CloudEvent<D> => ({
  ...event,
  datacontenttype: event.datacontenttype ?? kind.contentType
})

const value = fc
  .oneof(
    fc.string(),
    fc.string({ unit: "grapheme" }),
    fc.string({ unit: "binary" }),
    fc.constantFrom('"', "%", "%41", " ", "\\")
  )
  .filter((text) => !/[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u.test(text))
const name = fc
  .stringMatching(/^[a-z0-9]{1,20}$/)
  .filter((name) => !["data", "id", "source", "type", "subject", "time", "specversion"].includes(name))
const attributes = (extension: fc.Arbitrary<CloudEvent.Extension>) =>
  fc.record(
    {
      id: value.filter((text) => text !== ""),
      type: value.filter((text) => text !== ""),
      source: fc.oneof(
        fc.webUrl({ withFragments: true, withQueryParameters: true }),
        fc.constantFrom("/a", "a%20b", "urn:uuid:1", "#f", "mailto:a@b.c")
      ),
      subject: value.filter((text) => text !== ""),
      time: fc
        .date({ noInvalidDate: true, min: new Date(0), max: new Date("2999-01-01") })
        .map((date) => date.toISOString()),
      dataschema: fc.webUrl(),
      extensions: fc.dictionary(name, extension, { maxKeys: 4, noNullPrototype: true })
    },
    { requiredKeys: ["id", "type", "source", "extensions"], noNullPrototype: true }
  )
const json = fc.jsonValue({ maxDepth: 2 }).map((json) => JSON.parse(JSON.stringify(json)) as unknown)
const anyExtension = fc.oneof(value, fc.boolean(), fc.integer())

/** Events of a kind of data. */
const events = <D>(
  data: fc.Arbitrary<D>,
  types: ReadonlyArray<string>,
  extension: fc.Arbitrary<CloudEvent.Extension> = anyExtension
) =>
  fc
    .tuple(attributes(extension), data, fc.option(fc.constantFrom(...types), { nil: undefined }))
    .map(([attributes, data, type]) =>
      CloudEvent.make({ ...attributes, data, ...(type === undefined ? {} : { datacontenttype: type }) })
    )

const text = fc
  .oneof(fc.string({ unit: "binary" }), fc.constantFrom("\uFEFFa", ""))
  .filter((text) => text.isWellFormed())
const octets = fc.uint8Array({ maxLength: 50 })
const jsonTypes = ["application/json", "Text/JSON", "application/vnd.a+json; charset=UTF-8"]
const textTypes = ["text/plain", "application/xml; charset=utf-8", "text/csv"]

describe("an event that is encoded and decoded again is the same", () => {
  it.effect("in binary mode, except that extensions arrive as text", () =>
    Effect.gen(function* () {
      const property = <D>(kind: CloudEvent.Data<D>, data: fc.Arbitrary<D>, types: ReadonlyArray<string>) =>
        holds(events(data, types), (event) =>
          Effect.gen(function* () {
            const extensions = Object.fromEntries(Object.entries(event.extensions).map(([k, v]) => [k, String(v)]))
            assert.deepStrictEqual(yield* trip(CloudEvent.binary(kind), [event]), [
              arrived({ ...event, extensions }, kind)
            ])
          })
        )
      yield* property(unknowns, json, jsonTypes)
      yield* property(CloudEvent.text, text, textTypes)
      yield* property(CloudEvent.bytes, octets, ["application/json", "image/png"])
    })
  )

  it.effect("in structured and in batched mode", () =>
    Effect.gen(function* () {
      const property = <D>(kind: CloudEvent.Data<D>, data: fc.Arbitrary<D>, types: ReadonlyArray<string>) =>
        holds(fc.array(events(data, types), { maxLength: 4 }), (events) =>
          Effect.gen(function* () {
            const expected = events.map((event) => arrived(event, kind))
            assert.deepStrictEqual(yield* trip(CloudEvent.batched(kind), events), expected)
            for (const [i, event] of events.entries()) {
              assert.deepStrictEqual(yield* trip(CloudEvent.structured(kind), [event]), expected.slice(i, i + 1))
            }
          })
        )
      yield* property(unknowns, json, jsonTypes)
      yield* property(CloudEvent.text, text, textTypes)
      yield* property(CloudEvent.bytes, octets, ["application/json", "image/png"])
    })
  )

  it.effect("by the schema of the data, and of the events", () =>
    Effect.gen(function* () {
      const event = CloudEvent.make({
        ...minimal,
        data: order,
        datacontenttype: "application/json",
        extensions: { n: 1 }
      })
      assert.deepStrictEqual(yield* trip(CloudEvent.structured(orders), [event]), [event])
      const codec = Schema.toCodecJson(CloudEvent.schema(Order))
      const stored: unknown = yield* Schema.encodeEffect(codec)(event)
      assert.deepStrictEqual(stored, { ...event, data: { total: 3, at: "1970-01-01T00:00:00.000Z" } })
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(codec)(stored), event)
    })
  )

  it.effect("optional data: an event without data stays without", () =>
    Effect.gen(function* () {
      const none = CloudEvent.make({ ...minimal, data: undefined })
      const structured = CloudEvent.structured(CloudEvent.optional(orders))
      assert.deepStrictEqual(yield* trip(structured, [none]), [none])
      assert.deepStrictEqual(JSON.parse(decoder.decode((yield* structured.encode(none)).body)), wire)
      assert.deepStrictEqual(yield* trip(CloudEvent.binary(CloudEvent.optional(orders)), [none]), [
        { ...none, datacontenttype: "application/json" }
      ])
      assert.deepStrictEqual(yield* trip(structured, [{ ...none, data: order }]), [
        { ...none, data: order, datacontenttype: "application/json" }
      ])
      // Missing data needs no type.
      assert.deepStrictEqual(
        yield* CloudEvent.binary(CloudEvent.optional(orders)).decode(request(undefined, "", wireHeaders)),
        [none]
      )
      assert.strictEqual(
        yield* refusal(CloudEvent.structured(orders), request(structuredType, wire)),
        'Missing key at ["data"]'
      )
      assert.strictEqual(
        yield* refusal(CloudEvent.structured(CloudEvent.bytes), request(structuredType, wire)),
        'Missing key at ["data_base64"]'
      )
    })
  )
})

describe("the wire", () => {
  it.effect("binary: attributes in headers, percent-encoded; the data is the body", () =>
    Effect.gen(function* () {
      const envelope = CloudEvent.binary(CloudEvent.text)
      const event = CloudEvent.make({
        ...minimal,
        subject: 'Euro € 😀 "50%"~!\u{7e}',
        time: "2026-01-02T03:04:05.678901234Z",
        datacontenttype: "text/csv",
        extensions: { flag: true, n: -1, empty: "" },
        data: "a,b"
      })
      const { body, headers } = yield* envelope.encode(event)
      // The example of section 3.1.3.2: "Euro € 😀" is "Euro%20%E2%82%AC%20%F0%9F%98%80".
      assert.deepStrictEqual(headers, {
        ...wireHeaders,
        "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80%20%2250%25%22~!~",
        "ce-time": "2026-01-02T03:04:05.678901234Z",
        "ce-flag": "true",
        "ce-n": "-1",
        "ce-empty": "",
        "content-type": "text/csv"
      })
      assert.strictEqual(decoder.decode(body), "a,b")
      assert.strictEqual(envelope.contentType, "text/plain; charset=utf-8")
      assert.isUndefined(envelope.join)
      assert.strictEqual(envelope.id?.(event), "a1")
    })
  )

  it.effect("structured and batched: JSON objects, bytes in Base64", () =>
    Effect.gen(function* () {
      const structured = CloudEvent.structured(CloudEvent.bytes)
      const event = CloudEvent.make({
        ...minimal,
        subject: undefined,
        extensions: { n: 1 },
        data: new Uint8Array([255, 0])
      })
      const expected = { ...wire, n: 1, datacontenttype: "application/octet-stream", data_base64: "/wA=" }
      assert.deepStrictEqual(JSON.parse(decoder.decode((yield* structured.encode(event)).body)), expected)
      assert.strictEqual(structured.contentType, structuredType)
      const batched = CloudEvent.batched(CloudEvent.bytes)
      assert.strictEqual(batched.contentType, batchedType)
      assert.deepStrictEqual(JSON.parse(decoder.decode((yield* requestOf(batched, [event, event])).body)), [
        expected,
        expected
      ])
      assert.deepStrictEqual(yield* trip(batched, []), [])
      assert.strictEqual(batched.id?.(event), "a1")
    })
  )

  it.effect("null is no attribute, and data that is null is data", () =>
    Effect.gen(function* () {
      const body = { ...wire, subject: null, time: null, ext: null, data: null }
      const [event] = yield* CloudEvent.structured(unknowns).decode(request(structuredType, body))
      assert.deepStrictEqual(event, CloudEvent.make({ ...minimal, data: null }))
      const missing = request(structuredType, { ...wire, id: null, data: 1 })
      assert.strictEqual(yield* refusal(CloudEvent.structured(unknowns), missing), 'Missing attribute at ["id"]')
    })
  )

  it.effect("data_base64 is read for every kind of data", () =>
    Effect.gen(function* () {
      const body = (text: string, type?: string) =>
        request(structuredType, { ...wire, datacontenttype: type, data_base64: Buffer.from(text).toString("base64") })
      const dataOf = <D>(kind: CloudEvent.Data<D>, message: Envelope.Message) =>
        Effect.map(CloudEvent.structured(kind).decode(message), ([event]) => event?.data)
      assert.deepStrictEqual(yield* dataOf(unknowns, body('{"a":1}', "application/json")), { a: 1 })
      assert.strictEqual(yield* dataOf(CloudEvent.text, body("\uFEFFä", "text/plain")), "\uFEFFä")
      assert.deepStrictEqual(yield* dataOf(CloudEvent.bytes, body("ab")), new Uint8Array([97, 98]))
      const structured = CloudEvent.structured(unknowns)
      assert.strictEqual(
        yield* refusal(structured, body("{", "application/json")),
        'not JSON since it ends too early, at line 1, column 2 at ["data_base64"]'
      )
      for (const data_base64 of ["a", "a===", "?!#$", 1, {}]) {
        assert.strictEqual(
          yield* refusal(structured, request(structuredType, { ...wire, data_base64 })),
          'Expected Base64 at ["data_base64"]'
        )
      }
      assert.strictEqual(
        yield* refusal(structured, request(structuredType, { ...wire, data: 1, data_base64: "" })),
        "Expected data or data_base64, got both"
      )
    })
  )

  it.effect("headers: quoted strings, needless encoding, and senders that encode nothing", () =>
    Effect.gen(function* () {
      const envelope = CloudEvent.binary(unknowns)
      const subject = (value: string) =>
        Effect.map(
          Effect.result(envelope.decode(request("application/json", "1", { ...wireHeaders, "ce-subject": value }))),
          (result) => (Result.isSuccess(result) ? result.success[0]?.subject : result.failure.message)
        )
      const cases: ReadonlyArray<readonly [header: string, subject: string]> = [
        ["%41%62%c3%a4", "Abä"],
        ['"a \\"b\\" %20"', 'a "b"  '],
        ["%2541", "%41"],
        ["50 % off 5%", "50 % off 5%"],
        ['a "b"', 'a "b"']
      ]
      for (const [header, expected] of cases) assert.strictEqual(yield* subject(header), expected)
      for (const header of ["%ff", "%C0%A0", "%ED%A0%80", "ä", "a\tb", "\u20ac"]) {
        assert.strictEqual(yield* subject(header), 'Expected percent-encoded UTF-8 in header "ce-subject"', header)
      }
      for (const header of ["", "%00", "%0A"]) {
        assert.strictEqual(
          yield* subject(header),
          'Expected a non-empty string without control characters in header "ce-subject"',
          header
        )
      }
    })
  )
})

describe("content types", () => {
  it.effect("are compared without case and parameters; each mode refuses those of the other modes", () =>
    Effect.gen(function* () {
      const body = { ...wire, data: 1 }
      const structured = CloudEvent.structured(unknowns)
      const batched = CloudEvent.batched(unknowns)
      const binary = CloudEvent.binary(unknowns)
      for (const type of ["Application/CloudEvents+JSON", "application/cloudevents+json ;charset=UTF-8;x=y"]) {
        assert.strictEqual((yield* structured.decode(request(type, body)))[0]?.data, 1)
      }
      assert.strictEqual((yield* batched.decode(request("application/cloudevents-BATCH+json", [body])))[0]?.data, 1)
      assert.strictEqual(
        yield* refusal(structured, request(batchedType, [body])),
        `Expected application/cloudevents+json in header "content-type", got "${batchedType}"`
      )
      assert.strictEqual(
        yield* refusal(batched, request("application/json", [body])),
        'Expected application/cloudevents-batch+json in header "content-type", got "application/json"'
      )
      assert.strictEqual(
        yield* refusal(structured, request(undefined, body)),
        'Missing header "content-type": expected application/cloudevents+json'
      )
      assert.include(
        yield* refusal(binary, request("application/CloudEvents+xml", "1", wireHeaders)),
        "Expected an event in binary mode"
      )
    })
  )

  it.effect("of the data fit its kind", () =>
    Effect.gen(function* () {
      const binary = (kind: CloudEvent.Data<string> | CloudEvent.Data<unknown>, type: string | undefined) =>
        refusal(CloudEvent.binary(kind as CloudEvent.Data<unknown>), request(type, "1", wireHeaders))
      assert.strictEqual(
        yield* binary(unknowns, "text/plain"),
        'Expected JSON in UTF-8, got "text/plain" in header "content-type"'
      )
      assert.strictEqual(
        yield* binary(unknowns, "application/json; charset=utf-16"),
        'Expected JSON in UTF-8, got "application/json; charset=utf-16" in header "content-type"'
      )
      assert.include(yield* binary(unknowns, "application/notjson"), "Expected JSON in UTF-8")
      assert.strictEqual(
        yield* binary(CloudEvent.text, undefined),
        'Expected text in UTF-8, and not JSON, got no media type in header "content-type"'
      )
      // JSON is implied, as within JSON.
      assert.deepStrictEqual(yield* CloudEvent.binary(unknowns).decode(request(undefined, '{"a":1}', wireHeaders)), [
        CloudEvent.make({ ...minimal, data: { a: 1 } })
      ])
      assert.include(yield* refusal(CloudEvent.binary(unknowns), request(undefined, "a", wireHeaders)), "not JSON")
      assert.strictEqual(
        yield* binary(CloudEvent.text, "application/a+json"),
        'Expected text in UTF-8, and not JSON, got "application/a+json" in header "content-type"'
      )
      assert.strictEqual(yield* binary(unknowns, "json"), 'Expected a media type in header "content-type"')
      const structured = request(structuredType, { ...wire, data: "a" })
      assert.strictEqual(
        yield* refusal(CloudEvent.structured(CloudEvent.text), structured),
        'Expected text in UTF-8, and not JSON, got "application/json" at ["datacontenttype"]'
      )
      assert.strictEqual(
        yield* encodeError(
          CloudEvent.structured(orders),
          CloudEvent.make({ ...minimal, data: order, datacontenttype: "text/plain" })
        ),
        'Expected JSON in UTF-8, got "text/plain" at ["datacontenttype"]'
      )
    })
  )
})

describe("the rules of the attributes", () => {
  const envelopes = [CloudEvent.binary(unknowns), CloudEvent.structured(unknowns), CloudEvent.batched(unknowns)]
  const good: Record<string, ReadonlyArray<unknown>> = {
    id: ["a", "ü€😀", "a b"],
    source: [
      "/",
      "a",
      "../x",
      "//h/p",
      "http://u:p@[::1]:80/a?b#c",
      "urn:a:b",
      "a%2F",
      "?q",
      "#",
      "x:",
      "1a/b:c",
      "mailto:a@b"
    ],
    time: ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456789+01:00"],
    dataschema: ["http://a/b", "urn:x:y"],
    datacontenttype: ["application/json", 'application/json;a="b c"']
  }
  const bad: Record<string, ReadonlyArray<unknown>> = {
    specversion: ["0.3", "1.0.2", 1],
    id: ["", "a\nb", "\u0085", "\uD800", "\uFFFE", 1],
    source: ["", " ", "a b", "1a:b", "http://a/b c", "a%2", "a%zz", "a#b#c", "[a]", "ü", "<a>", "a\\b", 1],
    type: ["", "\u0000", {}],
    subject: ["", true],
    time: ["", "now", "2026-01-02", "2026-1-02T03:04:05Z", 0],
    dataschema: ["", "/relative", "a b"],
    datacontenttype: ["", "json", "a/b\r\nx: y", 1]
  }

  it.effect("hold for events that are sent, for events that come as JSON, and in the schema", () =>
    Effect.gen(function* () {
      const is = Schema.is(CloudEvent.schema(Schema.Unknown))
      const check = Effect.fnUntraced(function* (name: string, value: unknown, expected: boolean) {
        // As a program without types would make it.
        const event = { ...CloudEvent.make({ ...minimal, data: 1 }), [name]: value } as CloudEvent.CloudEvent
        const label = `${name} ${JSON.stringify(value)}`
        assert.strictEqual(is(event), expected, label)
        for (const envelope of envelopes) {
          const result = yield* Effect.result(envelope.encode(event))
          assert.strictEqual(Result.isSuccess(result), expected, label)
          if (Result.isFailure(result))
            assert.match(result.failure.message, new RegExp(`^Expected .* at \\["${name}"\\]$`), label)
        }
        const message = request(structuredType, { ...wire, data: 1, [name]: value })
        if (expected) return void (yield* CloudEvent.structured(unknowns).decode(message))
        assert.match(
          yield* refusal(CloudEvent.structured(unknowns), message),
          new RegExp(`^Expected .* at \\["${name}"\\]$`),
          label
        )
      })
      for (const [name, values] of Object.entries(good)) for (const value of values) yield* check(name, value, true)
      for (const [name, values] of Object.entries(bad)) for (const value of values) yield* check(name, value, false)
    })
  )

  it.effect("required attributes", () =>
    Effect.gen(function* () {
      for (const name of ["specversion", "id", "source", "type"] as const) {
        const { [name]: _, ...rest } = wire
        assert.strictEqual(
          yield* refusal(CloudEvent.structured(unknowns), request(structuredType, { ...rest, data: 1 })),
          `Missing attribute at ["${name}"]`
        )
        const { [`ce-${name}` as const]: __, ...headers } = wireHeaders
        assert.strictEqual(
          yield* refusal(CloudEvent.binary(unknowns), request("application/json", "1", headers)),
          `Missing attribute in header "ce-${name}"`
        )
      }
      assert.strictEqual(
        yield* refusal(
          CloudEvent.binary(unknowns),
          request("application/json", "1", { ...wireHeaders, "ce-source": "a b" })
        ),
        'Expected a non-empty URI-reference in header "ce-source"'
      )
    })
  )

  it.effect("the names and values of extensions", () =>
    Effect.gen(function* () {
      const is = Schema.is(CloudEvent.schema(Schema.Unknown))
      const bad: ReadonlyArray<readonly [name: string, value: unknown]> = [
        ["Upper", "a"],
        ["with_underscore", "a"],
        ["with-dash", "a"],
        ["", "a"],
        ["ä", "a"],
        ["__proto__", "a"],
        ["number", 0.5],
        ["number", 2 ** 31],
        ["number", -(2 ** 31) - 1],
        ["control", "a\u0000"],
        ["object", {}],
        ["list", []]
      ]
      for (const [name, value] of bad) {
        const extensions = Object.fromEntries([[name, value]]) as Record<string, string>
        const event = CloudEvent.make({ ...minimal, data: 1, extensions })
        assert.isFalse(is(event), name)
        for (const envelope of envelopes)
          assert.include(yield* encodeError(envelope, event), `at ["extensions"][${JSON.stringify(name)}]`)
        const body = JSON.stringify({ ...wire, data: 1 }).replace(
          "{",
          `{${JSON.stringify(name)}:${JSON.stringify(value)},`
        )
        assert.include(
          yield* refusal(CloudEvent.structured(unknowns), request(structuredType, body)),
          ` at [${JSON.stringify(name)}]`
        )
      }
      for (const reserved of ["id", "data", "specversion", "datacontenttype"]) {
        const event = CloudEvent.make({ ...minimal, data: 1, extensions: { [reserved]: "x" } })
        assert.isFalse(is(event))
        assert.include(yield* encodeError(CloudEvent.binary(unknowns), event), `at ["extensions"]["${reserved}"]`)
      }
      for (const header of ["ce-data", "ce-datacontenttype", "ce-data_base64", "ce-", "ce-a-b", "ce-__proto__"]) {
        assert.include(
          yield* refusal(
            CloudEvent.binary(unknowns),
            request("application/json", "1", { ...wireHeaders, [header]: "a" })
          ),
          `header "${header}"`
        )
      }
      const fine = CloudEvent.make({
        ...minimal,
        data: 1,
        datacontenttype: "application/json",
        extensions: { constructor: "a", "0": 2 ** 31 - 1, least: -(2 ** 31) }
      })
      assert.isTrue(is(fine))
      assert.deepStrictEqual(yield* trip(CloudEvent.structured(unknowns), [fine]), [fine])
    })
  )
})

describe("bad input", () => {
  it.effect("the error has the event of a batch, and the path into its data", () =>
    Effect.gen(function* () {
      const batched = CloudEvent.batched(orders)
      const one = { ...wire, data: { total: 1, at: "1970-01-01T00:00:00.000Z" } }
      const at = (event: unknown) => refusal(batched, request(batchedType, [one, one, event]))
      assert.strictEqual(
        yield* at({ ...one, data: { ...one.data, total: "secret" } }),
        'Expected number at [2]["data"]["total"]'
      )
      assert.strictEqual(
        yield* at({ ...one, id: "" }),
        'Expected a non-empty string without control characters at [2]["id"]'
      )
      assert.strictEqual(yield* at({ ...one, time: 1 }), 'Expected an RFC 3339 timestamp at [2]["time"]')
      assert.strictEqual(
        yield* at({ ...one, extension: ["secret"] }),
        'Expected a string without control characters, a 32-bit integer or a boolean at [2]["extension"]'
      )
      assert.strictEqual(yield* at(null), "Expected object at [2]")
      assert.strictEqual(yield* at({ ...one, data: undefined }), 'Missing key at [2]["data"]')
      assert.strictEqual(
        yield* at({ ...one, data: undefined, data_base64: "!" }),
        'Expected Base64 at [2]["data_base64"]'
      )
      assert.strictEqual(yield* refusal(batched, request(batchedType, one)), "Expected array")
      assert.strictEqual(
        yield* refusal(CloudEvent.structured(orders), request(structuredType, [one])),
        "Expected object"
      )
      assert.strictEqual(
        yield* refusal(CloudEvent.binary(orders), request("application/json", '{"total":1}', wireHeaders)),
        'Missing key at ["at"]'
      )
      assert.strictEqual(
        yield* encodeError(batched, CloudEvent.make({ ...minimal, data: { total: 0.5, at: new Date(0) } })),
        'Expected an integer at ["data"]["total"]'
      )
    })
  )

  it.effect("hostile: ill-formed UTF-8, endless nesting, __proto__, very many events", () =>
    Effect.gen(function* () {
      const structured = CloudEvent.structured(unknowns)
      assert.strictEqual(
        yield* refusal(structured, request(structuredType, new Uint8Array([0x7b, 0xff]))),
        "not UTF-8 at byte 1"
      )
      assert.strictEqual(
        yield* refusal(
          CloudEvent.binary(CloudEvent.text),
          request("text/plain", new Uint8Array([97, 0xff]), wireHeaders)
        ),
        "not UTF-8 at byte 1"
      )
      assert.strictEqual(
        yield* encodeError(CloudEvent.binary(CloudEvent.text), CloudEvent.make({ ...minimal, data: "\uD800" })),
        'Lone surrogate at ["data"]'
      )

      const nested = JSON.stringify({ ...wire, data: 1 }).replace(
        ":1}",
        `:${"[".repeat(100_000)}${"]".repeat(100_000)}}`
      )
      assert.match(
        yield* refusal(structured, request(structuredType, nested)),
        /^nested too deeply at line 1, column \d+$/
      )
      const inOctets = JSON.stringify({ ...wire, data_base64: btoa("[".repeat(1001) + "]".repeat(1001)) })
      assert.strictEqual(
        yield* refusal(structured, request(structuredType, inOctets)),
        'nested too deeply at line 1, column 1001 at ["data_base64"]'
      )

      const polluting = JSON.stringify({ ...wire, data: 1 }).replace("{", '{"__proto__":{"subject":"a"},')
      assert.include(yield* refusal(structured, request(structuredType, polluting)), '["__proto__"]')
      const inData = JSON.stringify({ ...wire, data: 1 }).replace(":1}", ':{"__proto__":{"a":1}}}')
      const [event] = yield* structured.decode(request(structuredType, inData))
      assert.deepStrictEqual(Object.keys(event?.data as object), ["__proto__"])
      assert.isUndefined(({} as { a?: unknown }).a)
      const twice = JSON.stringify({ ...wire, data: 1 }).replace("{", '{"id":"first",')
      assert.strictEqual((yield* structured.decode(request(structuredType, twice)))[0]?.id, "a1")

      const many = yield* CloudEvent.batched(unknowns).decode(
        request(
          batchedType,
          Array.from({ length: 20_000 }, () => ({ ...wire, data: 1 }))
        )
      )
      assert.strictEqual(many.length, 20_000)
      const slow = `${"a%".repeat(50_000)}/`
      assert.include(
        yield* refusal(structured, request(structuredType, { ...wire, data: 1, source: slow })),
        '["source"]'
      )
      assert.isBelow(
        (yield* refusal(structured, request(structuredType, { ...wire, data: 1, ["K".repeat(100_000)]: 1 }))).length,
        600
      )
    })
  )
})

describe("against the JavaScript SDK", () => {
  /** The SDK's event of a request of ours. */
  const read = (
    message: { readonly headers: Readonly<Record<string, string>>; readonly body: Uint8Array },
    raw = false
  ) => {
    // The SDK takes a body as text, or as bytes where they are data.
    const body = raw ? message.body : decoder.decode(message.body)
    return HTTP.toEvent<unknown>({ headers: { ...message.headers }, body } as SdkMessage) as CloudEventV1<unknown>
  }
  const event = CloudEvent.make({
    ...minimal,
    subject: "s-1",
    time: "2026-01-02T03:04:05.678Z",
    dataschema: "http://example.com/schema",
    datacontenttype: "application/json",
    extensions: { traceparent: "00-1", n: "7" },
    data: { total: 3, at: "1970-01-01T00:00:00.000Z" } as unknown
  })
  const agrees = (theirs: CloudEventV1<unknown>) => {
    assert.isTrue(new SdkEvent(theirs).validate())
    const { data, datacontenttype, extensions, ...attributes } = event
    const seen = Object.fromEntries(
      [...Object.keys(attributes), ...Object.keys(extensions)].map((name) => [name, theirs[name]])
    )
    assert.deepStrictEqual(seen, { ...attributes, ...extensions })
    assert.deepStrictEqual([theirs.data, theirs.datacontenttype], [data, datacontenttype])
  }

  it.effect("the SDK reads our three modes", () =>
    Effect.gen(function* () {
      agrees(read(yield* requestOf(CloudEvent.binary(unknowns), [event])))
      agrees(read(yield* requestOf(CloudEvent.structured(unknowns), [event])))
      const batch = read(yield* requestOf(CloudEvent.batched(unknowns), [event, event])) as unknown
      assert.isTrue(Array.isArray(batch) && batch.length === 2)
      for (const one of batch as ReadonlyArray<CloudEventV1<unknown>>) agrees(one)
    })
  )

  it.effect("the SDK reads our bytes and our text", () =>
    Effect.gen(function* () {
      const octets = CloudEvent.make({ ...minimal, data: new Uint8Array([0, 255, 128]) })
      const binary = read(yield* requestOf(CloudEvent.binary(CloudEvent.bytes), [octets]), true)
      assert.deepStrictEqual(binary.data, octets.data)
      const structured = read(yield* requestOf(CloudEvent.structured(CloudEvent.bytes), [octets]))
      // The SDK has a number of 32 bits for each byte.
      assert.deepStrictEqual([...(structured.data as Uint32Array)], [0, 255, 128])
      const text = CloudEvent.make({ ...minimal, data: "grüße" })
      assert.strictEqual(read(yield* requestOf(CloudEvent.binary(CloudEvent.text), [text])).data, "grüße")
      assert.strictEqual(read(yield* requestOf(CloudEvent.structured(CloudEvent.text), [text])).data, "grüße")
    })
  )

  /** A request of the SDK's, as it comes. */
  const message = ({ body, headers }: SdkMessage): Envelope.Message => ({
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)])),
    body: body instanceof Uint8Array ? body : encoder.encode(String(body))
  })
  const { extensions, ...attributes } = event
  // The type of the attributes also allows an undefined that is not there.
  const given = attributes as Partial<CloudEventV1<unknown>>
  const theirs = new SdkEvent<unknown>({ ...given, ...extensions, datacontenttype: "application/json" })

  it.effect("our envelopes read the SDK's three modes", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* CloudEvent.binary(unknowns).decode(message(HTTP.binary(theirs))), [event])
      assert.deepStrictEqual(yield* CloudEvent.structured(unknowns).decode(message(HTTP.structured(theirs))), [event])
      const body = JSON.stringify([theirs, theirs])
      assert.deepStrictEqual(
        yield* CloudEvent.batched(unknowns).decode(request("application/cloudevents-batch+json", body)),
        [event, event]
      )
    })
  )

  it.effect("our envelopes read the SDK's bytes, its text, and headers that it does not encode", () =>
    Effect.gen(function* () {
      const data = new Uint8Array([0, 255, 128])
      const octets = new SdkEvent({ ...minimal, data, datacontenttype: "image/png" })
      for (const [envelope, sent] of [
        [CloudEvent.binary(CloudEvent.bytes), HTTP.binary(octets)],
        [CloudEvent.structured(CloudEvent.bytes), HTTP.structured(octets)]
      ] as const) {
        const [read] = yield* envelope.decode(message(sent))
        assert.deepStrictEqual([read?.data, read?.datacontenttype, read?.id], [data, "image/png", "a1"])
      }
      const text = new SdkEvent({ ...minimal, subject: "50 % off", data: "a b", datacontenttype: "text/plain" })
      const [read] = yield* CloudEvent.binary(CloudEvent.text).decode(message(HTTP.binary(text)))
      assert.deepStrictEqual([read?.data, read?.subject], ["a b", "50 % off"])
      const none = new SdkEvent({ ...minimal })
      const [empty] = yield* CloudEvent.structured(CloudEvent.optional(unknowns)).decode(message(HTTP.structured(none)))
      assert.deepStrictEqual([empty?.id, empty?.data], ["a1", undefined])
    })
  )

  it.effect("the SDK reads any event as it was", () =>
    holds(
      events(
        json.filter((data) => typeof data === "object" && data !== null),
        ["application/json"],
        value
      ),
      (event) =>
        Effect.gen(function* () {
          const sent = yield* requestOf(CloudEvent.structured(unknowns), [event])
          const seen = read(sent)
          assert.deepStrictEqual(
            [seen.id, seen.source, seen.type, seen.subject],
            [event.id, event.source, event.type, event.subject]
          )
          assert.deepStrictEqual(seen.data, event.data)
          for (const [name, value] of Object.entries(event.extensions)) assert.strictEqual(seen[name], value)
        })
    )
  )
})
