/**
 * Plans under kills: no attempt is skipped, none comes earlier than planned but one more after a crash, and no event before its own
 * time.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import type { PlanOrders } from "../../durable/support/planChild.ts"
import { describePostgres } from "../../durable/support/postgres.ts"
import { randomFrom } from "../../support/random.ts"

const rounds = Number(process.env["EFFECT_EVENTS_KILLS"] ?? 8)
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 1_000_000)
const timeout = 60_000 + rounds * 5_000
const modes = ["ordered", "keyed", "unordered"] as const
const delays = [150, 300, 450, 600] as const

interface Attempt {
  readonly event: number
  readonly run: number
  readonly at: number
}

const start = (orders: PlanOrders) => {
  const child = spawn(
    process.execPath,
    [
      "--conditions=@effect-events/source",
      "--disable-warning=ExperimentalWarning",
      fileURLToPath(new URL("../../durable/support/planChild.ts", import.meta.url)),
      JSON.stringify(orders)
    ],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  const lines: Array<string> = []
  const reading = createInterface({ input: child.stdout })
  const ready = new Promise<void>((resolve) => {
    reading.on("line", (line) => {
      lines.push(line)
      resolve()
    })
  })
  const exit = once(child, "exit")
  return { child, lines, ready: Promise.race([ready, exit]), exit, ended: once(reading, "close") }
}

/** The attempts of one refused event: how many were made beyond the plan, and what must not be. */
const judge = (event: number, attempts: ReadonlyArray<Attempt>) => {
  const problems: Array<string> = []
  /** How many failures the store may know of before an attempt: whether a process that died had stored its last is not known. */
  let known: ReadonlyArray<number> = [0]
  attempts.forEach(({ at, run }, i) => {
    const next = attempts[i + 1]
    if (next === undefined) return
    // The clock of a log has whole milliseconds.
    const planned = known.flatMap((failed) => (next.at - at >= (delays[failed] ?? Infinity) - 1 ? failed + 1 : []))
    const possible = next.run === run ? planned : [...new Set([...planned, ...known])]
    if (possible.length > 0) known = possible
    else
      problems.push(
        `${event}: ${next.at - at} ms after attempt ${i + 1}, with ${known.join(" or ")} failures before it`
      )
  })
  if (attempts.length < delays.length + 1) problems.push(`${event}: ${attempts.length} attempts`)
  return { problems, more: attempts.length - (delays.length + 1) }
}

const underKills = async (store: PlanOrders["store"], mode: PlanOrders["mode"], folder: string) => {
  const random = randomFrom(seed)
  const log = join(folder, "attempts.log")
  const began = Date.now()
  const times = new Map([201, 202, 203].map((event) => [event, began + Math.floor(random() * 3_000)]))
  const write = [
    ...[101, 1, 102, 2, 111, 3, 103].map((event) => [event, 0] as const),
    ...[...times].map(([event, at]) => [event, at] as const)
  ]
  let run = 0
  const orders = (some: Partial<PlanOrders>) => ({
    store,
    mode,
    log,
    run: run++,
    delays,
    write: [],
    finish: false,
    ...some
  })
  const first = start(orders({ write }))
  await first.ready
  let current = first
  for (let round = 0; round < rounds; round++) {
    await sleep(random() * 500)
    current.child.kill("SIGKILL")
    await current.exit
    current = start(orders({ finish: round === rounds - 1 }))
    await current.ready
  }
  const late = sleep(40_000, false, { ref: false })
  if (!(await Promise.race([current.exit.then(() => true), late]))) current.child.kill("SIGKILL")
  await current.ended
  const attempts = readFileSync(log, "utf8")
    .trim()
    .split("\n")
    .map((line): Attempt => {
      const [event = 0, run = 0, at = 0] = line.split(" ").map(Number)
      return { event, run, at }
    })
  const of = (event: number) => attempts.filter((one) => one.event === event)
  const problems: Array<string> = []
  let more = 0
  for (const event of [1, 2, 3]) {
    const found = judge(event, of(event))
    problems.push(...found.problems)
    more += Math.max(0, found.more)
  }
  for (const [event] of write) {
    const [one] = of(event)
    if (one === undefined) problems.push(`${event}: never delivered`)
    else if (one.at < (times.get(event) ?? 0))
      problems.push(`${event}: ${times.get(event)! - one.at} ms before its time`)
  }
  if (more > rounds * 3) problems.push(`${more} attempts beyond the plans, with ${rounds} kills`)
  if (mode === "ordered" && more > rounds)
    problems.push(`${more} attempts beyond the plans in order, with ${rounds} kills`)
  expect(problems, `EFFECT_EVENTS_SEED=${seed} EFFECT_EVENTS_KILLS=${rounds}`).toEqual([])
  const dead = JSON.parse(current.lines.at(-1) ?? "[]") as ReadonlyArray<readonly [number, number, string]>
  expect(dead.toSorted(([a], [b]) => a - b)).toEqual([1, 2, 3].map((event) => [event, 5, "Exhausted"]))
}

const withFolder = async (run: (folder: string) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-events-plans-"))
  try {
    await run(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("plans under SIGKILL, on SQLite", () => {
  it.each(modes)("%s", { timeout }, (mode) =>
    withFolder((folder) => underKills({ sqlite: join(folder, "events.db") }, mode, folder))
  )
})

describePostgres("plans under SIGKILL, on Postgres", (server) => {
  it.each(modes)("%s", { timeout }, (mode) =>
    withFolder((folder) => underKills({ postgres: server().port }, mode, folder))
  )
})
