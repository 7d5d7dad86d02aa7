/** One scenario of the laws of stores: the data, its handles and its clock, and what the scenarios expect of them. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { type DeadLettered, EventStore, type Lease, type Operations } from "../../../durable/EventStore.ts"
import type { LawOf, Steps } from "./checkLaws.ts"
import { ensure, evidence } from "./evidence.ts"
import type { Data, Subject } from "./storeSubject.ts"
import { everything, expectSame, expectTexts, hour, nonEmpty, payloads, show } from "./storeValues.ts"

type StoreSteps = Steps<Scope.Scope>

/** What happens to a store, and what must hold then. */
export type Scenario = (world: World) => StoreSteps

export type Law = LawOf<Subject, Scenario>

export const law = (
  number: number,
  title: string,
  scenarios: Readonly<Record<string, Scenario>>,
  concerns: Law["concerns"] = () => true
): Law => ({ number, title, concerns, scenarios })

export type World = ReturnType<typeof makeWorld>

const makeWorld = (subject: Subject, data: Data, clock: Clock.Clock) => {
  /** Opens the data: a handle of its own, as another process has it, as long as the scope is open. */
  const open = Effect.map(Layer.build(Layer.fresh(data.layer)), Context.get(EventStore))
  /** Another handle, or the one there is when the data can have no other. */
  const another = (store: Operations) => (subject.hasManyHandles ? open : Effect.succeed(store))
  /** Lets milliseconds of the store's clock pass. */
  const sleep = (ms: number): Effect.Effect<void> =>
    subject.isVirtual ? TestClock.adjust(ms) : clock.sleep(Duration.millis(ms))
  /** Waits until something is so, as long as `changes` may take at most. */
  const until = Effect.fnUntraced(function* (isSo: () => boolean, what: () => string) {
    const within = Duration.toMillis(subject.within)
    const step = Math.max(1, within / 50)
    // Other fibers have their turns in virtual time too.
    yield* Effect.repeat(Effect.yieldNow, { times: 50 })
    if (!isSo()) yield* Effect.repeat(sleep(step), { until: isSo, times: Math.ceil(within / step) })
    ensure(isSo(), `${what()} within ${within} ms`)
  })
  return { subject, transaction: data.transaction, open, another, sleep, until }
}

/** Plays one scenario over data of its own, and answers what is wrong. */
export const run = (subject: Subject, scenario: Scenario, seed: string): Effect.Effect<string | undefined> => {
  // The real one, whatever clock the suite itself runs under.
  const clock = Context.get(Context.empty(), Clock.Clock)
  const story = Effect.flatMap(subject.make, (data) => Effect.gen(() => scenario(makeWorld(subject, data, clock))))
  const late = Effect.map(clock.sleep(subject.limit), () =>
    ensure(false, `it did not end within ${Duration.format(subject.limit)} of real time`)
  )
  const timed = subject.isVirtual
    ? Effect.provide(story, TestClock.layer({ warningDelay: "1 day" }))
    : Effect.provideService(story, Clock.Clock, clock)
  return Effect.raceFirst(Effect.scoped(timed), late).pipe(Random.withSeed(seed), Effect.exit, Effect.map(evidence))
}

/** Appends texts to a queue without limits. */
export const append = (store: Operations, queue: string, texts: ReadonlyArray<string>) =>
  Effect.map(store.append(queue, payloads(nonEmpty(texts)), undefined), (admitted) =>
    ensure(admitted, "an append without limits was not admitted")
  )

/** A queue's lease, which must be free. */
export const acquire = (store: Operations, queue: string, ttl = hour): Effect.Effect<Lease, unknown> =>
  Effect.map(store.acquire(queue, ttl), (acquired) => {
    ensure(acquired._tag === "Acquired", `a lease that is free was not given: ${show(acquired)}`)
    expectSame(acquired.lease.queue, queue, "the queue of a lease")
    return acquired.lease
  })

export type Queue = Effect.Success<ReturnType<typeof ownQueue>>

/** A queue with these events, and all that its owner can do. */
export const ownQueue = Effect.fnUntraced(function* (
  store: Operations,
  queue = "queue",
  texts: ReadonlyArray<string> = []
) {
  if (texts.length > 0) yield* append(store, queue, texts)
  const lease = yield* acquire(store, queue)
  const events = yield* store.next(lease, everything)
  return {
    store,
    lease,
    /** The events that it began with. */
    events,
    keys: events.map(({ key }) => key),
    key: (i: number) => events[i]?.key ?? 0,
    append: (...texts: ReadonlyArray<string>) => append(store, queue, texts),
    acknowledge: (...keys: ReadonlyArray<number>) => store.acknowledge(lease, nonEmpty(keys)),
    deadLetter: (...events: ReadonlyArray<DeadLettered>) => store.deadLetter(lease, nonEmpty(events)),
    replay: (...keys: ReadonlyArray<number>) => store.replay(queue, nonEmpty(keys)),
    purge: (...keys: ReadonlyArray<number>) => store.purge(queue, nonEmpty(keys)),
    size: store.size(queue),
    /** All dead letters. */
    deadLetters: store.list(queue, { limit: 100_000 }),
    /** Expects it to hold these texts, and answers with the events. */
    expect: (expected: ReadonlyArray<string>, when: string) => expectQueue(store, lease, expected, when)
  }
})

/** A scenario of one handle. */
export const withStore = (play: (store: Operations, world: World) => StoreSteps): Scenario =>
  function* (world): StoreSteps {
    yield* play(yield* world.open, world)
  }

/** A scenario of one queue with these events. */
export const withQueue = (texts: ReadonlyArray<string>, play: (queue: Queue, world: World) => StoreSteps): Scenario =>
  withStore(function* (store, world): StoreSteps {
    yield* play(yield* ownQueue(store, "queue", texts), world)
  })

/** A scenario of two handles to the same data. */
export const withHandles = (play: (one: Operations, other: Operations, world: World) => StoreSteps): Scenario =>
  withStore(function* (one, world): StoreSteps {
    yield* play(one, yield* world.another(one), world)
  })

/** Expects the owner of a lease to find these texts, and answers with the events. */
export const expectQueue = (store: Operations, lease: Lease, expected: ReadonlyArray<string>, when: string) =>
  Effect.map(store.next(lease, everything), (events) => {
    expectTexts(events, expected, when)
    return events
  })
