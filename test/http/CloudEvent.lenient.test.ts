import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Result, Schema } from "effect"
import * as fc from "fast-check"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import type * as Envelope from "../../src/http/Envelope.ts"
import {
  batchedType,
  minimal,
  refusal,
  request,
  structuredType,
  trip,
  wire,
  wireHeaders
} from "./support/cloudEvents.ts"

const unknowns = CloudEvent.optional(CloudEvent.json(Schema.Unknown))
const envelopesOf = (options?: CloudEvent.Options) => ({
  binary: CloudEvent.binary(unknowns, options),
  structured: CloudEvent.structured(unknowns, options),
  batched: CloudEvent.batched(unknowns, options)
})
const strict = envelopesOf()
const lenient = envelopesOf({ lenient: true })
const relays = [
  CloudEvent.binary(CloudEvent.any),
  CloudEvent.structured(CloudEvent.any),
  CloudEvent.batched(CloudEvent.any)
]

const encoder = new TextEncoder()

/** What a lenient decoder makes of an event in JSON, alone and in a batch. */
const read = (event: string | object) =>
  Effect.gen(function* () {
    const text = typeof event === "string" ? event : JSON.stringify(event)
    const [one] = yield* lenient.structured.decode(request(structuredType, text))
    const many = yield* lenient.batched.decode(request(batchedType, `[${text},${text}]`))
    assert.deepStrictEqual(many, [one!, one!])
    return one ?? assert.fail("no event")
  })

/** Each relay takes a mended event, and so does a strict receiver. */
const isRelayed = (event: object) =>
  Effect.gen(function* () {
    const message = request(structuredType, event)
    const [read] = yield* CloudEvent.structured(CloudEvent.any, { lenient: true }).decode(message)
    assert.isTrue(Schema.is(CloudEvent.schema(CloudEvent.AnyData))(read))
    for (const relay of relays) {
      const [arrived] = yield* trip(relay, [read!])
      assert.deepStrictEqual([arrived?.id, arrived?.source, arrived?.type], [read?.id, read?.source, read?.type])
      assert.deepStrictEqual(Object.keys(arrived?.extensions ?? {}), Object.keys(read?.extensions ?? {}))
    }
  })

/** An event with its attributes in `ce-` headers, as Node has them: a character for each octet. */
const inHeaders = (attributes: Record<string, string>, type?: string) =>
  Effect.map(
    lenient.binary.decode(request(type, "1", { ...wireHeaders, ...attributes })),
    ([event]) => event ?? assert.fail("no event")
  )

/** What is mended, by attribute: the value that comes, and what becomes of it. */
const mended: Readonly<Record<string, ReadonlyArray<readonly [value: unknown, becomes: unknown]>>> = {
  specversion: [
    ["1.0.1", "1.0"],
    ["1.0.2", "1.0"],
    ["0.3", "1.0"],
    [1, "1.0"]
  ],
  id: [
    [1, "1"],
    [true, "true"],
    ["a\nb", "a%0Ab"],
    ["\uFFFE\u0085", "%EF%BF%BE%C2%85"],
    ["a\uD800", "a\uFFFD"]
  ],
  source: [
    ["my shop", "my%20shop"],
    ["/a b/ü?q=ä#<x>", "/a%20b/%C3%BC?q=%C3%A4#%3Cx%3E"],
    ["50%", "50%25"],
    ["a\\b|c", "a%5Cb%7Cc"],
    ["10.0.0.1:8080", "10.0.0.1%3A8080"],
    ["a#b#c", "a%23b%23c"],
    ["[a]", "%5Ba%5D"],
    ["http://h/a b", "http://h/a%20b"],
    ["\t", "%09"],
    [7, "7"]
  ],
  type: [
    ["a\tb", "a%09b"],
    [3, "3"]
  ],
  subject: [
    ["", undefined],
    ["a\nb", "a%0Ab"],
    [42, "42"],
    [{}, undefined],
    [[], undefined]
  ],
  time: [
    ["2021-08-04T12:00:00", "2021-08-04T12:00:00Z"],
    ["2021-08-04T12:00:00.1234567", "2021-08-04T12:00:00.1234567Z"],
    ["2021-08-04 12:00:00Z", "2021-08-04T12:00:00Z"],
    ["2021-08-04 12:00:00", "2021-08-04T12:00:00Z"],
    ["2021-08-04T12:00:00+0200", "2021-08-04T12:00:00+02:00"],
    ["2021-08-04T12:00:00-07", "2021-08-04T12:00:00-07:00"],
    ["2021-08-04 12:00:00.5 +0000 UTC", "2021-08-04T12:00:00.5+00:00"],
    ["2021-08-04 12:00:00 +0200 CEST", "2021-08-04T12:00:00+02:00"],
    ["2021-08-04 12:00:00 UTC", "2021-08-04T12:00:00Z"],
    ["2023-01-19T22:30:24.860213GMT", "2023-01-19T22:30:24.860213Z"],
    ["2021-08-04T12:00:00,5Z", "2021-08-04T12:00:00.5Z"],
    ["2021-08-04T12:00Z", "2021-08-04T12:00:00Z"],
    // A zone that is not known, and what is no time.
    ["2021-08-04 12:00:00 CEST", undefined],
    ["2021-08-04", undefined],
    ["2021-13-04T12:00:00", undefined],
    ["52149-06-15T07:22:46Z", undefined],
    ["yesterday", undefined],
    ["", undefined],
    [1628078400, undefined],
    [{}, undefined]
  ],
  dataschema: [
    ["#", undefined],
    ["", undefined],
    ["/schemas/1", undefined],
    ["http://a/b c", "http://a/b%20c"],
    [1, undefined]
  ],
  datacontenttype: [
    ["", undefined],
    ["json", undefined],
    [1, undefined]
  ],
  extension: [
    [2 ** 31, "2147483648"],
    [-(2 ** 31) - 1, "-2147483649"],
    [1700000000000, "1700000000000"],
    [0.5, "0.5"],
    [1e21, "1e+21"],
    [{ a: [1] }, '{"a":[1]}'],
    [[], "[]"],
    ["a\nb", "a%0Ab"]
  ]
}

/** What no rule refuses. */
const right: Readonly<Record<string, ReadonlyArray<unknown>>> = {
  specversion: ["1.0"],
  id: ["a b%", "ü"],
  source: ["/a%20b", "urn:a:b", "#"],
  type: ["a b"],
  subject: ["a b%0A"],
  time: ["2021-08-04t12:00:00.123456789z", "2021-08-04T12:00:00-00:00"],
  dataschema: ["urn:a"],
  datacontenttype: ["application/json;a=b"],
  extension: ["", "%", 2 ** 31 - 1, -(2 ** 31), 0, true, false]
}

const valueOf = (event: CloudEvent.CloudEvent, name: string): unknown =>
  name === "extension" ? event.extensions["extension"] : event[name as "id"]

describe("a lenient decoder", () => {
  it.effect("mends or leaves out what the rules refuse, and a relay sends the event on", () =>
    Effect.gen(function* () {
      for (const [name, cases] of Object.entries(mended)) {
        for (const [value, becomes] of cases) {
          const event = { ...wire, [name]: value, data: 1 }
          const label = `${name} ${JSON.stringify(value)}`
          const read_ = yield* read(event)
          assert.strictEqual(valueOf(read_, name), becomes, label)
          assert.strictEqual(read_.data, 1, label)
          yield* isRelayed(event)
          assert.include(yield* refusal(strict.structured, request(structuredType, event)), `["${name}"]`, label)
          assert.include(yield* refusal(strict.batched, request(batchedType, [event])), `[0]["${name}"]`, label)
        }
      }
    })
  )

  it.effect("changes nothing that keeps to the rules", () =>
    Effect.gen(function* () {
      for (const [name, values] of Object.entries(right)) {
        for (const value of values) {
          const message = request(structuredType, { ...wire, [name]: value, data: 1 })
          assert.strictEqual(valueOf(yield* read({ ...wire, [name]: value, data: 1 }), name), value, `${name} ${value}`)
          const [expected] = yield* strict.structured.decode(message)
          assert.deepStrictEqual((yield* lenient.structured.decode(message))[0], expected)
        }
      }
    })
  )

  it.effect("refuses what cannot be mended, with its place", () =>
    Effect.gen(function* () {
      const bad: ReadonlyArray<readonly [name: string, value: unknown]> = [
        ...["id", "source", "type", "specversion"].flatMap((name) =>
          ["", null, undefined, {}, []].map((value) => [name, value] as const)
        ),
        ...["0.1", "0.2", "2.0", "1.1", "10", "1.0-rc1"].map((value) => ["specversion", value] as const)
      ]
      for (const [name, value] of bad) {
        const event = { ...wire, [name]: value, data: 1 }
        const label = `${name} ${JSON.stringify(value)}`
        assert.include(yield* refusal(lenient.structured, request(structuredType, event)), `["${name}"]`, label)
        assert.include(yield* refusal(lenient.batched, request(batchedType, [wire, event])), `[1]["${name}"]`, label)
      }
      for (const name of ["id", "source", "type", "specversion"]) {
        const headers = { ...wireHeaders, [`ce-${name}`]: "" }
        assert.include(yield* refusal(lenient.binary, request(undefined, "1", headers)), `header "ce-${name}"`)
      }
      const both = { ...wire, data: 1, data_base64: "MQ==" }
      assert.include(yield* refusal(lenient.structured, request(structuredType, both)), "got both")
      assert.strictEqual(yield* refusal(lenient.structured, request(structuredType, [wire])), "Expected object")
      assert.strictEqual(yield* refusal(lenient.structured, request(structuredType, "null")), "Expected object")
    })
  )

  it.effect("takes names in upper case, with underscores and hyphens", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [event: object, extensions: object]> = [
        [{ event_source: "syscall" }, { eventsource: "syscall" }],
        [{ "example-extension": "123" }, { exampleextension: "123" }],
        [{ "fc-code-checksum": "x" }, { fccodechecksum: "x" }],
        [
          { entityType: "T", XFlowInstanceId: 1 },
          { entitytype: "T", xflowinstanceid: 1 }
        ],
        [{ "X-GitHub-Event": "push" }, { xgithubevent: "push" }],
        [{ ä: 1, "": 2, _: 3 }, {}],
        // Of two for one name that which has it counts, and otherwise the first.
        [{ a_b: "other", ab: "exact" }, { ab: "exact" }],
        [{ a_b: "first", "a-b": "second" }, { ab: "first" }],
        [{ a_b: null, "a-b": "second" }, { ab: "second" }],
        [{ Id: "other", "sub-ject": "none" }, {}],
        [{ extensions: {} }, { extensions: "{}" }]
      ]
      for (const [rest, extensions] of cases) {
        const event = yield* read({ ...wire, ...rest })
        assert.deepStrictEqual(event.extensions, extensions, JSON.stringify(rest))
        assert.strictEqual(event.id, "a1")
        yield* isRelayed({ ...wire, ...rest })
      }
      const event = yield* read({
        ...wire,
        subject: undefined,
        Subject: "s",
        dataContentType: "application/json",
        Data: 1
      })
      assert.deepStrictEqual([event.subject, event.datacontenttype, event.data], ["s", "application/json", 1])
      const polluting = JSON.stringify(wire).replace("{", '{"__proto__":{"subject":"a"},')
      assert.deepStrictEqual((yield* read(polluting)).extensions, { proto: '{"subject":"a"}' })
    })
  )

  it.effect("keeps all digits of an extension, and gives the data as a schema expects it", () =>
    Effect.gen(function* () {
      const text = `{"i":5.0,"n":9007199254740993,"m":-12345678901234567890,"far":1e400,"data":{"n":9007199254740993}}`
      const event = yield* read(JSON.stringify(wire).replace("{", text.replace("}}", "},").replace(/}$/, ",")))
      assert.deepStrictEqual(event.extensions, {
        i: 5,
        n: "9007199254740993",
        m: "-12345678901234567890",
        far: "1e400"
      })
      assert.deepStrictEqual(event.data, { n: 9007199254740992 })
      const id = yield* read(JSON.stringify(wire).replace('"a1"', "9007199254740993"))
      assert.strictEqual(id.id, "9007199254740993")
    })
  )

  it.effect("takes version 0.3 with its own attributes", () =>
    Effect.gen(function* () {
      const old = { ...wire, specversion: "0.3", schemaurl: "http://a/b", datacontenttype: "application/json" }
      const event = yield* read({ ...old, datacontentencoding: "base64", data: btoa('{"a":1}') })
      assert.deepStrictEqual(
        event,
        CloudEvent.make({
          ...minimal,
          dataschema: "http://a/b",
          datacontenttype: "application/json",
          data: { a: 1 }
        })
      )
      assert.deepStrictEqual((yield* read({ ...old, schemaurl: "#", data: "a" })).data, "a")
      const inBinary = yield* inHeaders({ "ce-specversion": "0.3", "ce-datacontentencoding": "base64" })
      assert.deepStrictEqual([inBinary.extensions, inBinary.data], [{ datacontentencoding: "base64" }, 1])
      // In 1.0 these are extensions.
      const { extensions } = yield* read({ ...old, specversion: "1.0", datacontentencoding: "base64", data: "YQ==" })
      assert.deepStrictEqual(extensions, { schemaurl: "http://a/b", datacontentencoding: "base64" })
    })
  )

  it.effect("of data and data_base64 leaves out one that is null", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* read({ ...wire, data: 1, data_base64: null })).data, 1)
      assert.strictEqual((yield* read({ ...wire, data: null, data_base64: "MQ==" })).data, 1)
      assert.isNull((yield* read({ ...wire, data: null })).data)
      assert.isNull((yield* read({ ...wire, data: null, data_base64: null })).data)
      assert.isUndefined((yield* read({ ...wire, data_base64: null })).data)
    })
  )

  it.effect("takes headers as senders write them", () =>
    Effect.gen(function* () {
      const latin1 = (text: string) => Buffer.from(text, "utf8").toString("latin1")
      const subjects: ReadonlyArray<readonly [header: string, subject: string | undefined]> = [
        [latin1("grüße €😀"), "grüße €😀"],
        [latin1("ü%20ü"), "ü ü"],
        ["\xe4", "ä"],
        ["Straße €", "Straße €"],
        ["Ł", "Ł"],
        ["%ff", "%ff"],
        ["a, a", "a"],
        ["a,%20a", "a, a"],
        ["a, b", "a, b"],
        [", ", undefined],
        ["a\tb", "a%09b"],
        ["%0A", "%0A"],
        ["", undefined]
      ]
      for (const [header, subject] of subjects) {
        assert.strictEqual((yield* inHeaders({ "ce-subject": header })).subject, subject, header)
      }
      const event = yield* inHeaders({
        "ce-specversion": "1.0.2",
        "ce-source": latin1("/mein büro"),
        "ce-time": "2021-08-04T12:00:00",
        "ce-dataschema": "#",
        "ce-event_source": "syscall",
        "ce-fc-code-checksum": "x",
        "ce-n": "9007199254740993",
        "ce-data": "1",
        "ce-data_base64": "MQ==",
        "ce-": "x",
        "ce-datacontenttype": "text/json"
      })
      assert.deepStrictEqual(
        event,
        CloudEvent.make({
          ...minimal,
          source: "/mein%20b%C3%BCro",
          time: "2021-08-04T12:00:00Z",
          datacontenttype: "text/json",
          extensions: { n: "9007199254740993", eventsource: "syscall", fccodechecksum: "x" },
          data: 1
        })
      )
      const twice = yield* inHeaders({ "ce-datacontenttype": "text/plain" }, "application/json")
      assert.deepStrictEqual([twice.datacontenttype, twice.extensions], ["application/json", {}])
      assert.deepStrictEqual((yield* inHeaders({}, "json")).datacontenttype, undefined)
      const withBody = { ...wireHeaders, "content-length": "1" }
      assert.isTrue(lenient.binary.accepts?.test({ ...withBody, "content-type": "json" }))
      assert.isFalse(strict.binary.accepts?.test({ ...withBody, "content-type": "json" }))
      assert.isFalse(lenient.binary.accepts?.test({ ...wireHeaders, "content-type": structuredType }))
      assert.isFalse(lenient.binary.accepts?.test({ "content-type": "json" }))
    })
  )

  it.effect("is needed for an event of Azure Event Grid", () =>
    Effect.gen(function* () {
      const path = join(import.meta.dirname, "..", "fixtures", "cloudevents", "azure-event-grid.json")
      const message = request(structuredType, new Uint8Array(readFileSync(path)))
      assert.strictEqual(yield* refusal(strict.structured, message), 'Expected an absolute URI at ["dataschema"]')
      const [event] = yield* lenient.structured.decode(message)
      assert.deepStrictEqual(
        [event?.dataschema, event?.time, event?.data],
        [undefined, "2026-01-20T18:35:53.2272766Z", { api: "PutBlob" }]
      )
    })
  )

  /** Whatever a sender may put there. */
  const value = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.constantFrom(...Object.values(mended).flatMap((cases) => cases.map(([value]) => value)))
    },
    fc.constantFrom(...Object.values(right).flat()),
    fc.jsonValue({ maxDepth: 2 }),
    fc.string({ unit: "binary" })
  )
  const name = fc.oneof(
    fc.constantFrom(
      ...Object.keys(mended),
      "ID",
      "Source",
      "a_b",
      "A-B",
      "ab",
      "data",
      "data_base64",
      "schemaurl",
      "__proto__"
    ),
    fc.string({ unit: "binary" })
  )

  it.effect("refuses an event, or makes one of it that every strict decoder takes", () =>
    Effect.promise(() => {
      const property = fc.asyncProperty(fc.array(fc.tuple(name, value), { maxLength: 8 }), async (entries) => {
        const text = JSON.stringify(Object.fromEntries([...Object.entries(wire), ...entries]))
        const decode = (envelope: Envelope.Envelope<CloudEvent.CloudEvent<CloudEvent.AnyData>>) =>
          Effect.runPromise(Effect.result(envelope.decode(request(structuredType, text))))
        const options = { lenient: true }
        const result = await decode(CloudEvent.structured(CloudEvent.any, options))
        if (Result.isFailure(result)) {
          assert.match(result.failure.message, /\["(?:id|source|type|specversion|data_base64)"\]|got both/, text)
          return
        }
        const [event] = result.success
        const again = await decode(CloudEvent.structured(CloudEvent.any, options))
        assert.deepStrictEqual(again, result)
        for (const relay of relays) {
          const [arrived] = await Effect.runPromise(trip(relay, [event!]))
          assert.deepStrictEqual([arrived?.id, arrived?.source], [event?.id, event?.source])
        }
        const strictly = await decode(CloudEvent.structured(CloudEvent.any))
        if (Result.isSuccess(strictly)) assert.deepStrictEqual(strictly, result)
      })
      return fc.assert(property, { numRuns: 2000 })
    })
  )

  it.effect("takes no time that grows with the square of a value", () =>
    Effect.gen(function* () {
      for (const value of ["a ".repeat(50_000), "%".repeat(100_000), "1".repeat(100_000), '"'.repeat(100_000)]) {
        yield* read({ ...wire, source: value, time: value, subject: value, ext: value, dataschema: value })
        yield* Effect.result(
          lenient.binary.decode({ headers: { ...wireHeaders, "ce-subject": value }, body: encoder.encode("1") })
        )
      }
    })
  )
})
