import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { entries } from "./pages/entries.ts"
import { reached } from "./pages/stability.ts"
import { cellsOf, rowsOf } from "./pages/table.ts"
import { fences, root } from "./support/fences.ts"
import { manifest } from "./support/install.ts"

// What a release says about itself: the front page, the generated tables and the changelog.

const read = (file: string): string => readFileSync(join(root, file), "utf8")
const quoted = (specifier: string): string => `\`${specifier}\``

describe("the front page", () => {
  const servers = (file: string) => fences.filter((fence) => fence.file === file && fence.mark === "service")

  it("has less than 1,500 words, and a program of 40 lines at most", () => {
    expect(read("README.md").trim().split(/\s+/).length).toBeLessThan(1500)
    const lines = servers("README.md").map(({ code }) => code.trimEnd().split("\n").length)
    expect(lines.length).toBe(1)
    expect(lines.filter((count) => count > 40)).toEqual([])
  })

  it("has the program of the quick start", () => {
    const [program] = servers("README.md")
    const [service] = servers("docs/quick-start.md")
    expect(program?.code).toBe(service?.code)
  })

  it("names the two commands", () => {
    expect(read("README.md")).toContain("\nnpm install && npm start\nnpm install && npm test\n")
  })
})

describe("what is written by npm run pages", () => {
  it("docs/stability.md has each entry of one module, and the unstable modules that it reaches", () => {
    const expected = [...reached].map(([specifier, names]) => [
      quoted(specifier),
      names.length === 0 ? "stable" : "unstable",
      names.map(quoted).join(", ")
    ])
    expect(rowsOf(read("docs/stability.md"))).toEqual(expected)
    // it can tell them apart
    expect(reached.get("effect-events/EventQueue")).toEqual([])
    expect(reached.get("effect-events/http/HttpSink")).toContain("effect/http")
    expect(reached.get("effect-events/durable/PostgresStore")).toContain("effect/sql")
  })

  it("docs/sizes.md has a size for each entry", () => {
    const sized = cellsOf(read("docs/sizes.md")).filter(([, minified = ""]) => /^\d+\.\d$/.test(minified))
    const names = sized.map(([name]) => name)
    expect(entries.map(({ specifier }) => quoted(specifier)).filter((name) => !names.includes(name))).toEqual([])
  })
})

describe("AGENTS.md", () => {
  it("has eight recipes, each with a program, and imports no entry that there is not", () => {
    const recipes = [...read("AGENTS.md").matchAll(/^### \d\. .+\n(?:(?!^#)[^])*?^```ts$/gm)]
    expect(recipes.length).toBe(8)
    const imported = [...read("AGENTS.md").matchAll(/from "(effect-events[^"]*)"/g)].map(
      ([, specifier = ""]) => specifier
    )
    const specifiers = entries.map(({ specifier }) => specifier)
    expect(imported.filter((specifier) => !specifiers.includes(specifier))).toEqual([])
  })
})

describe("CHANGELOG.md", () => {
  it("begins with the version of package.json, and says each heading of a version once", () => {
    const changelog = read("CHANGELOG.md")
    const versions = changelog.split(/^## /m).slice(1)
    expect(versions[0]).toMatch(new RegExp(`^\\[${manifest.version}\\] - `))
    for (const version of versions) {
      const headings = [...version.matchAll(/^### (.+)$/gm)].map(([, heading]) => heading)
      expect(headings).toEqual([...new Set(headings)])
    }
  })
})
