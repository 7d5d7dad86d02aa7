/** Processes that answer each line with a line: the children of the benchmark, ours and the Go program's. */
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { Figures, Load, Row, Side } from "./model.ts"
import { fileOf } from "./rows/index.ts"

const script = fileURLToPath(new URL("child.ts", import.meta.url))
const redirection = new URL("against.ts", import.meta.url).href
/** Spares the processes most of their start, which is not measured: types stripped, and bytecode. */
const compiled = fileURLToPath(new URL("../../.cache/bench/compiled", import.meta.url))
/** Else a collection now and then frees megabytes of code that was not used for a while, amid a row about memory. */
const keepsBytecode = "--no-flush-bytecode"
/** A sample that takes longer than this will not end. */
const answerTimeout = 300_000

export interface Measurer {
  /** Has it prepare and warm up, and answers with what it lacks for being measured, if it lacks something. */
  readonly warm: () => Promise<string | undefined>
  readonly sample: () => Promise<Figures>
  readonly stop: () => void
}

const measurer = (command: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}): Measurer => {
  const child = spawn(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, NODE_COMPILE_CACHE: compiled, ...env }
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
      timer = setTimeout(() => reject(new Error(`no answer within ${answerTimeout} ms`)), answerTimeout)
    })
    // Its output ends a moment before the process does: then its exit has the reason.
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
      if (answer.startsWith("missing ")) return answer.slice("missing ".length)
      if (answer !== "ready") throw new Error(`said "${answer}" for "ready"`)
      return undefined
    },
    sample: async () => JSON.parse(await ask()),
    stop: () => {
      child.stdin.end()
      child.kill("SIGKILL")
    }
  }
}

export interface Start {
  readonly row: Row
  readonly side: Side
  readonly load: Load
  readonly warmUp: number
  /** The path of the Go program. */
  readonly go: string
  /** The folder of the checkout that the side is measured on, if it is not this one. */
  readonly checkout: string | undefined
}

/** Starts a process for one side. */
export const measure = ({ checkout, go, load, row, side, warmUp }: Start): Measurer => {
  const figures = [load.n, load.millis, warmUp].map(String)
  if (typeof side.run === "string") return measurer(go, [...figures, ...side.run.split(" ")])
  const flags = ["--expose-gc", "--conditions=@effect-events/source", ...(row.cold ? [keepsBytecode] : [])]
  const args = [script, fileOf(row), row.name, side.label, ...figures]
  return checkout === undefined
    ? measurer(process.execPath, [...flags, ...args])
    : measurer(process.execPath, [...flags, "--import", redirection, ...args], { EFFECT_EVENTS_AGAINST: checkout })
}
