/**
 * Kills and pauses processes that write to a durable queue and deliver from it, and judges what a receiver got: all that
 * was acknowledged, nothing that was not written, in order once duplicates are removed, and no more duplicates than there may be.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { randomFrom } from "../../support/random.ts"
import type { Orders } from "./crashChild.ts"

export interface Plan {
  readonly store: Orders["store"]
  /** How often something is killed or paused. */
  readonly rounds: number
  readonly seed: number
  /** How many processes there are at a time. */
  readonly processes: number
  /** Whether the owner of the lease may be paused for longer than it lasts, in place of being killed. */
  readonly pauses?: boolean | undefined
  /** How many deliveries go on at once in a process, each of the events of one writer; 1 by default. */
  readonly concurrency?: number | undefined
  /** Kills the store's server and starts it again, every third round. */
  readonly restartServer?: (() => Promise<void>) | undefined
}

/** What came of it. */
export interface Outcome {
  readonly kills: number
  readonly pauses: number
  readonly restarts: number
  readonly acknowledged: number
  readonly arrived: number
  readonly repeats: number
  /** What should not have been, each in words. */
  readonly problems: ReadonlyArray<string>
}

const batchSize = 20
const leaseTtl = 400
/** One writer writes batches, the others events one by one. */
const writers = [1, 1, 5, 1]

/** The record of one writer in one process. */
interface Writer {
  readonly size: number
  /** How many of its events were acknowledged, and how many writes it repeated, not knowing. */
  acknowledged: number
  repeated: number
  /** The number that is to arrive next for the first time. */
  next: number
}

export const crashes = async (plan: Plan): Promise<Outcome> => {
  const random = randomFrom(plan.seed)
  const problems: Array<string> = []
  const known = new Map<string, Writer>()
  let arrived = 0
  let repeats = 0
  const problem = (text: string) => void (problems.length < 20 && problems.push(text))

  const writerOf = (run: number, writer: number): Writer => {
    const key = `${run}:${writer}`
    const found = known.get(key) ?? { size: writers[writer] ?? 0, acknowledged: 0, repeated: 0, next: 0 }
    known.set(key, found)
    return found
  }

  const receive = (body: string): void => {
    for (const line of body.split("\n").filter(Boolean)) {
      const { n, run, writer } = JSON.parse(line) as {
        readonly run: number
        readonly writer: number
        readonly n: number
      }
      const state = writerOf(run, writer)
      arrived++
      if (n < state.next) {
        repeats++
        continue
      }
      if (n > state.next) problem(`${run}:${writer} ${n} came when ${state.next} had not`)
      state.next = n + 1
    }
  }

  const server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (some: string) => (body += some))
    request.on("end", () => {
      receive(body)
      response.writeHead(204).end()
    })
    // A request that a dying process did not finish is no delivery.
    request.on("error", () => {})
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`

  let runs = 0
  const start = (writes: boolean) => {
    const run = runs++
    const { concurrency = 1, store } = plan
    const orders: Orders = { store, url, run, writers: writes ? writers : [], batchSize, leaseTtl, concurrency }
    const child = spawn(
      process.execPath,
      [
        "--conditions=@effect-events/source",
        "--disable-warning=ExperimentalWarning",
        fileURLToPath(new URL("crashChild.ts", import.meta.url)),
        JSON.stringify(orders)
      ],
      { stdio: ["ignore", "pipe", "pipe"] }
    )
    let errors = ""
    let said = false
    child.stderr.on("data", (some) => (errors += String(some)))
    const lines = createInterface({ input: child.stdout })
    const ready = once(lines, "line")
    const exit = once(child, "exit")
    // All lines have been read once this has ended.
    const ended = once(lines, "close")
    lines.on("line", (line) => {
      said = true
      const [word, writer, n] = line.split(" ")
      if (word === "wrote") writerOf(run, Number(writer)).acknowledged = Number(n)
      if (word === "again") writerOf(run, Number(writer)).repeated++
      if (word === "dead" && writer !== "0") problem(`${writer} dead letters`)
    })
    return { child, run, ready: Promise.race([ready, exit]), isReady: () => said, exit, ended, errors: () => errors }
  }
  type Child = ReturnType<typeof start>

  const kill = async (one: Child): Promise<void> => {
    one.child.kill("SIGKILL")
    await one.exit
    await one.ended
  }

  let kills = 0
  let pauses = 0
  let restarts = 0
  let stillborn = 0
  const alive: Array<Child> = []
  try {
    for (let round = 0; round < plan.rounds; round++) {
      while (alive.length < plan.processes) alive.push(start(true))
      const one = alive[Math.floor(random() * alive.length)]!
      // Some die before they have begun.
      const begins = random() > 0.1
      if (begins) await one.ready
      await sleep(random() * (plan.processes === 1 ? 700 : 400))
      if (hasEnded(one.child) && !one.isReady() && plan.restartServer !== undefined && stillborn++ < plan.rounds) {
        // It found no server.
        alive.splice(alive.indexOf(one), 1)
        round--
        continue
      }
      if (hasEnded(one.child)) {
        problem(`a process ended by itself: ${one.errors()}`)
        break
      }
      if (plan.restartServer !== undefined && round % 3 === 2) {
        restarts++
        await plan.restartServer()
      } else if (plan.pauses === true && random() < 0.5) {
        pauses++
        one.child.kill("SIGSTOP")
        await sleep(leaseTtl * (1 + random()))
        one.child.kill("SIGCONT")
      } else {
        kills++
        alive.splice(alive.indexOf(one), 1)
        await kill(one)
      }
    }
    for (const one of alive.splice(0)) await kill(one)
    const last = start(false)
    alive.push(last)
    const isOver = await Promise.race([last.exit.then(() => true), sleep(120_000, false, { ref: false })])
    if (!isOver || last.child.exitCode !== 0) problem(`the rest was not delivered: ${last.errors()}`)
    await kill(last)
  } finally {
    for (const { child } of alive) child.kill("SIGKILL")
    server.closeAllConnections()
    server.close()
  }

  let acknowledged = 0
  let again = 0
  for (const [key, { acknowledged: n, next, repeated, size }] of known) {
    acknowledged += n
    again += repeated * size
    if (next < n) problem(`${key}: ${n} writes succeeded, and ${next} events came`)
    if (next > n + size) problem(`${key}: ${n} writes succeeded, ${size} more may have, and ${next} events came`)
  }
  // A paused owner finishes the batch that it has in flight, which the next one delivers too.
  const most = (kills + alive.length + plan.processes + 2 * pauses + 2 * restarts) * batchSize + again
  if (repeats > most) problem(`${repeats} repeats, of at most ${most}`)
  return { kills, pauses, restarts, acknowledged, arrived, repeats, problems }
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null
