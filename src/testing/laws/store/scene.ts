/** One scenario of the law suite of stores: the data, its handles and its clock, and what the scenarios ask of them. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  EventStore,
  type EventStoreError,
  type Lease,
  LeaseLost,
  type Limits,
  type Operations,
  type Stored,
  type StoredDeadLetter
} from "../../../durable/EventStore.ts"
import { decodeExactly, encode } from "../../../internal/encoding/utf8.ts"
import type { Data, Subject } from "./subject.ts"

/** What happens to a store. It ends when something is wrong, by `ensure`. */
export type Scenario = (scene: Scene) => Effect.Effect<void, unknown, Scope.Scope>

class Broken extends Error {}

/** Ends the scenario with its evidence unless something holds. */
export function ensure(holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new Broken(what())
}

export class Scene {
  readonly subject: Subject
  readonly transaction: Data["transaction"]
  /** Opens the data: a handle of its own, as another process has it, as long as the scope is open. */
  readonly open: Effect.Effect<Operations, unknown, Scope.Scope>
  private readonly clock: Clock.Clock

  constructor(subject: Subject, data: Data, clock: Clock.Clock) {
    this.subject = subject
    this.transaction = data.transaction
    this.clock = clock
    this.open = Effect.map(Layer.build(Layer.fresh(data.layer)), Context.get(EventStore))
  }

  /** Another handle, or the one there is when the data can have no other. */
  another(store: Operations): Effect.Effect<Operations, unknown, Scope.Scope> {
    return this.subject.hasManyHandles ? this.open : Effect.succeed(store)
  }

  /** Lets milliseconds of the store's clock pass. */
  sleep(ms: number): Effect.Effect<void> {
    return this.subject.isVirtual ? TestClock.adjust(ms) : this.clock.sleep(Duration.millis(ms))
  }

  /** Waits until something is so, as long as `changes` may take at most. */
  until(isSo: () => boolean, what: () => string): Effect.Effect<void> {
    const within = Duration.toMillis(this.subject.within)
    const step = Math.max(1, within / 50)
    const wait = (left: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (isSo()) return Effect.void
        ensure(left > 0, () => `${what()} within ${within} ms`)
        return Effect.andThen(this.sleep(step), wait(left - step))
      })
    // What goes on in other fibers has its turn in virtual time too.
    return Effect.andThen(turns, wait(within))
  }
}

/** Lets other fibers have their turns. */
const turns = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })

/** Runs one scenario over data of its own, and answers with what is wrong. */
export const run = (subject: Subject, scenario: Scenario, seed: string): Effect.Effect<ReadonlyArray<string>> => {
  // The real one, whatever clock the suite itself runs under.
  const clock = Context.get(Context.empty(), Clock.Clock)
  const story = Effect.scoped(Effect.flatMap(subject.make, (data) => scenario(new Scene(subject, data, clock))))
  const late = Effect.andThen(
    clock.sleep(subject.limit),
    Effect.sync(() => {
      throw new Broken(`it did not end within ${Duration.format(subject.limit)} of real time`)
    })
  )
  const timed = subject.isVirtual
    ? Effect.provide(story, TestClock.layer({ warningDelay: "1 day" }))
    : Effect.provideService(story, Clock.Clock, clock)
  return Effect.raceFirst(timed, late).pipe(Random.withSeed(seed), Effect.exit, Effect.map(evidence))
}

const evidence = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<string> => {
  if (Exit.isSuccess(exit)) return []
  const broken = exit.cause.reasons
    .map((reason) => (Cause.isDieReason(reason) ? reason.defect : undefined))
    .find((defect) => defect instanceof Broken)
  return [broken === undefined ? `it broke off: ${Cause.pretty(exit.cause)}` : broken.message]
}

/** Payloads that can be told apart. */
export const payloads = (texts: NonEmptyReadonlyArray<string>): NonEmptyReadonlyArray<Uint8Array> =>
  texts.map((text) => encode(text)) as unknown as NonEmptyReadonlyArray<Uint8Array>

/** The payload of an event as text. */
export const text = ({ payload }: { readonly payload: Uint8Array }): string =>
  Result.getOrElse(decodeExactly(payload), (why) => `bytes that are ${why}`)

/** The texts `prefix-from` to `prefix-to`. */
export const names = (prefix: string, from: number, to: number): NonEmptyReadonlyArray<string> =>
  // Nobody asks for none.
  Array.from({ length: to - from + 1 }, (_, i) => `${prefix}-${from + i}`) as unknown as NonEmptyReadonlyArray<string>

/** Appends texts to a queue without limits. */
export const append = (store: Operations, queue: string, texts: NonEmptyReadonlyArray<string>) =>
  Effect.map(store.append(queue, payloads(texts), undefined), (admitted) =>
    ensure(admitted, () => `an append without limits was not admitted`)
  )

const hour = Duration.hours(1)

/** A queue's lease, which must be free. */
export const own = (store: Operations, queue: string, ttl: Duration.Duration = hour): Effect.Effect<Lease, unknown> =>
  Effect.map(store.acquire(queue, ttl), (acquired) => {
    ensure(acquired._tag === "Acquired", () => `a lease that nobody has was not given: ${show(acquired)}`)
    const { lease } = acquired
    ensure(lease.queue === queue, () => `the lease of ${show(queue)} is one of ${show(lease.queue)}`)
    return lease
  })

export const all: Limits = { rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }

/** Keys of events, which must not be none. */
export const keysOf = (events: ReadonlyArray<{ readonly key: number }>): NonEmptyReadonlyArray<number> => {
  const [first, ...others] = events.map(({ key }) => key)
  ensure(first !== undefined, () => "there is nothing where there should be events")
  return [first, ...others]
}

/** All dead letters of a queue. */
export const letters = (store: Operations, queue: string): Effect.Effect<ReadonlyArray<StoredDeadLetter>, unknown> =>
  store.list(queue, { limit: 100_000 })

/** Expects a queue's line to hold these texts, and answers with the events. */
export const expectLine = (
  store: Operations,
  lease: Lease,
  expected: ReadonlyArray<string>,
  when: string
): Effect.Effect<ReadonlyArray<Stored>, unknown> =>
  Effect.map(store.next(lease, all), (events) => {
    expectTexts(events, expected, when)
    return events
  })

/** Expects events to hold these texts, in this order. */
export const expectTexts = (
  events: ReadonlyArray<{ readonly payload: Uint8Array }>,
  expected: ReadonlyArray<string>,
  when: string
): void => {
  const found = events.map(text)
  ensure(
    found.length === expected.length && found.every((one, i) => one === expected[i]),
    () => `${when}: expected ${show(expected)}, found ${show(found)}`
  )
}

/** Expects a call to fail because the lease is lost. */
export const expectLost = (what: string, lease: Lease, call: Effect.Effect<unknown, EventStoreError | LeaseLost>) =>
  Effect.map(Effect.exit(call), (exit) => {
    ensure(Exit.isFailure(exit), () => `${what} with a lease that is lost did not fail`)
    const lost = exit.cause.reasons.some(
      (reason) =>
        Cause.isFailReason(reason) &&
        reason.error instanceof LeaseLost &&
        reason.error.queue === lease.queue &&
        reason.error.epoch === lease.epoch
    )
    ensure(lost, () => `${what} with a lease that is lost failed otherwise: ${Cause.pretty(exit.cause)}`)
  })

/** How a value looks in evidence, cut where it is long. */
export const show = (value: unknown): string => {
  const all = JSON.stringify(value) ?? String(value)
  return all.length > 400 ? `${all.slice(0, 400)}...` : all
}
