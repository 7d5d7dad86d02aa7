/** One scenario of the laws of stores: the data, its handles and its clock, and what the scenarios expect of them. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  type DeadLettered,
  EventStore,
  type EventStoreError,
  type Lease,
  LeaseLost,
  type Operations
} from "../../../durable/EventStore.ts"
import { decodeExactly, encode } from "../../../internal/encoding/utf8.ts"
import type { Data as SubjectData, Subject } from "./storeSubject.ts"

/** What happens to a store. It ends when something is wrong, by `ensure`. */
export type Scenario = (world: World) => Effect.Effect<void, unknown, Scope.Scope>

/**
 * A law of stores, as a row: which stores it concerns, and its scenarios.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  readonly number: number
  readonly title: string
  readonly concerns: (subject: Subject) => boolean
  /**
   * The scenarios, by what happens in them.
   *
   * @internal
   */
  readonly scenarios: Readonly<Record<string, Scenario>>
}

export const law = (
  number: number,
  title: string,
  scenarios: Readonly<Record<string, Scenario>>,
  concerns: Law["concerns"] = () => true
): Law => ({ number, title, concerns, scenarios })

export type World = ReturnType<typeof makeWorld>

const makeWorld = (subject: Subject, data: SubjectData, clock: Clock.Clock) => {
  /** Opens the data: a handle of its own, as another process has it, as long as the scope is open. */
  const open = Effect.map(Layer.build(Layer.fresh(data.layer)), Context.get(EventStore))
  /** Another handle, or the one there is when the data can have no other. */
  const another = (store: Operations) => (subject.hasManyHandles ? open : Effect.succeed(store))
  /** Lets milliseconds of the store's clock pass. */
  const sleep = (ms: number): Effect.Effect<void> =>
    subject.isVirtual ? TestClock.adjust(ms) : clock.sleep(Duration.millis(ms))
  /** Waits until something is so, as long as `changes` may take at most. */
  const until = (isSo: () => boolean, what: () => string) => {
    const within = Duration.toMillis(subject.within)
    const step = Math.max(1, within / 50)
    const waiting = Effect.repeat(
      Effect.suspend(() => (isSo() ? Effect.void : sleep(step))),
      {
        until: isSo,
        schedule: Schedule.recurs(Math.ceil(within / step))
      }
    )
    // Other fibers have their turns in virtual time too.
    return Effect.repeat(Effect.yieldNow, { times: 50 }).pipe(
      Effect.andThen(waiting),
      Effect.andThen(Effect.sync(() => ensure(isSo(), () => `${what()} within ${within} ms`)))
    )
  }
  return { subject, transaction: data.transaction, open, another, sleep, until }
}

/** Runs one scenario over data of its own, and answers with what is wrong. */
export const run = (subject: Subject, scenario: Scenario, seed: string): Effect.Effect<ReadonlyArray<string>> => {
  // The real one, whatever clock the suite itself runs under.
  const clock = Context.get(Context.empty(), Clock.Clock)
  const story = Effect.scoped(Effect.flatMap(subject.make, (data) => scenario(makeWorld(subject, data, clock))))
  const late = Effect.andThen(
    clock.sleep(subject.limit),
    Effect.sync(() => ensure(false, () => `it did not end within ${Duration.format(subject.limit)} of real time`))
  )
  const timed = subject.isVirtual
    ? Effect.provide(story, TestClock.layer({ warningDelay: "1 day" }))
    : Effect.provideService(story, Clock.Clock, clock)
  return Effect.raceFirst(timed, late).pipe(Random.withSeed(seed), Effect.exit, Effect.map(evidence))
}

/** Ends the scenario with its evidence unless something holds. */
export function ensure(holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new Broken({ what: what() })
}

/** Expects two values to have the same JSON. */
export const expectSame = (found: unknown, expected: unknown, what: string): void =>
  ensure(
    JSON.stringify(found) === JSON.stringify(expected),
    () => `${what}: ${show(found)} instead of ${show(expected)}`
  )

/** How a value looks in evidence, cut where it is long. */
export const show = (value: unknown): string => {
  const all = JSON.stringify(value) ?? String(value)
  return all.length > 400 ? `${all.slice(0, 400)}...` : all
}

/** The payload of an event as text. */
export const text = ({ payload }: { readonly payload: Uint8Array }): string =>
  Result.getOrElse(decodeExactly(payload), (why) => `bytes that are ${why}`)

/** Payloads that differ by their text. */
export const payloads = (texts: NonEmptyReadonlyArray<string>) => nonEmpty(texts.map((text) => encode(text)))

/** The texts `prefix-from` to `prefix-to`. */
export const names = (prefix: string, from: number, to: number): NonEmptyReadonlyArray<string> =>
  nonEmpty(Array.from({ length: to - from + 1 }, (_, i) => `${prefix}-${from + i}`))

export const keysOf = (events: ReadonlyArray<{ readonly key: number }>) => nonEmpty(events.map(({ key }) => key))

/** A list that must not be empty. */
export const nonEmpty = <A>(list: ReadonlyArray<A>): NonEmptyReadonlyArray<A> => {
  const [first, ...others] = list
  // An element may be any value, but none of the suite's is undefined.
  ensure(first !== undefined, () => "there is nothing where there should be events")
  return [first, ...others]
}

/** A key that no event has. */
export const foreign = 1_000_000_000
export const infinite = Number.POSITIVE_INFINITY
export const everything = { rows: infinite, bytes: infinite }
export const hour = Duration.hours(1)

/** What is reported of an event that failed. */
export const failed = (key: number, attempts = 1, cause = "no"): DeadLettered => ({
  key,
  reason: "Failed",
  cause,
  attempts
})

/** Appends texts to a queue without limits. */
export const append = (store: Operations, queue: string, texts: ReadonlyArray<string>) =>
  Effect.map(store.append(queue, payloads(nonEmpty(texts)), undefined), (admitted) =>
    ensure(admitted, () => "an append without limits was not admitted")
  )

/** A queue's lease, which must be free. */
export const acquire = (store: Operations, queue: string, ttl = hour): Effect.Effect<Lease, unknown> =>
  Effect.map(store.acquire(queue, ttl), (acquired) => {
    ensure(acquired._tag === "Acquired", () => `a lease that is free was not given: ${show(acquired)}`)
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

/** The steps of a scenario, as a generator. */
type Steps = Generator<Effect.Effect<unknown, unknown, Scope.Scope>, void, never>

/** A scenario of one handle. */
export const withStore =
  (play: (store: Operations, world: World) => Steps): Scenario =>
  (world) =>
    Effect.flatMap(world.open, (store) => Effect.gen(() => play(store, world)))

/** A scenario of one queue with these events. */
export const withQueue = (texts: ReadonlyArray<string>, play: (queue: Queue, world: World) => Steps): Scenario =>
  withStore(function* (store, world) {
    const queue = yield* ownQueue(store, "queue", texts)
    yield* Effect.gen(() => play(queue, world))
  })

/** A scenario of two handles to the same data. */
export const withHandles = (play: (one: Operations, other: Operations, world: World) => Steps): Scenario =>
  withStore(function* (one, world) {
    const other = yield* world.another(one)
    yield* Effect.gen(() => play(one, other, world))
  })

/** Expects the owner of a lease to find these texts, and answers with the events. */
export const expectQueue = (store: Operations, lease: Lease, expected: ReadonlyArray<string>, when: string) =>
  Effect.map(store.next(lease, everything), (events) => {
    expectTexts(events, expected, when)
    return events
  })

/** Expects events to hold these texts, in this order. */
export const expectTexts = (
  events: ReadonlyArray<{ readonly payload: Uint8Array }>,
  expected: ReadonlyArray<string>,
  when: string
): void => expectSame(events.map(text), expected, when)

/** Expects a call to fail because the lease is lost. */
export const expectLost = (what: string, lease: Lease, call: Effect.Effect<unknown, EventStoreError | LeaseLost>) =>
  Effect.map(Effect.exit(call), (exit) => {
    ensure(Exit.isFailure(exit), () => `${what} with a lease that is lost did not fail`)
    const isLost = (error: unknown) =>
      error instanceof LeaseLost && error.queue === lease.queue && error.epoch === lease.epoch
    const lost = exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && isLost(reason.error))
    ensure(lost, () => `${what} with a lease that is lost failed otherwise: ${Cause.pretty(exit.cause)}`)
  })

// internals

class Broken extends Data.Error<{ readonly what: string }> {}

const evidence = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<string> => {
  if (Exit.isSuccess(exit)) return []
  const broken = exit.cause.reasons
    .map((reason) => (Cause.isDieReason(reason) ? reason.defect : undefined))
    .find((defect) => defect instanceof Broken)
  return [broken === undefined ? `it broke off: ${Cause.pretty(exit.cause)}` : broken.what]
}
