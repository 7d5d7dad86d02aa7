/** The laws of dead letters: dead-lettered, listed, replayed and purged. 12 to 15. */
import * as Effect from "effect/Effect"
import type { DeadLetterReason, Delivery, StoredDeadLetter } from "../../../durable/EventStore.ts"
import { ensure, expectSame, names, show } from "./expectations.ts"
import { acknowledged, again, dead } from "./settled.ts"
import { define, foreign, type Held, hour, positions, text, texts, withHeld } from "./storeWorker.ts"
import { type Law, law, type World } from "./storeWorld.ts"

const anyCause = ["no", "", 'it\'s "so"\n\tand %s so', "é 名前 😀", "x".repeat(20_000), "disabled"]
const anyReason: ReadonlyArray<DeadLetterReason> = ["Failed", "Died", "Undecodable", "Exhausted", "Expired", "Disabled"]

export const deadLetterLaws: ReadonlyArray<Law> = [
  law(12, "settle moves events to the dead letters in one step, with what is reported of them", {
    "what is reported": withHeld(names("e", 0, 7), function* (held, { sleep }) {
      const all = yield* held.take()
      yield* sleep(50)
      const reports = anyReason.map((reason, i) => ({ ...all[i]!, reason, cause: anyCause[i]!, attempts: i * 7 }))
      yield* held.settle(...reports.map((one) => dead(one, one)))
      yield* held.expect(["e-6", "e-7"], "after six of eight were dead-lettered")
      const found = yield* held.deadLetters
      const facts = ({ attempts, cause, position, reason, writtenAt }: Omit<StoredDeadLetter, "deadLetteredAt">) => [
        position,
        reason,
        cause,
        attempts,
        writtenAt
      ]
      expectSame(texts(found), names("e", 0, 5), "the dead letters of one step are in the order of their positions")
      expectSame(found.map(facts), reports.map(facts), "what is reported of them")
      for (const { deadLetteredAt: at, writtenAt } of found)
        ensure(
          at > writtenAt && at === found[0]?.deadLetteredAt,
          () => `written at ${writtenAt}, dead-lettered at ${at}`
        )
    }),
    "what is gone": withHeld(names("e", 1, 4), function* ({ deadLetters, expect, settle, take }) {
      const [a, b, c] = yield* take()
      yield* settle(acknowledged(a), dead(b, { attempts: 3 }))
      yield* settle(dead(a), dead(b), dead(c, { attempts: 4 }), dead(c, { attempts: 9 }), dead({ position: foreign }))
      const found = (yield* deadLetters).map((letter) => `${text(letter)} ${letter.attempts}`)
      expectSame(found, ["e-2 3", "e-3 4"], "the dead letters")
      yield* expect(["e-4"], "after two were dead-lettered and one was acknowledged")
    }),
    "a cause that is no text": withHeld(names("e", 1, 3), function* ({ deadLetters, settle, take }) {
      const [a, b, c] = yield* take()
      // What a store's text cannot hold may be changed, but must not keep the event pending for ever.
      yield* settle(dead(a, { cause: "before\u0000after" }))
      yield* settle(dead(b, { cause: "before\ud800after" }))
      yield* settle(dead(c))
      for (const { cause } of (yield* deadLetters).slice(0, 2))
        ensure(cause.startsWith("before"), () => `the cause became ${show(cause)}`)
    })
  }),
  law(13, "the dead letters are listed page by page, in the order in which they were dead-lettered", {
    order: withHeld(names("e", 0, 4), function* (held, world) {
      expectSame(yield* held.deadLetters, [], "the dead letters of a new subscription")
      const all = yield* held.take()
      const order = [3, 0, 4, 1, 2]
      yield* deadLetterEach(
        world,
        held,
        order.map((i) => all[i])
      )
      for (const limit of [1, 2, 4, 5, 6])
        expectSame(
          texts(yield* pages(held, limit)),
          order.map((i) => `e-${i}`),
          `in pages of ${limit}`
        )
    }),
    "dead letters of one step": withHeld(names("e", 0, 9), function* (held) {
      yield* held.settle(...(yield* held.take()).toReversed().map((one) => dead(one)))
      expectSame(texts(yield* pages(held, 3)), names("e", 0, 9), "dead-lettered at the same time")
    }),
    "pages while dead letters come and go": withHeld(names("e", 0, 19), function* (held, world) {
      const all = yield* held.take()
      yield* deadLetterEach(world, held, all.slice(10))
      let n = 0
      const seen = yield* pages(held, 2, (page) =>
        Effect.andThen(
          n % 2 === 0 ? held.purge(...positions(page)) : held.replay(page[1]?.position ?? 0),
          Effect.suspend(() => deadLetterEach(world, held, n < 3 ? [all[n++]] : []))
        )
      )
      const expected = [...names("e", 10, 19), ...names("e", 0, 2)]
      expectSame(texts(seen), expected, "each that was there, and those that came meanwhile")
    })
  }),
  law(14, "replay moves dead letters to the end, in the order given, at new positions and with their attempts", {
    "some of them": withHeld(names("e", 0, 5), function* (held, { sleep }) {
      const { expect, replay, settle } = held
      const all = yield* held.take()
      const [a, b, c, d, e, last] = all
      yield* settle(again(b, 1, hour))
      yield* settle(
        dead(a, { attempts: 1 }),
        dead({ ...b!, lane: 1 }, { attempts: 2 }),
        dead(c, { attempts: 3 }),
        dead(d)
      )
      yield* held.purge(d!.position)
      yield* sleep(50)
      const given = [c!, a!, { position: foreign }, c!, d!, e!]
      expectSame(yield* replay(...positions(given)), 2, "the number of replayed events")
      const after = yield* expect(["e-4", "e-5", "e-2", "e-0"], "after the replay")
      const [, , first, second] = after
      const isNew = first!.position > last!.position && second!.position > first!.position
      ensure(isNew, () => `the positions are not new: ${show(positions(after))}`)
      const facts = after.slice(2).map(({ attempts, writtenAt }) => [attempts, writtenAt])
      expectSame(
        facts,
        [
          [3, c?.writtenAt],
          [1, a?.writtenAt]
        ],
        "their attempts, and when they were written"
      )
      yield* settle(acknowledged(a), acknowledged(c), dead(a), dead(c))
      yield* expect(["e-4", "e-5", "e-2", "e-0"], "their positions of before mean nothing")
      yield* settle(dead(first, { attempts: 8 }))
      const found = (yield* held.deadLetters).map((letter) => `${text(letter)} ${letter.attempts}`)
      expectSame(found, ["e-1 2", "e-2 8"], "the dead letters")
      expectSame(yield* replay(c!.position), 0, "replayed by a position of before")
      expectSame(yield* replay(b!.position), 1, "replayed from a lane")
      yield* held.send("new")
      yield* expect(["e-4", "e-5", "e-0", "e-1", "new"], "replayed from a lane to the end")
    }),
    many: withHeld(names("e", 1, 2000), function* ({ expect, replay, settle, take }) {
      const all = yield* take()
      yield* settle(...all.map((one) => dead(one)))
      yield* expect([], "all are dead-lettered")
      expectSame(yield* replay(...positions(all).toReversed()), 2000, "the number of replayed events")
      yield* expect(names("e", 1, 2000).toReversed(), "replayed from the last to the first")
    })
  }),
  law(15, "purge removes these dead letters and no others", {
    "some of them": withHeld(names("e", 0, 4), function* ({ deadLetters, expect, purge, settle, store, take }) {
      const other = yield* define(store, { name: "other" })
      const [a, b, c, d] = yield* take()
      yield* settle(dead(a), dead(b), dead(c))
      expectSame(yield* store.purge(other, [a!.position]), 0, "purged of another subscription")
      expectSame(yield* store.replay(other, [a!.position]), 0, "replayed of another subscription")
      expectSame(yield* purge(...positions([c!, a!, a!, d!]), foreign), 2, "the number of purged events")
      expectSame(texts(yield* deadLetters), ["e-1"], "the other dead letters")
      yield* expect(["e-3", "e-4"], "what is pending is not purged")
      expectSame(yield* purge(a!.position), 0, "purged twice")
      expectSame(yield* store.deadLetters(foreign, { limit: 9 }), [], "of a subscription that is not there")
    })
  })
]

// internals

/** Dead-letters events one after the other, some time apart, so that each has a time of its own. */
const deadLetterEach = ({ sleep }: World, { settle }: Held, all: ReadonlyArray<Delivery | undefined>) =>
  Effect.forEach(all, (one) => Effect.andThen(sleep(5), settle(dead(one))), { discard: true })

/** All pages of so many dead letters, and what happens between them. */
const pages = Effect.fnUntraced(function* (
  { id, store }: Held,
  limit: number,
  between: (page: ReadonlyArray<StoredDeadLetter>) => Effect.Effect<unknown, unknown> = () => Effect.void
) {
  const seen: Array<StoredDeadLetter> = []
  // More than there can be ends it.
  for (let n = 0; n < 100; n++) {
    const page = yield* store.deadLetters(id, { after: seen.at(-1), limit })
    ensure(page.length <= limit, () => `a page of ${limit} has ${page.length} dead letters`)
    if (page.length === 0) return seen
    seen.push(...page)
    yield* between(page)
  }
  return (ensure(false, () => "the pages do not end"), seen)
})
