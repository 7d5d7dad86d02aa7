/** The modules of `src`, and what each of them imports. */
import { readdirSync, readFileSync } from "node:fs"
import { join, normalize } from "node:path"

export interface Import {
  readonly clause: string
  readonly from: string
}

export interface Module {
  /** Path within `src`, without the extension. */
  readonly name: string
  readonly lines: { readonly code: number; readonly comments: number; readonly blank: number }
  /** The text without its comments. */
  readonly code: string
  /** Every import, export-from and import type; type-only ones count as much as any other. */
  readonly imports: ReadonlyArray<Import>
  /** The modules of `src` among the imports. */
  readonly neighbours: ReadonlyArray<string>
}

const src = join(import.meta.dirname, "..", "..", "src")

/** Whether a line is code, a comment or blank, for each line. A comment behind code is code. */
const kindsOf = (lines: ReadonlyArray<string>): ReadonlyArray<keyof Module["lines"]> => {
  let isInside = false
  return lines.map((line) => {
    const text = line.trim()
    const isComment = isInside || text.startsWith("/*") || text.startsWith("//")
    if (isInside || text.startsWith("/*")) isInside = !text.includes("*/")
    return isComment ? "comments" : text === "" ? "blank" : "code"
  })
}

const importsOf = (code: string): ReadonlyArray<Import> =>
  [
    ...code.matchAll(/^(?:import|export)\s+((?:type\s+)?[\w$*,\s]*(?:\{[^}]*\})?)\s*from\s+"([^"]+)"/gm),
    ...code.matchAll(/^import()\s+"([^"]+)"/gm),
    ...code.matchAll(/\bimport()\(\s*"([^"]+)"/g)
  ].map(([, clause = "", from = ""]) => ({ clause, from }))

const slashes = (path: string): string => path.replaceAll("\\", "/")

const readModule = (path: string): Module => {
  const name = path.replace(/\.ts$/, "")
  const lines = readFileSync(join(src, path), "utf8").trimEnd().split("\n")
  const kinds = kindsOf(lines)
  const count = (wanted: keyof Module["lines"]) => kinds.filter((kind) => kind === wanted).length
  const code = lines.filter((_, at) => kinds[at] === "code").join("\n")
  const imports = importsOf(code)
  return {
    name,
    lines: { code: count("code"), comments: count("comments"), blank: count("blank") },
    code,
    imports,
    neighbours: imports
      .filter(({ from }) => from.startsWith("."))
      .map(({ from }) => slashes(normalize(join(name, "..", from))).replace(/\.ts$/, ""))
  }
}

/** The modules of `src` by name. */
export const sourceTree: ReadonlyMap<string, Module> = new Map(
  readdirSync(src, { recursive: true, encoding: "utf8" })
    .map(slashes)
    .filter((path) => path.endsWith(".ts"))
    .toSorted()
    .map((path) => readModule(path))
    .map((module) => [module.name, module])
)
