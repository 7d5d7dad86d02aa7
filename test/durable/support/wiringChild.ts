/**
 * A process that is there to be killed: makes wirings on one SQLite file, says which die, and writes to all others as long as
 * it lives, or only delivers. It says what was acknowledged on lines of their own.
 */
import { Cause, Effect, Exit, type Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import type { HttpClient } from "effect/http/HttpClient"
import type { EventSink } from "effect-events"
import type { EventStore } from "effect-events/durable/EventStore"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import type { Event } from "./wiringPrelude.ts"

const [, , , filename = "", directory = "", from = "", names = ""] = process.argv

interface Module {
  readonly wiring: (
    name: string
  ) => Effect.Effect<EventSink.EventSink<Event, unknown>, unknown, EventStore | HttpClient | Scope.Scope>
}

const say = (...words: ReadonlyArray<unknown>) => Effect.sync(() => void process.stdout.write(`${words.join(" ")}\n`))

const program = Effect.gen(function* () {
  const sinks: Array<readonly [string, EventSink.EventSink<Event, unknown>]> = []
  for (const name of names.split(",")) {
    // The compiler has seen that it is one: the type of an import of a path that is made at run time cannot say so.
    const { wiring } = (yield* Effect.promise(() => import(`${directory}/${name}.ts`))) as Module
    const made = yield* Effect.exit(wiring(name))
    if (Exit.isSuccess(made)) sinks.push([name, made.value])
    else yield* say("died", name, JSON.stringify(String(Cause.squash(made.cause))))
  }
  yield* say("ready")
  if (from === "") return yield* Effect.never
  const write = Effect.fnUntraced(function* ([name, sink]: (typeof sinks)[number]) {
    for (let n = Number(from); ; n++) {
      const exit = yield* Effect.exit(sink.write({ n }))
      if (Exit.isSuccess(exit)) yield* say("wrote", name, n)
      yield* Effect.sleep("10 millis")
    }
  })
  yield* Effect.forEach(sinks, write, { concurrency: "unbounded" })
})

await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide([SqliteStore.layer({ filename }), FetchHttpClient.layer]))
)
