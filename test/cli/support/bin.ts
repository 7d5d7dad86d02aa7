/** The command line as a process of its own. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Printed } from "./program.ts"

const pathOf = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

/** Runs a command as its bin does, with the store in the environment. */
export const bin = (store: string, ...args: ReadonlyArray<string>): Promise<Printed> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--conditions=@effect-events/source", pathOf("src/cli/main.ts"), ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      // loading effect is most of what a command costs
      env: { ...process.env, EFFECT_EVENTS_STORE: store, NODE_COMPILE_CACHE: pathOf(".cache/compiled") }
    })
    let out = ""
    let err = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text))
    child.on("error", reject)
    child.on("close", (code) => resolve({ code: code ?? -1, out, err }))
  })
