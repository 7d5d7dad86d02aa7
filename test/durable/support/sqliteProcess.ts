/** A process on a SQLite file, which says on its standard output what becomes of what it does. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

/** Starts what `sqliteChild.ts` calls `what`. */
export const start = (what: string, filename: string, ...more: ReadonlyArray<string>) => {
  const script = fileURLToPath(new URL("../../slow/durable/sqliteChild.ts", import.meta.url))
  const child = spawn(
    process.execPath,
    ["--conditions=@effect-events/source", "--no-warnings", script, what, filename, ...more],
    {
      stdio: ["pipe", "pipe", "inherit"],
      // Loading effect is most of what a process costs.
      env: { ...process.env, NODE_COMPILE_CACHE: fileURLToPath(new URL("../../../.cache/compiled", import.meta.url)) }
    }
  )
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const exit = once(child, "exit")
  return {
    process: child,
    /** The next line; none when it has ended and said all. */
    line: async (): Promise<string | undefined> => {
      const { done, value } = await lines.next()
      return done === true ? undefined : String(value)
    },
    kill: async (): Promise<void> => {
      child.kill("SIGKILL")
      await exit
    }
  }
}
