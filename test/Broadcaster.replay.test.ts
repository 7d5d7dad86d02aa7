/** What a broadcaster keeps for late sinks and streams: the last events, or those since a position, and then what is published. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, type Scope, Stream } from "effect"
import * as fc from "fast-check"
import type { Dropped } from "effect-events"
import { Broadcaster, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { runs } from "./support/runs.ts"
import { open, quiet, settle } from "./support/virtual.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const isEven = (n: number) => n % 2 === 0
const made = <A, E, R>(make: Effect.Effect<A, E, R>) => Effect.map(open(make), ({ part }) => part)
const countsOf = ({ node }: { readonly node: EventSink.SinkNode }) => {
  const { accepted, delivered, dropped, undelivered } = node.health(0).counts
  return { accepted, delivered, dropped, undelivered }
}
const subscriptionOf = (self: Broadcaster.Broadcaster<number>) => ({ node: self.node.downstream().at(-1)!.node })
/** What a stream has now. */
const readNow = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function* () {
    const seen: Array<A> = []
    const reading = yield* Effect.forkChild(Stream.runForEach(stream, (one) => Effect.sync(() => void seen.push(one))))
    yield* settle
    yield* Fiber.interrupt(reading)
    return seen
  })

const kinds: ReadonlyArray<
  readonly [kind: string, make: (seen: Array<number>) => Effect.Effect<EventSink.EventSink<number>, never, Scope.Scope>]
> = [
  ["synchronous", (seen) => EventSink.sync((n: number) => void seen.push(n))],
  ["effectful", (seen) => EventSink.make((n: number) => Effect.sync(() => void seen.push(n)))],
  [
    "batch",
    (seen) => EventSink.makeBatch((events: ReadonlyArray<number>) => Effect.sync(() => void seen.push(...events)))
  ]
]

describe("replay of add", () => {
  it.effect.each(kinds)("gives a late sink what is kept, and then what is published: a sink that is %s", ([, make]) =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ replay: 3 })
      yield* EventSink.writeAll(broadcaster, range(1, 4))
      yield* broadcaster.write(5)
      const all: Array<number> = []
      const last: Array<number> = []
      const none: Array<number> = []
      yield* Broadcaster.add(broadcaster, yield* made(make(all)), { replay: Number.POSITIVE_INFINITY })
      const first = subscriptionOf(broadcaster)
      yield* Broadcaster.add(broadcaster, yield* made(make(last)), { replay: 1 })
      yield* Broadcaster.add(broadcaster, yield* made(make(none)), { replay: 0 })
      yield* broadcaster.write(6)
      yield* settle
      assert.deepStrictEqual(all, [3, 4, 5, 6])
      assert.deepStrictEqual(last, [5, 6])
      assert.deepStrictEqual(none, [6])
      assert.deepStrictEqual(countsOf(first), { accepted: 4, delivered: 4, dropped: 0, undelivered: 0 })
      assert.deepStrictEqual(countsOf(broadcaster), { accepted: 6, delivered: 6, dropped: 0, undelivered: 0 })
    })
  )

  it.effect.each(kinds)(
    "lets a filter judge what is kept too, and charges its defects: a sink that is %s",
    ([, make]) =>
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>({ replay: 10 })
        yield* EventSink.writeAll(broadcaster, range(1, 8))
        const seen: Array<number> = []
        const dropped: Array<Dropped.Dropped<number>> = []
        yield* Broadcaster.add(broadcaster, yield* made(make(seen)), {
          replay: 7,
          filter: (n) => {
            if (n === 4) throw new Error("no four")
            return isEven(n)
          },
          onDropped: (one) => Effect.sync(() => void dropped.push(one))
        })
        yield* EventSink.writeAll(broadcaster, [9, 10])
        yield* settle
        assert.deepStrictEqual(seen, [2, 6, 8, 10])
        assert.deepStrictEqual(
          dropped.map(({ event, reason }) => [event, reason._tag]),
          [[4, "Died"]]
        )
        assert.deepStrictEqual(countsOf(subscriptionOf(broadcaster)), {
          accepted: 5,
          delivered: 4,
          dropped: 1,
          undelivered: 0
        })
      })
  )

  it.effect("keeps nothing by default", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const before = yield* Broadcaster.position(broadcaster)
      const sink = yield* TestSink.recording<number>()
      yield* Broadcaster.add(broadcaster, sink, { replay: { since: before } })
      yield* broadcaster.write(1)
      yield* settle
      assert.deepStrictEqual(sink.received, [1])
      assert.deepStrictEqual(yield* readNow(yield* Broadcaster.subscribe(broadcaster, { replay: 5 })), [])
      const error = yield* Effect.flip(Broadcaster.subscribe(broadcaster, { replay: { since: before } }))
      assert.strictEqual(error._tag === "ReplayExpired" && error.missed, 1)
    })
  )

  it.effect("misses and repeats nothing while a filter takes turns over what is kept", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ replay: 9000 })
      yield* EventSink.writeAll(broadcaster, range(1, 9000))
      const sink = yield* TestSink.recording<number>()
      // As many as a filter judges in a turn, and a publisher that never rests.
      let next = 9001
      const writer = yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.suspend(() => broadcaster.write(next++)),
            Effect.yieldNow
          )
        )
      )
      yield* Broadcaster.add(broadcaster, sink, { replay: 9000, filter: isEven })
      const stream = yield* Broadcaster.subscribe(broadcaster, { replay: 8000, filter: isEven })
      yield* settle
      yield* Fiber.interrupt(writer)
      yield* settle
      assert.isAbove(next, 9010)
      assert.deepStrictEqual(sink.received, range(1, next - 1).filter(isEven))
      assert.strictEqual(subscriptionOf(broadcaster).node.health(0).counts.accepted, sink.received.length)
      const seen: Array<number> = []
      const all = stream.pipe(
        Stream.take(4000),
        Stream.runForEach((n) => Effect.sync(() => void seen.push(n)))
      )
      yield* all
      assert.deepStrictEqual(seen, range(seen[0]!, seen[0]! + 7999).filter(isEven))
      assert.isAbove(seen[0]!, 1000)
    })
  )

  it.effect("adds a sink once, and none to a broadcaster that closes meanwhile", () =>
    Effect.gen(function* () {
      const { close, part: broadcaster } = yield* open(Broadcaster.make<number>({ replay: 9000 }))
      yield* EventSink.writeAll(broadcaster, range(1, 9000))
      const sink = yield* TestSink.recording<number>()
      const add = Broadcaster.add(broadcaster, sink, { replay: 9000, filter: isEven })
      yield* Effect.all([add, add], { concurrency: "unbounded" })
      yield* settle
      assert.strictEqual(sink.received.length, 4500)
      const late = yield* Effect.forkChild(
        Effect.exit(Broadcaster.add(broadcaster, yield* TestSink.recording<number>(), { replay: 9000, filter: isEven }))
      )
      const stream = yield* Effect.forkChild(
        Effect.exit(Effect.scoped(Broadcaster.subscribe(broadcaster, { replay: 9000, filter: isEven })))
      )
      yield* Effect.yieldNow
      yield* close
      const exits: ReadonlyArray<Exit.Exit<unknown, unknown>> = [yield* Fiber.join(late), yield* Fiber.join(stream)]
      for (const exit of exits) {
        assert.isTrue(Exit.isFailure(exit) && JSON.stringify(exit.cause).includes("SinkClosed"))
      }
    })
  )

  it.effect("an evicted sink that is added since its eviction gets what its onDropped did not", () =>
    quiet(
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>({ replay: 100 })
        const dropped: Array<number> = []
        let since = ""
        const hanging = yield* EventSink.make((_: number) => Effect.never, { drainTimeout: "1 millis" })
        yield* Broadcaster.add(broadcaster, hanging, {
          maxLag: 2,
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event)),
          onEvicted: (lagged) => Effect.sync(() => void (since = lagged.since))
        })
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        yield* settle
        yield* EventSink.writeAll(broadcaster, [4, 5])
        const next = yield* TestSink.recording<number>()
        yield* Broadcaster.add(broadcaster, next, { replay: { since } })
        yield* settle
        assert.deepStrictEqual(dropped, [1, 2, 3])
        assert.deepStrictEqual(next.received, [4, 5])
      })
    )
  )
})

describe("replay of subscribe", () => {
  it.effect.each([
    ["all", undefined],
    ["those of a filter", isEven]
  ] as const)("goes on behind the position of an event, without a gap or a duplicate: %s", ([, filter]) =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ replay: 50 })
      yield* EventSink.writeAll(broadcaster, range(1, 10))
      let live = 10
      for (let at = 0; at <= 10; at++) {
        const stream = yield* Broadcaster.subscribeWithPosition(broadcaster, { replay: 50, filter })
        yield* EventSink.writeAll(broadcaster, [live + 1, live + 2])
        live += 2
        const seen = yield* readNow(stream)
        const expected = range(1, live).filter(filter ?? (() => true))
        assert.deepStrictEqual(
          seen.map(({ event }) => event),
          expected
        )
        for (const { event, position } of seen) {
          const rest = yield* readNow(
            yield* Broadcaster.subscribe(broadcaster, { replay: { since: position }, filter })
          )
          assert.deepStrictEqual(
            rest,
            expected.filter((n) => n > event)
          )
        }
      }
    })
  )

  it.effect.each([
    ["all", undefined],
    ["those of a filter", isEven]
  ] as const)("a stream that lagged goes on where it stopped: %s", ([, filter]) =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ replay: 50 })
      const stream = yield* Broadcaster.subscribe(broadcaster, { maxLag: 3, filter })
      const seen: Array<number> = []
      yield* EventSink.writeAll(broadcaster, [1, 2, 3, 4])
      const two = stream.pipe(
        Stream.take(2),
        Stream.runForEach((n) => Effect.sync(() => void seen.push(n)))
      )
      yield* two
      yield* EventSink.writeAll(broadcaster, range(5, 20))
      yield* settle
      const lagged = yield* Effect.flip(Stream.runDrain(stream))
      const again = yield* Broadcaster.subscribe(broadcaster, { replay: lagged, filter })
      seen.push(...(yield* readNow(again)))
      assert.deepStrictEqual(seen, range(1, 20).filter(filter ?? (() => true)))
    })
  )

  it.effect("never skips silently: what is not kept any more, and a position of another broadcaster, fail typed", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ name: "tasks", replay: 4 })
      const other = yield* Broadcaster.make<number>({ replay: 4 })
      const since = yield* Broadcaster.position(broadcaster)
      const sink = yield* TestSink.recording<number>()
      const foreign = yield* Broadcaster.position(other)
      yield* EventSink.writeAll(broadcaster, [1, 2, 3, 4])
      assert.deepStrictEqual(
        yield* readNow(yield* Broadcaster.subscribe(broadcaster, { replay: { since } })),
        [1, 2, 3, 4]
      )
      yield* broadcaster.write(5)
      const errors = yield* Effect.forEach(
        [
          since,
          foreign,
          "",
          "5",
          since.replace(/\d+$/, "6"),
          since.replace(/\d+$/, "-1"),
          since.replace(/\d+$/, "1e0")
        ],
        (since) => Effect.flip(Broadcaster.add(broadcaster, sink, { replay: { since } }))
      )
      assert.isTrue(errors.every(({ _tag }) => _tag === "ReplayExpired"))
      assert.deepStrictEqual(
        errors.map((error) => error._tag === "ReplayExpired" && error.missed),
        [1, ...Array.from({ length: 6 }, () => undefined)]
      )
      assert.strictEqual(errors[0]!.message, `"tasks" keeps no longer 1 of the events since "${since}"`)
      assert.strictEqual(errors[1]!.message, `"${foreign}" is no position of "tasks"`)
      assert.strictEqual(broadcaster.node.downstream().length, 0)
    })
  )

  it.effect("fails with ReplayExpired only where a position is given", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ replay: 4 })
      const sink = yield* TestSink.recording<number>()
      const plain: Effect.Effect<void, EventSink.SinkClosed> = Broadcaster.add(broadcaster, sink)
      const counted: Effect.Effect<void, EventSink.SinkClosed> = Broadcaster.add(broadcaster, sink, { replay: 2 })
      const since = Broadcaster.add(broadcaster, sink, { replay: { since: "" } })
      yield* plain
      yield* counted
      // It is there, and its options change nothing.
      yield* since
      const another = Broadcaster.addScoped(broadcaster, TestSink.recording<number>(), { replay: { since: "" } })
      const error: EventSink.SinkClosed | Broadcaster.ReplayExpired = yield* Effect.flip(another)
      assert.strictEqual(error._tag, "ReplayExpired")
    })
  )

  it.effect("refuses a count that is none", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ replay: 4 })
      const exits = yield* Effect.forEach(
        [
          Effect.asVoid(Broadcaster.make<number>({ replay: -1 })),
          Effect.asVoid(Broadcaster.make<number>({ replay: Number.POSITIVE_INFINITY })),
          Effect.asVoid(Broadcaster.subscribe(broadcaster, { replay: 0.5 }))
        ],
        Effect.exit
      )
      for (const exit of exits) assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons[0]?._tag === "Die")
    })
  )

  it.effect("is what a list of all events says, by any order of publishing, subscribing and reading", () =>
    Effect.promise(() => {
      const step = fc.oneof(
        fc.record({ do: fc.constant("publish" as const), n: fc.integer({ min: 1, max: 5 }) }),
        fc.record({ do: fc.constant("last" as const), n: fc.nat(12), filtered: fc.boolean() }),
        fc.record({ do: fc.constant("since" as const), n: fc.nat(30), filtered: fc.boolean() })
      )
      return fc.assert(
        fc.asyncProperty(fc.nat(9), fc.array(step, { maxLength: 25 }), (keeps, steps) =>
          Effect.runPromise(
            Effect.scoped(
              Effect.gen(function* () {
                const broadcaster = yield* Broadcaster.make<number>({ replay: keeps })
                const positions = [yield* Broadcaster.position(broadcaster)]
                const readers: Array<readonly [Stream.Stream<number, unknown>, Array<number>, boolean]> = []
                let next = 0
                for (const one of steps) {
                  const filtered = "filtered" in one && one.filtered
                  const filter = filtered ? isEven : undefined
                  if (one.do === "publish") {
                    const events = Array.from({ length: one.n }, () => next++)
                    yield* one.n === 1 ? broadcaster.write(events[0]!) : EventSink.writeAll(broadcaster, events)
                    // Positions inside of a batch are known to its readers alone.
                    for (let i = 1; i < one.n; i++) positions.push("")
                    positions.push(yield* Broadcaster.position(broadcaster))
                    for (const [, expected, filtered] of readers) {
                      expected.push(...(filtered ? events.filter(isEven) : events))
                    }
                  } else {
                    const from = one.do === "last" ? Math.max(0, next - Math.min(one.n, keeps)) : one.n
                    const since = positions[from]
                    if (one.do === "since" && (since === undefined || since === "")) continue
                    const replay = one.do === "last" ? one.n : { since: since! }
                    const exit = yield* Effect.exit(Broadcaster.subscribe(broadcaster, { replay, filter }))
                    const isKept = from >= next - keeps
                    assert.strictEqual(Exit.isSuccess(exit), isKept)
                    if (!Exit.isSuccess(exit)) continue
                    const earlier = from < next ? range(from, next - 1) : []
                    readers.push([exit.value, filtered ? earlier.filter(isEven) : earlier, filtered])
                  }
                }
                for (const [stream, expected] of readers) assert.deepStrictEqual(yield* readNow(stream), expected)
              })
            )
          )
        ),
        { numRuns: runs(60) }
      )
    })
  )
})
