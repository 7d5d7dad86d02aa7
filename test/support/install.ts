/** Commands in folders outside of this repository, as a user has them. */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "./fences.ts"

export const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

/** npm hands its own settings down to scripts: with them the npm of a test would work on this repository. */
export const env: NodeJS.ProcessEnv = Object.fromEntries(
  Object.entries(process.env).filter(([key]) => !/^npm_(?:package|lifecycle|config_local_prefix)/.test(key))
)

/** Runs a command, throws if it fails, and answers what it printed. */
export const command = (cwd: string, name: string, ...args: ReadonlyArray<string>): string => {
  const result = spawnSync(name, args, { cwd, env, encoding: "utf8" })
  if (result.status === 0) return result.stdout
  throw new Error(`${name} ${args.join(" ")} ended with ${result.status}\n${result.stdout}${result.stderr}`)
}

export const install = (folder: string, ...names: ReadonlyArray<string>): string =>
  command(folder, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", ...names)

/** The options of a strict compiler that has no configuration. */
export const compilerOptions = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024"]
