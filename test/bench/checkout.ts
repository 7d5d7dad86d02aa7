/** Another checkout of this library, whose sources the rows are measured on as well. */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, realpathSync } from "node:fs"
import { join } from "node:path"

export interface Checkout {
  readonly directory: string
  /** Its commit, or its version where there is no commit. */
  readonly version: string
}

const git = (directory: string, ...args: ReadonlyArray<string>): string | undefined => {
  try {
    return execFileSync("git", ["-C", directory, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"]
    }).trim()
  } catch {
    // A folder without Git is a checkout too.
    return undefined
  }
}

/** The checkout in a folder, or what is wrong with the folder. */
export const checkout = (folder: string): Checkout | string => {
  const manifest = join(folder, "package.json")
  if (!existsSync(manifest)) return `there is no ${manifest}`
  const { name, version } = JSON.parse(readFileSync(manifest, "utf8"))
  if (name !== "effect-events") return `${manifest} is the package "${name}"`
  const commit = git(folder, "rev-parse", "--short", "HEAD")
  const isChanged = (git(folder, "status", "--porcelain", "--", "src") ?? "") !== ""
  return {
    directory: realpathSync(folder),
    version: commit === undefined ? version : isChanged ? `${commit} and changes` : commit
  }
}
