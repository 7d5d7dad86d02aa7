/** Laws of the line: what is appended, given out and acknowledged. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type { Stored } from "../../../durable/EventStore.ts"
import { concernsAll, type Law } from "./law.ts"
import { all, append, ensure, expectLine, expectTexts, keysOf, names, own, show, text } from "./scene.ts"

const noise = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * i * 31 + i * 7) % 251)

/** Bytes that have been lost before: none, zeros, all there are, a mebibyte, a piece of a larger buffer. */
const anyBytes: NonEmptyReadonlyArray<Uint8Array> = [
  new Uint8Array(0),
  Uint8Array.of(0),
  Uint8Array.of(0, 0, 0),
  Uint8Array.from({ length: 256 }, (_, i) => i),
  Uint8Array.of(0xff, 0xfe, 0x00, 0xc0, 0x80),
  noise(1024 * 1024),
  noise(100).subarray(10, 20),
  new Uint8Array(0)
]

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])

const expectAscending = (events: ReadonlyArray<Stored>): void => {
  const at = events.findIndex(({ key }, i) => i > 0 && key <= (events[i - 1]?.key ?? 0))
  ensure(at < 0, () => `keys do not grow: ${show(events.map(({ key }) => key))}`)
  const odd = events.find(({ key }) => !Number.isSafeInteger(key))
  ensure(odd === undefined, () => `${odd?.key} is no key`)
}

export const line: ReadonlyArray<Law> = [
  {
    number: 1,
    title: "a group is appended as it is, in order, whole or not at all",
    concerns: concernsAll,
    scenarios: {
      "any bytes": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        ensure(yield* store.append("any", anyBytes, undefined), () => "the group was not admitted")
        const events = yield* store.next(yield* own(store, "any"), all)
        ensure(events.length === anyBytes.length, () => `${anyBytes.length} were appended, ${events.length} are there`)
        const at = events.findIndex(({ payload }, i) => !sameBytes(payload, anyBytes[i] ?? payload))
        ensure(at < 0, () => `payload ${at} of ${anyBytes[at]?.length} bytes is not what was appended`)
        expectAscending(events)
        ensure(
          events.every(({ attempts }) => attempts === 0),
          () => "an event that was never dead-lettered has attempts"
        )
      }),
      "bytes that change after the append": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const payload = Uint8Array.of(1, 2, 3)
        yield* store.append("mine", [payload], undefined)
        payload.fill(9)
        const lease = yield* own(store, "mine")
        const [given] = yield* store.next(lease, all)
        ensure(given !== undefined && sameBytes(given.payload, Uint8Array.of(1, 2, 3)), () => "the payload has changed")
        given.payload.fill(9)
        const [again] = yield* store.next(lease, all)
        ensure(again !== undefined && sameBytes(again.payload, Uint8Array.of(1, 2, 3)), () => "the payload has changed")
      }),
      "groups, small and large": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const [a, b, c] = [names("a", 1, 1), names("b", 1, 3000), names("c", 1, 7)]
        for (const group of [a, b, c]) yield* append(store, "line", group)
        const events = yield* expectLine(store, yield* own(store, "line"), [...a, ...b, ...c], "after three groups")
        expectAscending(events)
      }),
      times: Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        yield* append(store, "line", ["early"])
        yield* scene.sleep(50)
        yield* append(store, "line", ["late"])
        const times = (yield* store.next(yield* own(store, "line"), all)).map(({ writtenAt }) => writtenAt)
        const [early = Number.NaN, late = Number.NaN] = times
        ensure(late > early && Number.isFinite(late), () => `appended 50 ms apart, written at ${show(times)}`)
      }),
      "appends that are interrupted": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        const expected = new Set<number>()
        for (let round = 1; round <= 20; round++) {
          const fiber = yield* Effect.forkChild(append(store, "line", names(`${round}`, 1, 50)))
          for (let n = yield* Random.nextIntBetween(0, 12); n > 0; n--) yield* Effect.yieldNow
          if (yield* Random.nextBoolean) yield* scene.sleep(1)
          yield* Fiber.interrupt(fiber)
          if (Exit.isSuccess(yield* Fiber.await(fiber))) expected.add(round)
        }
        const found = (yield* store.next(lease, all)).map(text)
        for (let round = 1; round <= 20; round++) {
          const group = names(`${round}`, 1, 50)
          const from = found.indexOf(group[0])
          const part = from < 0 ? [] : found.slice(from, from + 50)
          const count = found.filter((one) => one.startsWith(`${round}-`)).length
          ensure(count === 0 || count === 50, () => `of the 50 of round ${round} there are ${count}`)
          ensure(count === 0 || show(part) === show(group), () => `the group of round ${round} is not together`)
          ensure(count === 50 || !expected.has(round), () => `round ${round} had succeeded, and is not there`)
        }
      })
    }
  },
  {
    number: 2,
    title: "next gives the head of the line, within its bounds but one at least, and leaves it there",
    concerns: concernsAll,
    scenarios: {
      bounds: Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        ensure((yield* store.next(lease, all)).length === 0, () => "a queue that is new has events")
        const ten = names("e", 0, 9).map((name) => name.padEnd(10, ".")) as unknown as NonEmptyReadonlyArray<string>
        yield* append(store, "line", ten)
        const expected: ReadonlyArray<readonly [rows: number, bytes: number, count: number]> = [
          [3, 1_000_000, 3],
          [1, 0, 1],
          [10, 25, 2],
          [10, 30, 3],
          [10, 29, 2],
          [10, 5, 1],
          [10, 100, 10],
          [10_000, 1_000_000, 10],
          [Number.POSITIVE_INFINITY, 40, 4],
          [5, Number.POSITIVE_INFINITY, 5],
          [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 10]
        ]
        for (const [rows, bytes, count] of expected)
          expectTexts(yield* store.next(lease, { rows, bytes }), ten.slice(0, count), `of ${rows} rows, ${bytes} bytes`)
      }),
      "one that is larger than the bound": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        const large = "x".repeat(1000)
        yield* append(store, "line", ["small", large, "", "last"])
        expectTexts(yield* store.next(lease, { rows: 9, bytes: 100 }), ["small"], "before the large one")
        yield* store.acknowledge(lease, keysOf(yield* store.next(lease, { rows: 1, bytes: 100 })))
        expectTexts(yield* store.next(lease, { rows: 9, bytes: 100 }), [large], "the large one")
        expectTexts(yield* store.next(lease, { rows: 9, bytes: 1000 }), [large, ""], "with one without bytes")
      }),
      "the same each time": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 1, 6))
        const first = yield* store.next(lease, { rows: 4, bytes: 1000 })
        const again = yield* store.next(lease, { rows: 4, bytes: 1000 })
        ensure(show(keysOf(first)) === show(keysOf(again)), () => "the keys of the same events differ")
        yield* store.acknowledge(lease, [keysOf(first)[1] ?? 0])
        yield* expectLine(store, lease, ["e-1", "e-3", "e-4", "e-5", "e-6"], "without the second")
      })
    }
  },
  {
    number: 3,
    title: "acknowledge removes the events with these keys and no others",
    concerns: concernsAll,
    scenarios: {
      "keys here and there": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 0, 9))
        const keys = keysOf(yield* store.next(lease, all))
        const pick = (...at: NonEmptyReadonlyArray<number>) =>
          at.map((i) => keys[i] ?? 0) as unknown as NonEmptyReadonlyArray<number>
        yield* store.acknowledge(lease, pick(7, 2, 3, 5))
        yield* expectLine(store, lease, ["e-0", "e-1", "e-4", "e-6", "e-8", "e-9"], "without 2, 3, 5 and 7")
        yield* store.acknowledge(lease, pick(2, 1, 1, 7, 9))
        yield* expectLine(store, lease, ["e-0", "e-4", "e-6", "e-8"], "some were gone already, one was named twice")
        yield* store.acknowledge(lease, [0, 1_000_000_000, ...pick(0)])
        yield* expectLine(store, lease, ["e-4", "e-6", "e-8"], "some never were")
        yield* append(store, "line", ["new"])
        yield* store.acknowledge(lease, pick(0, 1, 2, 3, 4, 5, 6, 7, 8, 9))
        yield* expectLine(store, lease, ["new"], "all that there were before")
      }),
      "many keys": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        const texts = names("e", 0, 4999)
        yield* append(store, "line", texts)
        const events = yield* store.next(lease, all)
        yield* store.acknowledge(lease, keysOf(events.filter((_, i) => i % 2 === 0)))
        const odd = texts.filter((_, i) => i % 2 === 1)
        yield* store.acknowledge(lease, keysOf(yield* expectLine(store, lease, odd, "every second is gone")))
        yield* expectLine(store, lease, [], "all are gone")
      })
    }
  },
  {
    number: 4,
    title: "queues do not see each other",
    concerns: concernsAll,
    scenarios: {
      "names of all kinds": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const queues = [
          "a",
          "A",
          "a ",
          " a",
          "a'b",
          'a"b',
          "a%",
          "a_",
          "á",
          "a\u0301",
          "名前",
          "😀",
          "a/b",
          "1",
          "01",
          "a".repeat(200)
        ]
        for (const queue of queues) yield* append(store, queue, [`of ${queue}`, `also of ${queue}`])
        for (const queue of queues) {
          const lease = yield* own(store, queue)
          const events = yield* expectLine(store, lease, [`of ${queue}`, `also of ${queue}`], `in ${show(queue)}`)
          const keys = keysOf(events)
          yield* store.acknowledge(lease, keys)
          for (const other of queues.slice(queues.indexOf(queue) + 1)) {
            const size = yield* store.size(other)
            ensure(size.rows === 2, () => `what was acknowledged in ${show(queue)} is missing in ${show(other)}`)
          }
        }
      }),
      "keys of another queue": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        yield* append(store, "one", names("one", 1, 5))
        yield* append(store, "other", names("other", 1, 3))
        const lease = yield* own(store, "one")
        const others = yield* own(store, "other")
        const keys = keysOf(yield* store.next(others, all))
        const inBoth = keysOf(yield* store.next(lease, all)).filter((key) => keys.includes(key))
        yield* store.acknowledge(lease, keys)
        yield* store.deadLetter(lease, [{ key: keys[0], reason: "Failed", cause: "", attempts: 1 }])
        yield* expectLine(store, others, names("other", 1, 3), "keys of it were acknowledged in another queue")
        const left = yield* store.next(lease, all)
        ensure(left.length === 5 - inBoth.length, () => "an event went with the key of another")
        yield* store.deadLetter(others, [{ key: keys[0], reason: "Failed", cause: "", attempts: 1 }])
        ensure((yield* store.replay("one", keys)) === 0, () => "a letter of another queue was replayed")
        ensure((yield* store.purge("one", keys)) === 0, () => "a letter of another queue was purged")
        ensure((yield* letterCount(store.size("other"))) === 1, () => "the letter of another queue is gone")
      })
    }
  }
]

const letterCount = <E>(size: Effect.Effect<{ readonly deadLetters: number }, E>) =>
  Effect.map(size, ({ deadLetters }) => deadLetters)
