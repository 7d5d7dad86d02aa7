/** Packages that do the same work, from a folder outside of this one: `EFFECT_EVENTS_OTHERS`, in which they are installed. */
import { existsSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"

/** What is installed there. */
export const packages = ["got", "p-queue", "bullmq", "pg-boss", "graphile-worker"] as const
export type Package = (typeof packages)[number]

const folder = process.env["EFFECT_EVENTS_OTHERS"]

const manifestOf = (name: Package): string | undefined =>
  folder === undefined ? undefined : join(folder, "node_modules", name, "package.json")

export const versionOf = (name: Package): string | undefined => {
  const manifest = manifestOf(name)
  return manifest !== undefined && existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")).version : undefined
}

/** Why a side cannot be measured. */
export const missing = (names: ReadonlyArray<Package>): string | undefined => {
  const absent = names.filter((name) => versionOf(name) === undefined)
  return absent.length === 0 ? undefined : `${absent.join(", ")} in the folder of EFFECT_EVENTS_OTHERS`
}

/** The exports of a package, of which a row declares what it uses. */
export const other = <A>(name: Package): A => createRequire(join(folder ?? ".", "package.json"))(name)
