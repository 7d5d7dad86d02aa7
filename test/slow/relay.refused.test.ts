/** What becomes of requests that the relay cannot take: they are kept beside the store, and hold nothing back. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, FileSystem, Layer } from "effect"
import type { Envelope } from "effect-events/http"
import { createHash } from "node:crypto"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, beforeEach, expect } from "vitest"
import { type Amount, Quarantine } from "../../docs/examples/registry-notifications/Quarantine.ts"
import { defaultMaxBytes, parseMaxBytes } from "../../docs/examples/registry-notifications/RelayOptions.ts"
import { endAll, example, idsOf, mediaType, post, receiver, relay, start, until } from "../support/relay.ts"

const bodies = readFileSync(join(example, "notifications.ndjson"), "utf8").trimEnd().split("\n")
const nameOf = (body: string) => createHash("sha256").update(body).digest("hex")
const problem = { status: 400, detail: "not JSON" }

let folder = ""
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "effect-events-relay-"))))
afterEach(async () => {
  await endAll()
  rmSync(folder, { recursive: true, force: true })
})

const inFolder = (...names: ReadonlyArray<string>) => join(folder, ...names)
const bodiesIn = (quarantine: string) =>
  readdirSync(quarantine)
    .filter((name) => name.endsWith(".body"))
    .map((name) => readFileSync(join(quarantine, name), "utf8"))
    .toSorted()

const message = (body: string, headers: Record<string, string> = {}): Envelope.Message => ({
  headers: { "content-type": mediaType, ...headers },
  body: Buffer.from(body)
})

/** A quarantine over a file system that may be another one. */
const open = (limit: Amount, change: (fs: FileSystem.FileSystem) => Partial<FileSystem.FileSystem> = () => ({})) => {
  const changed = Layer.effect(
    FileSystem.FileSystem,
    FileSystem.FileSystem.useSync((fs) => ({ ...fs, ...change(fs) }))
  )
  return Layer.build(
    Quarantine.layer(inFolder("quarantine"), limit).pipe(Layer.provide([changed]), Layer.provide(NodeServices.layer))
  ).pipe(Effect.map(Context.get(Quarantine)))
}

describe("the quarantine", () => {
  it.live("keeps the bytes as they came, beside why they are there, and no header that may be secret", () =>
    Effect.gen(function* () {
      const { held, keep } = yield* open({ requests: 10, bytes: 1000 })
      const headers = { authorization: "Bearer hunter2", "content-encoding": "gzip" }
      assert.isTrue(yield* keep(message("\u0000é", headers), problem))
      assert.isTrue(yield* keep(message(""), problem))
      assert.deepStrictEqual(held(), { requests: 2, bytes: 3 })
      assert.deepStrictEqual(bodiesIn(inFolder("quarantine")), ["", "\u0000é"])
      const why = readFileSync(inFolder("quarantine", `${nameOf("\u0000é")}.json`), "utf8")
      const { at, ...rest } = JSON.parse(why)
      assert.deepStrictEqual(rest, { ...problem, contentType: mediaType, contentEncoding: "gzip" })
      assert.isBelow(Math.abs(Date.now() - Date.parse(at)), 60_000)
      // The next one finds them, and the same request is there once.
      const next = yield* open({ requests: 10, bytes: 1000 })
      assert.deepStrictEqual(next.held(), { requests: 2, bytes: 3 })
      assert.isFalse(yield* next.keep(message("\u0000é"), problem))
      assert.deepStrictEqual([next.held(), readdirSync(inFolder("quarantine")).length], [{ requests: 2, bytes: 3 }, 4])
    })
  )

  it.live("keeps a request whole that another process begins to keep at the same time", () =>
    Effect.gen(function* () {
      const limit = { requests: 10, bytes: 1000 }
      const [begun, goOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const isBody = (path: string) => path.includes(".body")
      const other = yield* open(limit, (fs) => ({
        open: (path, options) =>
          Effect.tap(fs.open(path, options), () =>
            isBody(path) ? Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(goOn)) : Effect.void
          )
      }))
      const { keep } = yield* open(limit, (fs) => ({
        rename: (from, to) =>
          isBody(to)
            ? Effect.gen(function* () {
                yield* Effect.forkDetach(other.keep(message("12345"), problem))
                yield* Deferred.await(begun)
                yield* fs.rename(from, to)
              })
            : fs.rename(from, to)
      }))
      assert.isTrue(yield* keep(message("12345"), problem))
      // It may be killed now.
      assert.deepStrictEqual(bodiesIn(inFolder("quarantine")), ["12345"])
      yield* Deferred.succeed(goOn, undefined)
      assert.isFalse(yield* other.keep(message("12345"), problem))
      assert.deepStrictEqual(bodiesIn(inFolder("quarantine")), ["12345"])
    })
  )

  it.live("removes what a process that was killed has not finished", () =>
    Effect.gen(function* () {
      mkdirSync(inFolder("quarantine"))
      writeFileSync(inFolder("quarantine", "a.body.1.new"), "1234")
      const { held } = yield* open({ requests: 10, bytes: 1000 })
      assert.deepStrictEqual(held(), { requests: 0, bytes: 0 })
      assert.deepStrictEqual(readdirSync(inFolder("quarantine")), [])
    })
  )

  it.live("has a bound, at which it keeps no more, until there is room again", () =>
    Effect.gen(function* () {
      const { held, keep } = yield* open({ requests: 3, bytes: 10 })
      assert.isTrue(yield* keep(message("12345678"), problem))
      const large = yield* Effect.flip(keep(message("123"), problem))
      const has = "it has 1 requests, of at most 3, and 8 bytes, of at most 10"
      assert.strictEqual(large.message, `The quarantine has no room for 3 bytes: ${has}`)
      assert.isTrue(yield* keep(message("1"), problem))
      assert.isTrue(yield* keep(message(""), problem))
      const many = yield* Effect.flip(keep(message("x"), problem))
      assert.include(many.message, "it has 3 requests, of at most 3, and 9 bytes, of at most 10")
      // What is there already needs no room.
      assert.isFalse(yield* keep(message("1"), problem))
      assert.deepStrictEqual(held(), { requests: 3, bytes: 9 })
      rmSync(inFolder("quarantine", `${nameOf("12345678")}.body`))
      assert.isTrue(yield* keep(message("123"), problem))
      assert.deepStrictEqual(held(), { requests: 3, bytes: 4 })
    })
  )

  it.live("holds its bound when many come at once", () =>
    Effect.gen(function* () {
      const { held, keep } = yield* open({ requests: 5, bytes: 1000 })
      const kept = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, i) => Effect.exit(keep(message(`body ${i}`), problem))),
        (keeping) => keeping,
        { concurrency: "unbounded" }
      )
      assert.strictEqual(kept.filter(({ _tag }) => _tag === "Success").length, 5)
      assert.deepStrictEqual([held().requests, bodiesIn(inFolder("quarantine")).length], [5, 5])
    })
  )

  it.live("syncs a file before it has its name, and the folder before it says so", () =>
    Effect.gen(function* () {
      const calls: Array<string> = []
      const short = (file: string) =>
        file
          .slice(folder.length)
          .replace(/[\da-f]{64}/, "X")
          .replace(/[\da-f-]{36}/, "N")
      const { keep } = yield* open({ requests: 5, bytes: 1000 }, (fs) => ({
        open: (file, options) =>
          Effect.map(fs.open(file, options), (handle) => ({
            ...handle,
            writeAll: (bytes: Uint8Array) => handle.writeAll(bytes),
            sync: Effect.tap(handle.sync, () => Effect.sync(() => calls.push(`sync ${short(file)}`)))
          })),
        rename: (from, to) =>
          Effect.tap(fs.rename(from, to), () => Effect.sync(() => calls.push(`rename to ${short(to)}`)))
      }))
      calls.length = 0
      yield* keep(message("a"), problem)
      assert.deepStrictEqual(calls, [
        "sync ",
        "sync /quarantine/X.json.N.new",
        "rename to /quarantine/X.json",
        "sync /quarantine/X.body.N.new",
        "rename to /quarantine/X.body",
        "sync /quarantine"
      ])
    })
  )

  it.live("keeps nothing by half, and says what is wrong with its folder", () =>
    Effect.gen(function* () {
      const full = Object.assign(new Error("no space left"), { code: "ENOSPC" })
      let isFull = true
      const { keep } = yield* open({ requests: 5, bytes: 1000 }, (fs) => ({
        rename: (from, to) =>
          isFull && to.endsWith(".body")
            ? Effect.flatMap(fs.stat(`${from}-none`), () => Effect.void).pipe(
                Effect.mapError((error) => Object.assign(error, { reason: { ...error.reason, cause: full } }))
              )
            : fs.rename(from, to)
      }))
      const { message: why } = yield* Effect.flip(keep(message("a"), problem))
      assert.strictEqual(why, "The quarantine cannot be written: ENOSPC")
      assert.deepStrictEqual(readdirSync(inFolder("quarantine")), [`${nameOf("a")}.json`])
      isFull = false
      assert.isTrue(yield* keep(message("a"), problem))
      // The folder may be taken away as a whole.
      rmSync(inFolder("quarantine"), { recursive: true })
      assert.isTrue(yield* keep(message("a"), problem))
      assert.deepStrictEqual(bodiesIn(inFolder("quarantine")), ["a"])
    })
  )
})

describe("the limit of a request", () => {
  it.effect("is a number of bytes", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* parseMaxBytes(1), 1)
      for (const wrong of [0, -1, 1.5, Number.NaN, 2 ** 60]) {
        assert.include((yield* Effect.flip(parseMaxBytes(wrong))).message, "--max-bytes takes a number of bytes")
      }
      // 4 MiB of which each character is written as six
      assert.isAbove(defaultMaxBytes, 4 * 1024 * 1024 * 6)
    })
  )
})

describe("the relay", { timeout: 120_000 }, () => {
  const quarantine = () => inFolder("registry-notifications.data", "quarantine")

  /** As a registry does: one after another, each again until it is acknowledged. */
  const sendInOrder = async (url: string, some: ReadonlyArray<string>, type = mediaType) => {
    for (const body of some) {
      await until(
        () => `${body.slice(0, 50)} is acknowledged`,
        async () => {
          const { status } = await post(url, body, type)
          if (status !== 202) await sleep(100)
          return status === 202
        },
        20
      )
    }
  }

  it("keeps what it cannot take, says why, and takes what is behind it", async () => {
    const only = await receiver()
    const one = await relay(folder, "0", "--endpoint", only.url)
    const wrong = [
      ["", "not JSON"],
      [bodies[0]!.slice(0, -1), "not JSON since it ends too early"],
      ['{"events":[{}]}', 'Missing key at ["events"][0]["id"]'],
      [bodies[0]!.replace('"push"', "7"), '["action"]']
    ] as const
    for (const [i, [body]] of wrong.entries()) await sendInOrder(one.url, [body, bodies[i]!])
    await sendInOrder(one.url, ["<events/>"], "text/xml")
    // One that comes again is there already.
    await sendInOrder(one.url, [wrong[2][0], bodies[4]!, bodies[0]!])
    await until(
      () => `the receiver has ${only.took.length}`,
      () => only.took.length >= 5
    )
    expect(only.took).toEqual(bodies.slice(0, 5).flatMap(idsOf))
    expect(bodiesIn(quarantine())).toEqual([...wrong.map(([body]) => body), "<events/>"].toSorted())
    const why = (body: string) => JSON.parse(readFileSync(join(quarantine(), `${nameOf(body)}.json`), "utf8"))
    for (const [body, detail] of wrong) {
      expect(why(body)).toMatchObject({ status: 400, detail: expect.stringContaining(detail), contentType: mediaType })
    }
    expect(why("<events/>")).toMatchObject({ status: 415, contentType: "text/xml" })

    // What is about the sender, or the place, is refused as before.
    expect(await post(one.url.replace("/events", "/"), bodies[0]!)).toMatchObject({ status: 404 })
    expect((await fetch(one.url)).status).toBe(405)
    const { stderr, stdout } = await one.kill("SIGTERM")
    expect(stderr).toBe("")
    expect(stdout).toMatch(
      /^received 5, \d+ duplicates, 5 quarantined, \d+ refused \(the last with 405: Expected POST, got GET\) \| 1: 5 delivered/m
    )
    expect(stdout.match(/^quarantined a request: 400: /gm)).toHaveLength(4)
    const bytes = bodiesIn(quarantine()).reduce((sum, body) => sum + Buffer.byteLength(body), 0)
    const held = `5 requests with ${bytes} bytes in ${quarantine()}`
    expect(stdout).toContain(`quarantined, until they are removed: ${held}`)
    const next = await relay(folder, "0", "--endpoint", only.url)
    expect((await next.kill("SIGTERM")).stdout).toContain(`QUARANTINED: ${held}`)
  })

  it("has acknowledged nothing that is not on disk when it is killed", async () => {
    const one = await relay(folder, "0")
    const wrong = Array.from({ length: 20 }, (_, n) => `wrong ${n}`)
    await sendInOrder(one.url, wrong)
    await one.kill("SIGKILL")
    expect(bodiesIn(quarantine())).toEqual(wrong.toSorted())
  })

  it("acknowledges no request for which the quarantine has no room, and logs that, until there is room", async () => {
    mkdirSync(quarantine(), { recursive: true })
    for (let n = 0; n < 1000; n++) writeFileSync(join(quarantine(), `${n}.body`), "")
    const only = await receiver()
    const one = await relay(folder, "0", "--endpoint", only.url)
    const full = /The quarantine has no room for 5 bytes: it has 1000 requests, of at most 1000/
    for (let n = 0; n < 3; n++) {
      expect(await post(one.url, "wrong")).toEqual({ status: 503, text: expect.stringMatching(full) })
    }
    // Other requests are taken meanwhile.
    await sendInOrder(one.url, [bodies[0]!])
    rmSync(join(quarantine(), "0.body"))
    await sendInOrder(one.url, ["wrong", bodies[1]!])
    await until(
      () => `the receiver has ${only.took.length}`,
      () => only.took.length >= 2
    )
    const { stderr, stdout } = await one.kill("SIGTERM")
    expect(stderr.match(/did not keep (?:a refused request|2 refused requests, the last) because/g)).toHaveLength(2)
    expect(stderr).toMatch(full)
    expect(stdout).toMatch(
      /^received 2, \d+ duplicates, 1000 quarantined, \d+ refused \(the last with 503 for 400: not JSON/m
    )
  })

  it("says that its quarantine cannot be written, and acknowledges nothing until it can", async () => {
    const one = await relay(folder, "0")
    rmSync(quarantine(), { recursive: true })
    writeFileSync(quarantine(), "in the way")
    const answer = await post(one.url, "wrong")
    expect(answer).toEqual({ status: 503, text: expect.stringContaining("The quarantine cannot be written: E") })
    rmSync(quarantine())
    await sendInOrder(one.url, ["wrong"])
    expect(bodiesIn(quarantine())).toEqual(["wrong"])
  })

  it("refuses what is larger than its limit, shows that, and says so of an option that is none", async () => {
    const one = await relay(folder, "0", "--max-bytes", "1000")
    // The quarantine has room for eight of the largest.
    await sendInOrder(
      one.url,
      Array.from({ length: 8 }, (_, n) => String(n).repeat(1000))
    )
    expect(await post(one.url, "x")).toMatchObject({ status: 503 })
    expect(await post(one.url, " ".repeat(1001))).toMatchObject({ status: 413 })
    const { stdout } = await one.kill("SIGTERM")
    expect(stdout).toMatch(/8 quarantined, \d+ refused \(the last with 413: The body is larger than 1000 bytes\)$/m)
    const wrong = await start(folder, "--listen", "0", "--max-bytes", "0").ended
    expect([wrong.code, wrong.stderr.trim().split("\n")]).toEqual([
      1,
      ["ERROR", "  --max-bytes takes a number of bytes from 1 on, not 0"]
    ])
    const alone = await start(folder, "--max-bytes", "5").ended
    expect([alone.code, alone.stderr]).toEqual([1, expect.stringContaining("--max-bytes is for a relay")])
  })
})
