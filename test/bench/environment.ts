/** What the figures were measured on and with. */
import { readFileSync } from "node:fs"
import { cpus, release, totalmem, type } from "node:os"
import { join } from "node:path"
import { type Checkout, checkout } from "./checkout.ts"
import type { Go } from "./go.ts"
import * as Others from "./others.ts"

export interface Environment {
  readonly date: string
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly os: string
  readonly versions: Readonly<Record<string, string>>
  /** The commit that was measured, and the one before that it was measured against. */
  readonly commits: { readonly ours: string; readonly before: string | undefined }
}

const root = join(import.meta.dirname, "..", "..")

const versionOf = (directory: string): string => {
  try {
    return JSON.parse(readFileSync(join(root, directory, "package.json"), "utf8")).version
  } catch {
    return "not installed"
  }
}

const commitOf = (checkout: Checkout | string): string => (typeof checkout === "string" ? "unknown" : checkout.version)

export const environment = (go: Go | string, before: Checkout | undefined): Environment => ({
  date: new Date().toISOString(),
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: cpus().length,
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  os: `${type()} ${release()}`,
  versions: {
    "effect-events": versionOf("."),
    effect: versionOf("node_modules/effect"),
    rxjs: versionOf("node_modules/rxjs"),
    node: process.versions.node,
    v8: process.versions.v8,
    go: typeof go === "string" ? go : go.go,
    "go-events": typeof go === "string" ? go : go.goEvents,
    ...Object.fromEntries(
      Others.packages.flatMap((name): ReadonlyArray<readonly [string, string]> => {
        const version = Others.versionOf(name)
        return version === undefined ? [] : [[name, version]]
      })
    )
  },
  commits: { ours: commitOf(checkout(root)), before: before?.version }
})

export const describe = ({ commits, cores, cpu, date, memory, os, versions }: Environment): string =>
  [
    `${cpu}, ${cores} cores, ${memory}, ${os}, ${date}`,
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", "),
    `ours: ${commits.ours}${commits.before === undefined ? "" : `, before: ${commits.before}`}`
  ].join("\n")
