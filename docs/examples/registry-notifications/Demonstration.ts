/**
 * Sends the events of a file of registry notifications to four receivers, of which two are in trouble and one does not
 * exist, and shows that nothing was lost silently.
 */
import { Context, Data, Duration, Effect, Exit, Fiber, Layer, Record, Schedule, Scope, Stream } from "effect"
import { EventSink, SinkGraph } from "effect-events"
import { CliError } from "effect/cli"
import { faults, pathFrom } from "./Account.ts"
import * as Graph from "./Graph.ts"
import * as Input from "./Input.ts"
import { Ledger } from "./Ledger.ts"
import { behaviour, names, Receivers } from "./Receivers.ts"
import * as Report from "./Report.ts"
import * as Screen from "./Screen.ts"

/** The accounts do not add up, or a receiver did not get what it should have. */
class ChecksFailed extends Data.TaggedError("ChecksFailed")<{ readonly faults: ReadonlyArray<string> }> {
  // The command prints this and nothing else: no stack, no fiber.
  override get [CliError.userMessage](): string {
    return ["the checks failed:", ...this.faults].join("\n  ")
  }
}

/** How far an endpoint may be behind before the reader waits for it: a large file must not fill the memory. */
const mostBehind = 200

/** Sends what is in `file`. The seed makes the flaky receiver fail other requests. */
export const run = Effect.fnUntraced(function* (file: string, seed: number) {
  const lines = yield* Input.open(file)
  const receivers = yield* Receivers
  const ledger = yield* Ledger

  // The graph has a scope of its own, which is closed while the receivers are still there.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const notifications = Context.get(yield* Layer.buildWithScope(Graph.layer, scope), Graph.Notifications)
  const picture = SinkGraph.toMermaid(notifications)
  const subscriptions = notifications.node.downstream()
  const paths = Record.map(receivers, (_, name) => subscriptions.filter((node) => node.name === name).flatMap(pathFrom))

  yield* Screen.print(`${file}\n`)
  for (const name of names) yield* Screen.print(`  ${name.padEnd(7)}  ${receivers[name].url}  ${behaviour[name]}`)
  yield* Screen.print(
    `\nThe flaky receiver fails by the seed ${seed}. "open" means that a breaker holds requests back.\n`
  )
  const progress = yield* Effect.forkChild(Report.progress(paths))

  const read = { envelopes: 0, events: 0, malformed: 0 }
  const send = EventSink.tap(notifications, (event) =>
    Effect.sync(() => {
      for (const name of names) ledger[name].sent(event)
    })
  )
  // A broadcaster never makes its writer wait. Whether to wait for slow endpoints is the writer's choice: this one does.
  const caughtUp = Effect.repeat(Report.mostPending(paths), {
    until: (n) => n < mostBehind,
    schedule: Schedule.spaced("10 millis")
  })
  const reading = yield* lines.pipe(
    Stream.runForEach(
      Input.Line.$match({
        Malformed: ({ number, reason }) => {
          read.malformed++
          return Screen.print(`line ${number} is malformed: ${reason}`)
        },
        Read: ({ events }) => {
          read.envelopes++
          read.events += events.length
          return Effect.andThen(EventSink.writeAll(send, events), caughtUp)
        }
      })
    ),
    Effect.result
  )

  // Most events are still on their way. To close is to deliver: each queue goes on until it is empty or its time is up,
  // above a retrier that is still open, and then reports what it could not deliver.
  const [closing] = yield* Effect.timed(Scope.close(scope, Exit.void))
  yield* Fiber.interrupt(progress)

  const rows = yield* Effect.forEach(names, (name) =>
    Effect.map(Report.look(paths[name]), (path) => ({ name, path, entry: ledger[name], receiver: receivers[name] }))
  )
  yield* Screen.print(
    `\nClosed in ${Duration.toSeconds(closing).toFixed(1)} s.\n\n${picture}\n\n${Report.table(rows)}\n`
  )
  yield* Screen.print(`read: ${read.envelopes} envelopes with ${read.events} events`)
  if (read.malformed > 0) yield* Screen.print(`LEFT OUT: ${read.malformed} malformed lines, named above`)

  const found = rows.flatMap(({ entry, name, path, receiver }) =>
    faults(read.events, path, entry, receiver).map((fault) => `${name}: ${fault}`)
  )
  if (found.length > 0) return yield* new ChecksFailed({ faults: found })
  yield* Screen.print(
    "checked: every event is accounted for, and every receiver got its own, in order and without gaps"
  )
  // When the file could not be read to its end, what was read has been delivered and checked all the same.
  return yield* Effect.fromResult(reading)
})
