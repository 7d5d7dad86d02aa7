/** What the example shows: the progress while it runs, and the table at its end. */
import { Clock, Effect, Schedule } from "effect"
import type { EventSink } from "effect-events"
import { total } from "./Account.ts"
import type { Entry } from "./Ledger.ts"
import { type Name, names, type Receiver } from "./Receivers.ts"
import * as Screen from "./Screen.ts"

/** The nodes of each endpoint. They outlive the graph, and their counts stay readable. */
export type Paths = Readonly<Record<Name, ReadonlyArray<EventSink.SinkNode>>>

/** What every node of an endpoint says now. */
export const look = (path: ReadonlyArray<EventSink.SinkNode>) =>
  Clock.clockWith((clock) => {
    const now = clock.currentTimeMillisUnsafe()
    return Effect.sync(() => path.map((node) => node.health(now)))
  })

/** How many events an endpoint has accepted and not settled. */
const pending = (path: ReadonlyArray<EventSink.SinkHealth>): number => path.reduce((n, node) => n + node.pending, 0)

/** The same of the endpoint that is furthest behind. */
export const mostPending = (paths: Paths): Effect.Effect<number> =>
  Effect.map(Effect.forEach(Object.values(paths), look), (all) => Math.max(...all.map(pending)))

/**
 * Shows the progress until it is interrupted, and once more then: of each endpoint what is delivered of what is for it,
 * whether its breaker holds it back, and what was given up.
 */
export const progress = Effect.fnUntraced(function* (paths: Paths) {
  const began = yield* Clock.currentTimeMillis
  const one = Effect.fnUntraced(function* (name: Name) {
    const path = yield* look(paths[name])
    const { accepted, delivered, dropped, filtered, undelivered } = total(path)
    const open = path.some(({ breaker }) => breaker !== undefined && breaker !== "closed")
    const givenUp = dropped + undelivered
    return `${name} ${delivered}/${accepted - filtered}${open ? " open" : ""}${givenUp > 0 ? `, ${givenUp} dropped` : ""}`
  })
  const show = Effect.gen(function* () {
    const seconds = ((yield* Clock.currentTimeMillis) - began) / 1000
    const texts = yield* Effect.forEach(names, one)
    yield* Screen.show(`${seconds.toFixed(1).padStart(5)}s  ${texts.join("  ")}`)
  })
  yield* show.pipe(Effect.repeat(Schedule.spaced(Screen.interval)), Effect.ensuring(Effect.andThen(show, Screen.clear)))
})

/** One endpoint at the end. */
export interface Row {
  readonly name: Name
  readonly path: ReadonlyArray<EventSink.SinkHealth>
  readonly entry: Entry
  readonly receiver: Receiver
}

const columns = ["endpoint", "accepted", "delivered", "filtered", "dropped", "undelivered", "attempts", "repeats"]

/** A line per endpoint, and below it a line per reason for which events were given up. */
export const table = (rows: ReadonlyArray<Row>): string => {
  const cells = rows.map(({ entry, name, path, receiver }) => {
    const { accepted, delivered, dropped, filtered, undelivered } = total(path)
    const repeats = receiver.kept.length - new Set(receiver.kept).size
    return [name, ...[accepted, delivered, filtered, dropped, undelivered, entry.attempts, repeats].map(String)]
  })
  const reasons = rows.flatMap(({ entry, name }) =>
    Array.from(entry.reasons, ([reason, n]) => `  ${name}: ${n} events: ${reason}`)
  )
  return [
    Screen.table(columns, cells),
    ...(reasons.length > 0 ? ["", "given up, each with a report to onDropped:", ...reasons] : [])
  ].join("\n")
}
