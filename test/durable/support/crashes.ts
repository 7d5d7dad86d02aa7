/**
 * Kills and pauses processes that write to a durable queue or broadcaster and deliver from it, adds and drops subscriptions
 * meanwhile, and judges what the receivers got: all that was acknowledged, nothing that was not written, in order once
 * duplicates are removed, and no more duplicates than there may be.
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
import { makeRecords } from "./crashRecords.ts"
import { passing, queueOf, standing } from "./crashSubscriptions.ts"

export interface Plan extends Pick<Orders, "store" | "part"> {
  /** How often something is killed or paused. */
  readonly rounds: number
  readonly seed: number
  /** How many processes there are at a time that deliver; they write too. */
  readonly processes: number
  /** How many there are beside them that only write. */
  readonly onlyWriting?: number | undefined
  /** Whether a process may be paused for longer than its leases last, in place of being killed. */
  readonly pauses?: boolean | undefined
  /** How many deliveries of a queue go on at once in a process, each of the events of one writer; 1 by default. */
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
  /** How many subscriptions there were in all. */
  readonly subscriptions: number
  /** What should not have been, each in words. */
  readonly problems: ReadonlyArray<string>
}

const batchSize = 20
const leaseTtl = 400
/** One writer writes batches, the others events one by one. */
const writers = [1, 1, 5, 1]
/** How many subscriptions there are at most that come and go. */
const mostPassing = 3

export const crashes = async (plan: Plan): Promise<Outcome> => {
  const { onlyWriting = 0, part, store } = plan
  const random = randomFrom(plan.seed)
  const pick = <A>(some: ReadonlyArray<A>): A | undefined => some[Math.floor(random() * some.length)]
  const records = makeRecords(writers)
  const { problem } = records
  for (const one of part === "queue" ? queueOf(plan.concurrency ?? 1) : standing) records.known(one)

  /** The requests that the receiver has and commits later, if it does so now. */
  let held: Array<() => void> | undefined
  const server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (some: string) => (body += some))
    const commit = () => {
      // Its process is gone: what it asked for is rolled back.
      if (!request.socket.writable) return
      records.receive(request.url?.slice(1) ?? "", body)
      response.writeHead(204).end()
    }
    request.on("end", () => {
      if (held === undefined) commit()
      else held.push(commit)
    })
    // A request that a dying process did not finish is no delivery.
    request.on("error", () => {})
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`

  let runs = 0
  const start = (does: { readonly writes: boolean; readonly delivers: boolean }) => {
    const run = runs++
    const subscriptions = does.delivers ? records.standing() : []
    const orders: Orders = {
      store,
      part,
      url,
      run,
      writers: does.writes ? writers : [],
      subscriptions,
      batchSize,
      leaseTtl
    }
    const child = spawn(
      process.execPath,
      [
        "--conditions=@effect-events/source",
        "--disable-warning=ExperimentalWarning",
        fileURLToPath(new URL("crashChild.ts", import.meta.url)),
        JSON.stringify(orders)
      ],
      {
        stdio: ["pipe", "pipe", "pipe"],
        // Loading effect is most of what a process costs.
        env: { ...process.env, NODE_COMPILE_CACHE: fileURLToPath(new URL("../../../.cache/compiled", import.meta.url)) }
      }
    )
    let errors = ""
    let isReady = false
    child.stderr.on("data", (some) => (errors += String(some)))
    // One that is killed reads no more.
    child.stdin.on("error", () => {})
    const lines = createInterface({ input: child.stdout })
    const exit = once(child, "exit")
    // All lines have been read once this has ended.
    const ended = once(lines, "close")
    const ready = new Promise<void>((resolve) => {
      lines.on("line", (line) => {
        records.heard(run, line)
        if (line !== "ready") return
        isReady = true
        resolve()
      })
    })
    return {
      child,
      delivers: does.delivers,
      ready: Promise.race([ready, exit]),
      isReady: () => isReady,
      exit,
      ended,
      errors: () => errors,
      order: (what: object) => void child.stdin.write(`${JSON.stringify(what)}\n`)
    }
  }
  type Child = ReturnType<typeof start>

  const kill = async (one: Child): Promise<void> => {
    one.child.kill("SIGKILL")
    await one.exit
    await one.ended
  }

  /** Kills a process in the middle of its deliveries. */
  const killDelivering = async (one: Child): Promise<void> => {
    const holding: Array<() => void> = []
    held = holding
    await sleep(50 + random() * 100)
    await kill(one)
    // Its connections are closed by then.
    await sleep(20)
    held = undefined
    for (const commit of holding) commit()
  }

  let added = 0
  /** Lets a process add a subscription, or drop one. */
  const change = (by: Child) => {
    const some = records.standing().filter(({ name }) => !standing.some((one) => one.name === name))
    const drop = random() < 0.4 || some.length >= mostPassing ? pick(some)?.name : undefined
    if (drop === undefined) {
      const add = passing(added++)
      records.known(add)
      by.order({ add })
    } else {
      records.dropping(drop)
      by.order({ drop })
    }
  }

  let kills = 0
  let pauses = 0
  let restarts = 0
  let stillborn = 0
  const alive: Array<Child> = []
  try {
    for (let round = 0; round < plan.rounds; round++) {
      while (alive.length < plan.processes + onlyWriting) {
        const delivers = alive.filter((one) => one.delivers).length < plan.processes
        alive.push(start({ writes: true, delivers }))
      }
      const one = pick(alive)!
      // Some die before they have begun.
      const begins = random() > 0.1
      if (begins) await one.ready
      const by = part === "broadcaster" && random() < 0.6 ? pick(alive.filter((one) => one.delivers)) : undefined
      if (by !== undefined) change(by)
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
        await (random() < 0.5 ? killDelivering(one) : kill(one))
      }
    }
    for (const one of alive.splice(0)) await kill(one)
    const last = start({ writes: false, delivers: true })
    alive.push(last)
    const isOver = await Promise.race([last.exit.then(() => true), sleep(120_000, false, { ref: false })])
    if (!isOver || last.child.exitCode !== 0) problem(`the rest was not delivered: ${last.errors()}`)
    await kill(last)
  } finally {
    for (const { child } of alive) child.kill("SIGKILL")
    server.closeAllConnections()
    server.close()
  }

  // A paused owner finishes the batch that it has in flight, which the next one delivers too.
  const batches = kills + alive.length + plan.processes + 2 * pauses + 2 * restarts
  return { kills, pauses, restarts, ...records.judge(batches, batchSize) }
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null
