/** Vitest, kept running: answers each question of `judge.ts` by the code that lies on the disk by then. */
import { createVitest, type Reporter, type TestSpecification } from "vitest/node"
import type { TestFile } from "./config.ts"

export interface Question {
  readonly changed: string
  readonly tests: ReadonlyArray<TestFile>
}
export type Answer =
  /** At the start, and when a file begins or a test ends: the thread is not stuck. */
  | { readonly _tag: "alive"; readonly path: string }
  | { readonly _tag: "passed" }
  /** The first failure; of an import, a hook or an unhandled error without its path. */
  | { readonly _tag: "failed"; readonly path: string; readonly by: string }

const send = (answer: Answer) => process.send!(answer)

let failure: Answer | undefined
const reporter: Reporter = {
  onTestModuleQueued({ moduleId }) {
    send({ _tag: "alive", path: moduleId })
  },
  onTestCaseResult(test) {
    const path = test.module.moduleId
    send({ _tag: "alive", path })
    if (test.result().state === "failed") failure ??= { _tag: "failed", path, by: test.fullName }
  },
  onTestRunEnd(_modules, errors, reason) {
    if (reason === "passed" && errors.length === 0) return
    failure ??= { _tag: "failed", path: "", by: errors[0]?.message ?? "an import or a hook" }
  }
}

/** Keeps the order of the question. A class, since Vitest makes it with `new`. */
class Sequencer {
  shard(files: Array<TestSpecification>) {
    return files
  }
  sort(files: Array<TestSpecification>) {
    return files
  }
}

const vitest = await createVitest("test", {
  root: process.cwd(),
  watch: false,
  project: ["unit"],
  reporters: [reporter],
  // A thread for each question and all its files: quicker than a process for each file.
  pool: "threads",
  isolate: false,
  maxWorkers: 1,
  bail: 1,
  sequence: { sequencer: Sequencer }
})
await vitest.standalone()

let last: string | undefined
const answer = async ({ changed, tests }: Question): Promise<Answer> => {
  // What changed last was put back since.
  for (const path of new Set([last ?? changed, changed])) vitest.invalidateFile(path)
  last = changed
  failure = undefined
  const specifications = tests.map(({ path, pattern }) =>
    vitest.projects[0]!.createSpecification(path, pattern && { testNamePattern: pattern })
  )
  await vitest.runTestSpecifications(specifications, false)
  return failure ?? { _tag: "passed" }
}

process.on("message", async (question: Question) => send(await answer(question)))
process.on("disconnect", () => process.exit(0))
send({ _tag: "alive", path: "" })
