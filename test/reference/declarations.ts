import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"

/** A public item, as its module's declarations have it. */
export interface Item {
  readonly name: string
  readonly kind: "const" | "function" | "class" | "interface" | "type"
  /** The text of its doc comment, with the tags; empty without one. */
  readonly doc: string
  readonly signature: string
  /** The declaration file that declares it, and its name there. */
  readonly file: string
  readonly declared: string
}

interface Statement {
  readonly doc: string
  readonly code: string
}

/** A file of declarations: what it declares, and where the names of others come from. */
interface Declarations {
  readonly items: ReadonlyMap<string, ReadonlyArray<Item>>
  readonly exported: ReadonlyMap<string, Origin>
  readonly imported: ReadonlyMap<string, Origin>
}

/** The name of an export where it is declared, and the file that declares it. */
interface Origin {
  readonly name: string
  readonly file: string
}

const files = new Map<string, Declarations>()

/** The public items of a module, in the order of its declarations and exports. */
export const moduleOf = (file: string): ReadonlyArray<Item> =>
  [...declarationsOf(file).exported].flatMap(([name, origin]) =>
    companions(resolve(origin)).map((item) => (item.name === name ? item : renamed(item, name)))
  )

/** The declarations that an interface extends or a type combines and that have no page of their own. */
export const privateParts = (item: Item, isPublic: (item: Item) => boolean): ReadonlyArray<Item> => {
  const parts = new Map<string, Item>()
  const visit = ({ file, kind, signature }: Item): void => {
    const [, heritage = ""] =
      kind === "interface" ? (/ extends ([\s\S]*?) \{/.exec(signature) ?? []) : (/=([\s\S]*)/.exec(signature) ?? [])
    if (kind !== "interface" && kind !== "type") return
    const { imported, items } = declarationsOf(file)
    for (const [name] of heritage.matchAll(/\b[A-Z]\w*/g)) {
      const origin = imported.get(name)
      for (const part of items.get(name) ?? (origin === undefined ? [] : resolve(origin))) {
        const key = `${part.file} ${part.name}`
        if ((part.kind !== "interface" && part.kind !== "type") || isPublic(part) || parts.has(key)) continue
        parts.set(key, part)
        visit(part)
      }
    }
  }
  visit(item)
  return [...parts.values()]
}

/** The sentence that a doc comment or a header begins with. */
export const firstSentence = (doc: string): string => {
  const [paragraph = ""] = doc.split(/\n\s*\n|\n@|^@/)
  const line = paragraph.replaceAll(/\s+/g, " ").trim()
  return /^.*?[.:](?=\s+[A-Z`\d]|$)/.exec(line)?.[0].replace(/:$/, ".") ?? line
}

/** The text of a doc comment without its stars. */
export const docOf = (comment: string): string =>
  comment
    .replace(/^\s*\/\*\*/, "")
    .replace(/\*\/\s*$/, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, "").trimEnd())
    .join("\n")
    .trim()

// internals

/** A type without a doc comment of its own belongs to the value of its name, such as a schema. */
const companions = (items: ReadonlyArray<Item>): ReadonlyArray<Item> => {
  const [documented, ...others] = items.toSorted(
    (a, b) => Number(firstSentence(a.doc) === "") - Number(firstSentence(b.doc) === "")
  )
  if (documented === undefined) return []
  const silent = others.filter(({ doc }) => firstSentence(doc) === "")
  const signature = [documented, ...silent].map(({ signature }) => signature).join("\n\n")
  return [{ ...documented, signature }, ...others.filter((item) => !silent.includes(item))]
}

const renamed = (item: Item, name: string): Item => ({
  ...item,
  name,
  signature: item.signature.replace(new RegExp(`\\b${item.name}\\b`), name)
})

const resolve = ({ file, name }: Origin): ReadonlyArray<Item> => {
  const { exported, items } = declarationsOf(file)
  const own = items.get(name)
  if (own !== undefined) return own
  const further = exported.get(name)
  if (further === undefined || further.file === file) throw new Error(`${file} does not export ${name}`)
  return resolve(further)
}

const declarationsOf = (file: string): Declarations => {
  const known = files.get(file)
  if (known !== undefined) return known
  const text = readFileSync(file, "utf8").replaceAll("\r\n", "\n")
  const statements = statementsOf(text)
  const bases = new Map(
    statements.flatMap(({ code }): ReadonlyArray<readonly [string, string]> => {
      const [, name, type] = /^declare const (\w+_base): ([\s\S]*?);?$/.exec(code) ?? []
      return name === undefined || type === undefined ? [] : [[name, type]]
    })
  )
  const items = new Map<string, Array<Item>>()
  const exported = new Map<string, Origin>()
  const imported = new Map<string, Origin>()
  for (const { code, doc } of statements) {
    const [, names, from] = /^(?:im|ex)port (?:type )?\{([^}]*)\}(?: from "(.*)")?/.exec(code) ?? []
    if (names !== undefined) {
      for (const one of names.split(",").filter((one) => one.trim() !== "")) {
        const [name = "", alias = name] = one
          .trim()
          .replace(/^type /, "")
          .split(" as ")
        const origin = from?.startsWith(".")
          ? { name, file: join(dirname(file), from.replace(/\.ts$/, ".d.ts")) }
          : undefined
        if (code.startsWith("import")) {
          if (origin !== undefined) imported.set(alias, origin)
        } else exported.set(alias, origin ?? imported.get(name) ?? { name, file })
      }
      continue
    }
    const item = itemOf(file, doc, code, bases)
    if (item === undefined) continue
    items.set(item.name, [...(items.get(item.name) ?? []), item])
    if (code.startsWith("export ")) exported.set(item.name, { name: item.name, file })
  }
  const declarations = { items, exported, imported }
  files.set(file, declarations)
  return declarations
}

const itemOf = (file: string, doc: string, code: string, bases: ReadonlyMap<string, string>): Item | undefined => {
  const [, kind, name] = /^(?:export )?(?:declare )?(const|function|class|interface|type) (\w+)/.exec(code) ?? []
  if (kind === undefined || name === undefined) return undefined
  const plain = code.replace(/^export /, "").replace(/^declare /, "")
  const signature = plain.replace(/\b\w+_base\b/, (base) => baseOf(bases.get(base)) ?? base)
  // The pattern has no other kinds.
  return { file, name, declared: name, kind: kind as Item["kind"], doc, signature }
}

/** How a class is written in the sources, by what the compiler makes of the expression that it extends. */
const baseOf = (type: string | undefined): string | undefined => {
  if (type === undefined) return undefined
  const [, tag] = /YieldableError[\s\S]*_tag: ("\w+")/.exec(type) ?? []
  if (tag !== undefined) return `Data.TaggedError(${tag})`
  return type.startsWith("new") ? undefined : type.replaceAll(/import\("[^"]*"\)\./g, "")
}

/** The statements of a file of declarations: each begins at the margin, and so does the comment in front of it. */
const statementsOf = (text: string): ReadonlyArray<Statement> => {
  const found: Array<{ doc: string; code: string }> = []
  let doc = ""
  const lines = text.split("\n")
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? ""
    if (line.startsWith("/**")) {
      let end = at
      while (!(lines[end] ?? "").includes("*/")) end++
      doc = docOf(lines.slice(at, end + 1).join("\n"))
      at = end
    } else if (/^(?:export|declare|import|interface|type) /.test(line)) {
      found.push({ doc, code: line })
      doc = ""
    } else if (!line.startsWith("//") && found.length > 0) {
      const last = found[found.length - 1]!
      last.code += `\n${line}`
    }
  }
  return found.map(({ code, doc }) => ({ doc, code: code.trimEnd() }))
}
