import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

export const root = join(import.meta.dirname, "..", "..")

/** A fenced TypeScript block of the documentation: a complete program. */
export interface Fence {
  /** Path from the root of the repository. */
  readonly file: string
  /** The line of the opening fence; the first line of `code` is the next one. */
  readonly line: number
  /** What follows the language: "" for a program that runs, "service" for a server, "expect-error" for what must not compile. */
  readonly mark: string
  readonly code: string
}

const language = /^(?:ts|typescript|tsx|mts|js|javascript)$/

/** The fences of one file; in a TypeScript file only those within doc comments. */
const fencesIn = (file: string): ReadonlyArray<Fence> => {
  // what stands before the code on each line: the comment's star, or the indentation within a list
  const opening = file.endsWith(".ts") ? /^(\s*\* ?)(`{3,})(\S+)(.*)$/ : /^(\s*)(`{3,})(\S+)(.*)$/
  const found: Array<Fence> = []
  const lines = readFileSync(join(root, file), "utf8").split("\n")
  for (let at = 0; at < lines.length; at++) {
    const [, margin = "", ticks = "", name = "", mark = ""] = opening.exec(lines[at] ?? "") ?? []
    if (ticks === "") continue
    const body: Array<string> = []
    const start = at
    for (at++; at < lines.length && lines[at]?.slice(margin.length).trim() !== ticks; at++) {
      body.push((lines[at] ?? "").slice(margin.length))
    }
    if (at === lines.length) throw new Error(`${file}:${start + 1}: the fence is never closed`)
    if (language.test(name)) {
      // another spelling of the language would escape the tests: it becomes an unknown mark, which is reported
      const spelled = name === "ts" ? mark.trim() : [name, mark].join(" ").trim()
      found.push({ file, line: start + 1, mark: spelled, code: body.join("\n") + "\n" })
    }
  }
  return found
}

/** Every fence of README.md, AGENTS.md, docs and the doc comments of src, of which the reference is a copy. */
export const fences: ReadonlyArray<Fence> = globSync(["README.md", "AGENTS.md", "docs/**/*.md", "src/**/*.ts"], {
  cwd: root,
  exclude: ["docs/reference/**"]
})
  .toSorted()
  .flatMap((file) => fencesIn(file.replaceAll("\\", "/")))

/** The arguments of `// <word>: ...` comments in a fence. */
export const comments = (code: string, word: string): ReadonlyArray<string> =>
  [...code.matchAll(new RegExp(`^\\s*// ${word}: ?(.*)$`, "gm"))].map(([, rest = ""]) => rest.trimEnd())

/** The first of `expected` that does not occur as a line of `output` after the ones before it. */
export const firstMissing = (output: string, expected: ReadonlyArray<string>): string | undefined => {
  const lines = output.split("\n").map((line) => line.trimEnd())
  let from = 0
  return expected.find((line) => {
    const at = lines.indexOf(line, from)
    from = at + 1
    return at === -1
  })
}
