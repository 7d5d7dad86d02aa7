import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Random } from "effect"
import { EventQueue, EventSink } from "effect-events"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import { broken, honest } from "./broken/subjects.ts"
import { recorder } from "./support/recorder.ts"
import { checksOf, isFull, spread } from "./support/runs.ts"
import { kinds } from "./support/sinkSubjects.ts"

/** Every law that concerns a part, on every part. */
const product = (parts: ReadonlyArray<SinkLaws.Subject>) =>
  parts.flatMap((part) => SinkLaws.laws.filter((law) => law.concerns(part)).map((law) => [part, law] as const))

/** Every law once for all parts of a kind, on one of them after the other. */
const selection = (parts: ReadonlyArray<SinkLaws.Subject>) =>
  SinkLaws.laws.flatMap((law) => {
    const concerned = parts.filter(law.concerns)
    const part = concerned[law.number % concerned.length]
    return part === undefined ? [] : [[part, law] as const]
  })

describe("SinkLaws", () => {
  describe("catches", () => {
    for (const [law, subject, more = []] of broken) {
      it.live(`${subject.name}: it breaks ${law}`, () =>
        Effect.gen(function* () {
          const expected = [law, ...more].toSorted((a, b) => a - b)
          // In the slow suite it is judged by all laws, and breaks no others.
          const violations = yield* SinkLaws.check(subject, isFull ? {} : { laws: expected })
          const numbers = [...new Set(violations.map(({ law }) => law))]
          assert.deepStrictEqual(numbers, expected, violations.map(({ law, what }) => `${law}: ${what}`).join("\n"))
        })
      )
    }

    it("a broken sink for each law", () => {
      assert.deepStrictEqual(
        SinkLaws.laws.map(({ number }) => number),
        [...new Set(broken.map(([law]) => law))].toSorted((a, b) => a - b)
      )
    })
  })

  it.live("answers the seed that a violation is found with again, at once", () =>
    Effect.gen(function* () {
      let rounds = 0
      const unlucky = SinkLaws.subject({
        name: "a sink that swallows what it gets, in one life of five",
        make: (receiver) =>
          Effect.flatMap(Random.next, (n) => {
            rounds++
            return EventSink.make((event: unknown) => (n < 0.8 ? receiver.write(event) : Effect.void))
          })
      })
      const [first] = yield* SinkLaws.check(unlucky, { laws: [9] })
      const seed = /seed "(.*?)"/.exec(first?.what ?? "")?.[1]
      assert.isAbove(rounds, 1)
      rounds = 0
      const [again] = yield* SinkLaws.check(unlucky, { laws: [9], seed })
      assert.deepStrictEqual(again, first)
      assert.strictEqual(rounds, 1)
    })
  )

  it.live("dies of a law that there is not", () =>
    Effect.gen(function* () {
      const sink = SinkLaws.subject({ name: "a sink", make: (receiver) => EventSink.make(receiver.write) })
      const exit = yield* Effect.exit(SinkLaws.check(sink, { laws: [1, 18] }))
      assert.include(String(exit), "there is no law 18: the laws are 0 to 17")
    })
  )

  it.live.runIf(isFull)("finds a sink that spins", () =>
    Effect.gen(function* () {
      const spinning = SinkLaws.subject({
        name: "a sink whose close spins",
        make: (receiver) =>
          Effect.andThen(
            Effect.addFinalizer(() => Effect.forever(Effect.yieldNow).pipe(Effect.delay(5))),
            EventSink.make(receiver.write)
          )
      })
      const [violation] = yield* SinkLaws.check(spinning, { laws: [5] })
      assert.include(violation?.what, "the close has not ended")
    })
  )

  it.live("takes no slow machine for a sink that spins", () =>
    Effect.gen(function* () {
      const now = vi.spyOn(Date, "now")
      yield* Effect.addFinalizer(() => Effect.sync(() => now.mockRestore()))
      // A minute goes by between any two looks at the clock.
      let minutes = 0
      now.mockImplementation(() => minutes++ * 60_000)
      const queue = SinkLaws.subject({
        name: "EventQueue",
        queued: true,
        make: (receiver, onDropped) => EventQueue.make({ onDropped })(receiver)
      })
      assert.isEmpty(yield* SinkLaws.check(queue, { laws: [5] }))
    })
  )

  describe("under a tracer, whose deliveries have a way of their own", () => {
    const queued = kinds.map((parts) => parts.filter(({ name }) => /EventQueue|Broadcaster/.test(name)))
    for (const [part, law] of spread(queued.flatMap(selection), 4)) {
      it.live(`${part.name}, ${law.number}: ${law.title}`, () => {
        const { provide, spans } = recorder()
        return Effect.gen(function* () {
          const violations = yield* SinkLaws.check(part, { laws: [law.number] })
          assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
          assert.isAbove(spans.length, 0)
        }).pipe(provide)
      })
    }
  })

  const others = checksOf(honest, (part) => SinkLaws.laws.filter((law) => law.concerns(part)))
  const checks = [
    ...spread(kinds.flatMap(isFull ? product : selection), 2),
    ...others.flatMap(([part, laws]) => laws.map((law) => [part, law] as const))
  ]
  for (const [part, some] of Map.groupBy(checks, ([part]) => part)) {
    describe(`${part.name}`, () => {
      for (const [, law] of some) {
        it.live(`${law.number}: ${law.title}`, () =>
          Effect.gen(function* () {
            const violations = yield* SinkLaws.check(part, { laws: [law.number] })
            assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
          })
        )
      }
    })
  }
})
