import { Deferred, Duration, Effect, Exit, Fiber, Queue, type Scope, Stream } from "effect"
import { EventSink, RetryStrategy } from "effect-events"
import type { Receiver } from "effect-events/testing/SinkLaws"

type Sink = EventSink.EventSink<unknown, unknown>

/** distribution's ignoredSink and many a `catch {}`: what fails has succeeded. */
export const swallowing = (receiver: Receiver<unknown>) =>
  EventSink.make((event: unknown) => Effect.ignore(receiver.write(event)))

/** A sink that says how an event went and not whether: the error goes to the log, with the event in it. */
export const logging = (receiver: Receiver<unknown>) =>
  EventSink.make((event: unknown) =>
    Effect.tapCause(receiver.write(event), () => Effect.logError("could not write", JSON.stringify(event)))
  )

/** go-events' RetryingSink: its close wakes waiting writes, and does not wait for those under way. */
export const hastyRetrier = (receiver: Receiver<unknown>): Effect.Effect<Sink, never, Scope.Scope> =>
  Effect.gen(function* () {
    const closed = yield* Deferred.make<never, EventSink.SinkClosed>()
    const write = (event: unknown): Effect.Effect<void, EventSink.SinkClosed> =>
      Effect.suspend(() =>
        Deferred.isDoneUnsafe(closed)
          ? Deferred.await(closed)
          : Effect.catchTag(receiver.write(event), "TestError", () =>
              Effect.andThen(Effect.raceFirst(Effect.sleep("50 millis"), Deferred.await(closed)), write(event))
            )
      )
    const sink = yield* EventSink.make(write, { drainTimeout: 0 })
    yield* Effect.addFinalizer(() => Deferred.fail(closed, new EventSink.SinkClosed({ sink: "hasty" })))
    return sink
  })

/** go-events' Channel: `select` between a buffer with room and a closed signal takes either. */
export const carelessChannel = (capacity: number) =>
  Effect.gen(function* () {
    const queue = yield* Queue.bounded<unknown>(capacity)
    const closed = yield* Deferred.make<never, EventSink.SinkClosed>()
    let open = true
    const leaf = yield* EventSink.make(() => Effect.void)
    yield* Effect.addFinalizer(() => {
      open = false
      return Deferred.fail(closed, new EventSink.SinkClosed({ sink: "careless" }))
    })
    const write = (event: unknown) =>
      Effect.suspend(() => {
        if (Queue.isFullUnsafe(queue) && !open) return Deferred.await(closed)
        return Effect.asVoid(Effect.raceFirst(Queue.offer(queue, event), open ? Deferred.await(closed) : Effect.never))
      })
    return Object.assign(leaf, { write, stream: Stream.fromQueue(queue) })
  })

/** swarmkit's timeoutSink: it answers in time, and the goroutine with the write stays. */
export const leakyTimeout = (receiver: Receiver<unknown>) =>
  EventSink.make(
    (event: unknown) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkDetach(receiver.write(event))
        yield* Effect.raceFirst(
          Fiber.join(fiber),
          Effect.andThen(Effect.sleep("5 seconds"), Effect.fail("the write timed out" as const))
        )
      }),
    { drainTimeout: "10 seconds" }
  )

/** go-events' backoff: a 64-bit integer of nanoseconds, shifted by the number of failures. */
export const overflowingDelay =
  (options: { readonly base: number; readonly factor: number; readonly max: number }) =>
  (failures: number): Duration.Duration => {
    const nanos = (millis: number) => BigInt(millis) * 1_000_000n
    const shifted = BigInt.asIntN(64, 1n << BigInt(failures - 1))
    const grown = BigInt.asIntN(64, nanos(options.base) + BigInt.asIntN(64, nanos(options.factor) * shifted))
    const max = nanos(options.max)
    return Duration.nanos(grown > max || grown < 0n ? max : grown)
  }

export const overflowing = (options: { readonly base: number; readonly factor: number; readonly max: number }) => {
  const bound = overflowingDelay(options)
  return RetryStrategy.fromDelays<unknown, never>(() => {
    let failures = 0
    return () => Effect.succeed(Duration.millis(Math.ceil(Duration.toMillis(bound(++failures)))))
  })
}

/** `Stream.groupedWithin` over a slow sink: what comes while a batch is under way waits for the age from its end on. */
export const regrouping = (receiver: Receiver<unknown>, maxAge: number) =>
  Effect.gen(function* () {
    const queue = yield* Queue.unbounded<readonly [event: unknown, done: Deferred.Deferred<void, unknown>]>()
    yield* Stream.fromQueue(queue).pipe(
      Stream.groupedWithin(1_000, maxAge),
      Stream.runForEach((some) => {
        const [first, ...others] = some.map(([event]) => event)
        const written = Effect.exit(receiver.batch.writeSome([first, ...others]))
        return Effect.flatMap(written, (exit) =>
          Effect.forEach(some, ([, done]) => Deferred.done(done, Exit.asVoid(exit)), { discard: true })
        )
      }),
      Effect.forkScoped
    )
    return yield* EventSink.make((event: unknown) =>
      Effect.gen(function* () {
        const done = yield* Deferred.make<void, unknown>()
        yield* Queue.offer(queue, [event, done])
        yield* Deferred.await(done)
      })
    )
  })
