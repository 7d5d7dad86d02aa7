/** The table of docs/stability.md: which entries reach modules that `effect` marks unstable. Types count as much as code. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { sourceTree } from "../house/sourceTree.ts"
import { root } from "../support/fences.ts"
import { entries } from "./entries.ts"

/** What each entry of one module reaches of what may change in a minor version, as folders or modules of `effect`. */
export const reached: ReadonlyMap<string, ReadonlyArray<string>> = new Map(
  entries
    .filter(({ module }) => !/(^|\/)index$/.test(module))
    .map(({ module, specifier }) => [specifier, unstableBelow(module)])
)

export const stabilityTable = (): string => {
  const rows = [...reached].map(([specifier, names]) => {
    const because = names.map((name) => `\`${name}\``).join(", ")
    return `| \`${specifier}\` | ${names.length === 0 ? "stable" : "unstable"} | ${because} |`
  })
  return ["| Entry | Is | Because of |", "| --- | --- | --- |", ...rows].join("\n")
}

// internals

function unstableBelow(start: string): ReadonlyArray<string> {
  const seen = new Set<string>()
  const found = new Set<string>()
  const visit = (name: string): void => {
    const module = sourceTree.get(name)
    if (seen.has(name) || module === undefined) return
    seen.add(name)
    for (const { from } of module.imports) if (isUnstable(from)) found.add(from.split("/").slice(0, 2).join("/"))
    for (const neighbour of module.neighbours) visit(neighbour)
  }
  visit(start)
  return [...found].toSorted()
}

/** A module says it in its header; a package beside `effect` is taken for unstable, as its modules for HTTP and SQL are. */
function isUnstable(from: string): boolean {
  if (from.startsWith("@effect/")) return true
  if (!from.startsWith("effect/")) return false
  const path = join(root, "node_modules", "effect", "src", from.slice("effect/".length))
  const file = existsSync(`${path}.ts`) ? `${path}.ts` : join(path, "index.ts")
  const [header = ""] = /^\/\*\*[\s\S]*?\*\//.exec(readFileSync(file, "utf8")) ?? []
  return header.includes("@stability unstable")
}
