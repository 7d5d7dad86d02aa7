import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Schema } from "effect"
import { Broadcaster, EventQueue, EventSink } from "effect-events"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { DurableBroadcaster, MemoryStore } from "effect-events/durable"
import { Endpoint, Envelope } from "effect-events/http"
import { FetchHttpClient } from "effect/http"
import { createHash } from "node:crypto"
import { GraphView, HistoryView, Live, DeadLetterPage, Job } from "../../src/dashboard/internal/dashboardApi.ts"
import { html, script, style } from "../../src/dashboard/internal/page/document.ts"
import { everybody, failing, idOf, Order, quiet, serve, until } from "../support/dashboard.ts"

describe("the page", () => {
  it("runs its own script and no other, loads nothing, and has no handler in its markup", () => {
    assert.notMatch(
      html.replace(script, "").replace(style, ""),
      /\son\w+=|href="javascript:|<link(?! rel="icon")|src=|@import|url\(/i
    )
    assert.notMatch(script, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|<\/script/)
    assert.deepStrictEqual(script.match(/https?:[^"]*/g), ["http://www.w3.org/2000/svg"])
    assert.notMatch(style, /@import|url\(/)
    assert.isBelow(html.length, 64_000)
    assert.isFunction(new Function(script))
  })

  it.live("is answered to all, holds no data, and forbids what it does not need", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: string) => Effect.void, { name: "</script><script>alert(1)</script>" })
      const { text } = yield* serve(
        SinkDashboard.layer({ path: "/events", roots: [sink], authorize: () => Effect.succeed(false) })
      )
      for (const path of ["/events", "/events/"]) {
        const { body, headers, status } = yield* text(path)
        assert.strictEqual(status, 200)
        assert.strictEqual(body, html)
        const policy = headers.get("content-security-policy") ?? ""
        const hash = (code: string) => createHash("sha256").update(code).digest("base64")
        assert.include(
          policy,
          `default-src 'none'; script-src 'sha256-${hash(script)}'; style-src 'sha256-${hash(style)}'`
        )
        assert.include(policy, "frame-ancestors 'none'")
        assert.notInclude(policy, "unsafe")
        assert.strictEqual(headers.get("x-content-type-options"), "nosniff")
        assert.isNull(headers.get("set-cookie"))
      }
    }).pipe(Effect.scoped)
  )
})

describe("a dashboard", () => {
  it.live("shows the graphs of tags and sinks, whatever their names are", () =>
    Effect.gen(function* () {
      class Orders extends Context.Service<Orders, EventSink.EventSink<string>>()("app/Orders") {}
      class Other extends Context.Service<Other, EventSink.EventSink<number>>()("app/Other") {}
      const evil = "<img src=x onerror=alert(1)>"
      const broadcaster = Broadcaster.make([
        EventSink.make((_: string) => Effect.void, { name: evil, kind: "</script>" }),
        EventSink.make((_: string) => Effect.never).pipe(EventQueue.make({ name: "slow", drainTimeout: 0 }))
      ])
      const sink = yield* EventSink.make((_: boolean) => Effect.void, { name: "own" })
      const context = yield* Layer.build(
        Layer.merge(
          EventSink.layer(Orders, broadcaster),
          EventSink.layer(
            Other,
            EventSink.make((_: number) => Effect.void)
          )
        )
      )
      const { read, send } = yield* serve(
        SinkDashboard.layer({ path: "/", roots: [Orders, Other, sink], readOnly: true, title: "<Shop>" }).pipe(
          Layer.provide(Layer.succeedContext(context))
        )
      )
      const response = yield* send("/api/graph")
      assert.strictEqual(response.headers.get("cache-control"), "no-store")
      assert.strictEqual(response.headers.get("content-type"), "application/json")
      const graph = yield* read(GraphView, "/api/graph")
      assert.include(graph, { title: "<Shop>", changes: false, content: false, layers: 4 })
      assert.includeMembers(
        graph.nodes.map(({ kind, name }) => `${kind} ${name}`),
        ["Broadcaster app/Orders", `</script> ${evil}`, "EventQueue slow", "EventSink app/Other", "EventSink own"]
      )
      assert.strictEqual(graph.edges.length, 5)

      yield* Effect.provideContext(
        Orders.use((orders) => orders.write("a")),
        context
      )
      const slow = idOf(graph, "slow", "EventQueue")
      const first = yield* until(read(Live, "/api/live"), ({ nodes }) =>
        nodes.some(({ id, pending }) => id === slow && pending === 1)
      )
      assert.strictEqual(first.nodes.length, graph.nodes.length)
      // What has not changed is not said again: the age of what waits has.
      yield* Effect.sleep("400 millis")
      const { nodes } = yield* read(Live, `/api/live?revision=${first.revision}&since=${first.sequence}`)
      assert.isNotEmpty(nodes)
      assert.isBelow(nodes.length, graph.nodes.length)
      const history = yield* until(
        read(HistoryView, `/api/history?seconds=1&id=${slow}`),
        ({ nodes }) => nodes[0]?.pending.at(-1) === 1
      )
      assert.strictEqual(history.nodes.length, 1)
    }).pipe(Effect.scoped)
  )

  const readOnly: ReadonlyArray<readonly [what: string, options: { readonly readOnly: true }]> = [
    ["that is read-only", { readOnly: true }],
    // as a program without types has it
    ["without authorize", {} as { readonly readOnly: true }]
  ]
  it.live.each(readOnly)("%s has no route that changes anything", ([, options]) =>
    Effect.gen(function* () {
      const { queue } = yield* failing("orders")
      const { post, read, text } = yield* serve(SinkDashboard.layer({ path: "/events", roots: [queue], ...options }))
      const graph = yield* read(GraphView, "/events/api/graph")
      const id = idOf(graph, "orders")
      for (const path of ["pause", "resume", "dead-letters/replay", "dead-letters/purge"]) {
        const { status } = yield* post(`/events/api/nodes/${id}/${path}`)
        assert.strictEqual(status, 404, path)
      }
      assert.strictEqual((yield* queue.state).state, "active")
      const { body } = yield* text("/events/openapi.json")
      const { openapi, paths } = JSON.parse(body) as { openapi: string; paths: Record<string, Record<string, unknown>> }
      assert.match(openapi, /^3\./)
      assert.deepStrictEqual([...new Set(Object.values(paths).flatMap(Object.keys))], ["get"])
      assert.include(Object.keys(paths), "/events/api/live")
      const { get: tap } = paths["/events/api/nodes/{id}/tap"] ?? {}
      assert.nestedProperty(tap, "responses.200.content.application/x-ndjson")
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("answers nothing without authorization, and says no more", () =>
    Effect.gen(function* () {
      const { queue } = yield* failing("orders")
      let verdict: Effect.Effect<boolean | SinkDashboard.Identity, string> = Effect.succeed(true)
      const seen: Array<string> = []
      const { post, read, text } = yield* serve(
        SinkDashboard.layer({
          path: "/events",
          roots: [queue],
          authorize: ({ method }, access) => {
            seen.push(`${method} ${access}`)
            return verdict
          }
        })
      )
      const id = idOf(yield* read(GraphView, "/events/api/graph"), "orders")
      for (const refusal of [
        Effect.succeed(false),
        Effect.fail("the secret of the directory"),
        Effect.die(new Error("the secret of the directory")),
        Effect.suspend((): Effect.Effect<boolean> => {
          throw new Error("the secret of the directory")
        })
      ]) {
        verdict = refusal
        const ofNode = ["dead-letters", "dead-letters/1", "attempts", "tap"].map((path) => `nodes/${id}/${path}`)
        for (const path of ["graph", "live", "history", ...ofNode]) {
          const { body, status } = yield* text(`/events/api/${path}`)
          assert.strictEqual(status, 403, path)
          assert.notInclude(body, "orders")
          assert.notInclude(body, "secret")
        }
        for (const path of ["pause", "dead-letters/purge"]) {
          assert.strictEqual((yield* post(`/events/api/nodes/${id}/${path}`)).status, 403, path)
        }
        assert.strictEqual((yield* post("/events/api/jobs/any/cancel")).status, 403)
      }
      assert.strictEqual((yield* queue.state).state, "active")
      assert.deepStrictEqual([...new Set(seen)].toSorted(), ["GET read", "POST change"])
      verdict = Effect.succeed({ name: "ada" })
      assert.strictEqual((yield* post(`/events/api/nodes/${id}/pause`, { reason: "maintenance" })).status, 200)
      assert.deepInclude(yield* queue.state, { state: "paused", reason: "maintenance" })
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("is changed by no page of another site", () =>
    Effect.gen(function* () {
      const { queue } = yield* failing("orders")
      const { post, read } = yield* serve(
        SinkDashboard.layer({ path: "/events", roots: [queue], authorize: everybody })
      )
      const id = idOf(yield* read(GraphView, "/events/api/graph"), "orders")
      const pause = (headers: Record<string, string>) =>
        Effect.map(post(`/events/api/nodes/${id}/pause`, {}, headers), ({ status }) => status)
      const marked = { "x-effect-events": "1", host: "shop.test" }
      for (const headers of [
        {},
        { "sec-fetch-site": "same-origin" },
        { ...marked, "sec-fetch-site": "cross-site" },
        { ...marked, "sec-fetch-site": "same-site" },
        { ...marked, "sec-fetch-site": "none" },
        { ...marked, "sec-fetch-site": "cross-site", origin: "http://shop.test" },
        { ...marked, origin: "http://evil.test" },
        { ...marked, origin: "null" }
      ]) {
        assert.strictEqual(yield* pause(headers), 403, JSON.stringify(headers))
        assert.strictEqual((yield* queue.state).state, "active")
      }
      for (const headers of [
        { "x-effect-events": "1" },
        { ...marked, "sec-fetch-site": "same-origin", origin: "https://behind-a-proxy.test" },
        { ...marked, origin: "http://shop.test" }
      ]) {
        yield* queue.resume
        assert.strictEqual(yield* pause(headers), 200, JSON.stringify(headers))
        assert.strictEqual((yield* queue.state).state, "paused")
      }
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("lists, shows, replays and purges dead letters by their filter", () =>
    Effect.gen(function* () {
      const { queue, receiver } = yield* failing("orders")
      yield* EventSink.writeAll(
        queue,
        Array.from({ length: 30 }, (_, i) => ({ id: `a${i}`, total: i }))
      )
      yield* queue.flush
      const layer = (content: "hidden" | "shown") =>
        serve(SinkDashboard.layer({ path: "/events", roots: [queue], content, authorize: everybody }))
      const { post, read, text } = yield* layer("hidden")
      const id = idOf(yield* read(GraphView, "/events/api/graph"), "orders")
      const base = `/events/api/nodes/${id}/dead-letters`
      const page = yield* read(DeadLetterPage, `${base}?limit=10&cause=${encodeURIComponent("<b>1")}`)
      assert.strictEqual(page.matching, 11)
      assert.strictEqual(page.deadLetters.length, 10)
      const last = page.deadLetters.at(-1)!
      const rest = yield* read(
        DeadLetterPage,
        `${base}?limit=10&cause=${encodeURIComponent("<b>1")}&afterPosition=${last.position}&afterTime=${last.deadLetteredAt}`
      )
      assert.strictEqual(rest.deadLetters.length, 1)
      // The content is hidden.
      assert.isTrue(page.deadLetters.every((one) => !("text" in one) && one.bytes > 10))
      assert.strictEqual((yield* text(`${base}/${last.position}`)).status, 403)
      const shown = yield* layer("shown")
      const again = idOf(yield* shown.read(GraphView, "/events/api/graph"), "orders")
      const letter = yield* shown.text(`/events/api/nodes/${again}/dead-letters/${last.position}`)
      assert.include(letter.body, String.raw`"text":"{\"id\":\"a18\",\"total\":18}"`)

      const done = (job: typeof Job.Type) =>
        until(read(Live, "/events/api/live"), ({ jobs }) =>
          jobs.some(({ id, state }) => id === job.id && state !== "running")
        )
      receiver.isMended = true
      const replay = yield* Effect.map(post(`${base}/replay`, { filter: { cause: "<b>1" } }), ({ body }) => body)
      const job = yield* Effect.orDie(Schema.decodeUnknownEffect(Schema.fromJsonString(Job))(replay))
      const { jobs } = yield* done(job)
      assert.deepInclude(jobs[0], { state: "done", action: "replay", done: 11, error: null })
      yield* queue.flush
      assert.strictEqual(receiver.received.length, 11)
      const one = (yield* read(DeadLetterPage, base)).deadLetters[0]!
      yield* post(`${base}/replay`, { positions: [one.position] })
      yield* until(queue.deadLetters.count(), (n) => n === 18)
      yield* post(`${base}/purge`, {})
      yield* until(queue.deadLetters.count(), (n) => n === 0)
      yield* queue.flush
      assert.strictEqual(receiver.received.length, 12)
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("purges nothing for a request with a field that there is not, or a body that is too large", () =>
    Effect.gen(function* () {
      const { queue } = yield* failing("orders")
      yield* queue.write({ id: "a", total: 1 })
      yield* queue.flush
      const { post, read } = yield* serve(
        SinkDashboard.layer({ path: "/events", roots: [queue], authorize: everybody })
      )
      const purge = `/events/api/nodes/${idOf(yield* read(GraphView, "/events/api/graph"), "orders")}/dead-letters/purge`
      for (const body of [{ position: [7] }, { filters: { topic: "b" } }, { filter: { topics: "b" } }]) {
        assert.strictEqual((yield* post(purge, body)).status, 400, JSON.stringify(body))
      }
      assert.strictEqual((yield* post(purge, { positions: "x".repeat(300_000) })).status, 413)
      assert.deepStrictEqual((yield* read(Live, "/events/api/live")).jobs, [])
      assert.strictEqual(yield* queue.deadLetters.count(), 1)
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("pauses and resumes a subscription, and logs in whose name", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      const orders = yield* DurableBroadcaster.make({ name: "orders", schema: Order })
      const received: Array<string> = []
      yield* DurableBroadcaster.subscribe(
        orders,
        EventSink.make(({ id }: Order) => Effect.sync(() => received.push(id))),
        { name: "billing" }
      )
      const { post, read } = yield* serve(
        SinkDashboard.layer({
          path: "/events/",
          roots: [orders],
          authorize: () => Effect.succeed({ name: "ada" })
        }).pipe(Layer.provide(Logger.layer([logger])))
      )
      const billing = idOf(yield* read(GraphView, "/events/api/graph"), "billing")
      const viewOf = (nodes: typeof Live.Type) => nodes.nodes.find(({ id }) => id === billing)!
      yield* orders.write({ id: "a", total: 1 })
      yield* orders.flush
      yield* post(`/events/api/nodes/${billing}/pause`, { reason: "<i>lunch</i>" })
      yield* orders.write({ id: "b", total: 1 })
      const paused = yield* until(
        Effect.map(read(Live, "/events/api/live"), viewOf),
        ({ control, pending }) => control?.state === "paused" && pending === 1
      )
      assert.strictEqual(paused.control?.reason, "<i>lunch</i>")
      assert.match(paused.trouble?.text ?? "", /^It is paused for .* s, and 1 event waits: <i>lunch<\/i>$/)
      assert.deepStrictEqual(received, ["a"])
      yield* post(`/events/api/nodes/${billing}/resume`)
      yield* orders.flush
      assert.deepStrictEqual(received, ["a", "b"])
      assert.includeMembers(lines, [
        'Subscription "billing" is paused by ada',
        'Subscription "billing" is resumed by ada'
      ])
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("disables and enables an endpoint, and does what an application's own sink offers", () =>
    Effect.gen(function* () {
      const endpoint = yield* Endpoint.make({
        name: "hook",
        url: "http://127.0.0.1:1/hook",
        envelope: Envelope.json(Order, { id: ({ id }) => id }),
        onDisabled: () => Effect.void
      })
      let state: EventSink.ControlState = { state: "active", reason: undefined, since: undefined }
      const sink = yield* EventSink.make((_: Order) => Effect.void, {
        name: "own",
        controls: {
          state: Effect.suspend(() => Effect.succeed(state)),
          pause: (reason) => Effect.sync(() => void (state = { state: "paused", reason, since: 1 })),
          resume: Effect.fail({ message: "the valve is stuck" })
        }
      })
      const { post, read } = yield* serve(
        SinkDashboard.layer({ path: "/events", roots: [endpoint, sink], authorize: everybody })
      )
      const graph = yield* read(GraphView, "/events/api/graph")
      assert.deepStrictEqual(
        graph.nodes.filter(({ offers }) => offers.length > 0).map(({ name, offers }) => [name, ...offers]),
        [
          ["hook", "disable", "enable", "attempts"],
          ["own", "pause", "resume"],
          ["hook", "attempts"]
        ]
      )
      const [hook, own] = [idOf(graph, "hook", "EventQueue"), idOf(graph, "own")]
      assert.strictEqual((yield* post(`/events/api/nodes/${hook}/disable`)).status, 200)
      assert.strictEqual((yield* endpoint.state)._tag, "Disabled")
      assert.strictEqual((yield* post(`/events/api/nodes/${hook}/enable`)).status, 200)
      assert.strictEqual((yield* endpoint.state)._tag, "Enabled")
      assert.strictEqual((yield* post(`/events/api/nodes/${own}/pause`, { reason: "x" })).status, 200)
      assert.deepStrictEqual(state, { state: "paused", reason: "x", since: 1 })
      const failed = yield* post(`/events/api/nodes/${own}/resume`)
      assert.include(failed, { status: 502, body: '{"_tag":"ControlFailed","message":"the valve is stuck"}' })
      assert.strictEqual((yield* post(`/events/api/nodes/${hook}/pause`)).status, 409)
      assert.strictEqual((yield* post(`/events/api/nodes/${own}/dead-letters/purge`)).status, 409)
      assert.strictEqual((yield* post("/events/api/nodes/other-1/pause")).status, 404)
      assert.strictEqual((yield* post(`/events/api/nodes/${own}/pause`, { reason: "x".repeat(501) })).status, 400)
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, FetchHttpClient.layer, quiet]))
  )

  it.live("goes on with a node whose place in the graph is another object, and shows what came and went", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<string>()
      const { read } = yield* serve(SinkDashboard.layer({ path: "/events", roots: [broadcaster], readOnly: true }))
      const before = yield* read(GraphView, "/events/api/graph")
      assert.strictEqual(before.nodes.length, 1)
      const add = Effect.fnUntraced(function* () {
        const sink = yield* EventSink.make((_: string) => Effect.void, { name: "audit" })
        yield* Broadcaster.add(broadcaster, sink)
        return sink
      })
      const first = yield* add()
      yield* Effect.sleep("300 millis")
      const { revision } = yield* read(Live, "/events/api/live")
      assert.notStrictEqual(revision, before.revision)
      const shown = yield* read(GraphView, "/events/api/graph")
      const id = idOf(shown, "audit", "EventSink")
      yield* Broadcaster.remove(broadcaster, first)
      yield* add()
      yield* Effect.sleep("300 millis")
      assert.strictEqual(idOf(yield* read(GraphView, "/events/api/graph"), "audit", "EventSink"), id)
    }).pipe(Effect.scoped)
  )

  it.live("compares no node that came with each that went: thousands at once would stop the process for a minute", () =>
    Effect.gen(function* () {
      let reads = 0
      const made = (n: number) =>
        Effect.map(
          EventSink.sync((_: string) => {}),
          (sink) => {
            Object.defineProperty(sink.node, "name", { get: () => (reads++, `sink ${n}`) })
            return sink
          }
        )
      const many = (from: number) =>
        Effect.forEach(
          Array.from({ length: 300 }, (_, n) => from + n),
          made
        )
      const before = yield* many(0)
      const broadcaster = yield* Broadcaster.make(before)
      const { read } = yield* serve(SinkDashboard.layer({ path: "/events", roots: [broadcaster], readOnly: true }))
      yield* read(GraphView, "/events/api/graph")
      for (const sink of yield* many(1000)) yield* Broadcaster.add(broadcaster, sink)
      for (const sink of before) yield* Broadcaster.remove(broadcaster, sink)
      yield* Effect.sleep("300 millis")
      reads = 0
      const { nodes } = yield* read(GraphView, "/events/api/graph")
      assert.lengthOf(
        nodes.filter(({ kind }) => kind === "EventSink"),
        300
      )
      assert.isBelow(reads, 20 * 300)
    }).pipe(Effect.scoped)
  )
})
