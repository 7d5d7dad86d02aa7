/**
 * Endpoints whose events wait in the data folder although no option names them any more. A store cannot list its queues, so the names are written to a file beside it, before the first event is.
 */
import { Effect, FileSystem, Path } from "effect"
import { EventStore } from "effect-events/durable"

/** Notes the names of all endpoints in `folder`, and answers what is left there of those that are not given. */
export const forgotten = Effect.fnUntraced(function* (folder: string, given: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const store = yield* EventStore.EventStore
  const file = path.join(folder, "endpoints.txt")
  const noted = (yield* fs.exists(file)) ? (yield* fs.readFileString(file)).split("\n") : []
  const left = yield* Effect.forEach(
    noted.filter((name) => name !== "" && !given.includes(name)),
    (name) => Effect.map(store.size(name), ({ deadLetters, rows }) => ({ name, waiting: rows, deadLetters }))
  )
  const remaining = left.filter(({ deadLetters, waiting }) => waiting + deadLetters > 0)
  // A process that is killed meanwhile leaves the old file or the new one.
  yield* fs.writeFileString(`${file}.new`, [...given, ...remaining.map(({ name }) => name), ""].join("\n"))
  yield* fs.rename(`${file}.new`, file)
  return remaining
})
