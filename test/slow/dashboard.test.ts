/** The dashboard of the running main job and of a running relay, as a browser shows it. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Effect, Layer, Schema } from "effect"
import { Broadcaster, EventSink } from "effect-events"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import { HttpRouter, HttpServer } from "effect/http"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Page } from "playwright-core"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { GraphView } from "../../src/dashboard/internal/dashboardApi.ts"
import { noBrowser, openBrowser } from "../support/browser.ts"
import { endAll, example, idsOf, later, post, receiver, relay, start, until, withoutRepeats } from "../support/relay.ts"

const GraphJson = Schema.decodeUnknownSync(Schema.fromJsonString(GraphView))
const bodies = readFileSync(join(example, "notifications.ndjson"), "utf8").trimEnd().split("\n")
let folder = ""
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dashboard-"))
})
afterEach(async () => {
  await endAll()
  rmSync(folder, { recursive: true, force: true })
})

const urlIn = (text: string): string | undefined => /^dashboard at (\S+)$/m.exec(text)?.[1]
const addressOf = async (said: { readonly stdout: string }): Promise<string> => {
  await until(
    () => `a dashboard: ${JSON.stringify(said)}`,
    () => urlIn(said.stdout) !== undefined
  )
  return urlIn(said.stdout) ?? ""
}
/** The whole page as text, its graph included. */
const textOf = (page: Page) => page.locator("body").innerText()
const nodeNamed = (page: Page, name: string) => page.locator(`.node[aria-label^="${name},"]`)
const shows = async (page: Page, text: RegExp) => {
  let shown = ""
  await until(
    () => `${text} on the page, which shows: ${shown}`,
    async () => text.test((shown = await textOf(page))),
    30
  )
}

/** A dashboard on a server of this process; answers with the address of that. */
const served = <const Roots extends ReadonlyArray<EventSink.EventSink<never, unknown>>>(
  options: SinkDashboard.ChangingOptions<Roots, never>
) =>
  HttpRouter.serve(SinkDashboard.layer(options), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(
      Layer.effect(HttpServer.HttpServer, NodeHttpServer.make(createServer, { port: 0, host: "127.0.0.1" }))
    ),
    Layer.build,
    Effect.flatMap((context) => Effect.provideContext(HttpServer.HttpServer, context)),
    Effect.map(({ address }) => HttpServer.formatAddress(address))
  )

describe.skipIf(noBrowser !== undefined)(
  `the dashboard in a browser${noBrowser === undefined ? "" : `: ${noBrowser}`}`,
  () => {
    it("shows an endpoint of a relay fail and recover, and pauses and resumes it", { timeout: 180_000 }, async () => {
      const { complaints, hosts, page } = await openBrowser()
      let status = 503
      const sink = await receiver(() => ({ status }))
      const { said, url } = await relay(folder, "0", "--endpoint", sink.url, "--dashboard", "0", "--data", "data")
      const address = await addressOf(said)

      // Without its token nothing is shown, nor with another.
      const bare = address.replace(/#.*/, "")
      await page.goto(bare)
      await shows(page, /This dashboard asks for a token/)
      expect(await page.locator(".node").count()).toBe(0)
      expect(await textOf(page)).not.toContain("notifications")
      await page.getByLabel("Token").fill("of another dashboard")
      await page.keyboard.press("Enter")
      await shows(page, /This token is not accepted/)
      const refused = await page.evaluate(async () => {
        const headers = { "x-effect-events": "1", "content-type": "application/json" }
        const answer = await fetch("/api/nodes/any/pause", { method: "POST", headers, body: "{}" })
        return answer.status
      })
      expect(refused).toBe(403)
      complaints.splice(0)

      await page.goto(address)
      await page.reload()
      await page.locator(".node").first().waitFor()
      expect(page.url()).toBe(bare)
      expect(await page.title()).toBe("Registry notifications")
      await shows(page, /All 4 sinks are well/)

      // It fails.
      const name = `Subscription ${sink.url}`
      expect((await post(url, bodies[0]!)).status).toBe(202)
      await shows(page, /in trouble[\s\S]*Its receiver fails and is left alone for now, and 1 event waits[\s\S]*503/)
      expect(await page.locator(".node.bad").count()).toBeGreaterThan(0)
      expect(await page.title()).toMatch(/^\(\d\) Registry/)

      // It recovers.
      status = 204
      await until(
        () => "the event",
        () => sink.took.length > 0
      )
      await shows(page, /All 4 sinks are well/)
      expect(await page.locator(".node.bad").count()).toBe(0)

      // It is paused by keyboard alone, and resumed.
      await nodeNamed(page, name).focus()
      await page.keyboard.press("Enter")
      await page.getByLabel("Reason of the pause").fill("lunch <b>break</b>")
      await page.keyboard.press("Enter")
      await shows(page, /It is paused for [\d.]+ s, and nothing waits: lunch <b>break<\/b>/)
      const before = sink.took.length
      for (const body of bodies.slice(1, 4)) expect((await post(url, body)).status).toBe(202)
      await shows(page, /It is paused for [\d.]+ s, and 3 events wait/)
      expect(sink.took.length).toBe(before)
      await page.getByRole("button", { name: "Resume delivery" }).click()
      await until(
        () => "what waited",
        () => withoutRepeats(sink.took).length === 4
      )
      await shows(page, /All 4 sinks are well/)
      expect(withoutRepeats(sink.took)).toEqual(bodies.slice(0, 4).flatMap(idsOf))

      // A tap by keyboard alone shows what passes, and what is in it.
      const panel = page.locator("#panel")
      await panel.getByLabel("How many events").focus()
      await page.keyboard.press("Tab")
      await page.keyboard.press("Enter")
      await shows(page, /0 of 20\. Waiting\./)
      expect((await post(url, bodies[4]!)).status).toBe(202)
      await shows(page, /of 20: [^]*\d delivered\. Waiting\.[^]*✓ delivered/)
      expect(await panel.locator(".log pre").first().innerText()).toContain(idsOf(bodies[4]!).at(-1))
      await page.keyboard.press("Enter")
      await shows(page, /delivered\. Stopped\./)
      await page.keyboard.press("Escape")
      expect(await panel.isVisible()).toBe(false)
      expect(await nodeNamed(page, name).evaluate((node) => node === node.ownerDocument.activeElement)).toBe(true)

      // Its endpoint says what the receiver has answered, on a phone.
      await page.setViewportSize({ width: 390, height: 844 })
      await nodeNamed(page, `HttpSink ${sink.url}`).click()
      await shows(page, /Last \d+ attempts[^]*✓ 204[^]*✕ 503/)
      expect(await panel.evaluate((element) => element.scrollWidth <= element.clientWidth)).toBe(true)

      expect(complaints).toEqual([])
      expect([...hosts]).toEqual([new URL(address).host])
    })

    it("replays the dead letters of the main job and shows them delivered", { timeout: 180_000 }, async () => {
      const { complaints, page } = await openBrowser()
      const job = start(folder, "--dashboard", "0", "--data", "data")
      await page.goto(await addressOf(job.said))
      await page.locator(".node").first().waitFor()
      expect(await page.locator(".node").count()).toBe(13)
      expect(await page.locator(".edge").count()).toBe(12)
      // The checks are those of a run without a dashboard, and the graph stays.
      await until(
        () => `the checks: ${JSON.stringify(job.said)}`,
        () => /^checked: .*[^]*^The graph stays until/m.test(job.said.stdout) || job.hasEnded()
      )
      await shows(page, /60 dead letters wait for a decision/)

      const absent = /^ {2}absent +http:\/\/127\.0\.0\.1:(\d+)/m.exec(job.said.stdout)?.[1]
      const took: Array<string> = []
      const server = createServer((request, response) => {
        let body = ""
        request.setEncoding("utf8").on("data", (text: string) => (body += text))
        request.on("end", () => {
          took.push(...idsOf(body))
          response.writeHead(204).end()
        })
      }).listen(Number(absent), "127.0.0.1")
      await once(server, "listening")
      later(() => server.close())

      await nodeNamed(page, "Subscription absent").click()
      const panel = page.locator("#panel")
      await panel.getByLabel("Topic").fill("manifest/*")
      const replay = panel.getByRole("button", { name: /^Replay \d+$/ })
      await until(
        () => "the filter",
        async () => (await replay.innerText()) === "Replay 18"
      )
      await panel.getByRole("button", { name: "Show payload" }).first().click()
      await shows(page, /"mediaType":"application\/vnd/)
      await replay.click()
      await until(
        () => `18 of 60 delivered: ${took.length}`,
        () => withoutRepeats(took).length === 18
      )
      await shows(page, /Replayed 18\./)
      await shows(page, /42 dead letters wait/)

      // What is left is purged, when that is confirmed.
      await panel.getByLabel("Topic").fill("")
      const purge = panel.getByRole("button", { name: /^Purge 42$/ })
      await purge.click()
      await page.getByRole("button", { name: "Cancel" }).click()
      await purge.click()
      await page.getByRole("button", { name: "Delete 42" }).click()
      await shows(page, /Purged 42\./)
      await shows(page, /None\./)
      expect(withoutRepeats(took).length).toBe(18)
      expect(complaints).toEqual([])

      const { code } = await job.kill("SIGINT")
      expect(code).toBe(130)
    })
    it("cancels a replay, which says how much of it was done", { timeout: 120_000 }, async () => {
      const { complaints, page } = await openBrowser()
      let done = 0
      const act: EventSink.DeadLetterAction = (_, { onProgress = () => Effect.void } = {}) =>
        Effect.gen(function* () {
          while (done < 1000) {
            yield* Effect.sleep("200 millis")
            yield* onProgress({ done: ++done, selected: 1000 })
          }
          return done
        })
      const program = Effect.gen(function* () {
        const own = yield* EventSink.make((_: string) => Effect.void, {
          name: "own",
          controls: {
            deadLetters: {
              count: () => Effect.sync(() => 1000 - done),
              list: () => Effect.succeed([]),
              replay: act,
              purge: act
            }
          }
        })
        const url = yield* served({ path: "/events", roots: [own], authorize: () => Effect.succeed(true) })
        yield* Effect.promise(async () => {
          await page.goto(`${url}/events`)
          await page.locator(".node").first().click()
          await page.getByRole("button", { name: "Replay 1,000" }).click()
          await shows(page, /Replaying [1-9]\d* of 1,000/)
          const cancel = page.getByRole("button", { name: "Cancel the replay" })
          await cancel.focus()
          await page.keyboard.press("Enter")
          await shows(page, /Cancelled\. Replayed \d+ of 1,000\./)
          const [, said] = /Replayed (\d+) of/.exec(await textOf(page)) ?? []
          await page.waitForTimeout(500)
          expect(Number(said)).toBe(done)
          expect(await cancel.count()).toBe(0)
          expect(await page.locator(".job").evaluate((job) => job === job.ownerDocument.activeElement)).toBe(true)
          expect(complaints).toEqual([])
        })
      })
      await Effect.runPromise(Effect.scoped(program))
    })
    it(
      "shows any name and error as text, and is changed by no page of another site",
      { timeout: 120_000 },
      async () => {
        const { complaints, page } = await openBrowser()
        const evil = `"><script>alert(1)</script><img src=x onerror="alert(2)">`
        let paused = 0
        const program = Effect.gen(function* () {
          const dead = yield* EventSink.make((_: string) => Effect.fail(evil), { name: evil, kind: evil }).pipe(
            DurableQueue.make({ name: evil, schema: Schema.String, redelivery: Redelivery.none })
          )
          const own = yield* EventSink.make((_: string) => Effect.void, {
            name: "own",
            controls: {
              state: Effect.succeed({ state: "active", reason: evil, since: undefined }),
              pause: () => Effect.sync(() => void paused++)
            }
          })
          const root = yield* Broadcaster.make<string>({ name: evil })
          yield* Broadcaster.add(root, own)
          yield* dead.write(evil)
          yield* dead.flush
          const url = yield* served({
            path: "/events",
            title: evil,
            roots: [dead, root],
            content: "shown",
            authorize: () => Effect.succeed(true)
          })
          yield* Effect.promise(async () => {
            await page.goto(`${url}/events`)
            await page.locator(".node").first().waitFor()
            await shows(page, /1 dead letter waits/)
            await page.locator(".node.bad, .node.warn").first().click()
            await page.getByRole("button", { name: "Show payload" }).click()
            await until(
              () => "the payload",
              async () => (await page.locator("#panel pre").innerText()) === JSON.stringify(evil)
            )
            expect(await page.title()).toContain(evil)
            expect(await page.locator("#panel-name").innerText()).toBe(evil)
            expect(await page.locator("#panel .cause").innerText()).toContain(evil)
            await page.getByRole("button", { name: "Show the next events" }).click()
            await shows(page, /0 of 20\. Waiting\./)
            await Effect.runPromise(dead.write(evil))
            await shows(page, /1 accepted, 1 dead-lettered/)
            expect(await page.locator("#panel .log pre").allInnerTexts()).toEqual([evil, evil])
            expect(await page.locator("img, body script:not(body > script)").count()).toBe(0)
            expect(complaints).toEqual([])

            // Another site: by a form, and by a script that does not ask, and that does.
            const other = createServer((_, response) => {
              response.writeHead(200, { "content-type": "text/html" }).end("<body>another site")
            }).listen(0, "127.0.0.1")
            await once(other, "listening")
            later(() => other.close())
            const graph = GraphJson(await (await fetch(`${url}/events/api/graph`)).text())
            const id = graph.nodes.find(({ offers }) => offers.includes("pause") && !offers.includes("resume"))?.id
            const target = `${url}/events/api/nodes/${id}/pause`
            expect(dead.node.observers()?.size).toBe(1)
            await page.goto(`http://localhost:${(other.address() as AddressInfo).port}/`)
            // The tap has gone with its page.
            await until(
              () => "the end of the tap",
              () => dead.node.observers() === undefined
            )
            const answers = await page.evaluate(async (target) => {
              const send = (init: RequestInit) =>
                fetch(target, { method: "POST", body: "{}", ...init }).then(
                  ({ type }) => type,
                  () => "blocked"
                )
              return [
                await send({ mode: "no-cors" }),
                await send({ headers: { "x-effect-events": "1", "content-type": "application/json" } })
              ]
            }, target)
            expect(answers).toEqual(["opaque", "blocked"])
            expect(paused).toBe(0)
            const headers = { "x-effect-events": "1", "content-type": "application/json" }
            expect((await fetch(target, { method: "POST", body: "{}", headers })).status).toBe(200)
            expect(paused).toBe(1)
          })
        })
        await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(MemoryStore.layer)))
      }
    )
  }
)
