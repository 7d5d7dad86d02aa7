/** The laws of stored events: appended, given out, acknowledged, limited and counted. 1 to 6. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type { Limits, Stored } from "../../../durable/EventStore.ts"
import { ensure } from "./evidence.ts"
import {
  everything,
  expectSame,
  expectTexts,
  failed,
  foreign,
  infinite,
  keysOf,
  names,
  nonEmpty,
  payloads,
  show,
  text
} from "./storeValues.ts"
import { append, type Law, law, ownQueue, type Queue, withHandles, withQueue, withStore } from "./storeWorld.ts"

const noise = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * i * 31 + i * 7) % 251)

/** Bytes that have been lost before: none, zeros, all there are, a mebibyte, a piece of a larger buffer. */
const anyBytes = nonEmpty([
  new Uint8Array(0),
  Uint8Array.of(0),
  Uint8Array.of(0, 0, 0),
  Uint8Array.from({ length: 256 }, (_, i) => i),
  Uint8Array.of(0xff, 0xfe, 0x00, 0xc0, 0x80),
  noise(1024 * 1024),
  noise(100).subarray(10, 20),
  new Uint8Array(0)
])
const anyName = ["a", "A", "a ", " a", "a'b", 'a"b', "a%", "a_", "á", "a\u0301", "名前", "😀", "a/b", "1", "01"]

export const storedEventLaws: ReadonlyArray<Law> = [
  law(1, "a batch is appended as it is, in order, whole or not at all", {
    "any bytes": withStore(function* (store) {
      ensure(yield* store.append("any", anyBytes, undefined), "the batch was not admitted")
      const { events } = yield* ownQueue(store, "any")
      expectSame(events.length, anyBytes.length, "the number of events")
      const at = events.findIndex(({ payload }, i) => !sameBytes(payload, anyBytes[i]))
      ensure(at < 0, `payload ${at} of ${anyBytes[at]?.length} bytes is not what was appended`)
      expectAscending(events)
      const isFresh = events.every(({ attempts }) => attempts === 0)
      ensure(isFresh, "an event that was never dead-lettered has attempts")
    }),
    "bytes that change after the append": withStore(function* (store) {
      const payload = Uint8Array.of(1, 2, 3)
      yield* store.append("mine", [payload], undefined)
      payload.fill(9)
      const { events, lease } = yield* ownQueue(store, "mine")
      const again = Effect.map(store.next(lease, everything), ([event]) => event?.payload)
      for (const given of [events[0]?.payload, yield* again]) {
        ensure(sameBytes(given, Uint8Array.of(1, 2, 3)), "the payload has changed")
        given?.fill(9)
      }
    }),
    "batches, small and large": withQueue(names("a", 1, 1), function* (queue) {
      const [b, c] = [names("b", 1, 3000), names("c", 1, 7)]
      for (const batch of [b, c]) yield* queue.append(...batch)
      expectAscending(yield* queue.expect(["a-1", ...b, ...c], "after three batches"))
    }),
    times: withQueue(["early"], function* (queue, { sleep }) {
      yield* sleep(50)
      yield* queue.append("late")
      const times = (yield* queue.expect(["early", "late"], "50 ms apart")).map(({ writtenAt }) => writtenAt)
      const [early = Number.NaN, late = Number.NaN] = times
      ensure(late > early && Number.isFinite(late), `appended 50 ms apart, written at ${show(times)}`)
    }),
    "appends that are interrupted": withQueue([], function* (queue, { sleep }) {
      const succeeded = new Set<number>()
      for (let round = 1; round <= 20; round++) {
        const fiber = yield* Effect.forkChild(queue.append(...names(`${round}`, 1, 50)))
        for (let n = yield* Random.nextIntBetween(0, 12); n > 0; n--) yield* Effect.yieldNow
        if (yield* Random.nextBoolean) yield* sleep(1)
        yield* Fiber.interrupt(fiber)
        if (Exit.isSuccess(yield* Fiber.await(fiber))) succeeded.add(round)
      }
      const found = (yield* queue.store.next(queue.lease, everything)).map(text)
      for (let round = 1; round <= 20; round++) {
        const batch = names(`${round}`, 1, 50)
        const count = found.filter((one) => one.startsWith(`${round}-`)).length
        ensure(count === 50 || !succeeded.has(round), `round ${round} had succeeded, and is not there`)
        if (count === 0) continue
        const from = found.indexOf(batch[0])
        expectSame(found.slice(from, from + Math.max(50, count)), batch, `the batch of round ${round}`)
      }
    })
  }),
  law(2, "next gives the head of the queue, within its bounds but one at least, and leaves it there", {
    bounds: function* (world) {
      const queue = yield* ownQueue(yield* world.open)
      expectTexts(queue.events, [], "a new queue")
      const ten = names("e", 0, 9).map((name) => name.padEnd(10, "."))
      yield* queue.append(...ten)
      const expected: ReadonlyArray<readonly [rows: number, bytes: number, count: number]> = [
        [3, 1_000_000, 3],
        [1, 0, 1],
        [10, 25, 2],
        [10, 30, 3],
        [10, 29, 2],
        [10, 5, 1],
        [10, 100, 10],
        [10_000, 1_000_000, 10],
        [infinite, 40, 4],
        [5, infinite, 5],
        [infinite, infinite, 10]
      ]
      for (const [rows, bytes, count] of expected)
        yield* expectNext(queue, { rows, bytes }, ten.slice(0, count), `of ${rows} rows, ${bytes} bytes`)
    },
    "one that is larger than the bound": withQueue(["small", "x".repeat(1000), "", "last"], function* (queue) {
      const large = "x".repeat(1000)
      yield* expectNext(queue, { rows: 9, bytes: 100 }, ["small"], "before the large one")
      yield* queue.acknowledge(queue.key(0))
      yield* expectNext(queue, { rows: 9, bytes: 100 }, [large], "the large one")
      yield* expectNext(queue, { rows: 9, bytes: 1000 }, [large, ""], "with one without bytes")
    }),
    "the same each time": withQueue(names("e", 1, 6), function* ({ acknowledge, expect, lease, store }) {
      const next = Effect.map(store.next(lease, { rows: 4, bytes: 1000 }), keysOf)
      const first = yield* next
      expectSame(yield* next, first, "the keys of the same events")
      yield* acknowledge(first[1] ?? 0)
      yield* expect(["e-1", "e-3", "e-4", "e-5", "e-6"], "without the second")
    })
  }),
  law(3, "acknowledge removes the events with these keys and no others", {
    "keys here and there": withQueue(names("e", 0, 9), function* ({ acknowledge, append, expect, key, keys }) {
      const pick = (...at: ReadonlyArray<number>) => acknowledge(...at.map(key))
      yield* pick(7, 2, 3, 5)
      yield* expect(["e-0", "e-1", "e-4", "e-6", "e-8", "e-9"], "without 2, 3, 5 and 7")
      yield* pick(2, 1, 1, 7, 9)
      yield* expect(["e-0", "e-4", "e-6", "e-8"], "some were gone already, one was named twice")
      yield* acknowledge(0, foreign, key(0))
      yield* expect(["e-4", "e-6", "e-8"], "some never were")
      yield* append("new")
      yield* acknowledge(...keys)
      yield* expect(["new"], "all that there were before")
    }),
    "many keys": withQueue(names("e", 0, 4999), function* ({ acknowledge, expect, keys }) {
      yield* acknowledge(...keys.filter((_, i) => i % 2 === 0))
      const odd = names("e", 0, 4999).filter((_, i) => i % 2 === 1)
      yield* acknowledge(...keysOf(yield* expect(odd, "every second is gone")))
      yield* expect([], "all are gone")
    })
  }),
  law(4, "queues do not see each other", {
    "names of all kinds": withStore(function* (store) {
      const queues = [...anyName, "a".repeat(200)]
      const textsOf = (queue: string) => [`of ${queue}`, `also of ${queue}`]
      for (const queue of queues) yield* append(store, queue, textsOf(queue))
      for (const [i, name] of queues.entries()) {
        const { acknowledge, expect, keys } = yield* ownQueue(store, name)
        yield* expect(textsOf(name), `in ${show(name)}`)
        yield* acknowledge(...keys)
        for (const other of queues.slice(i + 1)) {
          const { rows } = yield* store.size(other)
          ensure(rows === 2, `what was acknowledged in ${show(name)} is missing in ${show(other)}`)
        }
      }
    }),
    "keys of another queue": withStore(function* (store) {
      const one = yield* ownQueue(store, "one", names("one", 1, 5))
      const other = yield* ownQueue(store, "other", names("other", 1, 3))
      const { key, keys } = other
      yield* one.acknowledge(...keys)
      yield* one.deadLetter(failed(key(0)))
      yield* other.expect(names("other", 1, 3), "keys of it were acknowledged in another queue")
      const own = one.events.filter((event) => !keys.includes(event.key))
      yield* one.expect(own.map(text), "an event went with the key of another")
      yield* other.deadLetter(failed(key(0)))
      expectSame(yield* one.replay(...keys), 0, "replayed dead letters of another queue")
      expectSame(yield* one.purge(...keys), 0, "purged dead letters of another queue")
      expectSame((yield* other.size).deadLetters, 1, "the dead letters of the other queue")
    })
  }),
  law(5, "an append that passes a limit is not admitted and changes nothing, unless the queue is empty", {
    rows: withQueue([], function* (queue) {
      const limits = { rows: 5, bytes: infinite }
      yield* expectAdmitted(queue, names("a", 1, 3), limits)
      yield* expectRefused(queue, names("no", 1, 3), limits)
      yield* expectAdmitted(queue, names("b", 1, 2), limits)
      yield* expectRefused(queue, ["no"], limits)
      yield* expectAdmitted(queue, ["c"], { rows: 6, bytes: infinite })
      const events = yield* queue.expect([...names("a", 1, 3), ...names("b", 1, 2), "c"], "what was admitted")
      yield* queue.acknowledge(...keysOf(events.slice(0, 2)))
      yield* expectRefused(queue, ["d", "e"], limits)
      yield* expectAdmitted(queue, ["d"], limits)
      yield* queue.append(...names("f", 1, 10))
    }),
    bytes: withQueue([], function* (queue) {
      const limits = { rows: infinite, bytes: 10 }
      yield* expectAdmitted(queue, ["1234", "5678"], limits)
      yield* expectRefused(queue, ["123"], limits)
      yield* expectAdmitted(queue, ["12"], limits)
      yield* expectAdmitted(queue, ["", ""], limits)
      yield* expectRefused(queue, ["x"], limits)
      yield* expectRefused(queue, ["x"], { rows: 5, bytes: 11 })
      yield* expectAdmitted(queue, ["x"], { rows: 6, bytes: 11 })
      yield* expectAdmitted(queue, ["x"], everything)
    }),
    "a batch that is larger than the limits": withQueue([], function* (queue) {
      const limits = { rows: 3, bytes: 100 }
      yield* expectAdmitted(queue, names("a", 1, 5), limits)
      yield* expectRefused(queue, ["no"], limits)
      const [first, ...others] = keysOf(yield* queue.expect(names("a", 1, 5), "what was admitted"))
      yield* queue.acknowledge(...others)
      yield* expectRefused(queue, names("no", 1, 5), limits)
      yield* queue.deadLetter(failed(first))
      yield* expectAdmitted(queue, ["x".repeat(101)], limits)
      yield* queue.expect(["x".repeat(101)], "a dead letter takes no room")
    }),
    "many at once": withHandles(function* (one, another, { subject }) {
      const other = subject.limitsAll ? another : one
      yield* append(one, "queue", ["first"])
      const answers = yield* Effect.forEach(
        names("e", 1, 30),
        (name, i) => (i % 2 === 0 ? one : other).append("queue", payloads([name]), { rows: 11, bytes: infinite }),
        { concurrency: "unbounded" }
      )
      const admitted = answers.filter((answer) => answer).length
      expectSame([admitted, (yield* one.size("queue")).rows], [10, 11], "admitted of 30 for 10 places, and rows")
    })
  }),
  law(6, "the size is what is there", {
    "step by step": withQueue([], function* (queue) {
      yield* expectSize(queue, "a new queue")
      yield* queue.append("one", "", "three", "four")
      yield* expectSize(queue, "after an append")
      const [a, b = 0, c = 0, d = 0] = keysOf(yield* queue.store.next(queue.lease, everything))
      yield* queue.acknowledge(a, a, foreign)
      yield* expectSize(queue, "after an acknowledgement")
      yield* queue.deadLetter(failed(a), failed(b), failed(c), failed(c))
      yield* expectSize(queue, "after some were dead-lettered")
      yield* queue.replay(a, c, c, d)
      yield* expectSize(queue, "after a replay")
      yield* queue.purge(b, b, a)
      yield* expectSize(queue, "after a purge")
      yield* queue.acknowledge(...keysOf(yield* queue.store.next(queue.lease, everything)))
      yield* expectSize(queue, "when all are gone")
    }),
    "any steps": withQueue([], function* (queue) {
      let waiting: ReadonlyArray<string> = []
      let dead: ReadonlyArray<string> = []
      let attempts = 0
      for (let step = 1; step <= 60; step++) {
        const events = yield* queue.expect(waiting, `before step ${step}`)
        const deadLetters = yield* queue.deadLetters
        expectSame(deadLetters.map(text).toSorted(), dead.toSorted(), `the dead letters before step ${step}`)
        yield* expectSize(queue, `before step ${step}`)
        const kind = yield* Random.nextIntBetween(0, 6)
        if (kind < 2) {
          const fresh = names(`${step}`, 1, yield* Random.nextIntBetween(1, 6))
          yield* queue.append(...fresh)
          waiting = [...waiting, ...fresh]
          continue
        }
        const picked: Array<{ readonly key: number; readonly payload: Uint8Array }> = []
        for (const one of kind < 4 ? events : deadLetters)
          if ((yield* Random.nextIntBetween(0, 3)) === 0) picked.push(one)
        if (picked.length === 0) continue
        const keys = keysOf(picked)
        const texts = picked.map(text)
        const isPicked = (one: string) => texts.includes(one)
        if (kind === 2) yield* queue.acknowledge(...keys)
        // The last one never was there.
        if (kind === 3) yield* queue.deadLetter(...keys.map((key) => failed(key, ++attempts)), failed(foreign))
        if (kind === 4) yield* queue.replay(...keys)
        if (kind > 4) yield* queue.purge(...keys)
        if (kind < 4) waiting = waiting.filter((one) => !isPicked(one))
        else dead = dead.filter((one) => !isPicked(one))
        if (kind === 3) dead = [...dead, ...texts]
        if (kind === 4) waiting = [...waiting, ...texts]
      }
    })
  })
]

// internals

type Texts = ReadonlyArray<string>

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a?.length === b?.length && a?.every((byte, i) => byte === b?.[i]) === true

const expectAscending = (events: ReadonlyArray<Stored>): void => {
  const keys = events.map(({ key }) => key)
  const isAscending = keys.every((key, i) => Number.isSafeInteger(key) && (i === 0 || key > keys[i - 1]!))
  ensure(isAscending, `keys are whole numbers that grow: ${show(keys)}`)
}

const expectNext = ({ lease, store }: Queue, limits: Limits, texts: Texts, when: string) =>
  Effect.map(store.next(lease, limits), (events) => expectTexts(events, texts, when))

/** Appends with limits, and expects it to be admitted or not. */
const expectAppend = Effect.fnUntraced(function* (queue: Queue, texts: Texts, limits: Limits, isAdmitted: boolean) {
  const before = yield* queue.size
  const answer = yield* queue.store.append("queue", payloads(nonEmpty(texts)), limits)
  const what = `${texts.length} rows of ${texts.join("").length} bytes, within ${limits.rows} and ${limits.bytes}`
  expectSame(answer, isAdmitted, `${what}, to ${show(before)}`)
  if (!answer) expectSame(yield* queue.size, before, `${what}, not admitted, and then the size`)
})
const expectAdmitted = (queue: Queue, texts: Texts, limits: Limits) => expectAppend(queue, texts, limits, true)
const expectRefused = (queue: Queue, texts: Texts, limits: Limits) => expectAppend(queue, texts, limits, false)

/** Expects the size to be what there is. */
const expectSize = Effect.fnUntraced(function* ({ lease, deadLetters: listed, size, store }: Queue, when: string) {
  const { bytes, deadLetters, first, last, rows } = yield* size
  const events = yield* store.next(lease, everything)
  const expected = {
    rows: events.length,
    bytes: events.reduce((sum, { payload }) => sum + payload.length, 0),
    deadLetters: (yield* listed).length,
    first: events[0]?.key,
    last: events.at(-1)?.key
  }
  expectSame({ rows, bytes, deadLetters, first, last }, expected, `${when}: the size`)
})
