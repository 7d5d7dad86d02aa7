/**
 * The relay of the example, as a process between real sockets: what it acknowledged arrives, whatever is stopped, killed
 * or locked on the way.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { DatabaseSync } from "node:sqlite"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, beforeEach, expect } from "vitest"
import { parseEndpoints, parseListen } from "../../docs/examples/registry-notifications/RelayOptions.ts"
import { randomFrom } from "../support/random.ts"
import { image, missing, registry, skopeo } from "../support/registry.ts"
import {
  endAll,
  example,
  idsOf,
  isRefused,
  later,
  mediaType,
  post,
  receiver,
  relay,
  start,
  tap,
  until,
  withoutRepeats
} from "../support/relay.ts"

const bodies = readFileSync(join(example, "notifications.ndjson"), "utf8").trimEnd().split("\n")
const allIds = bodies.flatMap(idsOf)

describe("what the relay is given", () => {
  it.effect("is a port, with a host or without", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* parseListen("80"), { host: "127.0.0.1", port: 80 })
      assert.deepStrictEqual(yield* parseListen("0.0.0.0:0"), { host: "0.0.0.0", port: 0 })
      assert.deepStrictEqual(yield* parseListen("[::1]:65535"), { host: "::1", port: 65_535 })
      for (const wrong of ["", "http", "65536", ":80", "host:", "-1", "1.5", "127.0.0.1"]) {
        assert.match((yield* Effect.flip(parseListen(wrong))).message, /^--listen takes PORT or HOST:PORT/, wrong)
      }
    })
  )

  it.effect("is urls, whose names show no secret and tell them apart", () =>
    Effect.gen(function* () {
      const targets = yield* parseEndpoints(["http://user:secret@a.test/x?token=secret#y", "https://a.test/x"])
      assert.deepStrictEqual(
        targets.map(({ name }) => name),
        ["http://a.test/x", "https://a.test/x"]
      )
      assert.strictEqual(targets[0]?.url.searchParams.get("token"), "secret")
      const wrong = (...texts: ReadonlyArray<string>) => Effect.map(Effect.flip(parseEndpoints(texts)), String)
      assert.include(yield* wrong("user:secret@a.test"), "--endpoint takes an http or https url, and not one of user:")
      assert.include(yield* wrong("/secret"), "--endpoint takes a url, such as http://host:port/path")
      assert.include(yield* wrong("http://a.test/x?secret", "http://a.test/x"), "http://a.test/x is given twice")
      assert.notInclude(yield* wrong("//u:secret@a.test"), "secret")
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

  const sendAll = async (url: string, some: ReadonlyArray<string>) => {
    for (const body of some) assert.deepStrictEqual(await post(url, body), { status: 202, text: "" })
  }
  const has = async (one: { readonly took: ReadonlyArray<string> }, n: number) =>
    until(
      () => `a receiver has ${withoutRepeats(one.took).length} of ${n}`,
      () => withoutRepeats(one.took).length >= n
    )

  it("passes everything on to all endpoints, of which one is restarted on the way", async () => {
    const [steady, restarted] = [await receiver(), await receiver()]
    const one = await relay(folder, "0", "--endpoint", steady.url, "--endpoint", restarted.url)
    await sendAll(one.url, bodies.slice(0, 20))
    await has(restarted, 20)
    await restarted.stop()
    await sendAll(one.url, bodies.slice(20, 40))
    // The one that is there does not wait for the other.
    await has(steady, 40)
    await restarted.start()
    await sendAll(one.url, bodies.slice(40))
    await Promise.all([has(steady, 60), has(restarted, 60)])
    expect(steady.took).toEqual(allIds)
    expect(withoutRepeats(restarted.took)).toEqual(allIds)
    // As they came, which the store may only have ordered the fields of.
    expect(steady.bodies.map((body) => JSON.parse(body))).toEqual(bodies.map((body) => JSON.parse(body)))

    const { code, stderr, stdout } = await one.kill("SIGTERM")
    expect({ code, stderr }).toEqual({ code: 143, stderr: "" })
    expect(stdout).toContain(`1  ${steady.url}`)
    expect(stdout).toMatch(
      /^received 60, 0 duplicates, 0 refused \| 1: 60 delivered, 0 waiting, breaker closed, 0 dead \|/m
    )
    expect(stdout).toMatch(new RegExp(`^2 ${restarted.url} +60 +0 +0 +closed$`, "m"))
    expect(stdout).not.toContain("deliveries are left")
  })

  it("ends in time at a signal, finishes what it has begun, and keeps the rest", async () => {
    const [slow, never] = [await receiver(() => ({ status: 200, after: 300 })), await receiver()]
    await never.stop()
    // Many that are down: what each of them is granted must not add up.
    const alsoNever = Array.from({ length: 9 }, (_, i) => ["--endpoint", `${never.url}/${i}`]).flat()
    const one = await relay(folder, "0", "--endpoint", slow.url, "--endpoint", never.url, ...alsoNever)
    await sendAll(one.url, bodies.slice(0, 10))
    // One connection on which nothing more comes, and one with a request of which a half is there.
    const idle = connect(Number(one.port), "127.0.0.1")
    const half = connect(Number(one.port), "127.0.0.1")
    for (const socket of [idle, half]) {
      socket.on("error", () => {})
      later(() => socket.destroy())
    }
    const last = bodies[10]!
    idle.write("POST /events HTTP/1.1\r\n")
    half.write(
      `POST /events HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-type: ${mediaType}\r\n` +
        `content-length: ${Buffer.byteLength(last)}\r\n\r\n${last.slice(0, 100)}`
    )
    let answer = ""
    half.setEncoding("utf8").on("data", (text: string) => (answer += text))
    await until(
      () => "the relay reads the body",
      () => idle.readyState === "open" && answer.startsWith("HTTP/1.1 100")
    )
    await has(slow, 1)

    const began = performance.now()
    const ended = one.kill("SIGTERM")
    await until(
      () => "the port is closed",
      () => isRefused(Number(one.port))
    )
    half.write(last.slice(100))
    await until(
      () => `the request under way is answered: ${answer}`,
      () => answer.includes("HTTP/1.1 202")
    )
    // It goes on, and never stops by itself.
    const more = setInterval(() => half.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), 50)
    later(() => clearInterval(more))
    const { code, stdout } = await ended
    expect(code).toBe(143)
    // 5 seconds are what it grants, the rest is for a machine that is busy
    expect((performance.now() - began) / 1000).toBeLessThan(15)
    const took = slow.took.length
    const kept = 11 - took
    expect(stdout).toMatch(new RegExp(`^1 ${slow.url} +${took} +${kept} +0 +closed$`, "m"))
    expect(stdout).toMatch(new RegExp(`^2 ${never.url} +0 +11 +0 +(open|half-open|closed)$`, "m"))
    expect(stdout).toContain(`${kept + 110} deliveries are left: start again on `)
    // what was in flight was finished, and not left to be repeated
    expect(withoutRepeats(slow.took)).toEqual(slow.took)

    await never.start()
    await relay(folder, "0", "--endpoint", slow.url, "--endpoint", never.url)
    await Promise.all([has(slow, 11), has(never, 11)])
    expect(slow.took).toEqual(allIds.slice(0, 11))
    expect(withoutRepeats(never.took)).toEqual(allIds.slice(0, 11))
  })

  it("loses nothing that it acknowledged when it is killed, and goes on where it was", async () => {
    const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 1_000_000)
    const random = randomFrom(seed)
    const [first, second] = [await receiver(), await receiver()]
    let one = await relay(folder, "0", "--endpoint", first.url, "--endpoint", second.url)
    const { port, url } = one

    const sent: Array<string> = []
    const acknowledged = new Set<string>()
    const over = new AbortController()
    // As a registry does: one after another, each again until it is acknowledged.
    const sending = (async () => {
      for (let n = 0; !over.signal.aborted; n++) {
        const body = bodies[n % bodies.length]!.replace(/"id":"[^"]*"/, `"id":"event-${n}"`)
        sent.push(`event-${n}`)
        while ((await post(url, body)).status !== 202) await sleep(20)
        acknowledged.add(`event-${n}`)
      }
    })()
    for (let round = 0; round < 3; round++) {
      const before = acknowledged.size
      await until(
        () => `something is acknowledged, EFFECT_EVENTS_SEED=${seed}`,
        () => acknowledged.size > before + 10 * random()
      )
      await sleep(300 * random())
      await one.kill("SIGKILL")
      if (round === 1) await second.stop()
      one = await relay(folder, port, "--endpoint", first.url, "--endpoint", second.url)
    }
    await second.start()
    over.abort()
    await sending
    await Promise.all([has(first, sent.length), has(second, sent.length)])
    for (const { took } of [first, second]) expect(withoutRepeats(took), `EFFECT_EVENTS_SEED=${seed}`).toEqual(sent)
    expect((await one.kill("SIGINT")).code).toBe(130)
  })

  it("acknowledges nothing that it could not commit", async () => {
    const only = await receiver()
    const one = await relay(folder, "0", "--endpoint", only.url)
    // The relay may be in the middle of a transaction.
    const other = new DatabaseSync(join(folder, "registry-notifications.data", "relay.db"), { timeout: 5_000 })
    later(() => other.close())
    other.exec("BEGIN IMMEDIATE")
    expect(await post(one.url, bodies[0]!)).toMatchObject({ status: 503, text: expect.stringContaining("in time") })
    expect(only.took).toEqual([])
    other.exec("ROLLBACK")
    await until(
      () => "the relay takes it again",
      async () => (await post(one.url, bodies[0]!)).status === 202
    )
    await has(only, 1)
  })

  it("keeps what no attempt can deliver, and says so, also at the next start", async () => {
    const only = await receiver()
    const limit = ["--max-bytes", String(1024 * 1024)]
    const one = await relay(folder, "0", "--endpoint", only.url, ...limit)
    // Numbers that are longer when they are written than they were when they were read, up to more than a request may be.
    const big = bodies[0]!.replace(/"id":"[^"]*"/, `"id":"big","extra":[${Array(60_000).fill("1e20").join()}]`)
    await sendAll(one.url, [big, bodies[1]!])
    await has(only, 1)
    const { stdout } = await one.kill("SIGTERM")
    expect(only.took).toEqual([allIds[1]])
    expect(stdout).toMatch(new RegExp(`^1 ${only.url} +1 +0 +1 +closed$`, "m"))
    expect(stdout).toMatch(/^ {2}1: 1 events: .*the event takes \d+ bytes, of at most \d+$/m)
    const next = await relay(folder, "0", "--endpoint", only.url, ...limit)
    expect((await next.kill("SIGTERM")).stdout).toMatch(/\| 1: 0 delivered, 0 waiting, breaker closed, 1 dead$/m)
  })

  it("says at its start which endpoints have events waiting and get no more", async () => {
    const [gone, other] = [await receiver(), await receiver()]
    await gone.stop()
    const one = await relay(folder, "0", "--endpoint", gone.url, "--data", "mine")
    await sendAll(one.url, bodies.slice(0, 3))
    await one.kill("SIGKILL")
    const two = await relay(folder, "0", "--endpoint", other.url, "--data", "mine")
    const notGiven = `NOT GIVEN: ${gone.url} has 3 events waiting and 0 dead letters in ${join(folder, "mine")}`
    await until(
      () => `${notGiven}: ${two.said.stdout}`,
      () => two.said.stdout.includes(notGiven)
    )
    await two.kill("SIGKILL")
    await gone.start()
    const three = await relay(folder, "0", "--endpoint", gone.url, "--data", "mine")
    await has(gone, 3)
    expect((await three.kill("SIGTERM")).stdout).not.toContain("NOT GIVEN")
  })

  it("stores nothing for an endpoint that is not given, and goes on with one that is given again", async () => {
    const [sometimes, always] = [await receiver(), await receiver()]
    await sometimes.stop()
    const both = ["--endpoint", sometimes.url, "--endpoint", always.url]
    const one = await relay(folder, "0", ...both)
    await sendAll(one.url, bodies.slice(0, 2))
    await has(always, 2)
    await one.kill("SIGTERM")
    const two = await relay(folder, "0", "--endpoint", always.url)
    await sendAll(two.url, bodies.slice(2, 4))
    await has(always, 4)
    await two.kill("SIGTERM")
    await sometimes.start()
    const three = await relay(folder, "0", ...both)
    await sendAll(three.url, bodies.slice(4, 6))
    await Promise.all([has(sometimes, 4), has(always, 6)])
    expect(withoutRepeats(sometimes.took)).toEqual([...allIds.slice(0, 2), ...allIds.slice(4, 6)])
    expect(always.took).toEqual(allIds.slice(0, 6))
    await three.kill("SIGTERM")
    // For one that has got everything there is nothing to say, nor to keep.
    const four = await relay(folder, "0", "--endpoint", always.url)
    expect((await four.kill("SIGTERM")).stdout).not.toContain("NOT GIVEN")
  })

  it("is alone on its folder, until it is killed", async () => {
    const one = await relay(folder, "0")
    const { code, stderr, stdout } = await start(folder, "--listen", "0").ended
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
    expect(stderr.trim().split("\n")).toEqual(["ERROR", expect.stringContaining("another run is at work in ")])
    // The next waits for its turn, which comes with the end of the first.
    const next = relay(folder, "0")
    await sleep(500)
    await one.kill("SIGKILL")
    await next
  })

  it("shows what comes when it has no endpoint", async () => {
    const one = await relay(folder, "0")
    await sendAll(one.url, bodies.slice(0, 2))
    const { code, stdout } = await one.kill("SIGINT")
    expect(code).toBe(130)
    for (const id of allIds.slice(0, 2))
      expect(stdout).toMatch(new RegExp(`^${id} {2}push {2}team0/app0 {2}sha256:`, "m"))
  })

  it("says in one line what it cannot start with", async () => {
    const one = await relay(folder, "0")
    const { code, stderr } = await start(folder, "--listen", one.port, "--data", "other").ended
    expect({ code, stderr: stderr.trim().split("\n") }).toEqual({
      code: 1,
      stderr: ["ERROR", expect.stringContaining(`cannot listen at 127.0.0.1, port ${one.port}: listen EADDRINUSE`)]
    })
    const wrong = await start(folder, "--listen", "0", "--endpoint", "nowhere").ended
    expect(wrong.code).toBe(1)
    expect(wrong.stderr.trim().split("\n")).toEqual([
      "ERROR",
      "  --endpoint takes a url, such as http://host:port/path"
    ])
  })

  const isMissing = missing.length > 0
  it.skipIf(isMissing)(
    `passes on what a real registry notifies of${isMissing ? ` (skipped: ${missing.join(" and ")} not installed)` : ""}`,
    { timeout: 300_000 },
    async () => {
      const [steady, restarted] = [await receiver(), await receiver()]
      const endpoints = ["--endpoint", steady.url, "--endpoint", restarted.url]
      let one = await relay(folder, "0", ...endpoints)
      const between = await tap(one.url)
      const { host, notifications } = await registry(folder, between.url)
      const pushed = (n: number) => `docker://${host}/team/app${n}:v1`
      const push = (n: number) =>
        skopeo("copy", "--dest-tls-verify=false", `oci:${image(join(folder, `image${n}`), `content ${n}`)}`, pushed(n))
      const pull = (n: number) =>
        skopeo("copy", "--src-tls-verify=false", pushed(n), `oci:${join(folder, `pulled${n}`)}`)

      await push(1)
      await pull(1)
      await has(restarted, 6)
      await restarted.stop()
      await push(2)
      await skopeo("delete", "--tls-verify=false", pushed(1))
      // A registry goes on trying while its relay is away.
      await one.kill("SIGKILL")
      await pull(2)
      one = await relay(folder, one.port, ...endpoints)
      await push(3)
      await restarted.start()
      await pull(3)
      await skopeo("delete", "--tls-verify=false", pushed(3))

      await until(
        () => "the registry has nothing pending",
        async () => (await notifications()).Pending === 0
      )
      const acknowledged = withoutRepeats(between.acknowledged)
      expect(acknowledged.length).toBe((await notifications()).Events)
      // 3 pushes and 3 pulls of a configuration, a layer and a manifest, and 2 deletes
      expect(acknowledged.length).toBeGreaterThanOrEqual(20)
      await Promise.all([has(steady, acknowledged.length), has(restarted, acknowledged.length)])
      // The registry sends one after another, so there is an order to keep.
      for (const { took } of [steady, restarted]) expect(withoutRepeats(took)).toEqual(acknowledged)
      const actions = new Map<string, number>()
      for (const body of steady.bodies) {
        const { action } = JSON.parse(body).events[0]
        actions.set(action, (actions.get(action) ?? 0) + 1)
      }
      expect([...actions.keys()].toSorted()).toEqual(["delete", "pull", "push"])
    }
  )
})
