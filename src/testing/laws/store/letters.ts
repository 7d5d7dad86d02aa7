/** Laws of the dead letters: dead-lettered, listed, replayed and purged. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type {
  Lease,
  Operations,
  DeadLettered,
  DeadLetterReason,
  StoredDeadLetter
} from "../../../durable/EventStore.ts"
import { concernsAll, type Law } from "./law.ts"
import { all, append, ensure, expectLine, expectTexts, keysOf, letters, names, own, show, text } from "./scene.ts"

const failed = (key: number, attempts = 1): DeadLettered => ({ key, reason: "Failed", cause: "no", attempts })

/** Parks events one after the other, some time apart, so that each has a time of its own. */
const parkEach = (
  sleep: (ms: number) => Effect.Effect<void>,
  store: Operations,
  lease: Lease,
  keys: ReadonlyArray<number>
) => Effect.forEach(keys, (key) => Effect.andThen(sleep(5), store.deadLetter(lease, [failed(key)])), { discard: true })

/** All pages of so many letters, and what happens between them. */
const pages = Effect.fnUntraced(function* (
  store: Operations,
  limit: number,
  between: (seen: ReadonlyArray<StoredDeadLetter>) => Effect.Effect<unknown, unknown>
) {
  const seen: Array<StoredDeadLetter> = []
  // One more than there can be ends it.
  for (let n = 0; n < 100; n++) {
    const page = yield* store.list("line", { after: seen.at(-1), limit })
    ensure(page.length <= limit, () => `a page of ${limit} has ${page.length} letters`)
    if (page.length === 0) return seen
    seen.push(...page)
    yield* between(page)
  }
  return (ensure(false, () => "the pages do not end"), seen)
})

export const deadLetters: ReadonlyArray<Law> = [
  {
    number: 7,
    title: "deadLetter moves events to the dead letters in one step, with what is told of them",
    concerns: concernsAll,
    scenarios: {
      "what is told": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        const causes = ["no", "", 'it\'s "so"\n\tand %s so', "é 名前 😀", "x".repeat(20_000)]
        const reasons: ReadonlyArray<DeadLetterReason> = ["Failed", "Died", "Undecodable", "Failed", "Died"]
        yield* append(store, "line", names("e", 0, 6))
        const events = yield* store.next(lease, all)
        yield* scene.sleep(50)
        const told = causes.map((cause, i): DeadLettered => {
          const reason = reasons[i] ?? "Failed"
          return { key: events[i]?.key ?? 0, reason, cause, attempts: i * 7 + (i === 0 ? 0 : 1) }
        }) as unknown as NonEmptyReadonlyArray<DeadLettered>
        yield* store.deadLetter(lease, told)
        yield* expectLine(store, lease, ["e-5", "e-6"], "after five of seven were deadLettered")
        const deadLettered = yield* letters(store, "line")
        expectTexts(deadLettered, names("e", 0, 4), "the letters of one step are in the order of their keys")
        for (const [i, letter] of deadLettered.entries()) {
          const { attempts, cause, key, reason, writtenAt } = letter
          ensure(
            show([key, reason, attempts, writtenAt]) ===
              show([told[i]?.key, told[i]?.reason, told[i]?.attempts, events[i]?.writtenAt]),
            () => `of ${show(told[i])}, written at ${events[i]?.writtenAt}, is kept ${show({ ...letter, payload: [] })}`
          )
          ensure(cause === causes[i], () => `the cause ${show(causes[i])} became ${show(cause)}`)
          ensure(
            letter.deadLetteredAt > writtenAt,
            () => `written at ${writtenAt}, deadLettered 50 ms later at ${letter.deadLetteredAt}`
          )
          ensure(
            letter.deadLetteredAt === deadLettered[0]?.deadLetteredAt,
            () => "what was dead-lettered in one step has several times"
          )
        }
      }),
      "what is gone": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 1, 4))
        const [a = 0, b = 0, c = 0] = (yield* store.next(lease, all)).map(({ key }) => key)
        yield* store.acknowledge(lease, [a])
        yield* store.deadLetter(lease, [failed(b, 3)])
        yield* store.deadLetter(lease, [
          { key: a, reason: "Died", cause: "too late", attempts: 9 },
          { key: b, reason: "Died", cause: "again", attempts: 9 },
          failed(c, 4),
          { key: c, reason: "Died", cause: "twice", attempts: 9 },
          failed(1_000_000_000)
        ])
        const found = (yield* letters(store, "line")).map((letter) => [text(letter), letter.cause, letter.attempts])
        ensure(
          show(found) ===
            show([
              ["e-2", "no", 3],
              ["e-3", "no", 4]
            ]),
          () => `the letters are ${show(found)}`
        )
        yield* expectLine(store, lease, ["e-4"], "after two were dead-lettered and one was acknowledged")
      }),
      "a cause that is no text": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 1, 3))
        const [a = 0, b = 0, c = 0] = (yield* store.next(lease, all)).map(({ key }) => key)
        // What a store's text cannot hold may be changed, but must not keep the event in the line for ever.
        yield* store.deadLetter(lease, [{ key: a, reason: "Failed", cause: "before\u0000after", attempts: 1 }])
        yield* store.deadLetter(lease, [{ key: b, reason: "Failed", cause: "before\ud800after", attempts: 1 }])
        yield* store.deadLetter(lease, [failed(c)])
        for (const { cause } of (yield* letters(store, "line")).slice(0, 2))
          ensure(cause.startsWith("before"), () => `the cause became ${show(cause)}`)
      })
    }
  },
  {
    number: 8,
    title: "the dead letters are listed page by page, in the order in which they were deadLettered",
    concerns: concernsAll,
    scenarios: {
      order: Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        ensure((yield* letters(store, "line")).length === 0, () => "a new queue has dead letters")
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 0, 4))
        const keys = keysOf(yield* store.next(lease, all))
        const order = [3, 0, 4, 1, 2]
        yield* parkEach(
          (ms) => scene.sleep(ms),
          store,
          lease,
          order.map((i) => keys[i] ?? 0)
        )
        for (const limit of [1, 2, 4, 5, 6]) {
          const seen = yield* pages(store, limit, () => Effect.void)
          expectTexts(
            seen,
            order.map((i) => `e-${i}`),
            `in pages of ${limit}`
          )
        }
      }),
      "letters of one step": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 0, 9))
        const keys = (yield* store.next(lease, all)).map(({ key }) => key)
        const [first = failed(0), ...others] = keys.toReversed().map((key) => failed(key))
        yield* store.deadLetter(lease, [first, ...others])
        expectTexts(yield* pages(store, 3, () => Effect.void), names("e", 0, 9), "dead-lettered at the same time")
      }),
      "pages while letters come and go": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 0, 19))
        const keys = (yield* store.next(lease, all)).map(({ key }) => key)
        const sleep = (ms: number) => scene.sleep(ms)
        yield* parkEach(sleep, store, lease, keys.slice(10))
        let n = 0
        const seen = yield* pages(store, 2, (page) =>
          Effect.andThen(
            n % 2 === 0 ? store.purge("line", keysOf(page)) : store.replay("line", [keysOf(page)[1] ?? 0]),
            Effect.suspend(() => parkEach(sleep, store, lease, n < 3 ? [keys[n++] ?? 0] : []))
          )
        )
        const expected = [...names("e", 10, 19), ...names("e", 0, 2)]
        expectTexts(seen, expected, "each that was there, and those that came meanwhile")
      })
    }
  },
  {
    number: 9,
    title: "replay moves dead letters to the end of the line, in the order given, with new keys and their attempts",
    concerns: concernsAll,
    scenarios: {
      "some of them": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 0, 5))
        const before = yield* store.next(lease, all)
        const [a = 0, b = 0, c = 0, d = 0, e = 0, last = 0] = before.map(({ key }) => key)
        yield* store.deadLetter(lease, [failed(a, 1), failed(b, 2), failed(c, 3), failed(d, 4)])
        yield* store.purge("line", [d])
        yield* scene.sleep(50)
        const count = yield* store.replay("line", [c, a, 1_000_000_000, c, d, e])
        ensure(count === 2, () => `two were replayed, and the answer is ${count}`)
        const line = yield* expectLine(store, lease, ["e-4", "e-5", "e-2", "e-0"], "after the replay")
        const [, , replayed, also] = line
        ensure(replayed?.attempts === 3 && also?.attempts === 1, () => `attempts: ${show([replayed, also])}`)
        ensure(replayed.key > last && also.key > replayed.key, () => `the keys are not new: ${show(keysOf(line))}`)
        const written = [before[2]?.writtenAt, before[0]?.writtenAt]
        ensure(show([replayed.writtenAt, also.writtenAt]) === show(written), () => "they were written anew")
        expectTexts(yield* letters(store, "line"), ["e-1"], "the letters that are left")
        yield* store.acknowledge(lease, [a, c])
        yield* store.deadLetter(lease, [failed(a), failed(c)])
        yield* expectLine(store, lease, ["e-4", "e-5", "e-2", "e-0"], "their keys of before mean nothing")
        yield* store.deadLetter(lease, [failed(replayed.key, 8)])
        const again = (yield* letters(store, "line")).map((letter) => [text(letter), letter.attempts])
        ensure(
          show(again) ===
            show([
              ["e-1", 2],
              ["e-2", 8]
            ]),
          () => `deadLettered again: ${show(again)}`
        )
        ensure((yield* store.replay("line", [c])) === 0, () => "a letter was replayed by a key that it had before")
      }),
      many: Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        const texts = names("e", 1, 2000)
        yield* append(store, "line", texts)
        const keys = keysOf(yield* store.next(lease, all))
        const [first, ...others] = keys
        yield* store.deadLetter(lease, [failed(first), ...others.map((key) => failed(key))])
        yield* expectLine(store, lease, [], "all are deadLettered")
        const count = yield* store.replay("line", keys.toReversed() as unknown as NonEmptyReadonlyArray<number>)
        ensure(count === 2000, () => `2000 were replayed, and the answer is ${count}`)
        yield* expectLine(store, lease, texts.toReversed(), "replayed from the last to the first")
      })
    }
  },
  {
    number: 10,
    title: "purge forgets these dead letters and no others",
    concerns: concernsAll,
    scenarios: {
      "some of them": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line")
        yield* append(store, "line", names("e", 0, 4))
        const [a = 0, b = 0, c = 0, d = 0] = (yield* store.next(lease, all)).map(({ key }) => key)
        yield* store.deadLetter(lease, [failed(a), failed(b), failed(c)])
        const count = yield* store.purge("line", [c, a, a, d, 1_000_000_000])
        ensure(count === 2, () => `two were purged, and the answer is ${count}`)
        expectTexts(yield* letters(store, "line"), ["e-1"], "the letter that is left")
        yield* expectLine(store, lease, ["e-3", "e-4"], "events in line are not purged")
        ensure((yield* store.purge("line", [a])) === 0, () => "a letter was purged twice")
      })
    }
  }
]
