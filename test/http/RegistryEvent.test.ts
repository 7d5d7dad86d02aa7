import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Envelope from "../../src/http/Envelope.ts"
import * as RegistryEvent from "../../src/http/RegistryEvent.ts"

const example = join(import.meta.dirname, "..", "..", "docs", "examples", "registry-notifications")
/** The bodies of 60 requests of a real registry. */
const real = readFileSync(join(example, "notifications.ndjson"), "utf8").trimEnd().split("\n")

const { registry } = Envelope
const encoder = new TextEncoder()
const text = new TextDecoder()

const decode = (body: string, contentType = RegistryEvent.mediaType) =>
  registry.decode({ headers: { "content-type": contentType }, body: encoder.encode(body) })

const message = (body: string) => Effect.map(Effect.flip(decode(body)), (error) => error.message)

/** The body of the request that carries these events. */
const bodyOf = Effect.fnUntraced(function* (events: ReadonlyArray<RegistryEvent.RegistryEvent>) {
  const { prefix, separator, suffix } = registry.join ?? assert.fail("one event a request")
  const parts = yield* Effect.forEach(events, registry.encode)
  const bodies = parts.flatMap(({ body }, i) => (i === 0 ? [body] : [separator, body]))
  return text.decode(Buffer.concat([prefix, ...bodies, suffix]))
})

const minimal = {
  id: "a",
  timestamp: "2026-01-02T03:04:05.678901234Z",
  action: "push",
  target: { repository: "team/app" }
} as const

const bodyWith = (event: unknown): string => JSON.stringify({ events: [minimal, event] })

describe("the real bodies", () => {
  it.effect("are the same bytes when they are decoded and encoded again", () =>
    Effect.gen(function* () {
      assert.strictEqual(real.length, 60)
      for (const body of real) assert.strictEqual(yield* bodyOf(yield* decode(body)), body)
    })
  )

  it.effect("are one request with all events, in order, when they are joined", () =>
    Effect.gen(function* () {
      const events = (yield* Effect.forEach(real, (body) => decode(body))).flat()
      assert.deepStrictEqual(yield* decode(yield* bodyOf(events)), events)
      assert.deepStrictEqual(
        events,
        real.flatMap((body) => JSON.parse(body).events)
      )
    })
  )

  it.effect("vary between pushes, pulls and deletes", () =>
    Effect.gen(function* () {
      const events = (yield* Effect.forEach(real, (body) => decode(body))).flat()
      const of = (action: string) => events.filter((event) => event.action === action)
      assert.deepStrictEqual(
        ["push", "pull", "delete", "mount"].map((action) => of(action).length),
        [38, 18, 4, 0]
      )
      for (const { target } of of("delete")) assert.isUndefined(target?.mediaType)
      assert.strictEqual(events.filter(RegistryEvent.isBlob).length, 42)
      assert.isFalse(of("delete").some(RegistryEvent.isBlob))
      assert.strictEqual(events[0] && registry.id?.(events[0]), events[0]?.id)
    })
  )
})

describe("Envelope.registry", () => {
  it.effect("carries unknown fields on, at every level", () =>
    Effect.gen(function* () {
      const event =
        '{"9":1,"zeta":[null,{"a":1.5}],"id":"a","action":"mount","actor":{"team":7,"name":"ci"},' +
        '"target":{"extra":{"__proto__":1},"repository":"r","fromRepository":"q"},"__proto__":{"x":1},' +
        '"timestamp":"2026-01-02T03:04:05+01:00","beta":true}'
      const [decoded, ...others] = yield* decode(`{"other":1,"events":[${event}]}`)
      assert.deepStrictEqual(others, [])
      assert.strictEqual(text.decode((yield* registry.encode(decoded ?? assert.fail())).body), event)
      assert.isUndefined(({} as { x?: unknown }).x)
    })
  )

  it.effect("any event with any unknown fields goes on as it is", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })), { maxLength: 4 }),
          async (unknown) => {
            const bodies = unknown.map((fields) =>
              JSON.stringify({
                ...fields,
                ...minimal,
                request: { ...fields, id: "r", addr: "a", host: "h", method: "m", useragent: "u" }
              })
            )
            const body = `{"events":[${bodies.join(",")}]}`
            assert.strictEqual(await Effect.runPromise(Effect.flatMap(decode(body), bodyOf)), body)
          }
        )
      )
    )
  )

  it.effect("a number that a double cannot hold is what JSON.parse makes of it", () =>
    Effect.gen(function* () {
      const [event] = yield* decode(
        bodyWith({ ...minimal, n: 0 })
          .replace('"n":0', '"n":12345678901234567890')
          .replace(JSON.stringify(minimal) + ",", "")
      )
      assert.strictEqual(event?.["n"], 12345678901234567000)
    })
  )

  it.effect("an empty list of events is decoded, and written", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* decode('{"events":[]}'), [])
      assert.strictEqual(yield* bodyOf([]), '{"events":[]}')
    })
  )

  it.effect("the error has the bad event, and the path into it", () =>
    Effect.gen(function* () {
      const { id: _, ...noId } = minimal
      assert.strictEqual(yield* message(bodyWith(noId)), 'Missing key at ["events"][1]["id"]')
      assert.strictEqual(
        yield* message(bodyWith({ ...minimal, timestamp: "yesterday" })),
        'Expected an RFC 3339 timestamp at ["events"][1]["timestamp"]'
      )
      assert.strictEqual(
        yield* message(bodyWith({ ...minimal, target: { repository: "a", size: 0.5 } })),
        'Expected an integer at ["events"][1]["target"]["size"]'
      )
      assert.strictEqual(
        yield* message(bodyWith({ ...minimal, action: 7 })),
        'Expected string at ["events"][1]["action"]'
      )
      assert.strictEqual(
        yield* message(bodyWith({ ...minimal, target: { repository: "a", references: [{ mediaType: 1 }] } })),
        'Expected string at ["events"][1]["target"]["references"][0]["mediaType"]'
      )
      assert.strictEqual(yield* message('{"events":{}}'), 'Expected array | null at ["events"]')
      assert.strictEqual(yield* message("{}"), 'Missing key at ["events"]')
      assert.strictEqual(yield* message('{"events":[}'), "not JSON at line 1, column 12")
    })
  )

  it.effect("accepts its media type in any case and with any parameters, and no other", () =>
    Effect.gen(function* () {
      assert.strictEqual(registry.contentType, "application/vnd.docker.distribution.events.v1+json")
      const body = real[0] ?? ""
      assert.strictEqual(
        (yield* decode(body, "Application/VND.docker.distribution.events.v1+json; charset=utf-8")).length,
        1
      )
      const error = yield* Effect.flip(decode(body, "application/json"))
      assert.strictEqual(
        error.message,
        "Expected application/vnd.docker.distribution.events.v1+json or " +
          'application/vnd.docker.distribution.events.v2+json in header "content-type", got "application/json"'
      )
    })
  )

  it.effect("refuses to encode a value that is not an event, with the path", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(registry.encode({ ...minimal, target: { repository: "r", at: new Date() } }))
      assert.strictEqual(error.direction, "encode")
      assert.include(error.message, '["target"]["at"]')
      assert.include((yield* Effect.flip(registry.encode({ ...minimal, id: "" }))).message, '["id"]')
    })
  )

  it.effect("decodes very many events, and none that is nested too deeply to be encoded again", () =>
    Effect.gen(function* () {
      const many = `{"events":[${Array.from({ length: 20_000 }, () => JSON.stringify(minimal)).join(",")}]}`
      assert.strictEqual((yield* decode(many)).length, 20_000)
      const nested = (depth: number) => {
        const deep = `${"[".repeat(depth)}${"]".repeat(depth)}`
        return decode(`{"events":[${JSON.stringify(minimal).replace("{", `{"text":"[\\"[","deep":${deep},`)}]}`)
      }
      // Around it are three more.
      const [event] = yield* nested(997)
      yield* registry.encode(event ?? assert.fail())
      for (const depth of [998, 100_000]) {
        const { message } = yield* Effect.flip(nested(depth))
        assert.match(message, /^nested too deeply at line 1, column 10\d\d$/)
      }
    })
  )
})

describe("RegistryEvent", () => {
  const is = Schema.is(RegistryEvent.RegistryEvent)

  it("accepts the timestamps of RFC 3339 only", () => {
    for (const timestamp of ["2026-12-31T23:59:60Z", "2026-01-02T03:04:05.1-23:59", "2026-01-02t03:04:05z"]) {
      assert.isTrue(is({ ...minimal, timestamp }), timestamp)
    }
    for (const timestamp of [
      "2026-13-01T00:00:00Z",
      "2026-01-02T24:00:00Z",
      "2026-01-02 03:04:05Z",
      "2026-01-02T03:04:05",
      "2026-01-02T03:04:05.Z",
      "2026-01-02T03:04:05Z\n",
      ""
    ]) {
      assert.isFalse(is({ ...minimal, timestamp }), timestamp)
    }
  })
})
