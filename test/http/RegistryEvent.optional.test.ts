import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Endpoint from "../../src/http/Endpoint.ts"
import * as Envelope from "../../src/http/Envelope.ts"
import * as RegistryEvent from "../../src/http/RegistryEvent.ts"

const root = join(import.meta.dirname, "..", "..")
const read = (...path: ReadonlyArray<string>) => readFileSync(join(root, ...path), "utf8")
const lines = (text: string): ReadonlyArray<string> => text.trimEnd().split("\n")

const { registry } = Envelope
const headers = { "content-type": registry.contentType }
const decode = (body: string) => registry.decode({ headers, body: new TextEncoder().encode(body) })
const message = (event: unknown) =>
  Effect.map(Effect.flip(decode(JSON.stringify({ events: [event] }))), (error) => error.message)

const stored = Schema.toCodecJson(RegistryEvent.RegistryEvent)

/** Decoded and encoded again, the events are the same bytes; out of a store they have the same fields. */
const goesOn = (events: ReadonlyArray<unknown>) =>
  Effect.gen(function* () {
    const decoded = yield* decode(JSON.stringify({ events }))
    const parts = yield* Effect.forEach(decoded, registry.encode)
    assert.deepStrictEqual(
      parts.map(({ body }) => new TextDecoder().decode(body)),
      events.map((event) => JSON.stringify(event))
    )
    for (const event of decoded) {
      const row = JSON.stringify(yield* Schema.encodeEffect(stored)(event))
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(stored)(JSON.parse(row)), event)
    }
    return decoded
  })

/** Bodies of real registries, of which some have references, and some annotations and platforms. */
const sources: ReadonlyArray<string> = [
  ...lines(read("docs", "examples", "registry-notifications", "notifications.ndjson")),
  read("test", "fixtures", "registry", "reference-without-size.json"),
  ...lines(read("test", "fixtures", "registry", "version-3.ndjson")).map((line) =>
    JSON.stringify(JSON.parse(line).body)
  )
]

/** A value less the keys of objects for which `leavesOut` answers true; the id of an event stays. */
const thinned = (value: unknown, leavesOut: () => boolean, depth = 0): unknown => {
  if (Array.isArray(value)) return value.map((item) => thinned(item, leavesOut, depth + 1))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => (depth === 0 && key === "id") || !leavesOut())
      .map(([key, item]) => [key, thinned(item, leavesOut, depth + 1)])
  )
}

describe("a field that is missing or null", () => {
  it.effect("a body of a registry whose reference has no size goes on as it came", () =>
    Effect.gen(function* () {
      const { events } = JSON.parse(read("test", "fixtures", "registry", "reference-without-size.json"))
      const [event] = yield* goesOn(events)
      assert.deepStrictEqual(
        event?.target?.references?.map(({ size }) => size),
        [undefined, 11]
      )
    })
  )

  it.effect("a real event less any fields but its id goes on as it came", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(fc.constantFrom(...sources), fc.infiniteStream(fc.boolean()), async (source, stream) => {
          const { events } = JSON.parse(source) as { readonly events: ReadonlyArray<unknown> }
          const leavesOut = () => stream.next().value
          await Effect.runPromise(goesOn(events.map((event) => thinned(event, leavesOut))))
        }),
        { numRuns: 500 }
      )
    )
  )

  it.effect("each field of each real event may be missing alone", () =>
    Effect.gen(function* () {
      const seen = new Set<string>()
      for (const source of sources) {
        for (const event of JSON.parse(source).events) {
          for (let left = 0, asked = Infinity; left < asked; left++) {
            asked = 0
            seen.add(JSON.stringify(thinned(event, () => asked++ === left)))
          }
        }
      }
      assert.isAbove(seen.size, 100)
      yield* goesOn([...seen].map((text) => JSON.parse(text)))
    })
  )

  it.effect("each list and object may be null, as Go writes one that is nil", () =>
    Effect.gen(function* () {
      const event = { id: "a", timestamp: "2026-01-02T03:04:05Z", action: "push", target: { repository: "r" } }
      const reference = { digest: "d", urls: null, annotations: null, platform: null, data: null }
      yield* goesOn([
        { id: "a" },
        ...["target", "request", "actor", "source", "unknown"].map((key) => ({ ...event, [key]: null })),
        { ...event, target: { references: null } },
        { ...event, target: { ...reference, references: [reference, {}] } },
        { id: "a", target: null, request: null, actor: null, source: null }
      ])
      assert.deepStrictEqual(yield* decode('{"events":null}'), [])
      assert.deepStrictEqual(yield* decode('{"events":[]}'), [])
    })
  )

  it.effect("any size that a manifest may say goes on, rounded to what a double holds", () =>
    Effect.gen(function* () {
      const sizes = ["-1", "9007199254740993", "9223372036854775807"]
      const references = sizes.map((size) => `{"size":${size}}`).join()
      const events = yield* decode(
        `{"events":[{"id":"a","target":{"length":9007199254740993,"references":[${references}]}}]}`
      )
      yield* goesOn(events)
      assert.deepStrictEqual(
        events[0]?.target?.references?.map(({ size }) => size),
        [-1, 2 ** 53, 2 ** 63]
      )
    })
  )

  it.effect("any action goes on", () =>
    Effect.gen(function* () {
      const actions = ["explode", "", "PUSH", "тег"]
      const events = yield* goesOn(actions.map((action) => ({ id: "a", action, target: { repository: "r" } })))
      assert.deepStrictEqual(
        events.map(({ action }) => action),
        actions
      )
    })
  )

  it.effect("an event without an id is refused, and a field of another type, with the fault and its path", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [event: unknown, message: string]> = [
        [{}, 'Missing key at ["events"][0]["id"]'],
        [{ id: null }, 'Expected string at ["events"][0]["id"]'],
        [{ id: "" }, 'Expected a value with a length of at least 1 at ["events"][0]["id"]'],
        [null, 'Expected object at ["events"][0]'],
        [{ id: "a", timestamp: 1 }, 'Expected string at ["events"][0]["timestamp"]'],
        [{ id: "a", action: ["push"] }, 'Expected string at ["events"][0]["action"]'],
        [{ id: "a", target: "r" }, 'Expected object | null at ["events"][0]["target"]'],
        [{ id: "a", target: { tag: 1 } }, 'Expected string at ["events"][0]["target"]["tag"]'],
        [{ id: "a", target: { size: "1" } }, 'Expected number at ["events"][0]["target"]["size"]'],
        [{ id: "a", target: { references: {} } }, 'Expected array | null at ["events"][0]["target"]["references"]'],
        [
          { id: "a", target: { references: [{ size: 1 }, { size: {} }] } },
          'Expected number at ["events"][0]["target"]["references"][1]["size"]'
        ],
        [{ id: "a", request: [] }, 'Expected object | null at ["events"][0]["request"]'],
        [{ id: "a", actor: { name: {} } }, 'Expected string at ["events"][0]["actor"]["name"]'],
        [{ id: "a", source: true }, 'Expected object | null at ["events"][0]["source"]']
      ]
      for (const [event, expected] of cases) {
        assert.strictEqual(yield* message(event), expected, JSON.stringify(event))
      }
      // A body of another shape is not acknowledged as one without events.
      assert.strictEqual((yield* Effect.flip(decode('{"items":[]}'))).message, 'Missing key at ["events"]')
    })
  )

  it("makes an event neither a blob, nor ignored by an endpoint", () => {
    const ignored = Endpoint.ignoring({ mediaTypes: ["application/octet-stream", ""], actions: ["pull", ""] })
    const without: ReadonlyArray<RegistryEvent.RegistryEvent> = [
      { id: "a" },
      { id: "a", target: null },
      { id: "a", target: {} }
    ]
    for (const event of without) {
      assert.isFalse(RegistryEvent.isBlob(event))
      assert.isFalse(ignored(event))
    }
    const blob = { id: "a", target: { mediaType: "application/octet-stream" } }
    assert.isTrue(RegistryEvent.isBlob(blob))
    assert.isTrue(ignored(blob))
    assert.isTrue(ignored({ action: "pull", target: null }))
  })
})
