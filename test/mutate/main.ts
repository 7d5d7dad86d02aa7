/**
 * `npm run mutate`: changes the library in small ways, one at a time, and runs the tests on each.
 *
 *     npm run mutate                                       # the core, in hours: see config.ts
 *     npm run mutate -- src/Breaker.ts "src/internal/q*"   # these files
 *     npm run mutate -- src/Breaker.ts --lines 120-140     # mutants that begin in these lines
 *     npm run mutate -- --sample 100 --seed 7              # 100 of them; a seed always chooses the same
 *     npm run mutate -- --json out.json                    # keeps the results; run again, it goes on from there
 *     npm run mutate -- --jobs 2                           # two mutants side by side
 *     npm run mutate -- --list                             # the mutants alone
 *
 * A survivor is a change that no test notices. A reader judges which it is: code without a test, a test that cannot
 * fail, code that is not needed, or a change without a difference. "timed out" counts as killed: a test hung.
 *
 * Results in the JSON file hold while their source file is the same; survivors are judged again when a test file has
 * changed. Other sources that a mutant depends on are not compared: for a fresh run, delete the file.
 */
import { createHash } from "node:crypto"
import { existsSync, globSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { randomFrom } from "../support/random.ts"
import { excluded, targets, testsOf } from "./config.ts"
import { type Judge, makeJudge, type Pace, type Verdict } from "./judge.ts"
import { type Mutant, mutantsOf } from "./mutants.ts"

type Result = Mutant & Verdict & { readonly millis: number }
type Results = Record<string, { source: string; tests: string; results: Record<string, Result> }>

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    lines: { type: "string", default: `0-${Number.MAX_SAFE_INTEGER}` },
    sample: { type: "string" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    json: { type: "string" },
    jobs: { type: "string", default: "1" },
    list: { type: "boolean", default: false }
  }
})
const number = (option: string, text: string | undefined): number => {
  if (text !== undefined && /^\d+$/.test(text)) return Number(text)
  throw new Error(`--${option} takes a whole number, and --lines two, as in 10-20`)
}

const read = (path: string) => readFileSync(path, "utf8")
const hash = (texts: ReadonlyArray<string>) => createHash("sha256").update(texts.join("\0")).digest("hex")

const paths = positionals.length > 0 ? globSync(positionals) : globSync(targets, { exclude: excluded })
const files = paths.toSorted().map((path) => {
  const tests = testsOf(path)
  return { path, text: read(path), tests, testsHash: hash(tests.map((test) => read(test.path))) }
})
type File = (typeof files)[number]
if (files.length === 0) throw new Error(`No file matches ${positionals.join(" ")}`)

const [from, to] = values.lines.split("-").map((line) => number("lines", line))
const all = files.flatMap((file) =>
  mutantsOf(file.text, file.path)
    .filter(({ line }) => line >= from! && line <= (to ?? from!))
    .map((mutant) => ({ file, mutant, id: `${mutant.start}-${mutant.end} ${mutant.replacement}` }))
)
const sample = (n: number) => {
  const random = randomFrom(number("seed", values.seed))
  const byChance = all.map((_, i) => ({ i, key: random() })).toSorted((a, b) => a.key - b.key)
  return byChance
    .slice(0, n)
    .toSorted((a, b) => a.i - b.i)
    .map(({ i }) => all[i]!)
}
const chosen = values.sample === undefined ? all : sample(number("sample", values.sample))
const print = ({ file, mutant }: (typeof all)[number]) =>
  console.log(`${file.path}:${mutant.at} ${mutant.kind}\n    - ${mutant.before}\n    + ${mutant.after}`)

const stored: Results = values.json !== undefined && existsSync(values.json) ? JSON.parse(read(values.json)) : {}
for (const { path, testsHash, text } of files) {
  const [source, earlier] = [hash([text]), stored[path]]
  const known = earlier?.source === source ? Object.entries(earlier.results) : []
  const kept = known.filter(([, { verdict }]) => verdict !== "survived" || earlier?.tests === testsHash)
  stored[path] = { source, tests: testsHash, results: Object.fromEntries(kept) }
}
const resultOf = ({ file, id }: (typeof all)[number]) => stored[file.path]!.results[id]

const judgeAll = async (remaining: Array<(typeof all)[number]>) => {
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130))
  const original = (path: string) => files.find((file) => file.path === path)!.text
  const jobs = Math.min(2, number("jobs", values.jobs))
  const judges = Array.from({ length: jobs }, (_, i) => makeJudge(String(i), original))
  const paces = new Map<string, Pace>()
  const paceOf = async ({ path, tests }: File, { measure }: Judge): Promise<Pace> => {
    const list = tests.map((test) => `${test.path} ${test.pattern}`).toSorted()
    const pace = paces.get(list.join()) ?? (await measure(path, tests))
    return paces.set(list.join(), pace) && pace
  }
  const work = async (judge: Judge) => {
    for (let next = remaining.shift(); next !== undefined; next = remaining.shift()) {
      const { end, replacement, start } = next.mutant
      const { path, tests, text } = next.file
      const pace = await paceOf(next.file, judge)
      const begun = performance.now()
      const verdict = await judge.judge(path, text.slice(0, start) + replacement + text.slice(end), tests, pace)
      const millis = Math.round(performance.now() - begun)
      stored[path]!.results[next.id] = { ...next.mutant, ...verdict, millis }
      if (verdict.verdict === "survived") console.log(`survived: ${path}:${next.mutant.at} ${next.mutant.kind}`)
      if (values.json === undefined) continue
      // An end of the process in between leaves the file as it was.
      writeFileSync(`${values.json}.part`, JSON.stringify(stored, undefined, 1))
      renameSync(`${values.json}.part`, values.json)
    }
    judge.stop()
  }
  await Promise.all(judges.map(work))
}

const report = () => {
  const row = (file: string, results: ReadonlyArray<Result>) => {
    const count = (which: Verdict["verdict"]) => results.filter(({ verdict }) => verdict === which).length
    const survived = count("survived")
    const percentage = ((1 - survived / results.length) * 100).toFixed(1)
    const seconds = results.reduce((sum, { millis }) => sum + millis, 0) / 1000 / results.length
    const counts = { mutants: results.length, killed: count("killed"), survived, "timed out": count("timed out") }
    return { file, ...counts, "% killed": percentage, "seconds each": seconds.toFixed(2) }
  }
  const results = chosen.map(resultOf) as Array<Result> // all are judged by now
  const judged = files.filter((file) => chosen.some((each) => each.file === file))
  const rows = judged.map((file) =>
    row(
      file.path,
      results.filter((_, i) => chosen[i]!.file === file)
    )
  )
  console.log("\nSurvivors:\n")
  for (const each of chosen) if (resultOf(each)!.verdict === "survived") print(each)
  console.table([...rows, row("all", results)])
}

const remaining = chosen.filter((each) => resultOf(each) === undefined)
const ofAll = values.sample === undefined ? "" : ` of ${all.length} (--seed ${values.seed})`
console.log(`${chosen.length} mutants${ofAll} in ${files.length} files, ${remaining.length} of them to be judged`)
if (values.list) for (const each of chosen) print(each)
else {
  if (remaining.length > 0) await judgeAll(remaining)
  report()
}
