/** A copy of sources and tests, and a process that runs tests on it: the working tree is never touched. */
import { type ChildProcess, fork } from "node:child_process"
import { cpSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Answer, Question } from "./child.ts"
import { environment, type TestFile } from "./config.ts"

export interface Verdict {
  readonly verdict: "survived" | "killed" | "timed out"
  readonly by: string
}

/** In milliseconds, without a mutant. */
export interface Pace {
  readonly total: number
  /** By the path of a test file: the longest time until a test of it ended, or until it began. */
  readonly longest: ReadonlyMap<string, number>
}

export interface Judge {
  /** Runs the tests on the code as it is, and fails when one of them does. */
  readonly measure: (source: string, tests: ReadonlyArray<TestFile>) => Promise<Pace>
  /** Runs the tests on the source file with another text. */
  readonly judge: (source: string, text: string, tests: ReadonlyArray<TestFile>, pace: Pace) => Promise<Verdict>
  readonly stop: () => void
}

const root = fileURLToPath(new URL("../..", import.meta.url))

/** `original` is the text that a source file had when the mutants were made. */
export const makeJudge = (name: string, original: (source: string) => string): Judge => {
  const copy = join(root, ".cache/mutate", `${process.pid}-${name}`)
  for (const part of ["src", "test", "docs", "package.json", "tsconfig.json", "vitest.config.ts"])
    cpSync(join(root, part), join(copy, part), { recursive: true })

  let child: ChildProcess | undefined
  const kill = () => {
    // It leads a process group of its own, to which belongs what its tests start.
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null)
      process.kill(-child.pid, "SIGKILL")
    child = undefined
  }
  const stop = () => {
    kill()
    rmSync(copy, { recursive: true, force: true })
  }
  process.once("exit", stop)

  const start = async (): Promise<ChildProcess> => {
    const started = fork(fileURLToPath(new URL("child.ts", import.meta.url)), [], {
      cwd: copy,
      detached: true,
      serialization: "advanced",
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      // A mutant that fills the memory ends by that.
      execArgv: ["--max-old-space-size=1024"],
      env: { ...process.env, ...environment }
    })
    child = started
    await new Promise((resolve, reject) => {
      started.once("message", resolve)
      started.once("exit", (code) => reject(new Error(`The process that runs the tests ended with ${code}`)))
    })
    started.removeAllListeners("exit")
    return started
  }

  const ask = async (source: string, tests: ReadonlyArray<TestFile>, pace?: Pace, onAlive = (_path: string) => {}) => {
    const asked = child ?? (await start())
    const paths = tests.map(({ path }) => join(copy, path))
    return new Promise<Verdict & { readonly index: number }>((resolve) => {
      const settle = (verdict: Verdict["verdict"], path = "", by = "") => {
        clearTimeout(whole)
        clearTimeout(silence)
        for (const event of ["message", "exit"]) asked.removeAllListeners(event)
        const index = paths.indexOf(path)
        resolve({ verdict, by: `${tests[index]?.path ?? ""} ${by}`.trim(), index })
      }
      // What waits for ever and what spins for ever is ended with the process.
      const timer = (millis: number, path: string, by: string) =>
        setTimeout(() => {
          kill()
          settle("timed out", path, by)
        }, millis)
      const listen = (path: string) => timer(3000 + 3 * (pace?.longest.get(path) ?? 20_000), path, "a test of it")
      const whole = timer(10_000 + 3 * (pace?.total ?? 400_000), "", "all tests")
      let silence = listen("")
      asked.on("message", (answer: Answer) => {
        if (answer._tag === "passed") return settle("survived")
        if (answer._tag === "failed") return settle("killed", answer.path, answer.by)
        onAlive(answer.path)
        clearTimeout(silence)
        silence = listen(answer.path)
      })
      asked.once("exit", (code) => {
        kill()
        settle("killed", "", `the process ended with ${code}`)
      })
      const question: Question = {
        changed: join(copy, source),
        tests: tests.map(({ pattern }, i) => ({ path: paths[i]!, pattern }))
      }
      asked.send(question)
    })
  }

  return {
    stop,
    measure: async (source, tests) => {
      const begun = performance.now()
      const longest = new Map<string, number>()
      let last = begun
      const { by, verdict } = await ask(source, tests, undefined, (path) => {
        longest.set(path, Math.max(longest.get(path) ?? 0, performance.now() - last))
        last = performance.now()
      })
      if (verdict !== "survived") throw new Error(`The tests do not pass on the code as it is: ${by}`)
      return { total: performance.now() - begun, longest }
    },
    judge: async (source, text, tests, pace) => {
      writeFileSync(join(copy, source), text)
      const first = await ask(source, tests, pace)
      // A test that is not of this module may have failed by the load of the machine: it must fail twice.
      const verdict = first.index > 1 ? await ask(source, tests.slice(first.index), pace) : first
      writeFileSync(join(copy, source), original(source))
      return { verdict: verdict.verdict, by: verdict.by }
    }
  }
}
