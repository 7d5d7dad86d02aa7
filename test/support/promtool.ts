/** Prometheus' own judgement of what is exposed to it: Debian's package `prometheus` has the program. */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"

/** Debian's place; elsewhere what is on the path. */
const promtool = [...(process.env["PATH"] ?? "").split(":"), "/usr/bin"]
  .map((folder) => join(folder, "promtool"))
  .find((file) => existsSync(file))

/** What to say of tests that need it: nothing, or that they are skipped, and why. */
export const skipped: string = promtool === undefined ? " (skipped: no promtool in PATH or /usr/bin)" : ""

/** What `promtool check metrics` says of a page: nothing where it is clean. */
export const problemsOf = (page: string): string => {
  const { error, status, stderr, stdout } = spawnSync(promtool ?? "promtool", ["check", "metrics"], {
    input: page,
    encoding: "utf8"
  })
  if (error !== undefined) throw error
  const said = `${stdout}${stderr}`.trim()
  return said === "" && status !== 0 ? `promtool ended with ${status}` : said
}
