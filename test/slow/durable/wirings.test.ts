/** Law 18: what compiles and can be made acknowledges nothing from memory. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Fate, wirings } from "../../durable/support/wirings.ts"
import { compile, type Diagnostic, directoryOf, isBroken } from "../../types/compile.ts"

/** How often the process is killed. */
const kills = 3
/** How many writes of each wiring are acknowledged before it is. */
const enough = 5

const named = wirings.map((wiring, i) => ({ ...wiring, name: `wiring${i}` }))
const of = (fate: Fate) => named.filter((one) => one.fate === fate)

let diagnostics: ReadonlyMap<string, ReadonlyArray<Diagnostic>>
let server: Server
let url = ""
let folder = ""
const received = new Map<string, Set<number>>()
const acknowledged = new Map<string, Set<number>>()
const defects = new Map<string, string>()

const note = (of: Map<string, Set<number>>, name: string, n: number): number => {
  const found = of.get(name) ?? new Set()
  of.set(name, found)
  return found.add(n).size
}

/** Starts a process with wirings, all on one file; with a number to write from, it writes. */
const start = (names: ReadonlyArray<string>, from: number | undefined) => {
  const child = spawn(
    process.execPath,
    [
      "--conditions=@effect-events/source",
      "--disable-warning=ExperimentalWarning",
      fileURLToPath(new URL("../../durable/support/wiringChild.ts", import.meta.url)),
      url,
      join(folder, "events.db"),
      directoryOf("wirings"),
      String(from ?? ""),
      names.join(",")
    ],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  const lines = createInterface({ input: child.stdout })
  const exit = once(child, "exit")
  const ended = once(lines, "close")
  let isReady = false
  lines.on("line", (line) => {
    const [word, name = "", ...rest] = line.split(" ")
    if (word === "wrote") note(acknowledged, name, Number(rest[0]))
    if (word === "died") defects.set(name, String(JSON.parse(rest.join(" "))))
    if (word === "ready") isReady = true
  })
  return {
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    isReady: () => isReady,
    kill: async () => {
      child.kill("SIGKILL")
      await exit
      await ended
    }
  }
}

const lost = (fate: Fate = "loses nothing") =>
  of(fate).flatMap(({ name, title }) => {
    const missing = [...(acknowledged.get(name) ?? [])].filter((n) => received.get(name)?.has(n) !== true)
    return missing.length === 0 ? [] : [`${title}: ${missing.length} of ${acknowledged.get(name)?.size} are lost`]
  })

beforeAll(async () => {
  diagnostics = compile(Object.fromEntries(named.map(({ code, name }) => [name, code])), "wirings")
  folder = mkdtempSync(join(tmpdir(), "effect-events-wirings-"))
  server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (some: string) => (body += some))
    request.on("end", () => {
      note(received, request.url?.slice(1) ?? "", (JSON.parse(body) as { readonly n: number }).n)
      response.writeHead(204).end()
    })
    request.on("error", () => {})
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}, 240_000)
afterAll(() => {
  server.closeAllConnections()
  server.close()
  rmSync(folder, { recursive: true, force: true })
})

describe("does not compile", () => {
  it.each(of("does not compile").map((one) => [one.title, one] as const))("%s", (_, { name, says }) => {
    const found = diagnostics.get(name) ?? []
    expect(found.length, "it compiles").toBeGreaterThan(0)
    expect(found.filter(isBroken)).toEqual([])
    for (const part of says) expect(found.map(({ text }) => text).join("\n")).toContain(part)
  })
})

describe("compiles", () => {
  const compiled = named.filter(({ fate }) => fate !== "does not compile")
  it.each(compiled.map(({ name, title }) => [title, name] as const))("%s", (_, name) => {
    expect((diagnostics.get(name) ?? []).map(({ text }) => text)).toEqual([])
  })

  it("what the wirings import", () => {
    const names = new Set(named.map(({ name }) => name))
    expect([...diagnostics].filter(([file]) => !names.has(file))).toEqual([])
  })
})

describe("dies at construction, and names the way", () => {
  const dying = of("dies at construction")
  beforeAll(async () => {
    const child = start(
      dying.map(({ name }) => name),
      undefined
    )
    while (!child.isReady() && !child.hasEnded()) await sleep(20)
    await child.kill()
  }, 240_000)
  it.each(dying.map((one) => [one.title, one] as const))("%s", (_, { name, says }) => {
    for (const part of says) expect(defects.get(name) ?? "it does not die").toContain(part)
  })
})

describe("SIGKILL right after acknowledgements", () => {
  it("loses nothing of what compiles and can be made", { timeout: 480_000 }, async () => {
    const names = [...of("loses nothing"), ...of("is marked")].map(({ name }) => name)
    // On a busy machine all may have arrived before a kill: then there are more.
    const isAtStake = () => lost().length > 0 && lost("is marked").length > 0
    for (let kill = 0; kill < kills || (!isAtStake() && kill < 10 * kills); kill++) {
      const before = new Map(names.map((name) => [name, acknowledged.get(name)?.size ?? 0]))
      const child = start(names, kill * 1_000_000)
      while (
        !child.hasEnded() &&
        names.some((name) => (acknowledged.get(name)?.size ?? 0) < before.get(name)! + enough && !defects.has(name))
      )
        await sleep(1)
      expect([child.hasEnded(), names.filter((name) => defects.has(name)).map((name) => defects.get(name))]).toEqual([
        false,
        []
      ])
      await child.kill()
      // What was on its way is there by then.
      await sleep(200)
    }
    // Something was at stake.
    expect(lost()).not.toEqual([])
    const last = start(names, undefined)
    const patience = Date.now() + 240_000
    while (lost().length > 0 && !last.hasEnded() && Date.now() < patience) await sleep(50)
    await last.kill()
    expect(lost()).toEqual([])
    // What is lost would be seen.
    expect(lost("is marked")).not.toEqual([])
  })
})
