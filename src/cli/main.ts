#!/usr/bin/env node
/** `effect-events`: the entry of the command line. */
/// <reference types="node" />
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { isMissing, missing } from "./importOptional.ts"
import { openStore } from "./openStore.ts"
import { run } from "./program.ts"
import { StoreOpener } from "./rootCommand.ts"

const main = async () => {
  // Node says of `node:sqlite` that it is experimental, in the midst of the output.
  const { emitWarning } = process
  process.emitWarning = (warning: string | Error, ...rest: ReadonlyArray<unknown>) => {
    if (!rest.includes("ExperimentalWarning")) Reflect.apply(emitWarning, process, [warning, ...rest])
  }
  const { NodeRuntime, NodeServices } = await import("@effect/platform-node")
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
  run(process.argv.slice(2), version).pipe(
    Effect.map((code) => void (process.exitCode = code)),
    Effect.provideService(StoreOpener, {
      open: openStore({ sqlite: () => import("./openSqlite.ts"), postgres: () => import("./openPostgres.ts") })
    }),
    Effect.provide(NodeServices.layer),
    NodeRuntime.runMain
  )
}

main().catch((error: unknown) => {
  process.exitCode = 1
  const name = "@effect/platform-node"
  process.stderr.write(`effect-events: ${isMissing(error, name) ? missing(name) : String(error)}\n`)
})
