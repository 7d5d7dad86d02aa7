/** What the relay shows: a line of counts while it runs, and at its end a table of what it could not deliver. */
import { Effect, Schedule } from "effect"
import type { EventIngress } from "effect-events/http"
import { pathFrom } from "./Account.ts"
import { type Letter, reasons } from "./Letters.ts"
import type { Quarantine } from "./Quarantine.ts"
import type { Line, Taken } from "./RelayGraph.ts"
import * as Report from "./Report.ts"
import * as Screen from "./Screen.ts"

/** What an endpoint's nodes say now. */
const look = ({ queue }: Line) =>
  Effect.map(Report.look(pathFrom(queue.node)), (path) => ({
    delivered: path[0]?.counts.delivered ?? 0,
    deadLettered: path[0]?.counts.deadLettered ?? 0,
    // What the close has left is waiting as before, for the next process.
    waiting: (path[0]?.pending ?? 0) + (path[0]?.counts.remaining ?? 0),
    breaker: path.find(({ breaker }) => breaker !== undefined)?.breaker ?? "closed"
  }))

/** The answer's status, and what was wrong with the request: of another status where it could not be kept either. */
const whyOf = ({ problem, status }: EventIngress.Answer): string => {
  if (problem === undefined) return String(status)
  return `${status === problem.status ? status : `${status} for ${problem.status}`}: ${problem.detail}`
}

/**
 * Shows the counts when they have changed, until it is interrupted, and once more then. `before` says how many dead
 * letters each endpoint had when this process began.
 */
export const progress = Effect.fnUntraced(function* (
  taken: Taken["Service"],
  quarantine: Quarantine["Service"],
  lines: ReadonlyArray<Line>,
  before: ReadonlyArray<number>
) {
  let shown = ""
  const show = Effect.gen(function* () {
    const endpoints = yield* Effect.forEach(lines, (line, i) =>
      Effect.map(look(line), ({ breaker, deadLettered, delivered, waiting }) => {
        const dead = (before[i] ?? 0) + deadLettered
        const texts = [`${i + 1}: ${delivered} delivered`, `${waiting} waiting`, `breaker ${breaker}`, `${dead} dead`]
        return texts.join(", ")
      })
    )
    const { events, refusal, refused, duplicates } = taken
    const { requests } = quarantine.held()
    const received = [`received ${events}`, `${duplicates} duplicates`]
    if (requests > 0) received.push(`${requests} quarantined`)
    const why = refusal === undefined ? "" : ` (the last with ${whyOf(refusal)})`
    const text = [[...received, `${refused} refused${why}`].join(", "), ...endpoints].join(" | ")
    if (text !== shown) yield* Screen.show(text)
    shown = text
  })
  yield* show.pipe(Effect.repeat(Schedule.spaced(Screen.interval)), Effect.ensuring(Effect.andThen(show, Screen.clear)))
})

/** One endpoint at the end. */
export interface Row {
  readonly line: Line
  readonly kept: number
  readonly letters: ReadonlyArray<Letter>
}

/** A line per endpoint, and below it a line per reason for which events could not be delivered. */
export const table = Effect.fnUntraced(function* (rows: ReadonlyArray<Row>) {
  const cells = yield* Effect.forEach(rows, ({ kept, letters, line }, i) =>
    Effect.map(look(line), ({ breaker, delivered }) => [
      `${i + 1} ${line.name}`,
      ...[delivered, kept, letters.length, breaker].map(String)
    ])
  )
  const dead = rows.flatMap(({ letters }, i) => reasons(String(i + 1), letters))
  return [
    Screen.table(["endpoint", "delivered", "kept", "dead letters", "breaker"], cells),
    ...(dead.length > 0 ? ["", "dead letters, which stay until they are replayed or purged:", ...dead] : [])
  ].join("\n")
})
