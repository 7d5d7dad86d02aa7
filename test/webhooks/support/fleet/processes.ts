/** The processes of a fleet: started, asked on lines, killed and paused. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { Answer, Arrival, Behaviour, Command, Orders } from "./world.ts"

const start = (file: string, argument: string, onLine: (line: string) => void) => {
  const child = spawn(
    process.execPath,
    [
      "--conditions=@effect-events/source",
      "--disable-warning=ExperimentalWarning",
      fileURLToPath(new URL(file, import.meta.url)),
      argument
    ],
    {
      stdio: ["pipe", "pipe", "pipe"],
      // Loading effect is most of what a process costs.
      env: {
        ...process.env,
        NODE_COMPILE_CACHE: fileURLToPath(new URL("../../../../.cache/compiled", import.meta.url))
      }
    }
  )
  let errors = ""
  child.stderr.on("data", (some) => (errors += String(some)))
  // One that is killed reads no more.
  child.stdin.on("error", () => {})
  const lines = createInterface({ input: child.stdout })
  lines.on("line", onLine)
  // All lines have been read once both have ended.
  const ended = Promise.all([once(child, "exit"), once(lines, "close")]).then(() => {})
  return {
    child,
    ended,
    errors: () => errors,
    write: (what: object) => void child.stdin.write(`${JSON.stringify(what)}\n`)
  }
}

export interface Member {
  readonly ready: Promise<void>
  readonly ended: Promise<void>
  readonly hasEnded: () => boolean
  readonly errors: () => string
  /** Nothing where the process ended before it had answered. */
  readonly ask: (command: Command) => Promise<Answer | undefined>
  readonly signal: (signal: "SIGKILL" | "SIGSTOP" | "SIGCONT") => void
  /** Closes it, and answers its exit code. */
  readonly close: () => Promise<number | null>
}

export const startMember = (orders: Orders): Member => {
  const asked = new Map<number, (answer: Answer | undefined) => void>()
  let n = 0
  let isReady = () => {}
  const ready = new Promise<void>((resolve) => (isReady = resolve))
  const { child, ended, errors, write } = start("member.ts", JSON.stringify(orders), (line) => {
    if (!line.startsWith("{")) return
    const said: Answer | { readonly ready: true } = JSON.parse(line)
    if ("ready" in said) return isReady()
    asked.get(said.asked)?.(said)
    asked.delete(said.asked)
  })
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  void ended.then(() => asked.forEach((resolve) => resolve(undefined)))
  return {
    ready: Promise.race([ready, ended]),
    ended,
    hasEnded,
    errors,
    ask: (command) =>
      new Promise((resolve) => {
        if (hasEnded()) return resolve(undefined)
        asked.set(n, resolve)
        write({ ...command, asked: n++ })
      }),
    signal: (signal) => void child.kill(signal),
    close: async () => {
      child.stdin.end()
      await ended
      return child.exitCode
    }
  }
}

export interface Receivers {
  readonly ports: readonly [number, number]
  readonly behave: (behaviour: Behaviour) => Promise<void>
  /** Ends them: all that came has been said then. */
  readonly close: () => Promise<void>
}

export const startReceivers = async (endpoints: number, onArrival: (arrival: Arrival) => void): Promise<Receivers> => {
  let behaves: Array<() => void> = []
  let isListening = (_: readonly [number, number]) => {}
  const listening = new Promise<readonly [number, number]>((resolve) => (isListening = resolve))
  const { child, ended, errors, write } = start("receivers.ts", String(endpoints), (line) => {
    const said: Arrival | { readonly ports: readonly [number, number] } | { readonly behaves: Behaviour } =
      JSON.parse(line)
    if ("ports" in said) isListening(said.ports)
    else if ("behaves" in said) behaves.shift()?.()
    else onArrival(said)
  })
  const failed = ended.then(() => Promise.reject(new Error(`the receivers ended: ${errors()}`)))
  // It is awaited by what needs them.
  failed.catch(() => {})
  const ports = await Promise.race([listening, failed])
  return {
    ports,
    behave: (behaviour) => {
      const done = new Promise<void>((resolve) => (behaves = [...behaves, resolve]))
      write(behaviour)
      return Promise.race([done, failed])
    },
    close: async () => {
      child.stdin.end()
      await ended
    }
  }
}
