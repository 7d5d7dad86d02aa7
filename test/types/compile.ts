import { spawnSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../support/fences.ts"

export interface Diagnostic {
  /** The source from where the compiler points to. */
  readonly at: string
  readonly code: number
  /** The whole message, with the lines that explain it. */
  readonly text: string
}

/** Where snippets are: within the package, so that "effect-events" means the package itself. */
export const directoryOf = (kind: string): string => join(root, ".cache", kind)

/**
 * Compiles all snippets, by name, in one run of the compiler, and leaves them in the directory of their kind. Answers what
 * the compiler says of each, and of the files that they import.
 */
export const compile = (
  snippets: Readonly<Record<string, string>>,
  kind = "types"
): ReadonlyMap<string, ReadonlyArray<Diagnostic>> => {
  const directory = directoryOf(kind)
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  for (const [name, code] of Object.entries(snippets)) writeFileSync(join(directory, `${name}.ts`), code)
  const options = { extends: "../../tsconfig.json", include: ["*.ts"] }
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(options))
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  const run = spawnSync(process.execPath, [tsc, "--pretty", "false"], { cwd: directory, encoding: "utf8" })
  const found = new Map<string, Array<Diagnostic>>()
  // a message goes on over indented lines
  for (const text of run.stdout.split(/\n(?!\s)/).filter((line) => line !== "")) {
    const [, name, line, column, code] = /^(\S+?)\.ts\((\d+),(\d+)\): error TS(\d+)/.exec(text) ?? []
    if (name === undefined) throw new Error(`the compiler says: ${text}`)
    const at = snippets[name]?.split("\n")[Number(line) - 1]?.slice(Number(column) - 1) ?? ""
    found.set(name, [...(found.get(name) ?? []), { at, code: Number(code), text }])
  }
  if (run.status !== 0 && run.stdout === "") throw new Error(`the compiler failed: ${run.stderr}`)
  return found
}

/** An error that only says that a snippet is not a program: syntax, or a name or module that does not exist. */
export const isBroken = ({ code }: Diagnostic): boolean =>
  code < 2000 || [2304, 2305, 2307, 2339, 2551, 2552, 2613, 2614, 2724].includes(code)
