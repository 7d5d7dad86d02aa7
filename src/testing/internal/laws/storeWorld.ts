/** One scenario of the laws of stores: the data, its handles and its clock. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { EventStore, type Operations } from "../../../durable/EventStore.ts"
import type { LawOf } from "./checkLaws.ts"
import { evidence } from "./evidence.ts"
import { ensure, show } from "./expectations.ts"
import type { Data as SubjectData, Subject } from "./storeSubject.ts"

/** What happens to a store. It ends when something is wrong, by `ensure`. */
export type Scenario = (world: World) => Effect.Effect<void, unknown, Scope.Scope>

/**
 * A law that every store must keep, with its number and its title.
 *
 * @category models
 * @since 0.1.0
 */
export type Law = LawOf<Subject, Scenario>

export const law = (
  number: number,
  title: string,
  scenarios: Readonly<Record<string, Scenario>>,
  concerns: Law["concerns"] = () => true
): Law => ({ number, title, concerns, scenarios })

/** The exchange of most scenarios. */
export const exchange = "events"

export type World = ReturnType<typeof makeWorld>

const makeWorld = (subject: Subject, data: SubjectData, clock: Clock.Clock) => {
  /** Opens the data: a handle of its own, as another process has it, as long as the scope is open. */
  const open = Layer.build(Layer.fresh(data.layer)).pipe(
    Effect.map(Context.get(EventStore)),
    Effect.tap((store) => store.open(exchange))
  )
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
      { until: isSo, schedule: Schedule.recurs(Math.ceil(within / step)) }
    )
    // Other fibers have their turns in virtual time too.
    return Effect.repeat(Effect.yieldNow, { times: 50 }).pipe(
      Effect.andThen(waiting),
      Effect.andThen(Effect.sync(() => ensure(isSo(), () => `${what()} within ${within} ms`)))
    )
  }
  return { subject, transaction: data.transaction, open, another, sleep, until }
}

/** Runs one scenario over data of its own, and answers what is wrong. */
export const run = (subject: Subject, scenario: Scenario, seed: string): Effect.Effect<string | undefined> => {
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

/** The steps of a scenario, as a generator. */
export type Steps = Generator<Effect.Effect<unknown, unknown, Scope.Scope>, void, never>

/** A scenario of one handle. */
export const withStore =
  (play: (store: Operations, world: World) => Steps): Scenario =>
  (world) =>
    Effect.flatMap(world.open, (store) => Effect.gen(() => play(store, world)))

/** A scenario of two handles to the same data. */
export const withHandles = (play: (one: Operations, other: Operations, world: World) => Steps): Scenario =>
  withStore(function* (one, world) {
    const other = yield* world.another(one)
    yield* Effect.gen(() => play(one, other, world))
  })

/** A listener that reads something at each change, and has read it once. */
export const watch = Effect.fnUntraced(function* <A>(world: World, store: Operations, read: Effect.Effect<A, unknown>) {
  const watcher = { elements: 0, seen: undefined as A | undefined }
  const note = Effect.map(read, (seen) => void Object.assign(watcher, { elements: watcher.elements + 1, seen }))
  const fiber = yield* Effect.forkScoped(Stream.runForEach(store.changes, () => note))
  yield* world.until(
    () => watcher.elements > 0,
    () => `changes had no first element: ${show(fiber.pollUnsafe() ?? "it goes on")}`
  )
  return watcher
})
