/** The laws of dead letters: dead-lettered, listed, replayed and purged. 7 to 10. */
import * as Effect from "effect/Effect"
import type { DeadLetterReason, StoredDeadLetter } from "../../../durable/EventStore.ts"
import { ensure } from "./evidence.ts"
import { expectSame, expectTexts, failed, foreign, keysOf, names, show, text } from "./storeValues.ts"
import { type Law, law, type Queue, withQueue, type World } from "./storeWorld.ts"

const anyCause = ["no", "", 'it\'s "so"\n\tand %s so', "é 名前 😀", "x".repeat(20_000)]
const anyReason: ReadonlyArray<DeadLetterReason> = ["Failed", "Died", "Undecodable", "Failed", "Died"]

export const deadLetterLaws: ReadonlyArray<Law> = [
  law(7, "deadLetter moves events to the dead letters in one step, with what is reported of them", {
    "what is reported": withQueue(names("e", 0, 6), function* (queue, { sleep }) {
      yield* sleep(50)
      const reports = anyCause.map((cause, i) => {
        const reason = anyReason[i] ?? "Failed"
        return { key: queue.key(i), reason, cause, attempts: i * 7 + Math.min(i, 1) }
      })
      yield* queue.deadLetter(...reports)
      yield* queue.expect(["e-5", "e-6"], "after five of seven were dead-lettered")
      const deadLetters = yield* queue.deadLetters
      expectTexts(deadLetters, names("e", 0, 4), "the dead letters of one step are in the order of their keys")
      for (const [i, { deadLetteredAt, ...letter }] of deadLetters.entries()) {
        const { attempts, cause, key, reason, writtenAt } = letter
        const found = { key, reason, cause, attempts, writtenAt }
        expectSame(found, { ...reports[i], writtenAt: queue.events[i]?.writtenAt }, `dead letter ${i}`)
        ensure(deadLetteredAt > writtenAt, `written at ${writtenAt}, dead-lettered 50 ms later at ${deadLetteredAt}`)
        expectSame(deadLetteredAt, deadLetters[0]?.deadLetteredAt, "the time of what was dead-lettered in one step")
      }
    }),
    "what is gone": withQueue(names("e", 1, 4), function* (queue) {
      const { key } = queue
      yield* queue.acknowledge(key(0))
      yield* queue.deadLetter(failed(key(1), 3))
      const gone = [failed(key(0), 9, "too late"), failed(key(1), 9, "again")]
      yield* queue.deadLetter(...gone, failed(key(2), 4), failed(key(2), 9, "twice"), failed(foreign))
      const found = (yield* queue.deadLetters).map((letter) => [text(letter), letter.cause, letter.attempts])
      const expected = [
        ["e-2", "no", 3],
        ["e-3", "no", 4]
      ]
      expectSame(found, expected, "the dead letters")
      yield* queue.expect(["e-4"], "after two were dead-lettered and one was acknowledged")
    }),
    "a cause that is no text": withQueue(names("e", 1, 3), function* ({ deadLetter, deadLetters, key }) {
      // What a store's text cannot hold may be changed, but must not keep the event in the queue for ever.
      yield* deadLetter(failed(key(0), 1, "before\u0000after"))
      yield* deadLetter(failed(key(1), 1, "before\ud800after"))
      yield* deadLetter(failed(key(2)))
      for (const { cause } of (yield* deadLetters).slice(0, 2))
        ensure(cause.startsWith("before"), `the cause became ${show(cause)}`)
    })
  }),
  law(8, "the dead letters are listed page by page, in the order in which they were dead-lettered", {
    order: withQueue(names("e", 0, 4), function* (queue, world) {
      expectTexts(yield* queue.deadLetters, [], "the dead letters of a new queue")
      const order = [3, 0, 4, 1, 2]
      yield* deadLetterEach(world, queue, order.map(queue.key))
      for (const limit of [1, 2, 4, 5, 6]) {
        const expected = order.map((i) => `e-${i}`)
        expectTexts(yield* pages(queue, limit), expected, `in pages of ${limit}`)
      }
    }),
    "dead letters of one step": withQueue(names("e", 0, 9), function* (queue) {
      yield* queue.deadLetter(...queue.keys.toReversed().map((key) => failed(key)))
      expectTexts(yield* pages(queue, 3), names("e", 0, 9), "dead-lettered at the same time")
    }),
    "pages while dead letters come and go": withQueue(names("e", 0, 19), function* (queue, world) {
      yield* deadLetterEach(world, queue, queue.keys.slice(10))
      let n = 0
      const seen = yield* pages(queue, 2, (page) =>
        Effect.andThen(
          n % 2 === 0 ? queue.purge(...keysOf(page)) : queue.replay(keysOf(page)[1] ?? 0),
          Effect.suspend(() => deadLetterEach(world, queue, n < 3 ? [queue.key(n++)] : []))
        )
      )
      const expected = [...names("e", 10, 19), ...names("e", 0, 2)]
      expectTexts(seen, expected, "each that was there, and those that came meanwhile")
    })
  }),
  law(9, "replay moves dead letters to the end of the queue, in the order given, with new keys and their attempts", {
    "some of them": withQueue(names("e", 0, 5), function* (queue, { sleep }) {
      const { events, expect } = queue
      const [a = 0, b = 0, c = 0, d = 0, e = 0, last = 0] = queue.keys
      yield* queue.deadLetter(failed(a, 1), failed(b, 2), failed(c, 3), failed(d, 4))
      yield* queue.purge(d)
      yield* sleep(50)
      expectSame(yield* queue.replay(c, a, foreign, c, d, e), 2, "the number of replayed events")
      const after = yield* expect(["e-4", "e-5", "e-2", "e-0"], "after the replay")
      const [, , first, second] = after
      expectSame([first?.attempts, second?.attempts], [3, 1], "their attempts")
      const isNew = (first?.key ?? 0) > last && (second?.key ?? 0) > (first?.key ?? 0)
      ensure(isNew, `the keys are not new: ${show(keysOf(after))}`)
      expectSame([first?.writtenAt, second?.writtenAt], [events[2]?.writtenAt, events[0]?.writtenAt], "written at")
      expectTexts(yield* queue.deadLetters, ["e-1"], "the other dead letters")
      yield* queue.acknowledge(a, c)
      yield* queue.deadLetter(failed(a), failed(c))
      yield* expect(["e-4", "e-5", "e-2", "e-0"], "their keys of before mean nothing")
      yield* queue.deadLetter(failed(first?.key ?? 0, 8))
      const again = (yield* queue.deadLetters).map((letter) => `${text(letter)} ${letter.attempts}`)
      expectSame(again, ["e-1 2", "e-2 8"], "dead-lettered again")
      expectSame(yield* queue.replay(c), 0, "replayed by a key of before")
    }),
    many: withQueue(names("e", 1, 2000), function* ({ deadLetter, expect, keys, replay }) {
      yield* deadLetter(...keys.map((key) => failed(key)))
      yield* expect([], "all are dead-lettered")
      expectSame(yield* replay(...keys.toReversed()), 2000, "the number of replayed events")
      yield* expect(names("e", 1, 2000).toReversed(), "replayed from the last to the first")
    })
  }),
  law(10, "purge removes these dead letters and no others", {
    "some of them": withQueue(names("e", 0, 4), function* ({ deadLetter, expect, key, deadLetters, purge }) {
      yield* deadLetter(failed(key(0)), failed(key(1)), failed(key(2)))
      expectSame(yield* purge(key(2), key(0), key(0), key(3), foreign), 2, "the number of purged events")
      expectTexts(yield* deadLetters, ["e-1"], "the other dead letters")
      yield* expect(["e-3", "e-4"], "events in the queue are not purged")
      expectSame(yield* purge(key(0)), 0, "purged twice")
    })
  })
]

// internals

/** Dead-letters events one after the other, some time apart, so that each has a time of its own. */
const deadLetterEach = ({ sleep }: World, { deadLetter }: Queue, keys: ReadonlyArray<number>) =>
  Effect.forEach(keys, (key) => Effect.andThen(sleep(5), deadLetter(failed(key))), { discard: true })

/** All pages of so many dead letters, and what happens between them. */
const pages = Effect.fnUntraced(function* (
  { store }: Queue,
  limit: number,
  between: (page: ReadonlyArray<StoredDeadLetter>) => Effect.Effect<unknown, unknown> = () => Effect.void
) {
  const seen: Array<StoredDeadLetter> = []
  // More than there can be ends it.
  for (let n = 0; n < 100; n++) {
    const page = yield* store.list("queue", { after: seen.at(-1), limit })
    ensure(page.length <= limit, `a page of ${limit} has ${page.length} dead letters`)
    if (page.length === 0) return seen
    seen.push(...page)
    yield* between(page)
  }
  return (ensure(false, "the pages do not end"), seen)
})
