/** The scenarios of the tests of distribution's `notifications`, on virtual time and without a network. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { EventQueue, type EventSink, SinkGraph } from "effect-events"
import { Envelope, RegistryEvent } from "effect-events/http"
import * as TestSink from "effect-events/testing/TestSink"
import * as Bridge from "../../docs/examples/distribution-bridge/Bridge.ts"
import { listen, type Repository } from "../../docs/examples/distribution-bridge/Listener.ts"
import { type EndpointConfig, Notifications } from "../../docs/examples/distribution-bridge/Notifications.ts"
import { quiet, settle } from "../support/virtual.ts"

type Event = RegistryEvent.RegistryEvent

const source = { addr: "remote.test", instanceID: "6f1a" }
const caller = {
  actor: { name: "test" },
  request: { id: "asdf", addr: "client.test", host: "registry.test", method: "PUT", useragent: "test/0.1" }
}
const asCaller = Effect.provideService(Bridge.Caller, caller)
const config = { mediaType: "application/vnd.example.sbom.v1", size: 100, digest: "sha256:c0" }
const manifest: Bridge.Manifest = {
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  size: 411,
  digest: "sha256:d1",
  references: [config]
}
const layerBlob = { mediaType: "application/octet-stream", size: 2, digest: "sha256:b1" }
const url = "http://registry.test"

describe("bridge_test.go", () => {
  const described = { mediaType: manifest.mediaType, size: 411, length: 411, digest: manifest.digest }
  const ofManifest = {
    ...described,
    repository: "test/repo",
    url: "http://registry.test/v2/test/repo/manifests/sha256:d1",
    references: [config]
  }
  const ofBlob = {
    ...layerBlob,
    length: 2,
    repository: "test/repo",
    url: "http://registry.test/v2/test/repo/blobs/sha256:b1"
  }
  type Call = (bridge: Bridge.Bridge) => Effect.Effect<void, EventSink.SinkClosed, Bridge.Caller>
  const calls: Readonly<Record<string, readonly [call: Call, action: string, target: NonNullable<Event["target"]>]>> = {
    "a manifest is pulled": [(b) => b.manifestPulled("test/repo", manifest), "pull", ofManifest],
    "a manifest is pushed": [(b) => b.manifestPushed("test/repo", manifest), "push", ofManifest],
    "a manifest is pushed with a tag": [
      (b) => b.manifestPushed("test/repo", manifest, "latest"),
      "push",
      { ...ofManifest, tag: "latest" }
    ],
    "a manifest is pulled by a tag": [
      (b) => b.manifestPulled("test/repo", manifest, "latest"),
      "pull",
      { ...ofManifest, tag: "latest" }
    ],
    "a manifest is deleted": [
      (b) => b.manifestDeleted("test/repo", manifest.digest),
      "delete",
      { repository: "test/repo", digest: manifest.digest }
    ],
    "a blob is pushed": [(b) => b.blobPushed("test/repo", layerBlob), "push", ofBlob],
    "a blob is pulled": [(b) => b.blobPulled("test/repo", layerBlob), "pull", ofBlob],
    "a blob is mounted": [
      (b) => b.blobMounted("test/repo", layerBlob, "base"),
      "mount",
      { ...ofBlob, fromRepository: "base" }
    ],
    "a tag is deleted": [
      (b) => b.tagDeleted("test/repo", "latest"),
      "delete",
      { repository: "test/repo", tag: "latest" }
    ],
    "a repository is deleted": [(b) => b.repositoryDeleted("test/repo"), "delete", { repository: "test/repo" }]
  }
  for (const [name, [call, action, target]] of Object.entries(calls)) {
    it.effect(`${name}: an event with its actor, source and request`, () =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Event>()
        yield* TestClock.setTime(1_000)
        yield* asCaller(call(Bridge.make({ sink, source, url, includeReferences: true })))
        const [event] = sink.received
        assert.strictEqual(sink.received.length, 1)
        const { id = "" } = event ?? {}
        assert.match(id, /^[0-9a-f-]{36}$/)
        assert.deepStrictEqual(event, {
          id,
          timestamp: "1970-01-01T00:00:01.000Z",
          action,
          target,
          source,
          ...caller
        })
      })
    )
  }

  it.effect("references are left out unless they are asked for", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Event>()
      yield* asCaller(Bridge.make({ sink, source, url }).manifestPushed("test/repo", manifest))
      assert.isFalse("references" in (sink.received[0]?.target ?? {}))
    })
  )
})

/** A repository in memory. */
const repository = (name: string): Repository<"unknown"> => {
  const manifests = new Map<string, Bridge.Manifest>()
  const blobs = new Map<string, Bridge.Descriptor>()
  const find = <A>(map: ReadonlyMap<string, A>, digest: string) =>
    Effect.suspend(() => {
      const found = map.get(digest)
      return found === undefined ? Effect.fail("unknown" as const) : Effect.succeed(found)
    })
  const put = <A extends Bridge.Descriptor>(map: Map<string, A>, one: A) =>
    Effect.sync(() => void map.set(one.digest, one))
  const remove = (map: Map<string, unknown>, digest: string) =>
    Effect.suspend(() => (map.delete(digest) ? Effect.void : Effect.fail("unknown" as const)))
  return {
    name,
    putManifest: (manifest) => put(manifests, manifest),
    getManifest: (digest) => find(manifests, digest),
    deleteManifest: (digest) => remove(manifests, digest),
    putBlob: (blob) => put(blobs, blob),
    getBlob: (digest) => find(blobs, digest),
    mountBlob: (blob) => put(blobs, blob),
    deleteBlob: (digest) => remove(blobs, digest),
    untag: () => Effect.void,
    remove: Effect.void
  }
}

describe("listener_test.go", () => {
  const blobs = [config, layerBlob, { ...layerBlob, digest: "sha256:b2" }]
  const kindOf = ({ target }: Event) =>
    target?.url?.includes("/blobs/") === true || blobs.some(({ digest }) => digest === target?.digest)
      ? "blob"
      : target?.digest !== undefined
        ? "manifest"
        : target?.tag !== undefined
          ? "tag"
          : "repository"

  it.effect("what succeeds in a repository is notified once, and what fails is not", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Event>()
      const heard = listen(repository("foo/bar"), Bridge.make({ sink, source, url }))
      for (const blob of blobs) {
        yield* heard.putBlob(blob)
        assert.deepStrictEqual(yield* heard.getBlob(blob.digest), blob)
      }
      yield* heard.putManifest(manifest, "thetag")
      yield* heard.getManifest(manifest.digest)
      yield* heard.untag("thetag")
      yield* heard.deleteManifest(manifest.digest)
      for (const { digest } of blobs) yield* heard.deleteBlob(digest)
      yield* heard.remove
      for (const failing of [heard.getManifest("sha256:no"), heard.deleteBlob("sha256:no")]) {
        assert.strictEqual(yield* Effect.flip(failing), "unknown")
      }
      const counts: Record<string, number> = {}
      for (const event of sink.received) {
        const key = `${kindOf(event)}:${event.action}`
        counts[key] = (counts[key] ?? 0) + 1
      }
      assert.deepStrictEqual(counts, {
        "blob:push": 3,
        "blob:pull": 3,
        "manifest:push": 1,
        "manifest:pull": 1,
        "tag:delete": 1,
        "manifest:delete": 1,
        "blob:delete": 3,
        "repository:delete": 1
      })
    }).pipe(asCaller)
  )

  it.effect("a notification that cannot be written fails no operation", () =>
    Effect.gen(function* () {
      const closed = yield* Effect.scoped(EventQueue.make(yield* TestSink.recording<Event>()))
      const heard = listen(repository("foo/bar"), Bridge.make({ sink: closed, source, url }))
      yield* quiet(heard.putBlob(layerBlob))
      yield* quiet(heard.mountBlob(layerBlob, "base"))
      assert.deepStrictEqual(yield* quiet(heard.getBlob(layerBlob.digest)), layerBlob)
    }).pipe(asCaller)
  )
})

/** Receivers without a network: each answers with the status that `statusOf` gives to its n-th request. */
const receivers = (statusOf: (url: string, n: number) => number) => {
  const requests: Array<{ readonly url: string; readonly contentType: string; readonly events: ReadonlyArray<Event> }> =
    []
  const layer = Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request) =>
      Effect.gen(function* () {
        assert(request.body._tag === "Uint8Array")
        const { body, contentType } = request.body
        const headers = { "content-type": contentType }
        const events = yield* Effect.orDie(Envelope.registry.decode({ headers, body }))
        requests.push({ url: request.url, contentType, events })
        const status = statusOf(request.url, requests.filter(({ url }) => url === request.url).length)
        return HttpClientResponse.fromWeb(request, new Response(null, { status }))
      })
    )
  )
  return {
    requests,
    layer,
    idsAt: (url: string) => requests.filter((one) => one.url === url).map(({ events }) => events[0]?.id)
  }
}

const eventOf = (id: string, action: string, mediaType: string): Event => ({
  id,
  action,
  target: { repository: "library/test", mediaType }
})

/** The notifications of these endpoints, until the scope that they are opened in closes. */
const opened = (endpoints: ReadonlyArray<EndpointConfig>, layer: Layer.Layer<HttpClient.HttpClient>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const built = yield* Layer.buildWithScope(Layer.provide(Notifications.layer(endpoints), layer), scope)
    return { notifications: yield* Effect.provide(Notifications, built), close: Scope.close(scope, Exit.void) }
  })

describe("sinks_test.go and http_test.go", () => {
  const blob = eventOf("blob", "push", "blob")
  const pulled = eventOf("manifest", "pull", "manifest")
  const both = ["blob", "manifest"]
  const cases: ReadonlyArray<readonly [ignore: EndpointConfig["ignore"], ids: ReadonlyArray<string>]> = [
    [undefined, both],
    [{ mediaTypes: ["other"], actions: ["other"] }, both],
    [{ mediaTypes: ["blob"], actions: ["other"] }, ["manifest"]],
    [{ mediaTypes: ["blob", "manifest"], actions: ["other"] }, []],
    [{ mediaTypes: ["other"], actions: ["pull"] }, ["blob"]],
    [{ mediaTypes: ["other"], actions: ["push"] }, ["manifest"]],
    [{ mediaTypes: ["other"], actions: ["pull", "push"] }, []],
    [{ actions: ["mount", "delete"] }, both]
  ]
  it.effect("endpoints ignore media types and actions, each its own, and the others get the events", () =>
    Effect.gen(function* () {
      const { idsAt, layer, requests } = receivers(() => 200)
      const at = (i: number) => `http://receiver-${i}.test/`
      const { close, notifications } = yield* opened(
        cases.map(([ignore], i) => ({ name: `${i}`, url: at(i), ...(ignore && { ignore }) })),
        layer
      )
      yield* notifications.write(blob)
      yield* notifications.write(pulled)
      yield* close
      for (const [i, [, ids]] of cases.entries()) assert.deepStrictEqual(idsAt(at(i)), [...ids], `case ${i}`)
      assert(requests.every(({ contentType }) => contentType === RegistryEvent.mediaTypeV2))
    })
  )

  it.effect("1,000 events of concurrent writers get through an endpoint in order, and nothing after its close", () =>
    Effect.gen(function* () {
      const { idsAt, layer } = receivers(() => 200)
      const url = "http://receiver.test/"
      const { close, notifications } = yield* opened([{ name: "one", url }], layer)
      const ids = Array.from({ length: 1000 }, (_, i) => `${i}`)
      yield* Effect.forEach(ids, (id) => notifications.write(eventOf(id, "push", "blob")), {
        concurrency: "unbounded",
        discard: true
      })
      yield* close
      yield* close
      assert.deepStrictEqual(idsAt(url), ids)
      for (const { counts, pending } of yield* SinkGraph.health(notifications)) {
        assert.deepStrictEqual([counts.accepted, pending], [1000, 0])
      }
      assert.strictEqual((yield* Effect.flip(notifications.write(blob)))._tag, "SinkClosed")
    })
  )

  it.effect("200 and 307 are accepted, 400 is tried again, and a receiver that fails holds up no other", () =>
    Effect.gen(function* () {
      const [ok, moved, bad] = ["http://ok.test/", "http://moved.test/", "http://bad.test/"]
      const { idsAt, layer } = receivers((url, n) => (url === ok ? 200 : url === moved ? 307 : n < 4 ? 400 : 200))
      const { close, notifications } = yield* opened(
        [ok, moved, bad].map((url) => ({ name: url, url, threshold: 3, backoff: "1 minute" })),
        layer
      )
      yield* quiet(notifications.write(blob))
      yield* quiet(notifications.write(pulled))
      yield* settle
      assert.deepStrictEqual([idsAt(ok), idsAt(moved)], [both, both])
      // The breaker is open after three failures, until its backoff ends.
      assert.deepStrictEqual(idsAt(bad), ["blob", "blob", "blob"])
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.deepStrictEqual(idsAt(bad), ["blob", "blob", "blob", "blob", "manifest"])
      yield* close
    })
  )
})
