/** Laws of several handles to the same data: what one commits, the others see, and the next one finds. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Lease, Operations, DeadLettered } from "../../../durable/EventStore.ts"
import { concernsAll, type Law } from "./law.ts"
import { all, append, ensure, expectLine, keysOf, letters, names, own, payloads, show, text } from "./scene.ts"
import type { Scene } from "./scene.ts"

const hour = Duration.hours(1)
const failed = (key: number): DeadLettered => ({ key, reason: "Failed", cause: "no", attempts: 2 })

/** Who looks at a queue at each change, and what he saw last. */
const watch = Effect.fnUntraced(function* <A>(
  scene: Scene,
  store: Operations,
  queue: string,
  look: Effect.Effect<A, unknown>
) {
  const watcher: { elements: number; seen: A | undefined; ended: Exit.Exit<void, unknown> | undefined } = {
    elements: 0,
    seen: undefined,
    ended: undefined
  }
  const fiber = yield* Effect.forkScoped(
    Stream.runForEach(store.changes(queue), () =>
      Effect.map(look, (seen) => {
        watcher.elements++
        watcher.seen = seen
      })
    )
  )
  fiber.addObserver((exit) => (watcher.ended = exit))
  yield* scene.until(
    () => watcher.elements > 0,
    () => `changes had no first element${watcher.ended === undefined ? "" : `: ${show(watcher.ended)}`}`
  )
  return watcher
})

const rowsOf = (store: Operations, queue: string) => Effect.map(store.size(queue), ({ rows }) => rows)

/** Takes all that is there, and acknowledges it. */
const drain = Effect.fnUntraced(function* (store: Operations, lease: Lease) {
  const events = yield* store.next(lease, { rows: 50, bytes: 1_000_000 })
  if (events.length > 0) yield* store.acknowledge(lease, keysOf(events))
  return events.map(text)
})

export const handles: ReadonlyArray<Law> = [
  {
    number: 14,
    title: "changes has an element at once, and after each commit",
    concerns: concernsAll,
    scenarios: {
      "commits of this handle and of another": Effect.fnUntraced(function* (scene) {
        const mine = yield* scene.open
        const others = yield* scene.another(mine)
        const watcher = yield* watch(scene, mine, "line", rowsOf(mine, "line"))
        const after = (what: string, rows: number) =>
          scene.until(
            () => watcher.seen === rows,
            () => `after ${what} there are ${rows} rows; who looks at each change did not see it`
          )
        for (const [by, store] of [
          ["this handle", mine],
          ["another handle", others]
        ] as const) {
          yield* append(store, "line", names("e", 1, 4))
          yield* after(`an append by ${by}`, 4)
          const lease = yield* own(store, "line")
          const [a, b = 0, ...rest] = keysOf(yield* store.next(lease, all))
          yield* store.acknowledge(lease, [a])
          yield* after(`an acknowledgement by ${by}`, 3)
          yield* store.deadLetter(lease, [failed(b)])
          yield* after(`a deadLetter by ${by}`, 2)
          yield* store.replay("line", [b])
          yield* after(`a replay by ${by}`, 3)
          yield* store.acknowledge(lease, keysOf(yield* store.next(lease, all)))
          yield* after(`an acknowledgement by ${by}`, 0)
          ensure(rest.length === 2, () => "there were not four")
          yield* store.release(lease)
        }
      }),
      "a lease that is given back": Effect.fnUntraced(function* (scene) {
        const mine = yield* scene.open
        const others = yield* scene.another(mine)
        const giveBack = Effect.fnUntraced(function* (store: Operations) {
          const lease = yield* own(store, "line")
          const watcher = yield* watch(scene, mine, "line", mine.acquire("line", hour))
          const first = watcher.seen
          ensure(first?._tag === "Held", () => `the lease that somebody has was given: ${show(first)}`)
          yield* store.release(lease)
          yield* scene.until(
            () => watcher.seen?._tag === "Acquired",
            () =>
              `the lease was given back by ${store === mine ? "this" : "another"} handle; who listens did not get it`
          )
          if (watcher.seen?._tag === "Acquired") yield* mine.release(watcher.seen.lease)
        })
        // Who listens takes the lease: nobody may listen any more when the next one asks for it.
        for (const store of [mine, others]) yield* Effect.scoped(giveBack(store))
      }),
      "several who listen": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const one = yield* watch(scene, store, "line", rowsOf(store, "line"))
        const two = yield* watch(scene, store, "line", rowsOf(store, "line"))
        const third = yield* watch(scene, store, "another", rowsOf(store, "another"))
        yield* append(store, "line", ["e"])
        yield* append(store, "another", ["e", "f"])
        yield* scene.until(
          () => one.seen === 1 && two.seen === 1 && third.seen === 2,
          () => `who listens saw ${show([one.seen, two.seen, third.seen])} rows instead of 1, 1 and 2`
        )
      }),
      "commits of another while nobody has looked": Effect.fnUntraced(function* (scene) {
        const mine = yield* scene.open
        const others = yield* scene.another(mine)
        for (let n = 1; n <= 3; n++) yield* append(others, "line", ["e"])
        const watcher = yield* watch(scene, mine, "line", rowsOf(mine, "line"))
        ensure(watcher.seen === 3, () => `three were appended, and who begins to listen sees ${watcher.seen}`)
        yield* append(others, "line", names("e", 1, 20))
        yield* scene.until(
          () => watcher.seen === 23,
          () => `20 more were appended, and ${watcher.seen} were seen`
        )
      })
    }
  },
  {
    number: 15,
    title: "what was committed is there when the data is opened again",
    concerns: ({ keeps }) => keeps,
    scenarios: {
      "closed and opened": Effect.fnUntraced(function* (scene) {
        const once = Effect.fnUntraced(function* <A>(use: (store: Operations) => Effect.Effect<A, unknown>) {
          const scope = yield* Scope.make()
          const store = yield* Scope.provide(scene.open, scope)
          return yield* Effect.onExit(use(store), (exit) => Scope.close(scope, exit))
        })
        const before = yield* once(
          Effect.fnUntraced(function* (store) {
            const lease = yield* own(store, "line")
            yield* append(store, "line", names("e", 0, 5))
            const events = yield* store.next(lease, all)
            const [a, b = 0, c = 0] = keysOf(events)
            yield* store.acknowledge(lease, [a])
            yield* store.deadLetter(lease, [failed(b), failed(c)])
            return { lease, events, letters: yield* letters(store, "line"), size: yield* store.size("line") }
          })
        )
        const after = yield* once(
          Effect.fnUntraced(function* (store) {
            const acquired = yield* store.acquire("line", hour)
            ensure(acquired._tag === "Held", () => "a lease that was not given back is free after the data was closed")
            const events = yield* expectLine(store, before.lease, ["e-3", "e-4", "e-5"], "opened again")
            const kept = before.events.slice(3)
            ensure(show(events.map(facts)) === show(kept.map(facts)), () => `${show(kept)} became ${show(events)}`)
            const deadLettered = yield* letters(store, "line")
            ensure(
              show(deadLettered) === show(before.letters),
              () => `${show(before.letters)} became ${show(deadLettered)}`
            )
            const size = yield* store.size("line")
            ensure(show(size) === show(before.size), () => `the size ${show(before.size)} became ${show(size)}`)
            yield* store.acknowledge(before.lease, keysOf(events))
            yield* store.purge("line", keysOf(deadLettered))
            yield* store.release(before.lease)
            return Math.max(...keysOf(before.events))
          })
        )
        yield* once(
          Effect.fnUntraced(function* (store) {
            const lease = yield* own(store, "line")
            ensure(lease.epoch > before.lease.epoch, () => `after the epoch ${before.lease.epoch} came ${lease.epoch}`)
            yield* append(store, "line", ["new"])
            const [key] = keysOf(yield* expectLine(store, lease, ["new"], "the first of a queue that was emptied"))
            ensure(key > after, () => `the key ${key} comes after ${after} and was used before`)
          })
        )
      })
    }
  },
  {
    number: 16,
    title: "each event that many write at once is given out once, and those of one writer in order",
    concerns: concernsAll,
    scenarios: {
      "many writers and one owner": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        const lease = yield* own(one, "line")
        const writers = 20
        const groups = 15
        const write = (writer: number) =>
          Effect.forEach(
            names("", 1, groups),
            (_, i) => append(writer % 2 === 0 ? one : other, "line", [`${writer}:${2 * i}`, `${writer}:${2 * i + 1}`]),
            { discard: true }
          )
        const writing = yield* Effect.forkChild(
          Effect.forEach(names("", 1, writers), (_, i) => write(i), { concurrency: "unbounded", discard: true })
        )
        const seen: Array<string> = []
        while (seen.length < writers * groups * 2) {
          const some = yield* drain(one, lease)
          seen.push(...some)
          if (some.length > 0) continue
          const exit = writing.pollUnsafe()
          if (exit !== undefined && Exit.isFailure(exit)) yield* Fiber.join(writing)
          if (exit !== undefined && (yield* rowsOf(one, "line")) === 0) break
          yield* scene.sleep(1)
        }
        yield* Fiber.join(writing)
        seen.push(...(yield* drain(one, lease)))
        for (let writer = 0; writer < writers; writer++) {
          const its = seen.filter((one) => one.startsWith(`${writer}:`))
          const expected = names(`${writer}`, 0, groups * 2 - 1).map((name) => name.replace("-", ":"))
          ensure(
            show(its) === show(expected),
            () => `writer ${writer} wrote ${show(expected)}, given out: ${show(its)}`
          )
        }
        ensure(seen.length === writers * groups * 2, () => `of ${writers * groups * 2} were given out ${seen.length}`)
      })
    }
  },
  {
    number: 17,
    title: "an append in a transaction is part of it, and is not skipped when it commits late",
    concerns: concernsAll,
    scenarios: {
      "committed and rolled back": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        ensure(!(yield* store.inTransaction), () => "who is in no transaction is told to be in one")
        const { transaction } = scene
        if (transaction === undefined) return
        const lease = yield* own(store, "line")
        const watcher = yield* watch(scene, store, "line", rowsOf(store, "line"))
        const inside = yield* transaction(Effect.andThen(append(store, "line", ["kept"]), store.inTransaction))
        ensure(inside, () => "who is in a transaction is told to be in none")
        yield* scene.until(
          () => watcher.seen === 1,
          () => "the commit was not told"
        )
        const exit = yield* Effect.exit(
          transaction(Effect.andThen(append(store, "line", ["gone", "also gone"]), Effect.fail("rolled back")))
        )
        ensure(Exit.isFailure(exit), () => "a transaction that fails did not fail")
        yield* append(store, "line", ["after"])
        yield* expectLine(store, lease, ["kept", "after"], "after a transaction that was rolled back")
        const { bytes, rows } = yield* store.size("line")
        ensure(rows === 2 && bytes === 9, () => `the size is ${rows} rows and ${bytes} bytes instead of 2 and 9`)
        const limits = { rows: 3, bytes: 1000 }
        const admitted = yield* transaction(store.append("line", payloads(["no", "room"]), limits))
        ensure(!admitted, () => "an append in a transaction passed the limits")
      }),
      "committed late": Effect.fnUntraced(function* (scene) {
        const { transaction } = scene
        if (transaction === undefined) return
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        const begun = yield* Deferred.make<void>()
        const goOn = yield* Deferred.make<void>()
        const late = yield* Effect.forkChild(
          transaction(
            Effect.gen(function* () {
              yield* append(store, "line", ["late"])
              yield* Deferred.succeed(begun, undefined)
              yield* Deferred.await(goOn)
            })
          )
        )
        yield* Deferred.await(begun)
        // The store may let it wait for the transaction, or not.
        const early = yield* Effect.forkChild(append(store, "line", ["early"]))
        yield* scene.sleep(100)
        const seen = [...(yield* drain(store, lease))]
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.join(late)
        yield* Fiber.join(early)
        seen.push(...(yield* drain(store, lease)))
        ensure(
          show(seen.toSorted()) === show(["early", "late"]),
          () => `of "early" and "late" were given ${show(seen)}`
        )
        yield* expectLine(store, lease, [], "when both were acknowledged")
      })
    }
  }
]

const facts = ({
  attempts,
  key,
  payload,
  writtenAt
}: {
  readonly attempts: number
  readonly key: number
  readonly payload: Uint8Array
  readonly writtenAt: number
}) => [key, text({ payload }), attempts, writtenAt]
