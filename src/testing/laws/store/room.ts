/** Laws of how much is there: limits and sizes. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Lease, Limits, Operations } from "../../../durable/EventStore.ts"
import { concernsAll, type Law } from "./law.ts"
import {
  all,
  append,
  ensure,
  expectLine,
  expectTexts,
  keysOf,
  letters,
  names,
  own,
  payloads,
  show,
  text
} from "./scene.ts"

const infinite = Number.POSITIVE_INFINITY

/** Appends with limits, and expects it to be admitted or not. */
const tryAppend = Effect.fnUntraced(function* (
  store: Operations,
  texts: NonEmptyReadonlyArray<string>,
  limits: Limits,
  admitted: boolean
) {
  const before = yield* store.size("line")
  const answer = yield* store.append("line", payloads(texts), limits)
  const bytes = texts.join("").length
  const what = `${texts.length} rows of ${bytes} bytes, within ${limits.rows} and ${limits.bytes}, to ${show(before)}`
  ensure(answer === admitted, () => `${what}: ${answer ? "admitted" : "not admitted"}`)
  const after = yield* store.size("line")
  if (!answer) ensure(show(after) === show(before), () => `${what}: not admitted, and now there is ${show(after)}`)
})

/** Expects the size to be what there is. */
const expectSize = Effect.fnUntraced(function* (store: Operations, queue: string, lease: Lease, when: string) {
  const size = yield* store.size(queue)
  const events = yield* store.next(lease, all)
  const expected = {
    rows: events.length,
    bytes: events.reduce((sum, { payload }) => sum + payload.length, 0),
    deadLetters: (yield* letters(store, queue)).length,
    first: events[0]?.key,
    last: events.at(-1)?.key
  }
  const { bytes, deadLetters, first, last, rows } = size
  const found = { rows, bytes, deadLetters, first, last }
  ensure(show(found) === show(expected), () => `${when}: the size is ${show(found)}, there is ${show(expected)}`)
})

export const room: ReadonlyArray<Law> = [
  {
    number: 5,
    title: "an append that passes a limit is not admitted and changes nothing, unless the queue is empty",
    concerns: concernsAll,
    scenarios: {
      rows: Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const limits = { rows: 5, bytes: infinite }
        yield* tryAppend(store, names("a", 1, 3), limits, true)
        yield* tryAppend(store, names("no", 1, 3), limits, false)
        yield* tryAppend(store, names("b", 1, 2), limits, true)
        yield* tryAppend(store, ["no"], limits, false)
        yield* tryAppend(store, ["c"], { rows: 6, bytes: infinite }, true)
        const lease = yield* own(store, "line")
        const events = yield* expectLine(store, lease, [...names("a", 1, 3), ...names("b", 1, 2), "c"], "what got in")
        yield* store.acknowledge(lease, keysOf(events.slice(0, 2)))
        yield* tryAppend(store, ["d", "e"], limits, false)
        yield* tryAppend(store, ["d"], limits, true)
        yield* append(store, "line", names("f", 1, 10))
      }),
      bytes: Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const limits = { rows: infinite, bytes: 10 }
        yield* tryAppend(store, ["1234", "5678"], limits, true)
        yield* tryAppend(store, ["123"], limits, false)
        yield* tryAppend(store, ["12"], limits, true)
        yield* tryAppend(store, ["", ""], limits, true)
        yield* tryAppend(store, ["x"], limits, false)
        yield* tryAppend(store, ["x"], { rows: 5, bytes: 11 }, false)
        yield* tryAppend(store, ["x"], { rows: 6, bytes: 11 }, true)
        yield* tryAppend(store, ["x"], { rows: infinite, bytes: infinite }, true)
      }),
      "a group that is larger than the limits": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const limits = { rows: 3, bytes: 100 }
        yield* tryAppend(store, names("a", 1, 5), limits, true)
        yield* tryAppend(store, ["no"], limits, false)
        const lease = yield* own(store, "line")
        const events = yield* store.next(lease, all)
        yield* store.acknowledge(lease, keysOf(events.slice(1)))
        yield* tryAppend(store, names("no", 1, 5), limits, false)
        const deadLettered = { key: keysOf(events)[0], reason: "Failed", cause: "no", attempts: 1 } as const
        yield* store.deadLetter(lease, [deadLettered])
        yield* tryAppend(store, ["x".repeat(101)], limits, true)
        yield* expectLine(store, lease, ["x".repeat(101)], "a dead letter is in nobody's way")
      }),
      "many at once": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = scene.subject.limitsAll ? yield* scene.another(one) : one
        yield* append(one, "line", ["first"])
        const limits = { rows: 11, bytes: infinite }
        const answers = yield* Effect.forEach(
          names("e", 1, 30),
          (name, i) => (i % 2 === 0 ? one : other).append("line", payloads([name]), limits),
          { concurrency: "unbounded" }
        )
        const admitted = answers.filter((answer) => answer).length
        const { rows } = yield* one.size("line")
        ensure(admitted === 10 && rows === 11, () => `of 30 for 10 places, ${admitted} were admitted: ${rows} rows`)
      })
    }
  },
  {
    number: 6,
    title: "the size is what is there",
    concerns: concernsAll,
    scenarios: {
      "step by step": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const empty = yield* store.size("line")
        const { bytes, deadLetters, first, last, rows } = empty
        ensure(rows === 0 && bytes === 0 && deadLetters === 0, () => `a new queue has ${show(empty)}`)
        ensure(first === undefined && last === undefined, () => `a queue without events has ${show(empty)}`)
        const lease = yield* own(store, "line")
        yield* append(store, "line", ["one", "", "three", "four"])
        yield* expectSize(store, "line", lease, "after an append")
        const [a, b, c, d] = keysOf(yield* store.next(lease, all))
        yield* store.acknowledge(lease, [a, a, 1_000_000])
        yield* expectSize(store, "line", lease, "after an acknowledgement")
        const failed = { reason: "Failed", cause: "no", attempts: 1 } as const
        yield* store.deadLetter(lease, [
          { key: a, ...failed },
          { key: b ?? 0, ...failed },
          { key: c ?? 0, ...failed },
          { key: c ?? 0, ...failed }
        ])
        yield* expectSize(store, "line", lease, "after some were deadLettered")
        yield* store.replay("line", [a, c ?? 0, c ?? 0, d ?? 0])
        yield* expectSize(store, "line", lease, "after a replay")
        yield* store.purge("line", [b ?? 0, b ?? 0, a])
        yield* expectSize(store, "line", lease, "after a purge")
        yield* store.acknowledge(lease, keysOf(yield* store.next(lease, all)))
        yield* expectSize(store, "line", lease, "when all are gone")
      }),
      "any steps": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        let line: ReadonlyArray<string> = []
        let dead: ReadonlyArray<string> = []
        let count = 0
        const sample = Effect.fnUntraced(function* <A>(of: ReadonlyArray<A>) {
          const picked: Array<A> = []
          for (const one of of) if ((yield* Random.nextIntBetween(0, 3)) === 0) picked.push(one)
          return picked
        })
        for (let step = 1; step <= 60; step++) {
          const events = yield* expectLine(store, lease, line, `before step ${step}`)
          const deadLettered = yield* letters(store, "line")
          expectTexts(
            deadLettered.toSorted((x, y) => dead.indexOf(text(x)) - dead.indexOf(text(y))),
            dead,
            `at ${step}`
          )
          yield* expectSize(store, "line", lease, `before step ${step}`)
          const kind = yield* Random.nextIntBetween(0, 6)
          const some = yield* sample(kind < 4 ? events : deadLettered)
          const texts = some.map(text)
          if (kind < 2) {
            const fresh = names(`${step}`, 1, yield* Random.nextIntBetween(1, 6))
            yield* append(store, "line", fresh)
            line = [...line, ...fresh]
          } else if (some.length === 0) continue
          else if (kind === 2) yield* store.acknowledge(lease, keysOf(some))
          else if (kind === 3)
            yield* store.deadLetter(lease, [
              ...some.map(({ key }) => ({ key, reason: "Failed", cause: "no", attempts: ++count }) as const),
              // gone or never there
              { key: 1_000_000_000, reason: "Died", cause: "no", attempts: 1 }
            ] as const satisfies ReadonlyArray<unknown> as never)
          else if (kind === 4) yield* store.replay("line", keysOf(some))
          else yield* store.purge("line", keysOf(some))
          if (kind === 2 || kind === 3) line = line.filter((one) => !texts.includes(one))
          if (kind === 3) dead = [...dead, ...texts]
          if (kind > 3) dead = dead.filter((one) => !texts.includes(one))
          if (kind === 4) line = [...line, ...texts]
        }
      })
    }
  }
]
