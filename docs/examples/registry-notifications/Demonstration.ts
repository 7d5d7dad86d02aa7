/**
 * Sends the events of a file of registry notifications to four receivers, of which two are in trouble and one does not
 * exist, and shows that nothing was lost silently. When it was killed, the next run goes on where it was.
 */
import { Context, Data, Duration, Effect, Exit, Fiber, Layer, Option, Result, Schedule, Scope, Stream } from "effect"
import { EventSink, SinkGraph } from "effect-events"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { CliError } from "effect/cli"
import { faults, pathOf } from "./Account.ts"
import { alone } from "./Alone.ts"
import * as Dashboard from "./Dashboard.ts"
import * as Graph from "./Graph.ts"
import * as Input from "./Input.ts"
import * as Journal from "./Journal.ts"
import { Ledger } from "./Ledger.ts"
import { deadLettersOf } from "./DeadLetters.ts"
import { Notifications } from "./Notifications.ts"
import { ofFolder } from "./Problem.ts"
import { behaviour, type Name, names, Receivers } from "./Receivers.ts"
import * as Report from "./Report.ts"
import * as Screen from "./Screen.ts"
import { stored } from "./Stored.ts"

/** The accounts do not add up, or a receiver did not get what it should have. */
class ChecksFailed extends Data.TaggedError("ChecksFailed")<{ readonly faults: ReadonlyArray<string> }> {
  // The command prints this and nothing else: no stack, no fiber.
  override get [CliError.userMessage](): string {
    return ["the checks failed:", ...this.faults].join("\n  ")
  }
}

/** What is sent, and the port of the dashboard if there is one: it then stays when all is delivered. */
export interface Run extends Journal.Run {
  readonly dashboard?: number | undefined
}

const send = Effect.fnUntraced(function* (
  { dashboard, input, seed }: Run,
  lines: Effect.Success<ReturnType<typeof Input.open>>
) {
  const journal = yield* Journal.Journal
  yield* alone(journal.database, "3 seconds")
  const receivers = yield* Receivers
  const ledger = yield* Ledger
  const begun = Option.getOrElse(journal.begun, () => 0)
  const before = yield* stored

  // The graph has a scope of its own, which is closed while the receivers and the store are still there.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const graph = yield* Layer.buildWithScope(Graph.layer, scope)
  const notifications = Context.get(graph, Notifications)
  const picture = SinkGraph.toMermaid(notifications)
  const pathTo = (name: Name) => pathOf(notifications.node, name)
  const paths = { healthy: pathTo("healthy"), flaky: pathTo("flaky"), late: pathTo("late"), absent: pathTo("absent") }

  yield* Screen.print(`${input}\n`)
  if (Option.isSome(journal.begun)) {
    yield* Screen.print(`An earlier run was interrupted: going on at line ${begun + 1}.\n`)
  }
  for (const name of names) yield* Screen.print(`  ${name.padEnd(7)}  ${receivers[name].url}  ${behaviour[name]}`)
  yield* Screen.print(
    `\nThe flaky receiver fails by the seed ${seed}. "open" means that a breaker holds requests back.\n`
  )
  const address = dashboard === undefined ? undefined : yield* Dashboard.serve(notifications, dashboard)
  if (address !== undefined) yield* Screen.print(`dashboard at ${address}\n`)
  const progress = yield* Effect.forkChild(Report.progress(notifications.node, paths))

  const read = { envelopes: 0, events: 0, malformed: 0 }
  const reading = yield* lines.pipe(
    Stream.runForEach(
      Input.Line.$match({
        Malformed: ({ number, reason }) => {
          read.malformed++
          return Screen.print(`line ${number} is malformed: ${reason}`)
        },
        Read: Effect.fnUntraced(function* ({ events, number }) {
          read.envelopes++
          read.events += events.length
          // What an earlier run has committed is only looked at, for the check.
          const now = number > begun
          if (now) yield* EventSink.writeAll(notifications, events)
          for (const event of events) for (const name of names) ledger[name].wrote(event, now)
          if (now) yield* journal.committed(number)
        })
      })
    ),
    Effect.result
  )

  // When the events cannot be committed there is nothing to wait for, and the next run does it.
  if (Result.isFailure(reading) && !(reading.failure instanceof Input.InputError)) return yield* reading.failure

  // Everything is in the file, and most of it still on its way. To close would be to leave it there for the next run.
  // What is paused by hand is waited for.
  const flushed = Effect.retry(notifications.flush, {
    schedule: Schedule.spaced("500 millis"),
    while: ({ _tag }) => dashboard !== undefined && _tag === "NotDelivering"
  })
  const [delivering] = yield* Effect.timed(flushed)
  if (address === undefined) yield* Scope.close(scope, Exit.void)
  yield* Fiber.interrupt(progress)

  const rows = yield* Effect.forEach(names, (name) =>
    Effect.all({
      name: Effect.succeed(name),
      path: Report.look(paths[name]),
      entry: Effect.succeed(ledger[name]),
      receiver: Effect.succeed(receivers[name]),
      carried: Effect.succeed(before.of(name)),
      deadLetters: deadLettersOf(notifications, name)
    })
  )
  yield* Screen.print(
    `\nDelivered in another ${Duration.toSeconds(delivering).toFixed(1)} s.\n\n${picture}\n\n${Report.table(read.events, rows)}\n`
  )
  yield* Screen.print(`read: ${read.envelopes} envelopes with ${read.events} events`)
  if (read.malformed > 0) yield* Screen.print(`LEFT OUT: ${read.malformed} malformed lines, named above`)

  const found = rows.flatMap((row) => faults(row).map((fault) => `${row.name}: ${fault}`))
  if (found.length > 0) {
    return yield* new ChecksFailed({
      faults: [...found, `what it says is in ${journal.folder}: remove it to begin anew`]
    })
  }
  yield* Screen.print(
    "checked: every event is accounted for, and every receiver got its own, in order and without gaps"
  )
  if (address !== undefined && Result.isSuccess(reading)) {
    yield* Screen.print(`\nThe graph stays until it is interrupted: ${address}\n`)
    const staying = Screen.isTerminal ? Report.progress(notifications.node, paths) : Effect.never
    // This run is done: the next one begins anew.
    return yield* Effect.ensuring(staying, Effect.ignore(journal.remove))
  }
  // When the file could not be read to its end, what was read has been delivered and checked all the same.
  return yield* Effect.fromResult(reading)
})

/** Sends what is in the file. The seed makes the flaky receiver fail other requests. */
export const run = Effect.fnUntraced(function* (run: Run) {
  const lines = yield* Input.open(run.input)
  const journal = yield* Journal.open(run)
  const layers = Layer.mergeAll(
    Receivers.layer(run.seed),
    Ledger.layer,
    SqliteStore.layer({ filename: journal.database })
  )
  yield* Effect.scoped(send(run, lines)).pipe(
    Effect.provide(Layer.provideMerge(layers, Layer.succeed(Journal.Journal, journal))),
    ofFolder(journal.folder)
  )
  yield* journal.remove
})
