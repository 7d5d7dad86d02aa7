import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as TestSink from "effect-events/testing/TestSink"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import * as RegistryEvent from "../../src/http/RegistryEvent.ts"
import type { Log } from "../support/virtual.ts"
import { withLogs } from "../support/virtual.ts"
import { asking } from "./support/ingress.ts"

const fixture = join(import.meta.dirname, "..", "fixtures", "registry", "version-3.ndjson")
interface Posted {
  readonly contentType: string
  readonly body: { readonly events: ReadonlyArray<RegistryEvent.RegistryEvent> }
}

/** Requests as a registry of version 3 posts them. */
const requests = readFileSync(fixture, "utf8")
  .trimEnd()
  .split("\n")
  .map((line): Posted => JSON.parse(line))

const mediaType = (version: number | string) => `application/vnd.docker.distribution.events.v${version}+json`
const body = (...ids: ReadonlyArray<string>) => JSON.stringify({ events: ids.map((id) => ({ id })) })

const ingress = Effect.fnUntraced(function* (name: string) {
  const sink = yield* TestSink.recording<RegistryEvent.RegistryEvent>()
  const handle = yield* EventIngress.make(sink, { name, envelopes: [Envelope.registry] })
  const ask = asking(handle)
  return {
    sink,
    post: (contentType: string, body: string) => ask({ headers: { "content-type": contentType }, body })
  }
})

const messages = (logs: ReadonlyArray<Log>) => logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`)

const warning = (name: string, version: number) =>
  `WARN EventIngress "${name}" decoded a request with a warning: ` +
  `${mediaType(version)} is later than version 2, the latest known`

describe("an ingress of a registry", () => {
  it.effect("accepts the requests of registries from version 3 on, without a warning", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { post, sink } = yield* ingress("a")
        assert.deepStrictEqual([...new Set(requests.map(({ contentType }) => contentType))], [mediaType(2)])
        for (const { body, contentType } of requests) {
          assert.strictEqual((yield* post(contentType, JSON.stringify(body))).status, 202)
        }
        assert.deepStrictEqual(
          sink.received,
          requests.flatMap(({ body }) => body.events)
        )
        assert.deepStrictEqual(messages(logs), [])
      })
    )
  )

  it.effect("accepts later versions whose body decodes, and warns once of each", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { post, sink } = yield* ingress("a")
        const types = [1, 3, 2, 17, 3, 17, 999].map(mediaType)
        types.push(mediaType(3).toUpperCase(), `${mediaType(17)}; charset=utf-8`)
        for (const [i, type] of types.entries()) {
          assert.strictEqual((yield* post(type, body(`event-${i}`))).status, 202, type)
        }
        assert.strictEqual(sink.received.length, types.length)
        assert.deepStrictEqual(
          messages(logs),
          [3, 17, 999].map((version) => warning("a", version))
        )
        // Another ingress has its own log.
        yield* (yield* ingress("b")).post(mediaType(3), body("x"))
        assert.deepStrictEqual(messages(logs).slice(3), [warning("b", 3)])
      })
    )
  )

  it.effect("refuses a later version whose body does not decode, with what and where, and warns of none", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { post, sink } = yield* ingress("a")
        for (const [body, expected] of [
          ['{"events":[{"uuid":"a"}]}', 'Missing key at ["events"][0]["id"]'],
          ['{"notifications":[{"id":"a"}]}', 'Missing key at ["events"]']
        ] as const) {
          const { detail, status } = yield* post(mediaType(3), body)
          assert.deepStrictEqual([status, detail], [400, expected])
        }
        const refusals = messages(logs.splice(0))
        assert.deepStrictEqual(sink.received, [])
        assert.isTrue(refusals.every((line) => / refused .* with 400: Missing key at /.test(line)))
        yield* post(mediaType(3), body("a"))
        assert.deepStrictEqual(messages(logs), [warning("a", 3)])
      })
    )
  )

  it.effect("logs a bounded number of warnings, however many versions a sender names", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { post, sink } = yield* ingress("a")
        for (let version = 3; version <= 202; version++) yield* post(mediaType(version), body(`event-${version}`))
        assert.deepStrictEqual([sink.received.length, logs.length], [200, 100])
      })
    )
  )

  it.effect("is 415 for every other media type, with those of the known versions", () =>
    Effect.gen(function* () {
      const { post } = yield* ingress("a")
      for (const type of [
        ...["0", "01", "1000", "-1", "2.0", "2 ", "", "x"].map(mediaType),
        "application/vnd.docker.distribution.events+json",
        "application/vnd.docker.distribution.events.v2+xml",
        `x-${mediaType(2)}`,
        `${mediaType(2)}x`,
        `${mediaType(2)}; charset=latin1`,
        "application/json"
      ]) {
        const { detail, headers, status } = yield* post(type, body("a"))
        assert.strictEqual(status, 415, type)
        assert.strictEqual(headers["accept"], `${mediaType(1)}, ${mediaType(2)}`)
        assert.include(detail, `Expected ${mediaType(1)} or ${mediaType(2)}, got `)
      }
    })
  )
})

describe("the media type of a registry's envelope", () => {
  const decode = (envelope: typeof Envelope.registry, contentType: string, body: string) =>
    envelope.decode({ headers: { "content-type": contentType }, body: new TextEncoder().encode(body) })

  it.effect("is version 1 unless an option says otherwise, and any version is decoded", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual([RegistryEvent.mediaType, RegistryEvent.mediaTypeV2], [mediaType(1), mediaType(2)])
      const v2 = Envelope.registryWith({ mediaType: RegistryEvent.mediaTypeV2 })
      const cases = [
        [Envelope.registry, mediaType(1)],
        [Envelope.registryWith(), mediaType(1)],
        [Envelope.registryWith({}), mediaType(1)],
        [v2, mediaType(2)],
        [Envelope.registryWith({ mediaType: mediaType(17) }), mediaType(17)],
        [Envelope.registryWith({ mediaType: `${mediaType(2)}; charset=utf-8` }), `${mediaType(2)}; charset=utf-8`]
      ] as const
      for (const [envelope, sent] of cases) {
        assert.strictEqual(envelope.contentType, sent)
        for (const version of [1, 2, 3, 17]) {
          assert.deepStrictEqual(yield* decode(envelope, mediaType(version), body("a")), [{ id: "a" }])
        }
        for (const version of ["0", "1000", "x"]) {
          const { message } = yield* Effect.flip(decode(envelope, mediaType(version), body("a")))
          assert.strictEqual(
            message,
            `Expected ${mediaType(1)} or ${mediaType(2)} in header "content-type", got "${mediaType(version)}"`
          )
        }
      }
      const latin = yield* Effect.flip(decode(v2, `${mediaType(3)}; charset=latin1`, body("a")))
      assert.match(latin.message, /^Expected UTF-8 in header "content-type"/)
    })
  )

  it("is a defect when it is none of a registry's", () => {
    for (const wrong of ["", "application/json", mediaType(0), mediaType("x"), `${mediaType(2)}; charset`, "\n"]) {
      assert.throws(
        () => Envelope.registryWith({ mediaType: wrong }),
        RangeError,
        `Envelope.registryWith: mediaType must be ${mediaType(1)} or a later version`
      )
    }
  })

  it("what is sent under any version is decoded", () =>
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 999 }), (version) => {
        const { accepts, contentType } = Envelope.registryWith({ mediaType: mediaType(version) })
        assert.isTrue(accepts?.test({ "content-type": contentType }))
      })
    ))
})
