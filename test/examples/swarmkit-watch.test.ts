/** The scenarios of the tests of swarmkit's `watch`, `watch/queue` and `store.WatchFrom`, on virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Broadcaster, EventQueue, EventSink } from "effect-events"
import * as Watch from "../../docs/examples/swarmkit-watch/Watch.ts"
import { settle } from "../support/virtual.ts"

const eventsOf = <A, E>(stream: Stream.Stream<Broadcaster.Positioned<A>, E>) => Stream.map(stream, ({ event }) => event)
const next = <A, E>(n: number, stream: Stream.Stream<Broadcaster.Positioned<A>, E>) =>
  Stream.runCollect(Stream.take(eventsOf(stream), n))

describe("watch_test.go", () => {
  interface Tagged {
    readonly tags: ReadonlyArray<string>
    readonly text: string
  }
  const tagged = (text: string, ...tags: ReadonlyArray<string>): Tagged => ({ text, tags })
  const matcher = (tag: string) => ({ matcher: ({ tags }: Tagged) => tags.includes(tag) })

  it.effect("each watcher gets what it matches, and nothing once it is cancelled", () =>
    Effect.gen(function* () {
      const queue = yield* Watch.make<Tagged>()
      const cancelled = yield* Scope.make()
      const first = yield* Scope.provide(queue.watch(matcher("t1")), cancelled)
      const second = yield* queue.watch(matcher("t2"))
      yield* queue.publish(tagged("foo", "t1"))
      yield* queue.publish(tagged("bar", "t2"))
      yield* queue.publish(tagged("foobar", "t1", "t2"))
      yield* queue.publish(tagged("baz", "t3"))
      assert.deepStrictEqual(
        (yield* next(2, first)).map(({ text }) => text),
        ["foo", "foobar"]
      )
      assert.deepStrictEqual(
        (yield* next(2, second)).map(({ text }) => text),
        ["bar", "foobar"]
      )

      yield* Scope.close(cancelled, Exit.void)
      yield* queue.publish(tagged("foobar", "t1", "t2"))
      assert.deepStrictEqual(yield* Stream.runCollect(first), [])
      assert.deepStrictEqual(
        (yield* next(1, second)).map(({ text }) => text),
        ["foobar"]
      )
    })
  )

  const limited = { limit: 5, timeout: "1 second" } as const

  for (const options of [{}, limited]) {
    it.effect(`a watcher's stream ends with its scope, ${"timeout" in options ? "with" : "without"} a timeout`, () =>
      Effect.gen(function* () {
        const queue = yield* Watch.make<string>(options)
        const scope = yield* Scope.make()
        const watcher = yield* Scope.provide(queue.watch(), scope)
        const reading = yield* Effect.forkChild(Stream.runCollect(eventsOf(watcher)))
        yield* queue.publish("one")
        yield* settle
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* Fiber.join(reading), ["one"])
      })
    )
  }

  it.effect("a watcher that reads more slowly than is written is evicted, with the reason and where to go on", () =>
    Effect.gen(function* () {
      const queue = yield* Watch.make<number>({ ...limited, keep: 1000 })
      const slow = yield* queue.watch()
      const quick = yield* queue.watch()
      const read: Array<number> = []
      const reading = yield* slow.pipe(
        Stream.runForEach(({ event }) =>
          Effect.delay(
            Effect.sync(() => read.push(event)),
            "100 millis"
          )
        ),
        Effect.flip,
        Effect.forkChild
      )
      const all = yield* Effect.forkChild(Stream.runCollect(eventsOf(quick).pipe(Stream.take(50))))
      for (let n = 0; n < 50; n++) {
        yield* queue.publish(n)
        yield* TestClock.adjust("10 millis")
      }
      const evicted = yield* Fiber.join(reading)
      // The publisher and the other watcher know nothing of it.
      assert.strictEqual((yield* Fiber.join(all)).length, 50)
      assert(evicted._tag === "SubscriberLagged")
      assert.isAbove(evicted.missed, 5)
      assert.deepStrictEqual(
        read,
        Array.from(read, (_, n) => n)
      )

      const again = yield* queue.watch({ since: evicted.since })
      const rest = yield* Effect.forkChild(next(50 - read.length, again))
      yield* settle
      assert.deepStrictEqual(
        [...read, ...(yield* Fiber.join(rest))],
        Array.from({ length: 50 }, (_, n) => n)
      )
    })
  )
})

describe("sinks_test.go", () => {
  it.effect("a watcher that takes no event in time is evicted; one that does is not", () =>
    Effect.gen(function* () {
      const queue = yield* Watch.make<string>({ timeout: "1 second" })
      const [reads, hangs] = [yield* queue.watch(), yield* queue.watch()]
      const reading = yield* Effect.forkChild(next(3, reads))
      yield* queue.publish("one")
      yield* queue.publish("two")
      yield* TestClock.adjust("1 second")
      yield* queue.publish("three")
      assert.deepStrictEqual(yield* Fiber.join(reading), ["one", "two", "three"])
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(hangs)))._tag, "WriteTimeout")
    })
  )

  it.effect("the close of the queue ends a watcher that reads, after what was published", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(Watch.make<string>({ timeout: "1 second" }), scope)
      const watcher = yield* queue.watch()
      const reading = yield* Effect.forkChild(Stream.runCollect(eventsOf(watcher)))
      yield* queue.publish("one")
      yield* queue.publish("two")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Fiber.join(reading), ["one", "two"])
    })
  )
})

describe("queue_test.go: LimitQueue is an EventQueue", () => {
  /** A sink that commits one event for each release. */
  const held = Effect.gen(function* () {
    const received: Array<string> = []
    const gates: Array<Latch.Latch> = []
    const sink = yield* EventSink.make((event: string) =>
      Effect.gen(function* () {
        const gate = yield* Latch.make()
        gates.push(gate)
        yield* gate.await
        received.push(event)
      })
    )
    const release = Effect.suspend(() => Effect.andThen(gates.shift()?.open ?? Effect.void, settle))
    return { sink, received, release }
  })

  it.effect("without a limit it keeps 10,000 events for a sink that blocks, and then delivers all", () =>
    Effect.gen(function* () {
      const gate = yield* Latch.make()
      const received: Array<string> = []
      const sink = EventSink.make((event: string) =>
        Effect.andThen(
          gate.await,
          Effect.sync(() => received.push(event))
        )
      )
      const queue = yield* EventQueue.make(sink)
      for (let n = 0; n < 10_000; n++) yield* queue.write("event")
      assert.strictEqual(yield* queue.pending, 10_000)
      assert.strictEqual(received.length, 0)
      yield* gate.open
      yield* queue.flush
      assert.strictEqual(received.length, 10_000)
    })
  )

  it.effect("with a limit a write beyond it fails typed, and each delivery makes room for one", () =>
    Effect.gen(function* () {
      const { received, release, sink } = yield* held
      // One with the sink, and ten that wait.
      const queue = yield* EventQueue.make(sink, { capacity: 11, overflow: "reject", drainTimeout: 0 })
      for (let n = 0; n < 11; n++) yield* queue.write(`${n}`)
      yield* settle
      for (const delivered of [0, 1, 2]) {
        assert.strictEqual(received.length, delivered)
        for (let n = 0; n < 2; n++) assert.strictEqual((yield* Effect.flip(queue.write("more")))._tag, "QueueFull")
        assert.strictEqual(yield* queue.pending, 11)
        yield* release
        yield* queue.write("more")
      }
      yield* queue.shutdown
    })
  )

  it.effect("as LimitQueue.Full, the queue of a broadcaster says at once that it is full", () =>
    Effect.gen(function* () {
      const { sink } = yield* held
      const broadcaster = yield* Broadcaster.make<string>({ drainTimeout: 0 })
      const full = yield* Deferred.make<Broadcaster.SubscriberLagged>()
      yield* Broadcaster.add(broadcaster, sink, {
        maxLag: 10,
        onDropped: () => Effect.void,
        onEvicted: (lagged) => Deferred.succeed(full, lagged)
      })
      for (let n = 0; n < 12; n++) yield* broadcaster.write(`${n}`)
      assert.strictEqual((yield* Deferred.await(full)).missed, 12)
    })
  )
})

describe("memory_test.go: WatchFrom", () => {
  type Change =
    { readonly _tag: "Node" | "Service"; readonly id: string } | { readonly _tag: "Commit"; readonly id: string }
  const of =
    (...tags: ReadonlyArray<Change["_tag"]>) =>
    ({ _tag }: Change) =>
      tags.includes(_tag)

  it.effect(
    "a watch begins at a version, goes on with what is new, and refuses a version that is gone or not known",
    () =>
      Effect.gen(function* () {
        const store = yield* Watch.make<Change>({ keep: 12 })
        const commit = Effect.fnUntraced(function* (id: string) {
          yield* store.publish({ _tag: "Node", id })
          yield* store.publish({ _tag: "Service", id })
          yield* store.publish({ _tag: "Commit", id })
          return yield* store.position
        })
        const start = yield* store.position
        const versions: Array<string> = []
        for (let n = 0; n < 5; n++) versions.push(yield* commit(`id${n}`))

        const expired = (since: string) =>
          Effect.flip(Effect.catchTag(store.watch({ since }), "SinkClosed", (closed) => Effect.die(closed)))
        assert.strictEqual((yield* expired("5000")).missed, undefined)
        assert.strictEqual((yield* expired(start)).missed, 3)

        const nodes = yield* store.watch({ since: versions[2], matcher: of("Node", "Commit") })
        const services = yield* store.watch({ since: versions[3], matcher: of("Service", "Commit") })
        yield* commit("new")
        assert.deepStrictEqual(
          (yield* next(6, nodes)).map(({ _tag, id }) => `${_tag} ${id}`),
          ["Node id3", "Commit id3", "Node id4", "Commit id4", "Node new", "Commit new"]
        )
        assert.deepStrictEqual(
          (yield* next(4, services)).map(({ _tag, id }) => `${_tag} ${id}`),
          ["Service id4", "Commit id4", "Service new", "Commit new"]
        )
      })
  )
})
