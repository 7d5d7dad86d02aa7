import { spawn, spawnSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Worker } from "node:worker_threads"
import { beforeAll, describe, expect, it } from "vitest"
import { comments, fences, firstMissing, root, type Fence } from "../support/fences.ts"

// Every ```ts fence of README.md, AGENTS.md, docs and src is a complete program. It must compile, run and end by itself, and
// print the lines that its `// prints: ...` comments say, in this order. A fence marked ```ts expect-error must not
// compile, and the compiler's message must contain what its `// error: ...` comments say. One marked ```ts service is an
// HTTP server that runs until SIGTERM; its port is a free one here.

const timeLimit = 120_000

// within the package, so that "effect-events" means the package itself
const directory = join(root, ".cache", "docs")
const nameOf = (fence: Fence): string => `${fence.file.replaceAll(/[^\w-]/g, "_")}_${fence.line}.ts`
const byName = new Map(fences.map((fence) => [nameOf(fence), fence]))

/** Says `README.md:40` where a tool said `.cache/docs/README_md_36.ts:4`. */
const atItsSource = (text: string): string =>
  text.replaceAll(/[^\s('"]*?(\w[\w-]*_\d+\.ts)(?::(\d+)|\((\d+),\d+\))/g, (all, name, colon, paren) => {
    const fence = byName.get(name)
    return fence === undefined ? all : `${fence.file}:${fence.line + Number(colon ?? paren)}`
  })

interface TypeError {
  readonly code: number
  readonly text: string
}

/** Type errors per file name, of all fences in one run of the compiler. */
const typeCheck = (): ReadonlyMap<string, ReadonlyArray<TypeError>> => {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  const run = spawnSync(process.execPath, [tsc, "--pretty", "false"], { cwd: directory, encoding: "utf8" })
  const errors = new Map<string, Array<TypeError>>()
  // a message goes on over indented lines
  for (const message of run.stdout.split(/\n(?!\s)/).filter((line) => line !== "")) {
    const [, name, code] = /^(\S+?)\(\d+,\d+\): error TS(\d+)/.exec(message) ?? []
    if (name === undefined) throw new Error(`the compiler says: ${message}`)
    errors.set(name, [...(errors.get(name) ?? []), { code: Number(code), text: atItsSource(message) }])
  }
  if (run.status !== 0 && errors.size === 0) throw new Error(`the compiler failed: ${run.stderr}`)
  return errors
}

/** Runs a fence in a thread of its own; resolves with what it printed to stdout once it ended by itself. */
const run = (fence: Fence): Promise<string> =>
  new Promise((resolve, reject) => {
    const worker = new Worker(join(directory, nameOf(fence)), {
      execArgv: ["--conditions=@effect-events/source"],
      // loading effect is most of what a program costs
      env: { ...process.env, NODE_COMPILE_CACHE: join(directory, "compiled") },
      stdout: true,
      stderr: true
    })
    let stdout = ""
    let stderr = ""
    worker.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk))
    worker.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk))
    const fail = (reason: string): void => {
      clearTimeout(timer)
      reject(new Error(atItsSource(`${fence.file}:${fence.line}: ${reason}\n${stdout}${stderr}`)))
    }
    const timer = setTimeout(() => {
      fail(`did not end within ${timeLimit} ms`)
      void worker.terminate()
    }, timeLimit)
    worker.on("error", (error) => fail(error instanceof Error ? (error.stack ?? error.message) : String(error)))
    worker.on("exit", (code) => {
      if (code !== 0) return fail(`ended with code ${code}`)
      clearTimeout(timer)
      resolve(stdout)
    })
  })

/** What servers of the documentation take from their environment. */
const secrets = {
  WEBHOOK_SECRET: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  WEBHOOKS_KEY: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
}

/** Runs a server in a process and a folder of its own; resolves with what it printed when it listened and then ended at a SIGTERM. */
const serve = (fence: Fence): Promise<string> =>
  new Promise((resolve, reject) => {
    const folder = join(directory, nameOf(fence).replace(/\.ts$/, ""))
    mkdirSync(folder, { recursive: true })
    const child = spawn(
      process.execPath,
      ["--conditions=@effect-events/source", "--disable-warning=ExperimentalWarning", join(directory, nameOf(fence))],
      { cwd: folder, env: { ...process.env, ...secrets }, stdio: "pipe" }
    )
    let output = ""
    const collect = (chunk: string): void => {
      output += chunk
      if (output.includes("Listening on")) child.kill("SIGTERM")
    }
    child.stdout.setEncoding("utf8").on("data", collect)
    child.stderr.setEncoding("utf8").on("data", collect)
    const timer = setTimeout(() => child.kill("SIGKILL"), timeLimit)
    child.on("error", reject)
    child.on("close", (code, signal) => {
      clearTimeout(timer)
      // 130 is how `NodeRuntime.runMain` ends at a signal, when all scopes are closed
      if (code === 130 && output.includes("Listening on")) return resolve(output)
      reject(new Error(atItsSource(`${fence.file}:${fence.line}: ended with ${code ?? signal}\n${output}`)))
    })
  })

/** An error that only says that the fence is not a program: syntax, or a name or module that does not exist. */
const isBroken = ({ code }: TypeError): boolean =>
  code < 2000 || [2304, 2305, 2307, 2552, 2613, 2614, 2724].includes(code)

describe("the documentation", () => {
  let errors: ReadonlyMap<string, ReadonlyArray<TypeError>>
  const errorsOf = (fence: Fence): ReadonlyArray<TypeError> => errors.get(nameOf(fence)) ?? []
  const textOf = (list: ReadonlyArray<TypeError>): string => list.map(({ text }) => text).join("\n")

  beforeAll(() => {
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
    for (const fence of fences) {
      const code = fence.mark === "service" ? fence.code.replaceAll(/\bport: \d+/g, "port: 0") : fence.code
      writeFileSync(join(directory, nameOf(fence)), code)
    }
    const options = { extends: "../../tsconfig.json", include: ["*.ts"] }
    writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(options))
    errors = fences.length === 0 ? new Map() : typeCheck()
  }, 240_000)

  it('every TypeScript fence is marked "ts", "ts service" or "ts expect-error"', () => {
    const unknown = fences.filter(({ mark }) => !["", "service", "expect-error"].includes(mark))
    expect(unknown.map(({ file, line, mark }) => `${file}:${line} ${mark}`)).toEqual([])
  })

  it("no program has a part in memory beside a durable one that is not marked", () => {
    const durable = /\bDurable(?:Queue|Broadcaster)\.(?:make|layer|subscribe|writer)/
    const inMemory = /\b(?:EventQueue|EventChannel|Broadcaster|Endpoint)\.(?:make|layer)\b/
    const unsafe = fences.filter(
      ({ code, mark }) =>
        mark !== "expect-error" &&
        durable.test(code) &&
        inMemory.test(code) &&
        !code.includes("EventSink.acknowledgeFromMemory")
    )
    expect(unsafe.map(({ file, line }) => `${file}:${line}`)).toEqual([])
  })

  describe.concurrent("compiles and runs", () => {
    for (const fence of fences.filter(({ mark }) => mark !== "expect-error")) {
      it(`${fence.file}:${fence.line}`, { timeout: 2 * timeLimit }, async () => {
        expect(textOf(errorsOf(fence))).toBe("")
        const output = await (fence.mark === "service" ? serve(fence) : run(fence))
        const missing = firstMissing(output, comments(fence.code, "prints"))
        expect(missing, `${fence.file}:${fence.line} does not print this line in its place, but:\n${output}`).toBe(
          undefined
        )
      })
    }
  })

  describe("does not compile", () => {
    for (const fence of fences.filter(({ mark }) => mark === "expect-error")) {
      it(`${fence.file}:${fence.line}`, () => {
        const found = errorsOf(fence)
        expect(found.length, `${fence.file}:${fence.line} compiles`).toBeGreaterThan(0)
        expect(textOf(found.filter(isBroken))).toBe("")
        for (const part of comments(fence.code, "error")) expect(textOf(found)).toContain(part)
      })
    }
  })
})
