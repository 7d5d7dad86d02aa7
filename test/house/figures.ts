/** The figures of the house: what `npm run house` prints and test/architecture.test.ts holds. */
import { type Module, sourceTree } from "./sourceTree.ts"

export interface FolderFigures {
  readonly folder: string
  readonly files: number
  readonly code: number
  /** The part of the code of `src`, from 0 to 1. */
  readonly share: number
  /** How many modules the longest chain of imports has that begins here. */
  readonly chain: number
  readonly classes: ReadonlyArray<string>
}

const modules = [...sourceTree.values()]

/** The folder of `src` that a module is in; `core` for what is in none. */
export const folderOf = (module: string): string => (module.includes("/") ? module.split("/")[0]! : "core")

const chains = new Map<string, ReadonlyArray<string>>()

const chainFrom = (module: string): ReadonlyArray<string> => {
  const known = chains.get(module)
  if (known !== undefined) return known
  // a circle of imports ends here; a test of its own reports it
  chains.set(module, [module])
  const chain = [module, ...longest((sourceTree.get(module)?.neighbours ?? []).map(chainFrom))]
  chains.set(module, chain)
  return chain
}

const longest = (lists: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> =>
  lists.reduce((best, list) => (list.length > best.length ? list : best), [])

/** The longest chain of imports that begins in one of the modules. */
const longestChain = (isIn: (folder: string) => boolean): ReadonlyArray<string> =>
  longest(modules.filter(({ name }) => isIn(folderOf(name))).map(({ name }) => chainFrom(name)))

/** The classes of a module that are neither an error nor a service nor a schema. */
const classesOf = ({ code, name }: Module): ReadonlyArray<string> =>
  [...code.matchAll(/\bclass\s+(\w+)[^{]*/g)]
    .filter(([head]) => !/TaggedError|Context\.(?:Service|Reference)|Schema\.|Data\./.test(head))
    .map(([, className]) => `${name}: ${className}`)

const sum = (list: ReadonlyArray<Module>, kind: keyof Module["lines"]): number =>
  list.reduce((total, { lines }) => total + lines[kind], 0)

const heightOf = ({ lines }: Module): number => lines.code + lines.comments + lines.blank

const code = sum(modules, "code")
const tallest = modules.reduce((best, module) => (heightOf(module) > heightOf(best) ? module : best))

const folderFigures = (folder: string): FolderFigures => {
  const inside = modules.filter(({ name }) => folderOf(name) === folder)
  return {
    folder,
    files: inside.length,
    code: sum(inside, "code"),
    share: sum(inside, "code") / code,
    chain: longestChain((other) => other === folder).length,
    classes: inside.flatMap(classesOf)
  }
}

const isCrossing = (one: string, other: string): boolean =>
  [folderOf(one), folderOf(other)].toSorted().join() === "durable,http"

export const figures = {
  files: modules.length,
  code,
  comments: sum(modules, "comments"),
  longestFile: { name: tallest.name, lines: heightOf(tallest) },
  longestChain: longestChain(() => true),
  longestChainOfCore: longestChain((folder) => folder === "core" || folder === "internal"),
  folders: [...new Set(modules.map(({ name }) => folderOf(name)))].map(folderFigures),
  /** Imports between `http` and `durable`. */
  crossings: modules.flatMap(({ name, neighbours }) =>
    neighbours.filter((other) => isCrossing(name, other)).map((other) => `${name} > ${other}`)
  )
}
