import { Duration, Effect, Stream } from "effect"
import { DurableQueueStore } from "effect-events/durable"
import { layerSqlite } from "effect-events/durable/SqliteStore"

// Another process on the same file. `node sqliteChild.ts <what> <file>`, and it tells on stdout how far it has come.

const Store = DurableQueueStore.DurableQueueStore
const [, , what = "", filename = ""] = process.argv
const say = (line: string) =>
  Effect.callback<void>((resume) => {
    process.stdout.write(`${line}\n`, () => resume(Effect.void))
  })
const append = (name: string, count: number, bytes = 1) =>
  Store.use((store) =>
    store.append(
      "line",
      [
        Buffer.from(`${name}/0`),
        ...Array.from({ length: count - 1 }, (_, i) => Buffer.from(`${name}/${i + 1}`.padEnd(bytes)))
      ],
      undefined
    )
  )

const programs: Readonly<Record<string, Effect.Effect<unknown, unknown, DurableQueueStore.DurableQueueStore>>> = {
  /** Appends one group after the other, and says which are committed. */
  write: Effect.gen(function* () {
    for (let n = 0; ; n++) {
      yield* append(`${n}`, 10)
      yield* say(`${n}`)
    }
  }),
  /** Appends a few groups, with others that do so at the same time. */
  together: Effect.forEach(Array.from({ length: 20 }), (_, n) => append(`${process.pid}-${n}`, 5)),
  /** Appends once, when it is told to. */
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
    yield* Effect.forkDetach(Stream.runDrain(store.changes("line")))
    yield* Effect.sleep(Duration.millis(150))
  })
}

const program = Effect.provide(programs[what] ?? Effect.die(`nothing is called ${what}`), layerSqlite({ filename }))
await Effect.runPromise(program)
