/** What the example shows: the progress while it runs, and the table at its end. */
import { Clock, Effect, Schedule } from "effect"
import type { EventSink } from "effect-events"
import { type Evidence, fates, total } from "./Account.ts"
import { reasons } from "./DeadLetters.ts"
import { draw } from "./Drawing.ts"
import { type Name, names } from "./Receivers.ts"
import * as Screen from "./Screen.ts"

/** The nodes of each endpoint. They outlive the graph, and their counts stay readable. */
export type Paths = Readonly<Record<Name, ReadonlyArray<EventSink.SinkNode>>>

/** What every node of an endpoint says now. */
export const look = (path: ReadonlyArray<EventSink.SinkNode>) =>
  Clock.clockWith((clock) => {
    const now = clock.currentTimeMillisUnsafe()
    return Effect.sync(() => path.map((node) => node.health(now)))
  })

/**
 * Shows the progress until it is interrupted, and once more then. On a terminal that is the whole graph with its figures;
 * elsewhere a line with what this run has delivered to each endpoint of what was stored for it, whether its breaker holds it
 * back, and what was given up.
 */
export const progress = Effect.fnUntraced(function* (root: EventSink.SinkNode, paths: Paths) {
  const began = yield* Clock.currentTimeMillis
  const one = Effect.fnUntraced(function* (name: Name) {
    const path = yield* look(paths[name])
    const { accepted, deadLettered, delivered } = total(path)
    const open = path.some(({ breaker }) => breaker !== undefined && breaker !== "closed")
    const dead = deadLettered > 0 ? `, ${deadLettered} dead` : ""
    return `${name} ${delivered}/${accepted}${open ? " open" : ""}${dead}`
  })
  const show = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    if (Screen.isTerminal) return yield* Screen.draw(draw(root, now))
    const seconds = (now - began) / 1000
    const texts = yield* Effect.forEach(names, one)
    yield* Screen.show(`${seconds.toFixed(1).padStart(5)}s  ${texts.join("  ")}`)
  })
  yield* show.pipe(Effect.repeat(Schedule.spaced(Screen.interval)), Effect.ensuring(Effect.andThen(show, Screen.clear)))
})

/** One endpoint at the end. */
export interface Row extends Evidence {
  readonly name: Name
}

const columns = ["endpoint", "events", "filtered", "delivered", "dead letters", "missing", "attempts", "repeats"]

/**
 * A line per endpoint with what became of the input's events, in this run and earlier ones (only the attempts are those of
 * this run), and below it a line per reason for which events were given up.
 */
export const table = (events: number, rows: ReadonlyArray<Row>): string => {
  const cells = rows.map(({ entry, deadLetters, name, receiver }) => {
    const { dead, delivered, missing } = fates(entry.wanted, receiver.kept, new Set(deadLetters.map(({ id }) => id)))
    const repeats = receiver.kept.length - new Set(receiver.kept).size
    const filtered = events - entry.wanted.length
    return [name, ...[events, filtered, delivered, dead, missing, entry.attempts, repeats].map(String)]
  })
  const givenUp = rows.flatMap(({ deadLetters, name }) => reasons(name, deadLetters))
  return [
    Screen.table(columns, cells),
    ...(givenUp.length > 0 ? ["", "given up, each kept as a dead letter:", ...givenUp] : [])
  ].join("\n")
}
