import { spawnSync } from "node:child_process"
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { root } from "./support/fences.ts"
import { command, compilerOptions, env, install, manifest } from "./support/install.ts"

// What a user gets: the packed tarball, installed into an empty folder and used from there.

const entries = Object.keys(manifest.exports).filter((key) => !key.includes("*") && !key.endsWith(".json"))
const specifiers = entries.map((key) => key.replace(/^\./, manifest.name))
/** What needs `@effect/platform-node`, which this package does not bring. */
const forNode = specifiers.filter((specifier) => /\/http\/Guarded/.test(specifier))

/** What is neither source, nor built, nor a page. */
const atRoot = ["AGENTS.md", "CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "llms.txt", "package.json"]

const folder = mkdtempSync(join(tmpdir(), "effect-events-"))
const installed = join(folder, "node_modules", manifest.name)
const bin = join(folder, "node_modules", ".bin", manifest.name)
const write = (name: string, content: string): void => writeFileSync(join(folder, name), content)

describe("the package", () => {
  beforeAll(() => {
    write("package.json", JSON.stringify({ name: "user", private: true, type: "module" }))
    const others = ["effect", "typescript"].map((name) => `${name}@${manifest.devDependencies[name]}`)
    install(folder, inject("tarball"), ...others)
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("contains what it is made of, and nothing else", () => {
    const tracked = command(root, "git", "ls-files").trim().split("\n")
    const sources = tracked.filter((path) => path.startsWith("src/"))
    const built = sources.flatMap((path) => {
      const name = path.replace(/^src/, "dist").replace(/\.ts$/, "")
      return [".js", ".js.map", ".d.ts", ".d.ts.map"].map((extension) => name + extension)
    })
    const pages = tracked.filter((path) => /^docs\/.*\.(?:md|png|ts|ndjson)$/.test(path))
    const wanted = [...atRoot, ...sources, ...built, ...pages].toSorted()
    const listed = command(folder, "tar", "-tzf", inject("tarball")).trim().split("\n")
    const contents = listed.map((path) => path.replace(/^package\//, "")).toSorted()
    expect(contents.filter((path) => !wanted.includes(path))).toEqual([])
    expect(wanted.filter((path) => !contents.includes(path))).toEqual([])
  })

  it("contains no path of the machine that packed it", () => {
    const files = globSync("**/*.{js,ts,map,md,txt,json}", { cwd: installed })
    expect(files.length).toBeGreaterThan(500)
    const naming = files.filter((file) => readFileSync(join(installed, file), "utf8").includes(root))
    expect(naming).toEqual([])
  })

  it("every entry, and its program, leads to files that are there", () => {
    const targets = Object.values<unknown>({ ...manifest.exports, bin: manifest.bin[manifest.name] })
      .flatMap((target) => (typeof target === "object" && target !== null ? Object.values(target) : [target]))
      .filter((target) => typeof target === "string")
    expect(targets.length).toBeGreaterThan(entries.length)
    expect(targets.filter((target) => !existsSync(join(installed, target)))).toEqual([])
  })

  it("contains every file and heading that its pages link to", () => {
    const pages = globSync("{*.md,llms.txt,docs/**/*.md}", { cwd: installed })
    expect(pages.length).toBeGreaterThan(10)
    expect(pages.flatMap((page) => deadLinks(page).map((link) => `${page}: ${link}`))).toEqual([])
  })

  it("llms.txt names every page, those of the reference by their index", () => {
    const pages = globSync("docs/**/*.md", { cwd: installed }).map((page) => page.replaceAll("\\", "/"))
    const named = readFileSync(join(installed, "llms.txt"), "utf8")
    const missing = pages.filter((page) => !/^docs\/reference\/(?!README)/.test(page) && !named.includes(`](${page})`))
    expect(missing, "npm run pages writes it").toEqual([])
  })

  // npx, since a clone needs neither: the second brings a TypeScript of its own
  it.each([
    ["publint@0.3.25", "--strict"],
    ["@arethetypeswrong/cli@0.18.5", "--profile", "esm-only"]
  ])("%s finds no fault", (tool, ...options) => {
    command(folder, "npx", "--yes", tool, inject("tarball"), ...options)
  })

  const importing = (list: ReadonlyArray<string>): void =>
    write("entries.js", list.map((specifier) => `await import("${specifier}")`).join("\n"))

  it("every entry can be imported, those for Node aside", () => {
    importing(specifiers.filter((specifier) => !forNode.includes(specifier)))
    command(folder, process.execPath, "entries.js")
  })

  it("no internal module can be imported", () => {
    const internals = globSync("src/**/internal/**/*.ts", { cwd: installed }).map((path) =>
      path.replaceAll("\\", "/").slice("src/".length, -".ts".length)
    )
    expect(internals.length).toBeGreaterThan(100)
    const paths = internals.flatMap((name) => [name, `${name}.ts`, `dist/${name}.js`, `src/${name}.ts`])
    const tries = `for (const path of ${JSON.stringify(paths)}) {
      const code = await import("${manifest.name}/" + path).then(() => "imported", (error) => error.code)
      if (code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") console.log(path, code)
    }`
    write("internal.js", tries)
    expect(command(folder, process.execPath, "internal.js")).toBe("")
  })

  it("its declarations are complete: they compile without skipLibCheck", () => {
    write("declarations.ts", specifiers.map((specifier, at) => `export * as m${at} from "${specifier}"`).join("\n"))
    command(folder, join(folder, "node_modules", ".bin", "tsc"), ...compilerOptions, "declarations.ts")
  })

  // After the one above: declarations need no platform.
  it("those for Node say what they need, and can be imported once it is there", () => {
    expect(forNode.length).toBeGreaterThan(0)
    importing(forNode)
    const sentence = "effect-events: this needs the package @effect/platform-node: npm install @effect/platform-node\n"
    const started = spawnSync(process.execPath, [bin, "--version"], { cwd: folder, env, encoding: "utf8" })
    expect([started.status, started.stdout, started.stderr]).toEqual([1, "", sentence])
    const { stderr } = spawnSync(process.execPath, ["entries.js"], { cwd: folder, encoding: "utf8" })
    expect(stderr).toContain("Cannot find package '@effect/platform-node'")
    const platform = `@effect/platform-node@${manifest.devDependencies["@effect/platform-node"]}`
    install(folder, platform)
    command(folder, process.execPath, "entries.js")
  })

  it("its program says which package a store needs that is not there", () => {
    const run = (...args: ReadonlyArray<string>) =>
      spawnSync(process.execPath, [bin, ...args], { cwd: folder, env, encoding: "utf8" })
    expect(command(folder, process.execPath, bin, "--version")).toBe(`effect-events v${manifest.version}\n`)
    const sqlite = run("--store", "sqlite:none.db", "queues")
    expect([sqlite.status, sqlite.stderr]).toEqual([1, "effect-events: there is no such file: none.db\n"])
    const postgres = run("--store", "postgres://127.0.0.1:1/db", "queues")
    const sentence = "effect-events: this needs the package @effect/sql-pg: npm install @effect/sql-pg\n"
    expect([postgres.status, postgres.stdout, postgres.stderr]).toEqual([1, "", sentence])
  })
})

const read = (page: string): string =>
  readFileSync(join(installed, page), "utf8").replaceAll(/^ *```[\s\S]*?^ *```$/gm, "")

/** The relative links of a page whose file is not in the package, or whose heading is not in the file. */
const deadLinks = (page: string): ReadonlyArray<string> =>
  [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link = ""]) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [path = "", anchor] = link.split("#")
      const file = path === "" ? page : join(dirname(page), path)
      if (path.startsWith("/") || file.startsWith("..") || !existsSync(join(installed, file))) return true
      return anchor !== undefined && !anchorsOf(read(file)).includes(anchor)
    })

/** What a heading is linked by, as GitHub and npm make it. */
const anchorsOf = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/^#+ +(.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_\- ]/gu, "")
      .replaceAll(" ", "-")
  )
