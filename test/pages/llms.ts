/** The file llms.txt: every page of the documentation with its first sentence, for agents that search it. */
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../support/fences.ts"

const sections: ReadonlyArray<{ readonly title: string; readonly pages: ReadonlyArray<string> }> = [
  {
    title: "Start",
    pages: ["README.md", "docs/quick-start.md", "AGENTS.md", "docs/guide/tour.md", "docs/guide/modules.md"]
  },
  { title: "Guides", pages: ["docs/guide/*.md"] },
  { title: "Recipes", pages: ["docs/recipes/*.md", "docs/examples/**/README.md"] },
  { title: "Reference", pages: ["docs/reference/README.md"] },
  { title: "Optional", pages: ["docs/*.md", "CHANGELOG.md", "SECURITY.md"] }
]

export const llms = (): string => {
  const seen = new Set<string>()
  const parts = sections.map(({ pages, title }) => {
    const files = pages
      .flatMap((pattern) => globSync(pattern, { cwd: root }).toSorted())
      .map((file) => file.replaceAll("\\", "/"))
      .filter((file) => !seen.has(file))
    for (const file of files) seen.add(file)
    return files.length === 0 ? "" : `## ${title}\n\n${files.map(entryOf).join("\n")}\n`
  })
  return [
    "# effect-events\n",
    `> ${firstSentences(readPage("README.md"), 2)}\n`,
    "Paths are within the package, as in node_modules/effect-events. Every TypeScript program in these pages is compiled and run by the",
    "package's tests. Source with doc comments is in src/. The package is for Effect 4.1: names of Effect 3 do not apply.\n",
    parts.filter((part) => part !== "").join("\n")
  ].join("\n")
}

// internals

const readPage = (file: string): string => readFileSync(join(root, file), "utf8")

const entryOf = (file: string): string => {
  const text = readPage(file)
  const [, title = file] = /^# (.+)$/m.exec(text) ?? []
  return `- [${plain(title)}](${file}): ${firstSentences(text, 1)}`
}

/** Of the first paragraph that is prose. */
const firstSentences = (text: string, count: number): string => {
  const paragraphs = text.replaceAll(/^```[\s\S]*?^```$/gm, "").split(/\n\s*\n/)
  const prose = paragraphs.find((paragraph) => /^(?![#|<!]|- )\S/.test(paragraph)) ?? ""
  const sentences = plain(prose).match(/.+?[.:?!](?= |$)/g) ?? [plain(prose)]
  return sentences.slice(0, count).join("").replace(/:$/, ".")
}

const plain = (markdown: string): string =>
  markdown
    .replaceAll(/\[([^\]]+)\]\([^)]*\)/g, "$1")
    .replaceAll(/[*`]/g, "")
    .replaceAll(/\s+/g, " ")
    .trim()
