import { Duration, Effect, Stream } from "effect"
import { EventStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"

// Another process on the same file. `node sqliteChild.ts <what> <file>`, and it reports on stdout how far it has come.

const Store = EventStore.EventStore
const [, , what = "", filename = ""] = process.argv
const say = (line: string) =>
  Effect.callback<void>((resume) => {
    process.stdout.write(`${line}\n`, () => resume(Effect.void))
  })
const append = (name: string, count: number, bytes = 1) =>
  Store.use((store) =>
    store.append(
      "queue",
      [
        Buffer.from(`${name}/0`.padEnd(bytes)),
        ...Array.from({ length: count - 1 }, (_, i) => Buffer.from(`${name}/${i + 1}`.padEnd(bytes)))
      ],
      undefined
    )
  )

const programs: Readonly<Record<string, Effect.Effect<unknown, unknown, EventStore.EventStore>>> = {
  /** Appends one batch after the other, and says which are committed. */
  write: Effect.gen(function* () {
    for (let n = 0; ; n++) {
      yield* append(`${n}`, 10)
      yield* say(`${n}`)
    }
  }),
  /** Appends one event after the other, and says what becomes of each. */
  "go on": Effect.gen(function* () {
    for (let n = 0; ; n++) {
      // Now and then one that is large, so that what is in the log is moved into the database before long.
      const outcome = yield* Effect.result(append(`${process.pid}-${n}`, 1, n % 5 === 4 ? 100_000 : 1))
      if (outcome._tag === "Success") yield* say(`wrote ${n}`)
      else
        yield* say(
          `failed ${n} ${outcome.failure.problem} ${outcome.failure.maybeCommitted ? "maybeCommitted" : "sure"}`
        )
      // Another process is to find the file unlocked.
      yield* Effect.sleep(Duration.millis(n % 4))
    }
  }),
  /** Appends once at each line that it reads, and says what becomes of it. */
  "on demand": Effect.gen(function* () {
    yield* say("ready")
    for (let n = 0; ; n++) {
      yield* Effect.callback<void>((resume) => void process.stdin.once("data", () => resume(Effect.void)))
      const outcome = yield* Effect.result(append(`demand-${n}`, 1))
      yield* say(outcome._tag === "Success" ? "wrote" : outcome.failure.problem)
    }
  }),
  /** Appends a few batches, with others that do so at the same time. */
  together: Effect.forEach(Array.from({ length: 20 }), (_, n) => append(`${process.pid}-${n}`, 5)),
  /** Appends once, on demand. */
  once: Effect.gen(function* () {
    yield* say("ready")
    yield* Effect.callback<void>((resume) => void process.stdin.once("data", () => resume(Effect.void)))
    yield* append("once", 1)
    yield* say(`${Date.now()}`)
  }),
  /** Appends until it cannot, and says what the store says. */
  fill: Effect.gen(function* () {
    for (let n = 0; ; n++) {
      const exit = yield* Effect.result(append(`${n}`, 10, 10_000))
      if (exit._tag === "Success") continue
      yield* say(JSON.stringify({ committed: n, problem: exit.failure.problem, message: exit.failure.message }))
      return
    }
  }),
  /** Listens, and leaves without a word: the process must end by itself. */
  listen: Effect.gen(function* () {
    const store = yield* Store
    yield* Effect.forkDetach(Stream.runDrain(store.changes("queue")))
    yield* Effect.sleep(Duration.millis(150))
  })
}

const program = Effect.provide(
  programs[what] ?? Effect.die(`nothing is called ${what}`),
  SqliteStore.layer({ filename })
)
await Effect.runPromise(program)
