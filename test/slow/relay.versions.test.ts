/** The relay between registries and receivers of different versions, as a process between real sockets. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect } from "vitest"
import { parseEndpoints } from "../../docs/examples/registry-notifications/RelayOptions.ts"
import { endAll, post, receiver, relay, until } from "../support/relay.ts"

const fixtures = join(import.meta.dirname, "..", "fixtures", "registry")
const [v1, v2] = [1, 2].map((version) => `application/vnd.docker.distribution.events.v${version}+json`)

/** Requests of a registry of version 3, one of version 2 whose reference has no size, and one of a later version. */
const requests: ReadonlyArray<{ readonly contentType: string; readonly body: object }> = [
  ...readFileSync(join(fixtures, "version-3.ndjson"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line)),
  { contentType: v1, body: JSON.parse(readFileSync(join(fixtures, "reference-without-size.json"), "utf8")) },
  {
    contentType: "application/vnd.docker.distribution.events.v17+json",
    body: { events: [{ id: "later", action: "sign", target: null }] }
  }
]

describe("an endpoint of the relay", () => {
  it.effect("is a url, with the version of notifications that its receiver takes", () =>
    Effect.gen(function* () {
      const given = ["http://a.test/x", "v1=http://a.test/y", "v2=https://a.test/z?q=v1=x"]
      assert.deepStrictEqual(
        (yield* parseEndpoints(given)).map(({ mediaType, name, url }) => [name, url.href, mediaType]),
        [
          ["http://a.test/x", "http://a.test/x", v1],
          ["http://a.test/y", "http://a.test/y", v1],
          ["https://a.test/z", "https://a.test/z?q=v1=x", v2]
        ]
      )
      const wrong = (...texts: ReadonlyArray<string>) =>
        Effect.map(Effect.flip(parseEndpoints(texts)), ({ message }) => message)
      assert.strictEqual(yield* wrong("v3=http://a.test"), "--endpoint takes v1= or v2= in front of its url, not v3=")
      assert.include(yield* wrong("v2=nowhere"), "--endpoint takes a url")
      assert.include(yield* wrong("v2=ftp://a.test"), "--endpoint takes an http or https url")
      // The events wait under the name, whatever the version.
      assert.include(yield* wrong("http://a.test/x", "v2=http://a.test/x"), "http://a.test/x is given twice")
    })
  )
})

describe("the relay", { timeout: 120_000 }, () => {
  let folder = ""
  beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "effect-events-relay-"))))
  afterEach(async () => {
    await endAll()
    rmSync(folder, { recursive: true, force: true })
  })

  it("takes every version, and posts under that of each endpoint", async () => {
    const [first, second] = [await receiver(), await receiver()]
    const one = await relay(
      folder,
      "0",
      "--log-level",
      "warn",
      "--endpoint",
      first.url,
      "--endpoint",
      `v2=${second.url}`
    )
    for (const { body, contentType } of requests) {
      expect(await post(one.url, JSON.stringify(body), contentType)).toEqual({ status: 202, text: "" })
    }
    const n = requests.length
    await until(
      () => `the receivers have ${first.took.length} and ${second.took.length} of ${n}`,
      () => first.took.length === n && second.took.length === n
    )
    for (const { bodies } of [first, second]) {
      expect(bodies.map((body) => JSON.parse(body))).toEqual(requests.map(({ body }) => body))
    }
    expect(first.types).toEqual(Array(n).fill(v1))
    expect(second.types).toEqual(Array(n).fill(v2))
    const { stderr } = await one.kill("SIGTERM")
    expect(stderr.match(/events\.v17\+json is later than version 2/g)).toHaveLength(1)
  })

  it("shows events of which little is given when it has no endpoint", async () => {
    const one = await relay(folder, "0")
    for (const event of [{ id: "a" }, { id: "b", target: null }, { id: "c", action: "push", target: { tag: "v1" } }]) {
      expect(await post(one.url, JSON.stringify({ events: [event] }))).toEqual({ status: 202, text: "" })
    }
    const { stdout } = await one.kill("SIGTERM")
    expect(stdout).toMatch(/^a {2}- {2}- {2}-\nb {2}- {2}- {2}-\nc {2}push {2}- {2}v1$/m)
  })
})
