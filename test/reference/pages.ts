import { spawnSync } from "node:child_process"
import { readFileSync, rmSync } from "node:fs"
import { join, relative } from "node:path"
import { format } from "prettier"
import { root } from "../support/fences.ts"
import { docOf, firstSentence, type Item, moduleOf, privateParts } from "./declarations.ts"

/** The pages of the reference by their file names in `docs/reference`, and the public items without a sentence. */
export interface Reference {
  readonly pages: ReadonlyMap<string, string>
  readonly undocumented: ReadonlyArray<string>
}

/** Compiles the declarations of `src`, and makes a page of each public module and an index of them. */
export const makeReference = async (): Promise<Reference> => {
  const dist = join(root, ".cache", "reference")
  emitDeclarations(dist)
  const modules = publicModules.map((name): Module => ({
    name,
    header: headerOf(name),
    items: moduleOf(join(dist, `${name}.d.ts`))
  }))
  const undocumented = modules.flatMap(({ header, items, name }) => [
    ...(firstSentence(header) === "" ? [`${name}: its header`] : []),
    ...items.filter(({ doc }) => firstSentence(doc) === "").map((item) => `${name}.${item.name} (${item.kind})`)
  ])
  const byFile = new Map(modules.map((module) => [join(dist, `${module.name}.d.ts`), module]))
  const pages = new Map<string, string>([["README.md", indexOf(modules)]])
  const published = new Set(modules.flatMap(({ items }) => items.map(({ declared, file }) => `${file} ${declared}`)))
  const isPublic = ({ declared, file }: Item) => published.has(`${file} ${declared}`)
  for (const module of modules) pages.set(fileOf(module.name), await pageOf(module, byFile, isPublic))
  return { pages, undocumented: [...new Set(undocumented)] }
}

// internals

interface Module {
  /** Its path in `src`, without the ending. */
  readonly name: string
  readonly header: string
  readonly items: ReadonlyArray<Item>
}

interface Exports {
  readonly exports: Readonly<Record<string, { readonly types?: string } | string | null>>
}

/** What can be imported, the indexes apart: they export these modules and nothing else. */
const publicModules: ReadonlyArray<string> = Object.values(
  // Of the manifest only this is read.
  (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Exports).exports
)
  .flatMap((entry) => (typeof entry === "object" && entry?.types !== undefined ? [entry.types] : []))
  .map((types) => types.replace(/^\.\/dist\//, "").replace(/\.d\.ts$/, ""))
  .filter((name) => !/(?:^|\/)index$/.test(name))

/** The comment at the top of a module: declarations have lost it where no import of a value follows it. */
const headerOf = (name: string): string => {
  const [comment = ""] = /^\/\*\*[\s\S]*?\*\//.exec(readFileSync(join(root, "src", `${name}.ts`), "utf8")) ?? []
  return docOf(comment)
}

const emitDeclarations = (outDir: string): void => {
  rmSync(outDir, { recursive: true, force: true })
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  const options = ["--emitDeclarationOnly", "--declarationMap", "false", "--sourceMap", "false", "--outDir", outDir]
  const run = spawnSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json"), ...options], {
    encoding: "utf8"
  })
  if (run.status !== 0) throw new Error(`the compiler failed: ${run.stdout}${run.stderr}`)
}

const shortName = (name: string): string => name.slice(name.lastIndexOf("/") + 1)
const fileOf = (name: string): string => `${shortName(name)}.md`

/** The index that exports a module, or the module's own entry. */
const importOf = (name: string): string => {
  const short = shortName(name)
  const folder = name.includes("/") ? name.slice(0, name.indexOf("/")) : ""
  const index = readIndex(folder)
  const entry = folder === "" ? "effect-events" : `effect-events/${folder}`
  return index.includes(`export * as ${short} from`)
    ? `import { ${short} } from "${entry}"`
    : `import * as ${short} from "effect-events/${name}"`
}

const readIndex = (folder: string): string => {
  try {
    return readFileSync(join(root, "src", folder, "index.ts"), "utf8")
  } catch {
    // A folder without an index has entries only.
    return ""
  }
}

const entries: ReadonlyArray<readonly [folder: string, title: string]> = [
  ["", "The core"],
  ["http", "HTTP and webhooks"],
  ["durable", "Durable queues and broadcasters"],
  ["webhooks", "Webhooks for many customers"],
  ["dashboard", "The dashboard"],
  ["testing", "Tests"]
]

const indexOf = (modules: ReadonlyArray<Module>): string => {
  const sections = entries.map(([folder, title]) => {
    const rows = modules
      .filter(({ name }) => (name.includes("/") ? name.slice(0, name.indexOf("/")) : "") === folder)
      .map(({ header, name }) => `| [${shortName(name)}](${fileOf(name)}) | ${cell(firstSentence(header))} |`)
    return `## ${title}\n\n| Module | What |\n| --- | --- |\n${rows.join("\n")}\n`
  })
  return `# Reference

Every public item of every module, made from the declarations by \`npm run reference\`. The guides are the place to learn from;
this is the place to look things up.

${sections.join("\n")}`
}

/** What begins with a capital has its kind in the heading, so that `subject` and `Subject` are two anchors. */
const headingOf = ({ kind, name }: Item): string => (/^[A-Z]/.test(name) ? `${name} (${kind})` : name)
const anchorOf = (item: Item): string => headingOf(item).toLowerCase().replaceAll(/[()]/g, "").replaceAll(" ", "-")

const pageOf = async (
  module: Module,
  byFile: ReadonlyMap<string, Module>,
  isPublic: (item: Item) => boolean
): Promise<string> => {
  const { header, items, name } = module
  /** The public module that declares an item which this one exports again. */
  const homeOf = (item: Item) => {
    const home = byFile.get(item.file)
    return home === undefined || home.name === name ? undefined : home
  }
  const categories = Map.groupBy(items, ({ doc }) => /^@category (.*)$/m.exec(doc)?.[1] ?? "other")
  const contents = [...categories].map(([category, items]) => {
    const rows = items.map((item) => {
      const home = homeOf(item)
      const link = home === undefined ? "" : fileOf(home.name)
      return `| [${item.name}](${link}#${anchorOf(home === undefined ? item : { ...item, name: item.declared })}) | ${cell(firstSentence(item.doc))} |`
    })
    return `| ${category} | |\n| --- | --- |\n${rows.join("\n")}\n`
  })
  const sections: Array<string> = []
  for (const item of items) {
    if (homeOf(item) === undefined) sections.push(await sectionOf(item, privateParts(item, isPublic)))
  }
  return `# ${shortName(name)}

\`\`\`ts
${importOf(name)}
\`\`\`

${textOf(header)}

[Source](../../src/${name}.ts) · [All modules](README.md)

${contents.join("\n")}
${sections.join("\n")}`
}

const sectionOf = async (item: Item, parts: ReadonlyArray<Item>): Promise<string> => {
  const declarations = [item, ...parts].map(({ signature }) => signature).join("\n\n")
  const options = { parser: "typescript", semi: false, printWidth: 120, trailingComma: "none" } as const
  const signature = (await format(declarations, options)).trim()
  return `## ${headingOf(item)}\n\n\`\`\`ts\n${signature}\n\`\`\`\n\n${textOf(item.doc)}\n`
}

/** A doc comment without its tags. */
const textOf = (doc: string): string =>
  doc
    .split("\n")
    .filter((line) => !/^@(?:category|since) /.test(line))
    .join("\n")
    .trim()

const cell = (text: string): string => text.replaceAll("|", "\\|")

/** Where the pages are, from the root. */
export const folder = relative(root, join(root, "docs", "reference"))
