/** Processes that answer each line with a line: the children of the benchmark, ours and the Go program's. */
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { Figures, Load, Row, Side } from "./model.ts"

const script = fileURLToPath(new URL("child.ts", import.meta.url))
/** Spares the processes most of their start, which is not measured: types stripped, and bytecode. */
const compiled = fileURLToPath(new URL("../../.cache/bench/compiled", import.meta.url))
/** A sample that takes longer than this will not end. */
const patience = 60_000

export interface Measurer {
  /** Lets it prepare and warm up. */
  readonly warm: () => Promise<void>
  readonly sample: () => Promise<Figures>
  readonly stop: () => void
}

const measurer = (command: string, args: ReadonlyArray<string>): Measurer => {
  const child = spawn(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, NODE_COMPILE_CACHE: compiled }
  })
  let said = ""
  child.stderr.on("data", (text) => (said += text))
  // One that has died cannot be written to; its end is reported below.
  child.stdin.on("error", () => {})
  const ended = new Promise<never>((_, reject) => {
    child.on("error", reject)
    child.on("close", (code) => reject(new Error(`ended with ${code}: ${said.trim().slice(-2000)}`)))
  })
  ended.catch(() => {})
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()

  const line = async (): Promise<string> => {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${patience} ms`)), patience)
    })
    // The lines end a moment before the process does: then its exit has the reason.
    const next = lines.next().then(({ done, value }) => (done ? ended : value))
    try {
      return await Promise.race([next, late])
    } finally {
      clearTimeout(timer)
    }
  }

  const ask = (): Promise<string> => {
    child.stdin.write("\n")
    return line()
  }
  return {
    warm: async () => {
      const answer = await ask()
      if (answer !== "ready") throw new Error(`said "${answer}" for "ready"`)
    },
    sample: async () => JSON.parse(await ask()),
    stop: () => {
      child.stdin.end()
      child.kill("SIGKILL")
    }
  }
}

/** Starts a process for one side; `go` is the path of the Go program. */
export const measure = (row: Row, side: Side, load: Load, warmUp: number, go: string): Measurer => {
  const figures = [load.n, load.millis, warmUp].map(String)
  if (typeof side.run === "string") return measurer(go, [...figures, ...side.run.split(" ")])
  const flags = ["--expose-gc", "--conditions=@effect-events/source"]
  return measurer(process.execPath, [...flags, script, row.name, side.label, ...figures])
}
