/**
 * Passes the notifications of a live registry on, from when it is started until it is interrupted. What it has answered
 * with 202 is in a file, and is delivered by this process or by the next one on the same folder.
 */
import { Context, Duration, Effect, Exit, Fiber, FileSystem, Layer, Path, Scope } from "effect"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { FetchHttpClient, HttpServer } from "effect/http"
import { alone } from "./Alone.ts"
import * as Dashboard from "./Dashboard.ts"
import { deadLettersOf } from "./DeadLetters.ts"
import { Notifications } from "./Notifications.ts"
import { ofFolder } from "./Problem.ts"
import * as Quarantine from "./Quarantine.ts"
import * as RelayGraph from "./RelayGraph.ts"
import * as RelayReport from "./RelayReport.ts"
import * as Screen from "./Screen.ts"
import { leave, stored } from "./Stored.ts"

export interface Options extends RelayGraph.Options {
  /** The port of the dashboard, if there is one. */
  readonly dashboard: number | undefined
  /** Where the events are kept: made when it does not exist. */
  readonly folder: string
}

/** How much the quarantine may hold: so many requests, and as many bytes as so many of the largest have. */
const quarantined = { requests: 1000, largest: 8 }

const databaseIn = (folder: string) => Effect.map(Path.Path, (path) => path.join(folder, "relay.db"))

const relay = Effect.fnUntraced(function* ({ dashboard, folder, ...options }: Options) {
  const { targets } = options
  const names = targets.map(({ name }) => name)
  // Longer than a relay takes to end.
  yield* alone(yield* databaseIn(folder), "10 seconds")
  const left = yield* leave(names)
  const quarantine = yield* Quarantine.Quarantine

  // The graph has a scope of its own, which is closed while the store is still open.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const context = yield* Layer.buildWithScope(RelayGraph.layer(options), scope)
  const notifications = Context.get(context, Notifications)
  const lines = RelayReport.linesOf(notifications, names)
  const { address } = Context.get(context, HttpServer.HttpServer)

  yield* Screen.print(`listening at ${HttpServer.formatAddress(address)}${RelayGraph.path}`)
  if (dashboard !== undefined) {
    const page = Dashboard.serve(notifications, dashboard)
    yield* Screen.print(`dashboard at ${yield* Effect.provideService(page, Scope.Scope, scope)}`)
  }
  yield* Screen.print(
    lines.length > 0
      ? `events are kept in ${folder} until these have them:\n`
      : "no --endpoint is given: what comes is shown, and not kept\n"
  )
  for (const [i, name] of names.entries()) yield* Screen.print(`  ${i + 1}  ${name}`)
  for (const { deadLetters, name, waiting } of left) {
    yield* Screen.print(`NOT GIVEN: ${name} has ${waiting} events waiting and ${deadLetters} dead letters in ${folder}`)
  }
  if (quarantine.held().requests > 0) yield* Screen.print(`QUARANTINED: ${Quarantine.describe(quarantine)}`)
  yield* Screen.print("")

  const counting = RelayReport.progress(Context.get(context, RelayGraph.Taken), quarantine, lines)
  const progress = yield* Effect.forkChild(counting)

  // The server answers what it has begun, the subscriptions finish what is in flight. The rest is in the file.
  const close = Effect.gen(function* () {
    const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
    yield* Fiber.interrupt(progress)
    const { of } = yield* stored
    const rows = yield* Effect.forEach(lines, (line) =>
      Effect.map(deadLettersOf(notifications, line.name), (deadLetters) => ({
        line,
        kept: of(line.name).waiting,
        deadLetters
      }))
    )
    yield* Screen.print(`\nClosed in ${Duration.toSeconds(took).toFixed(1)} s.`)
    if (rows.length > 0) yield* Screen.print(`\n${yield* RelayReport.table(rows)}`)
    if (quarantine.held().requests > 0) {
      yield* Screen.print(`\nquarantined, until they are removed: ${Quarantine.describe(quarantine)}`)
    }
    const kept = rows.reduce((sum, row) => sum + row.kept, 0)
    if (kept > 0) yield* Screen.print(`\n${kept} deliveries are left: start again on ${folder} to go on with them`)
  })
  return yield* Effect.ensuring(Effect.never, Effect.orDie(close))
})

/** Runs until it is interrupted. */
export const run = Effect.fnUntraced(function* (options: Options) {
  const { folder, maxBytes } = options
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const store = SqliteStore.layer({ filename: yield* databaseIn(folder) })
  const quarantine = Quarantine.Quarantine.layer(path.join(folder, "quarantine"), {
    requests: quarantined.requests,
    bytes: quarantined.largest * maxBytes
  })
  const running = Effect.provide(relay(options), [store, quarantine, FetchHttpClient.layer])
  return yield* Effect.andThen(fs.makeDirectory(folder, { recursive: true }), running).pipe(ofFolder(folder))
})
