import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, FileSystem, Path, Result, Schema, Stream } from "effect"
import type { EventSink } from "effect-events"
import { RegistryEvent } from "effect-events/http"
import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll } from "vitest"
import {
  conservation,
  type Evidence,
  fates,
  faults,
  sequence,
  total
} from "../../docs/examples/registry-notifications/Account.ts"
import * as Input from "../../docs/examples/registry-notifications/Input.ts"
import { Entry } from "../../docs/examples/registry-notifications/Ledger.ts"
import { randomFrom } from "../support/random.ts"

const root = join(import.meta.dirname, "..", "..")
const example = join(root, "docs", "examples", "registry-notifications")
const real = readFileSync(join(example, "notifications.ndjson"), "utf8").trimEnd().split("\n")
type Notification = RegistryEvent.RegistryEvent
const EnvelopeJson = Schema.fromJsonString(Schema.Struct({ events: Schema.Array(RegistryEvent.RegistryEvent) }))
const decode = Schema.decodeUnknownSync(EnvelopeJson)
const encode = Schema.encodeSync(EnvelopeJson)
const notifications = real.flatMap((line) => decode(line).events)

/** The same event under another id. */
const renamed = (at: number, id: string): Notification => {
  const event = notifications[at]
  if (event === undefined) throw new RangeError(`there are only ${notifications.length} events`)
  return { ...event, id }
}
const lineOf = (...events: ReadonlyArray<Notification>): string => encode({ events })

layer(NodeServices.layer)("the input", (it) => {
  const read = Effect.fnUntraced(function* (content: string) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const file = path.join(yield* fs.makeTempDirectoryScoped(), "in.ndjson")
    yield* fs.writeFileString(file, content)
    return yield* Stream.runCollect(yield* Input.open(file))
  })
  const idsOf = (lines: ReadonlyArray<Input.Line>): ReadonlyArray<ReadonlyArray<string>> =>
    lines.flatMap((line) => (line._tag === "Read" ? [line.events.map(({ id }) => id)] : []))

  it.effect("is one envelope on a line, each with many events, one or none", () =>
    Effect.gen(function* () {
      const lines = yield* read(
        [lineOf(renamed(0, "a"), renamed(2, "b")), lineOf(), lineOf(renamed(4, "c"))].join("\n")
      )
      assert.deepStrictEqual(idsOf(lines), [["a", "b"], [], ["c"]])
    })
  )

  it.effect("reports malformed lines by number and reason, and loses nothing else", () =>
    Effect.gen(function* () {
      const content = [
        real[0],
        "not json",
        "",
        `${real[1]}\r`,
        real[2]?.slice(0, 100),
        '{"events":"many"}',
        "{}",
        real[3]?.replace('"pull"', "7"),
        '{"events":[{"id":"","timestamp":"2026-11-22T16:14:12Z","action":"push","target":{"repository":"a"}}]}',
        real[4]?.replace("2026-11-22T", "yesterday "),
        real[5]
      ].join("\n")
      const lines = yield* read(content)
      assert.deepStrictEqual(
        idsOf(lines).flat(),
        [0, 1, 5].map((i) => notifications[i]?.id ?? "")
      )
      const malformed = lines.flatMap((line) => (line._tag === "Malformed" ? [`${line.number}: ${line.reason}`] : []))
      assert.deepStrictEqual(malformed, [
        "2: not JSON at line 1, column 1",
        "5: not JSON since it ends too early, at line 1, column 101",
        '6: Expected array | null at ["events"]',
        '7: Missing key at ["events"]',
        '8: Expected string at ["events"][0]["action"]',
        '9: Expected a value with a length of at least 1 at ["events"][0]["id"]',
        '10: Expected an RFC 3339 timestamp at ["events"][0]["timestamp"]'
      ])
    })
  )

  it.effect("may be larger than one read, with characters across its borders", () =>
    Effect.gen(function* () {
      const events = Array.from({ length: 3000 }, (_, i) => renamed(i % 60, `ünïcödé ✓ ${i}`))
      const lines = yield* read(events.map((event) => lineOf(event)).join("\n") + "\n")
      assert.deepStrictEqual(
        idsOf(lines).flat(),
        events.map(({ id }) => id)
      )
    })
  )

  it.effect("fails typed when there is no file", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.result(Input.open(join(example, "nothing.ndjson")))
      assert.isTrue(Result.isFailure(missing) && missing.failure instanceof Input.InputError)
      const folder = yield* Effect.flip(Input.open(example))
      assert.strictEqual(folder.reason, "it is a directory")
    })
  )
})

describe("the checks", () => {
  const node = (kind: string, counts: Partial<EventSink.SinkCounts>): EventSink.SinkHealth => ({
    kind,
    name: kind,
    state: "closed",
    pending: 0,
    oldestAge: undefined,
    inFlight: 0,
    breaker: undefined,
    lastError: undefined,
    counts: {
      accepted: 0,
      delivered: 0,
      filtered: 0,
      dropped: 0,
      undelivered: 0,
      deadLettered: 0,
      remaining: 0,
      ...counts
    }
  })

  /** An endpoint that got a and b delivered, ignores blobs, and dropped c: all of it true. */
  const evidence = (): Evidence & { readonly entry: Entry } => {
    const entry = new Entry({ wants: (event) => !RegistryEvent.isBlob(event), mayGiveUp: true })
    for (const [at, id] of [
      [2, "a"],
      [0, "blob"],
      [3, "b"],
      [2, "c"]
    ] as const)
      entry.wrote(renamed(at, id), true)
    return {
      path: [
        node("Subscription", { accepted: 3, delivered: 2, deadLettered: 1 }),
        node("RetryingSink", { accepted: 2, delivered: 2 }),
        node("HttpSink", { accepted: 2, delivered: 2 })
      ],
      entry,
      receiver: { kept: ["a", "a", "b"], acknowledged: 2 },
      carried: { waiting: 0, deadLetters: 0 },
      deadLetters: [{ id: "c", why: "gone" }]
    }
  }

  it("find nothing wrong where nothing is", () => {
    assert.deepStrictEqual(faults(evidence()), [])
    assert.deepStrictEqual(total(evidence().path), {
      accepted: 3,
      delivered: 2,
      filtered: 0,
      dropped: 0,
      undelivered: 0,
      deadLettered: 1,
      remaining: 0
    })
    assert.deepStrictEqual(fates(["a", "b", "c", "d", "a"], ["a", "a", "b"], new Set(["c", "b"])), {
      delivered: 3,
      dead: 1,
      missing: 1
    })
  })

  it("find nothing wrong in a run that goes on with another's", () => {
    // It had left b and e to be delivered, and d among the dead letters; this run's nodes know nothing else of it.
    const { entry, path, ...rest } = evidence()
    const all = new Entry({ wants: (event) => !RegistryEvent.isBlob(event), mayGiveUp: true })
    for (const id of ["d", "e"]) all.wrote(renamed(2, id), false)
    all.wrote(renamed(0, "another blob"), false)
    all.wanted.push(...entry.wanted)
    all.sent = entry.sent
    const on: Evidence = {
      ...rest,
      entry: all,
      path: path.with(0, node("Subscription", { accepted: 5, delivered: 4, deadLettered: 1 })),
      receiver: { kept: ["e", "b", "e", "a", "b"], acknowledged: 4 },
      carried: { waiting: 2, deadLetters: 1 },
      deadLetters: [
        { id: "d", why: "gone" },
        { id: "c", why: "gone" }
      ]
    }
    assert.deepStrictEqual(faults(on), ["event a came out of order"])
    const inOrder = { ...on, receiver: { kept: ["e", "e", "a", "b", "a", "b"], acknowledged: 4 } }
    assert.deepStrictEqual(faults(inOrder), [])
    // What the first run had left is lost.
    assert.deepStrictEqual(faults({ ...inOrder, path }), [
      "5 events were stored for it, and it accepted 3",
      "it delivered 2 events, and the receiver acknowledged 4"
    ])
    assert.deepStrictEqual(faults({ ...inOrder, receiver: { kept: ["a", "b"], acknowledged: 4 } }), [
      "event e never came"
    ])
    assert.include(
      faults({ ...inOrder, deadLetters: inOrder.deadLetters.slice(1) }).join(),
      "event d never came,1 events were given up, and 0 are dead letters"
    )
  })

  it("find a gap", () => {
    assert.deepStrictEqual(sequence(["a", "b", "c"], ["a", "c"]), ["event b never came"])
    assert.deepStrictEqual(sequence(["a", "b", "c"], ["a"]), ["event b and 1 more never came"])
    assert.include(faults({ ...evidence(), receiver: { kept: ["b"], acknowledged: 2 } }), "event a never came")
  })

  it("find a reordering", () => {
    assert.deepStrictEqual(sequence(["a", "b", "c"], ["a", "c", "b"]), ["event b came out of order"])
    assert.deepStrictEqual(faults({ ...evidence(), receiver: { kept: ["b", "a"], acknowledged: 2 } }), [
      "event a came out of order"
    ])
  })

  it("find what should not have come", () => {
    assert.deepStrictEqual(sequence(["a"], ["a", "blob"]), ["event blob should not have come"])
  })

  it("forgive duplicates, and the loss only of what may be given up", () => {
    assert.deepStrictEqual(sequence(["a", "b", "a"], ["a", "a", "b", "a", "b"]), [])
    assert.deepStrictEqual(sequence(["a", "b"], ["b"], new Set(["a"])), [])
    assert.deepStrictEqual(sequence(["a", "b"], ["b", "a"], new Set(["a"])), [])
    const { entry, ...rest } = evidence()
    const strict = Object.assign(new Entry(), { ...entry, mayGiveUp: false })
    assert.deepStrictEqual(faults({ ...rest, entry: strict }), [
      "event c never came",
      "it may give nothing up, and gave up 1 events"
    ])
  })

  it("find a broken equation, in one node and between two", () => {
    const { path } = evidence()
    assert.deepStrictEqual(conservation(path.with(1, node("RetryingSink", { accepted: 2, delivered: 1 }))), [
      "RetryingSink accepted 2 events and accounts for 1"
    ])
    // Each node is right by itself, and one that the subscription takes for delivered was dropped below it.
    const between = path.with(1, node("EventQueue", { accepted: 2, delivered: 1, dropped: 1 }))
    assert.deepStrictEqual(conservation(between), ["the endpoint accepted 3 events and accounts for 4"])
  })

  it("find accounts that others contradict", () => {
    const { entry, path, receiver, ...rest } = evidence()
    const more = Object.assign(new Entry(), entry, { sent: 5 })
    assert.deepStrictEqual(faults({ ...rest, path, receiver, entry: more }), [
      "5 events were stored for it, and it accepted 3"
    ])
    assert.deepStrictEqual(faults({ ...rest, path, entry, receiver: { ...receiver, acknowledged: 1 } }), [
      "it delivered 2 events, and the receiver acknowledged 1"
    ])
    const twice = [...rest.deadLetters, ...rest.deadLetters]
    assert.deepStrictEqual(faults({ ...rest, path, entry, receiver, deadLetters: twice }), [
      "1 events were given up, and 2 are dead letters"
    ])
    const left = path.with(0, node("Subscription", { accepted: 3, delivered: 2, remaining: 1 }))
    assert.deepStrictEqual(faults({ ...rest, path: left, entry, receiver }), [
      "1 events are left",
      "0 events were given up, and 1 are dead letters"
    ])
  })
})

describe("the main job", () => {
  const temporary = { path: "" }
  beforeAll(() => void (temporary.path = mkdtempSync(join(tmpdir(), "registry-notifications-"))))
  afterAll(() => rmSync(temporary.path, { recursive: true, force: true }))

  interface Run {
    readonly code: number | null
    readonly stdout: string
    readonly stderr: string
  }

  /** Starts what `npm start` runs, called from the temporary folder, and with its own temporary files in there. */
  const begin = (args: ReadonlyArray<string> = [], preload: ReadonlyArray<string> = []) => {
    const child = spawn(
      process.execPath,
      ["--conditions=@effect-events/source", ...preload, join(example, "main.ts"), ...args],
      {
        cwd: root,
        env: { ...process.env, INIT_CWD: temporary.path, TMPDIR: temporary.path },
        stdio: ["ignore", "pipe", "pipe"]
      }
    )
    const said = { stdout: "", stderr: "" }
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (said.stdout += chunk))
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (said.stderr += chunk))
    const ended = new Promise<Run>((resolve, reject) => {
      child.on("error", reject)
      child.on("close", (code) => resolve({ code, ...said }))
    })
    return { child, said, ended }
  }
  const start = (...args: Parameters<typeof begin>): Promise<Run> => begin(...args).ended
  /** Waits until a run sends. */
  const beginning = async ({ child, said }: Pick<ReturnType<typeof begin>, "child" | "said">): Promise<void> => {
    while (!said.stdout.includes("The flaky") && child.exitCode === null) await sleep(10)
  }
  /** The journals of runs that have not ended well. */
  const journals = () => readdirSync(temporary.path).filter((name) => name.startsWith("registry-notifications-"))

  const columns = ["events", "filtered", "delivered", "dead", "missing", "attempts", "repeats"] as const

  /** The line of one endpoint in the table. */
  const row = ({ stdout }: Run, endpoint: string): Record<(typeof columns)[number], number> => {
    const [, numbers = ""] = new RegExp(`^${endpoint}((?: +\\d+){${columns.length}})$`, "m").exec(stdout) ?? []
    const cells = numbers.trim().split(/ +/).map(Number)
    return Object.fromEntries(columns.map((column, i) => [column, cells[i]])) as ReturnType<typeof row>
  }

  it("delivers the 60 real events, and accounts for each", { timeout: 120_000 }, async ({ expect }) => {
    const run = await start()
    expect(run).toMatchObject({ code: 0, stderr: "" })
    const all = { events: 60, filtered: 0, delivered: 60, dead: 0, missing: 0 }
    expect(row(run, "healthy")).toMatchObject(all)
    expect(row(run, "flaky")).toMatchObject(all)
    expect(row(run, "late")).toMatchObject({ ...all, filtered: 42, delivered: 18 })
    expect(row(run, "absent")).toMatchObject({ ...all, delivered: 0, dead: 60, attempts: 180, repeats: 0 })
    expect(run.stdout).toMatch(/^ {2}absent: 60 events: gave up after 3 attempts: no connection \(ECONNREFUSED\)$/m)
    // the flaky one failed, the late one was not there
    expect(row(run, "flaky").attempts).toBeGreaterThan(70)
    expect(row(run, "flaky").repeats).toBeGreaterThan(0)
    expect(row(run, "late").attempts).toBeGreaterThan(18)
    // The whole graph.
    expect(run.stdout).toMatch(/^flowchart TD\n {2}0\["DurableBroadcaster notifications"\]$/m)
    for (const name of ["healthy", "flaky", "late", "absent"])
      for (const kind of ["Subscription", "RetryingSink", "HttpSink"])
        expect(run.stdout).toContain(`["${kind} ${name}"]`)
    expect(run.stdout.match(/^ {2}\d+ --> \d+$/gm)?.length).toBe(12)
    expect(run.stdout).toContain("seed 42")
    expect(run.stdout).toMatch(/^checked: /m)
    // plain lines of progress, since this is no terminal
    expect(run.stdout.match(/^ +\d+\.\ds {2}healthy \d+\/\d+ .*$/gm)?.length).toBeGreaterThan(2)
    expect(run.stdout).not.toContain("\u001B")
  })

  it("goes on where it was when it was killed, at any moment", { timeout: 240_000 }, async ({ expect }) => {
    const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 1_000_000)
    const rounds = Number(process.env["EFFECT_EVENTS_KILLS"] ?? 4)
    const random = randomFrom(seed)
    const lives: Array<string> = []
    // Another seed than that of other tests, and so another run. It is killed until it was killed often enough.
    const args = ["--seed", "9"]
    const before = journals().length
    for (let kills = 0; kills < rounds;) {
      const { child, ended, said } = begin(args)
      // Some die before they have begun.
      if (random() > 0.1) await beginning({ child, said })
      await sleep(random() * 2500)
      child.kill("SIGKILL")
      const { code, stdout } = await ended
      lives.push(stdout)
      if (code === null) kills++
      else expect(code, `EFFECT_EVENTS_SEED=${seed}`).toBe(0)
    }
    const run = await start(args)
    lives.push(run.stdout)
    const all = { events: 60, filtered: 0, delivered: 60, dead: 0, missing: 0 }
    expect(run, `EFFECT_EVENTS_SEED=${seed} ${lives.join("")}`).toMatchObject({ code: 0, stderr: "" })
    expect(row(run, "healthy")).toMatchObject(all)
    expect(row(run, "flaky")).toMatchObject(all)
    expect(row(run, "late")).toMatchObject({ ...all, filtered: 42, delivered: 18 })
    expect(row(run, "absent")).toMatchObject({ ...all, delivered: 0, dead: 60 })
    expect(run.stdout).toMatch(/^read: 60 envelopes with 60 events$/m)
    // It had something to go on with, and left nothing behind.
    expect(lives.join("")).toMatch(/^An earlier run was interrupted: going on at line \d+\.$/m)
    expect(journals().length).toBe(before)
    if (rounds > 4) console.log(lives.flatMap((life) => /going on at line \d+/.exec(life)?.[0] ?? "begins"))
  })

  it(
    "keeps what it has when it is interrupted, and begins anew when it was done",
    { timeout: 60_000 },
    async ({ expect }) => {
      const args = ["--seed", "8", "--data", "mine"]
      const { child, ended, said } = begin(args)
      while (!said.stdout.includes("The flaky") && child.exitCode === null) await sleep(10)
      child.kill("SIGINT")
      expect(await ended).toMatchObject({ code: 130, stderr: "" })
      // It is not for another run.
      const other = await start(["--seed", "7", "--data", "mine"])
      expect(other).toMatchObject({ code: 1, stdout: "" })
      expect(other.stderr).toContain("mine has the interrupted run of another file, or of another seed")
      writeFileSync(join(temporary.path, "mine", "notes"), "of another program")
      const second = await start(args)
      expect(second).toMatchObject({ code: 0, stderr: "" })
      expect(second.stdout).toContain("An earlier run was interrupted")
      expect(row(second, "healthy")).toMatchObject({ events: 60, delivered: 60, missing: 0 })
      expect(readdirSync(join(temporary.path, "mine"))).toEqual(["notes"])
      const third = await start(args)
      expect(third).toMatchObject({ code: 0, stderr: "" })
      expect(third.stdout).not.toContain("An earlier run was interrupted")
    }
  )

  it("works on a run once at a time", { timeout: 60_000 }, async ({ expect }) => {
    // The absent receiver needs longer for so many than another run waits for its turn.
    writeFileSync(
      join(temporary.path, "long.ndjson"),
      lineOf(...Array.from({ length: 5000 }, (_, i) => renamed(2, `${i}`)))
    )
    const first = begin(["long.ndjson"])
    await beginning(first)
    const second = await start(["long.ndjson"])
    expect(second).toMatchObject({ code: 1, stdout: "" })
    expect(second.stderr).toContain("another run is at work in ")
    expect(first.child.exitCode).toBe(null)
    first.child.kill("SIGKILL")
    await first.ended
  })

  it.concurrent(
    "takes another file, and loses nothing but its malformed lines",
    { timeout: 30_000 },
    async ({ expect }) => {
      const ids = (n: number, at: number, prefix: string) =>
        Array.from({ length: n }, (_, i) => renamed(at, `${prefix}${i}`))
      const content = [
        lineOf(...ids(7, 0, "blob"), ...ids(5, 2, "manifest")),
        "{",
        lineOf(),
        lineOf(...ids(1, 56, "delete")),
        '{"events":[{}]}'
      ].join("\n")
      writeFileSync(join(temporary.path, "many.ndjson"), content)
      const run = await start(["many.ndjson", "--seed", "7"])
      expect(run).toMatchObject({ code: 0, stderr: "" })
      const manifests = 5 + (notifications[56] && RegistryEvent.isBlob(notifications[56]) ? 0 : 1)
      expect(row(run, "healthy")).toMatchObject({ events: 13, delivered: 13, attempts: 13 })
      expect(row(run, "flaky")).toMatchObject({ events: 13, delivered: 13 })
      expect(row(run, "late")).toMatchObject({ events: 13, delivered: manifests, filtered: 13 - manifests })
      expect(row(run, "absent")).toMatchObject({ events: 13, delivered: 0, dead: 13 })
      expect(run.stdout).toContain("seed 7")
      expect(run.stdout).toMatch(/^line 2 is malformed: not JSON since it ends too early/m)
      expect(run.stdout).toMatch(/^line 5 is malformed: Missing key at \["events"\]\[0\]\["id"\]$/m)
      expect(run.stdout).toMatch(/^read: 3 envelopes with 13 events$/m)
      expect(run.stdout).toMatch(/^LEFT OUT: 2 malformed lines/m)
    }
  )

  it.concurrent(
    "notices a network that says an event has arrived when it has not",
    { timeout: 30_000 },
    async ({ expect }) => {
      writeFileSync(join(temporary.path, "three.ndjson"), lineOf(...[0, 2, 3].map((at) => renamed(at, `event-${at}`))))
      const lie = `const { fetch } = globalThis
      let requests = 0
      globalThis.fetch = (...args) => ++requests === 1 ? Promise.resolve(new Response(null, { status: 204 })) : fetch(...args)`
      const run = await start(["three.ndjson"], ["--import", `data:text/javascript,${encodeURIComponent(lie)}`])
      expect(run.code).toBe(1)
      expect(run.stderr).toContain("the checks failed")
      expect(run.stderr).toContain("the receiver acknowledged")
      expect(run.stderr).toContain("never came")
      expect(run.stdout).not.toMatch(/^checked: /m)
    }
  )

  it.concurrent("says in one line that there is no such file", { timeout: 30_000 }, async ({ expect }) => {
    const run = await start(["nowhere.ndjson"])
    expect(run).toMatchObject({ code: 1, stdout: "" })
    expect(run.stderr.trim().split("\n")).toEqual([
      "ERROR",
      `  cannot read ${join(temporary.path, "nowhere.ndjson")}: there is no such file`
    ])
  })
})
