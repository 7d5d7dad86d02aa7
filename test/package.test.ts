import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { comments, fences, firstMissing, root } from "./support/fences.ts"

// What a user gets: the packed tarball, installed into an empty folder and used from there.

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const entries = Object.keys(manifest.exports).filter((key) => !key.includes("*") && !key.endsWith(".json"))
const specifiers = entries.map((key) => key.replace(/^\./, manifest.name))
/** What needs `@effect/platform-node`, which this package does not bring. */
const forNode = specifiers.filter((specifier) => /\/http\/Guarded/.test(specifier))
const program = fences.find(({ file, mark }) => file === "README.md" && mark === "")

const folder = mkdtempSync(join(tmpdir(), "effect-events-"))

// npm hands its own settings down to scripts: without this, the npm below would still work on this repository
const env = Object.fromEntries(
  Object.entries(process.env).filter(([key]) => !/^npm_(?:package|lifecycle|config_local_prefix)/.test(key))
)

/** Runs a command, fails if it does, and answers what it printed. */
const command = (cwd: string, name: string, ...args: ReadonlyArray<string>): string => {
  const result = spawnSync(name, args, { cwd, env, encoding: "utf8" })
  expect(result.status, `${name} ${args.join(" ")}\n${result.stdout}${result.stderr}`).toBe(0)
  return result.stdout
}

const write = (name: string, content: string): void => writeFileSync(join(folder, name), content)

describe("the package", () => {
  beforeAll(() => {
    // packing builds first: "prepack"
    command(root, "npm", "pack", "--pack-destination", folder)
    write("package.json", JSON.stringify({ name: "user", private: true, type: "module" }))
    const others = ["effect", "typescript"].map((name) => `${name}@${manifest.devDependencies[name]}`)
    const tarball = `./${manifest.name}-${manifest.version}.tgz`
    command(folder, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", tarball, ...others)
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("contains nothing that a user does not need", () => {
    const wanted = ["CHANGELOG.md", "LICENSE", "README.md", "dist", "docs", "package.json", "src"]
    const names = readdirSync(join(folder, "node_modules", manifest.name))
    expect(names.filter((name) => !wanted.includes(name))).toEqual([])
  })

  const importing = (list: ReadonlyArray<string>): void =>
    write("entries.js", list.map((specifier) => `await import("${specifier}")`).join("\n"))

  it("every entry can be imported, those for Node aside", () => {
    importing(specifiers.filter((specifier) => !forNode.includes(specifier)))
    command(folder, process.execPath, "entries.js")
  })

  it.each(readdirSync(join(root, "src", "internal")))("internal/%s cannot be imported", (file) => {
    const name = file.replace(/\.ts$/, "")
    for (const path of [`internal/${name}`, `internal/${file}`, `dist/internal/${name}.js`, `src/internal/${file}`]) {
      write("internal.js", `await import("${manifest.name}/${path}")`)
      const result = spawnSync(process.execPath, ["internal.js"], { cwd: folder, encoding: "utf8" })
      expect(result.stderr).toContain("ERR_PACKAGE_PATH_NOT_EXPORTED")
    }
  })

  it("its declarations are complete: they compile without skipLibCheck", () => {
    write("declarations.ts", specifiers.map((specifier, at) => `export * as m${at} from "${specifier}"`).join("\n"))
    command(folder, join(folder, "node_modules", ".bin", "tsc"), ...compilerOptions, "declarations.ts")
  })

  // After the one above: declarations need no platform.
  it("those for Node say what they need, and can be imported once it is there", () => {
    expect(forNode.length).toBeGreaterThan(0)
    importing(forNode)
    const { stderr } = spawnSync(process.execPath, ["entries.js"], { cwd: folder, encoding: "utf8" })
    expect(stderr).toContain("Cannot find package '@effect/platform-node'")
    const platform = `@effect/platform-node@${manifest.devDependencies["@effect/platform-node"]}`
    command(folder, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", platform)
    command(folder, process.execPath, "entries.js")
  })

  it.skipIf(program === undefined)("the README's first program compiles and runs", () => {
    const code = program?.code ?? ""
    write("main.ts", code)
    command(folder, join(folder, "node_modules", ".bin", "tsc"), ...compilerOptions, "main.ts")
    expect(firstMissing(command(folder, process.execPath, "main.ts"), comments(code, "prints"))).toBe(undefined)
  })
})

const compilerOptions = [
  "--noEmit",
  "--strict",
  "--module",
  "nodenext",
  "--target",
  "es2024",
  "--skipLibCheck",
  "false"
]
