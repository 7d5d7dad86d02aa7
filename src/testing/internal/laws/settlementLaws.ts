/** The laws of deliveries: taken, settled, set aside in lanes, waiting, and counted. 7 to 11. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { ensure, expectSame, names } from "./expectations.ts"
import { acknowledged, again, aside, dead } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { foreign, hour, infinite, positions, texts, withHeld } from "./storeWorker.ts"
import { type Law, law, withHandles } from "./storeWorld.ts"

const large = "x".repeat(1000)
/** Rows and bytes of a limit, and how many events of 10 bytes are within it. */
const limited: ReadonlyArray<readonly [rows: number, bytes: number, count: number]> = [
  [3, 1_000_000, 3],
  [1, 0, 1],
  [10, 25, 2],
  [10, 30, 3],
  [10, 29, 2],
  [10, 5, 1],
  [10_000, 1_000_000, 10],
  [infinite, 40, 4],
  [5, infinite, 5],
  [infinite, infinite, 10]
]

export const settlementLaws: ReadonlyArray<Law> = [
  law(7, "take gives the first deliveries, but those excepted, within its limits but one at least, and leaves them", {
    limits: withHeld([], function* ({ expect, send, tryTake }) {
      yield* expect([], "nothing")
      const ten = names("e", 0, 9).map((name) => name.padEnd(10, "."))
      yield* send(...ten)
      for (const [rows, bytes, count] of limited) {
        const { deliveries = [], more } = (yield* tryTake({ limits: { rows, bytes } })) ?? {}
        const what = `of ${rows} rows, ${bytes} bytes, and whether there are more`
        expectSame([texts(deliveries), more], [ten.slice(0, count), count < 10], what)
      }
    }),
    "one that is larger than the limit": withHeld(["small", large, "", "last"], function* ({ expect, settle }) {
      const of = (bytes: number) => ({ limits: { rows: 9, bytes } })
      const [small] = yield* expect(["small"], "before the large one", of(100))
      yield* settle(acknowledged(small))
      yield* expect([large], "the large one", of(100))
      yield* expect([large, ""], "with one without bytes", of(1000))
    }),
    except: withHeld(names("e", 1, 2000), function* ({ expect, settle, take }) {
      const limits = { rows: 3, bytes: infinite }
      const [all, deliveries] = [positions(yield* take()), yield* take()]
      const even = all.filter((_, i) => i % 2 === 1)
      yield* expect(["e-1", "e-3", "e-5"], "without every second", { except: even, limits })
      yield* expect(["e-1999"], "without all but one", { except: all.filter((_, i) => i !== 1998), limits })
      yield* expect([], "without all", { except: all })
      yield* settle(acknowledged(deliveries[1]), acknowledged(deliveries[1500]))
      yield* expect(["e-1", "e-3", "e-4"], "without what was acknowledged, and never by a cursor", { limits })
    })
  }),
  law(8, "settle removes what was acknowledged, and nothing else", {
    "here and there": withHeld(names("e", 0, 9), function* ({ expect, settle, take }) {
      const all = yield* take()
      const pick = (...at: ReadonlyArray<number>) => settle(...at.map((i) => acknowledged(all[i])))
      yield* pick(7, 2, 3, 5)
      yield* expect(["e-0", "e-1", "e-4", "e-6", "e-8", "e-9"], "without 2, 3, 5 and 7")
      yield* pick(2, 1, 1, 7, 9)
      yield* expect(["e-0", "e-4", "e-6", "e-8"], "some were gone already, one was named twice")
      yield* settle(...[0, foreign].map((position) => acknowledged({ position })), acknowledged(all[0]))
      yield* expect(["e-4", "e-6", "e-8"], "some never were")
    }),
    "many at once": withHeld(names("e", 0, 4999), function* ({ expect, settle, take }) {
      yield* settle(...(yield* take()).filter((_, i) => i % 2 === 0).map(acknowledged))
      const odd = names("e", 0, 4999).filter((_, i) => i % 2 === 1)
      yield* settle(...(yield* expect(odd, "every second is gone")).map(acknowledged))
      yield* expect([], "all are gone")
    })
  }),
  law(9, "what is set aside in a lane is given again in order, when its first is due or settled", {
    "again, and those behind it": withHeld(["a1", "b1", "a2", "a3", "b2"], function* (held, { sleep }) {
      const { expect, settle, take } = held
      const [a1, b1, a2, a3] = yield* take()
      yield* settle(again(a1, 7, hour, 1), acknowledged(b1), aside(a2, 7))
      yield* expect(["a3", "b2"], "while a lane waits")
      yield* settle(aside(a3, 7), aside(a1, 7))
      yield* expect(["b2"], "with one more in a lane that waits")
      yield* settle(again(a1, 7, Worker.short, 2))
      yield* sleep(Worker.pastShort)
      const [head] = yield* expect(["a1@7", "a2@7", "a3@7", "b2"], "when its first is due")
      const except = [a1!.position]
      yield* expect(["a1@7", "b2"], "one of a lane", { perLane: 1 })
      yield* expect(["b2"], "none of a lane", { perLane: 0 })
      yield* expect(["b2"], "without the lane", { busy: [7] })
      yield* expect(["a2@7", "a3@7", "b2"], "without its first", { except })
      yield* expect(["a2@7", "b2"], "without its first, one of a lane", { except, perLane: 1 })
      yield* expect(["a1@7", "a2@7"], "two rows", { limits: { rows: 2, bytes: infinite } })
      yield* expect(["a1@7", "a2@7"], "five bytes", { limits: { rows: 9, bytes: 5 } })
      yield* settle(acknowledged(head))
      const [second] = yield* expect(["a2@7", "a3@7", "b2"], "the next are due at once")
      yield* settle(dead(second))
      const [third] = yield* expect(["a3@7", "b2"], "also after a dead letter")
      yield* settle(acknowledged(third))
      yield* expect(["b2"], "when the lane is empty")
    }),
    "attempts, and when the first of them failed": withHeld(["a"], function* ({ settle, take }, { sleep }) {
      const seen: Array<ReadonlyArray<number | undefined>> = []
      for (let attempts = 1; attempts <= 3; attempts++) {
        yield* settle(again((yield* take())[0], 1, Duration.zero, attempts))
        yield* sleep(5)
        const [one] = yield* take()
        seen.push([one?.attempts, one?.firstFailedAt, one?.writtenAt])
      }
      const [, first = 0, written = infinite] = seen[0] ?? []
      ensure(first >= written, () => `written at ${written}, it first failed at ${first}`)
      expectSame(
        seen,
        [1, 2, 3].map((n) => [n, first, written]),
        "attempts, first failure and time of writing"
      )
    }),
    "set aside without a lane that waits": withHeld(names("e", 1, 4), function* ({ expect, settle, take }) {
      const [one, two, three, four] = yield* take()
      yield* settle(aside(two, 1), aside(four, 2), aside(three, 1))
      yield* expect(["e-2@1", "e-3@1", "e-1"], "due at once", { busy: [2] })
      const at = (lane: number, one = two) => acknowledged({ position: one!.position, lane })
      yield* settle(at(1), again(three, 1, hour), at(2, four))
      yield* expect(["e-1"], "the first settled, and the next to be tried again later, in one step")
      // It comes before the first of the lane, which waits.
      yield* settle(aside(one, 1))
      const [first] = yield* expect(["e-1@1", "e-3@1"], "one set aside that comes before all of its lane")
      yield* settle(again(first, 1, hour), acknowledged(first))
      const [last] = yield* expect(["e-3@1"], "after one that waited")
      yield* settle(acknowledged(last))
    }),
    "again, behind the first": withHeld(names("e", 1, 4), function* ({ expect, settle, take }) {
      const [one, two, three, four] = yield* take()
      yield* settle(again(one, 1, hour), again(two, 1))
      yield* expect(["e-3", "e-4"], "the lane waits for its first")
      yield* settle(again(two, 1, Duration.zero, 2))
      yield* expect(["e-3", "e-4"], "it still does")
      yield* settle(aside(three, 2), again(four, 2, hour))
      yield* expect(["e-3@2", "e-4@2"], "the first of a lane is due at once")
    }),
    "in a lane with the number of a position": withHeld(names("e", 1, 6), function* ({ expect, settle, take }) {
      const all = yield* take()
      const [one, two, three, four, five, six] = all
      const lane = three!.position
      const of = (...some: ReadonlyArray<number>) => some.map((n) => `e-${n}@${lane}`)
      const alone = { busy: [six!.position] }
      yield* settle(again(three, lane, hour), again(six, six!.position, hour), aside(four, lane))
      yield* expect(["e-1", "e-2", "e-5"], "while the one of the number waits")
      yield* settle(aside(two, lane))
      yield* expect([...of(2, 3, 4), "e-1", "e-5"], "one before it", alone)
      yield* expect(of(2, 3), "two rows", { limits: { rows: 2, bytes: infinite } })
      yield* expect([...of(2, 4), "e-1", "e-5"], "without it", { except: [lane] })
      yield* expect(["e-1", "e-5"], "without the lane", { busy: [lane] })
      yield* settle(acknowledged({ ...two!, lane }))
      yield* expect([...of(3, 4), "e-1", "e-5"], "it is due with those behind it, when the first is settled")
      yield* settle(aside(five, lane), again(three, lane, hour, 2))
      yield* expect(["e-1"], "while it waits again")
      yield* settle(acknowledged({ ...three!, lane }))
      yield* expect([...of(4, 5), "e-1"], "when it is settled")
      yield* settle(
        again(six, six!.position, Duration.zero),
        dead({ ...four!, lane }),
        acknowledged({ ...five!, lane })
      )
      const [last] = yield* expect([`e-6@${six!.position}`, "e-1"], "one alone")
      yield* settle(acknowledged(last), acknowledged(one))
      yield* expect([], "all are settled")
    }),
    "of one that is gone, or in no such lane": withHeld(
      names("e", 1, 3),
      function* ({ expect, figures, settle, take }) {
        const [a, b, c] = yield* take()
        yield* settle(acknowledged(a), dead(b), again(c, 3))
        yield* settle(again(a, 1), aside(b, 1), again({ position: foreign }, 1), aside({ position: foreign }, 2))
        yield* settle(acknowledged(c), dead({ position: c!.position, lane: 4 }))
        const [there] = yield* expect(["e-3@3"], "what is there")
        const { deadLetters, pending } = yield* figures
        expectSame([pending, deadLetters], [1, 1], "pending and dead letters")
        yield* settle(acknowledged(there))
        yield* expect([], "when it is settled in its lane")
      }
    )
  }),
  law(10, "a subscription that waits has nothing due for any process before its wait is over", {
    "the delay": withHandles(function* (one, other, { sleep }) {
      const { expect, id, release, send, settle, take, wait } = yield* Worker.hold(one, names("e", 1, 3))
      const [a, b] = yield* take()
      yield* settle(again(b, 1))
      yield* wait(hour, 1)
      yield* send("e-4")
      yield* settle(acknowledged(a))
      yield* expect([], "while it waits")
      yield* release
      const next = yield* Worker.makeWorker(other, "other")
      yield* next.expectNone(id, "given back while it waits")
      yield* Worker.setState(one, "active")
      const second = yield* next.acquire(id)
      expectSame(second.claimed.attempts, 0, "attempts when the wait was ended from outside")
      yield* second.wait(Worker.short, 1)
      yield* second.release
      yield* sleep(Worker.pastShort)
      const third = yield* next.acquire(id)
      expectSame(third.claimed.attempts, 1, "attempts when the wait is over")
      yield* third.expect(["e-2@1", "e-3", "e-4"], "when the wait is over")
    }),
    "attempts, and when the first of them failed": withHandles(function* (one, other, { sleep }) {
      const { id, release, wait } = yield* Worker.hold(one, ["e"])
      yield* wait(Duration.zero, 1)
      yield* sleep(5)
      yield* wait(Duration.zero, 2)
      yield* release
      const next = yield* Worker.makeWorker(other, "other")
      const claim = Effect.tap(next.acquire(id), ({ release }) => release)
      const { firstFailedAt } = (yield* claim).claimed
      ensure(firstFailedAt !== undefined, () => "a subscription that failed has no first failure")
      yield* sleep(5)
      yield* (yield* next.acquire(id)).wait(Duration.zero, 3)
      yield* next.leave
      const last = yield* Worker.makeWorker(other, "last")
      const third = yield* last.acquire(id)
      const { claimed } = third
      expectSame([claimed.attempts, claimed.firstFailedAt], [3, firstFailedAt], "attempts and first failure")
      yield* third.wait(hour, 4)
      yield* third.wait(Duration.zero, 0)
      yield* third.expect(["e"], "after a wait that was ended")
      yield* third.release
      const { attempts, firstFailedAt: none } = (yield* last.acquire(id)).claimed
      expectSame([attempts, none], [0, undefined], "attempts after a wait that was ended")
    })
  }),
  law(11, "figures and bounds are what is there", {
    "step by step": withHeld([], function* (held) {
      const { expect, figures, id, purge, release, replay, send, settle, store } = held
      const check = Effect.fnUntraced(function* (expected: ReadonlyArray<string>, deadLetters: number, when: string) {
        const given = positions(yield* expect(expected, when))
        const found = yield* figures
        const bytes = expected.join("").replaceAll(/@\d/g, "").length
        expectSame(
          [found.pending, found.bytes, found.deadLetters],
          [expected.length, bytes, deadLetters],
          `${when}: figures`
        )
        const [bounds] = yield* store.bounds([id])
        const ends = given.length === 0 ? undefined : [id, Math.min(...given), Math.max(...given)]
        expectSame(bounds && [bounds.subscription, bounds.first, bounds.last], ends, `${when}: bounds`)
      })
      yield* check([], 0, "a new one")
      const [a, b, c, d, e] = yield* send("one", "", "three", "four", "fifth")
      yield* check(["one", "", "three", "four", "fifth"], 0, "after a publish")
      yield* settle(acknowledged(a), acknowledged(a), aside(e, 4), again(c, 4), again(c, 4))
      yield* check(["three@4", "fifth@4", "", "four"], 0, "after some were set aside")
      yield* settle(dead(a), dead(b), dead({ ...c!, lane: 4 }), dead(d), dead(d))
      yield* check(["fifth@4"], 3, "after some were dead-lettered")
      yield* replay(...positions([c!, c!, e!, d!]))
      yield* check(["fifth@4", "three", "four"], 1, "after a replay")
      yield* purge(b!.position, b!.position, c!.position)
      yield* check(["fifth@4", "three", "four"], 0, "after a purge")
      yield* settle(...(yield* held.take()).map(acknowledged))
      yield* check([], 0, "when all are gone")
      expectSame((yield* figures).owner, "one", "its owner")
      yield* release
      expectSame((yield* figures).owner, undefined, "its owner, given back")
      expectSame(yield* store.figures(foreign), undefined, "the figures of a subscription that is not there")
      expectSame(yield* store.bounds([id, foreign]), [], "the bounds of what has nothing pending")
    })
  })
]
