/** What the relay shows: a line of counts while it runs, and at its end a table of what it could not deliver. */
import { Effect, Schedule } from "effect"
import type { EventSink } from "effect-events"
import type { EventIngress } from "effect-events/http"
import { pathOf } from "./Account.ts"
import { type DeadLetter, reasons } from "./DeadLetters.ts"
import type { Notifications } from "./Notifications.ts"
import type { Quarantine } from "./Quarantine.ts"
import type { Taken } from "./RelayGraph.ts"
import * as Report from "./Report.ts"
import * as Screen from "./Screen.ts"
import { stored } from "./Stored.ts"

/** An endpoint: its nodes, from the subscription down. They outlive the graph. */
export interface Line {
  readonly name: string
  readonly path: ReadonlyArray<EventSink.SinkNode>
}

/** The endpoints of some names that this process serves. */
export const linesOf = ({ node }: Notifications["Service"], names: ReadonlyArray<string>): ReadonlyArray<Line> =>
  names.map((name) => ({ name, path: pathOf(node, name) }))

/** What an endpoint's nodes say now. */
const look = ({ path }: Line) =>
  Effect.map(Report.look(path), (healths) => ({
    delivered: healths[0]?.counts.delivered ?? 0,
    breaker: healths.find(({ breaker }) => breaker !== undefined)?.breaker ?? "closed"
  }))

/** The answer's status, and what was wrong with the request: of another status where it could not be kept either. */
const whyOf = ({ problem, status }: EventIngress.Answer): string => {
  if (problem === undefined) return String(status)
  return `${status === problem.status ? status : `${status} for ${problem.status}`}: ${problem.detail}`
}

/** Shows the counts when they have changed, until it is interrupted, and once more then. */
export const progress = Effect.fnUntraced(function* (
  taken: Taken["Service"],
  quarantine: Quarantine["Service"],
  lines: ReadonlyArray<Line>
) {
  let shown = ""
  const show = Effect.gen(function* () {
    const { of } = yield* stored
    const endpoints = yield* Effect.forEach(lines, (line, i) =>
      Effect.map(look(line), ({ breaker, delivered }) => {
        const { deadLetters, waiting } = of(line.name)
        const texts = [`${delivered} delivered`, `${waiting} waiting`, `breaker ${breaker}`, `${deadLetters} dead`]
        return `${i + 1}: ${texts.join(", ")}`
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
    // A file that cannot be read is no reason to end: it is logged where the events are written and delivered.
  }).pipe(Effect.ignore)
  yield* show.pipe(Effect.repeat(Schedule.spaced(Screen.interval)), Effect.ensuring(Effect.andThen(show, Screen.clear)))
})

/** One endpoint at the end. */
export interface Row {
  readonly line: Line
  readonly kept: number
  readonly deadLetters: ReadonlyArray<DeadLetter>
}

/** A line per endpoint, and below it a line per reason for which events could not be delivered. */
export const table = Effect.fnUntraced(function* (rows: ReadonlyArray<Row>) {
  const cells = yield* Effect.forEach(rows, ({ kept, deadLetters, line }, i) =>
    Effect.map(look(line), ({ breaker, delivered }) => [
      `${i + 1} ${line.name}`,
      ...[delivered, kept, deadLetters.length, breaker].map(String)
    ])
  )
  const dead = rows.flatMap(({ deadLetters }, i) => reasons(String(i + 1), deadLetters))
  return [
    Screen.table(["endpoint", "delivered", "kept", "dead letters", "breaker"], cells),
    ...(dead.length > 0 ? ["", "dead letters, which stay until they are replayed or purged:", ...dead] : [])
  ].join("\n")
})
