/**
 * One scenario of the laws of sinks: a part over its receivers, in virtual time, and everything that can be seen of them.
 * It is bounded: what never ends is found out and not waited for.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Dropped, Undelivered } from "../../../Dropped.ts"
import type { EventSink, SinkNode } from "../../../EventSink.ts"
import { defaultDrainTimeout } from "../../../internal/deadline.ts"
import { commitAll } from "../../../internal/sink.ts"
import type { LawOf, Steps } from "./checkLaws.ts"
import { evidence } from "./evidence.ts"
import type { Remaining, Subject } from "./sinkSubject.ts"
import { makeTarget, type Modes, type Target } from "./target.ts"

/** What a close may take beyond its deadline: `onDropped` has 5 seconds of its own in each part. */
const reportLimit = 5_000
/** Turns that a fiber has until it waits again, and that a scenario has for all fibers that do not. */
const turnsOfOne = 10_000
const turnsOfAll = 25 * turnsOfOne

type Sink = EventSink<unknown, unknown>
type Labels = ReadonlyArray<unknown>

/** What happens to a part, and what must hold then. */
export type Play = (world: World) => Steps

/** A scenario, how often it is played with other random numbers, and the virtual minutes it has. */
export interface Scenario {
  readonly play: Play
  readonly times?: number | undefined
  readonly minutes?: number | undefined
}

/**
 * A law that every sink must keep, with its number and its title.
 *
 * @category models
 * @since 0.1.0
 */
export type Law = LawOf<Subject, Play | Scenario>

export const law = (
  number: number,
  title: string,
  concerns: Law["concerns"],
  scenarios: Readonly<Record<string, Play | Scenario>>
): Law => ({ number, title, concerns, scenarios })

/** What a law concerns that holds for all. */
export const anySink = (): boolean => true

/** A scenario that is played several times with other random numbers. */
export const random = (times: number, play: Play): Scenario => ({ times, play })

/** Scenarios that differ in one thing: what that is by title, and what is played with each. */
export const each =
  <const A>(rows: Readonly<Record<string, A>>) =>
  (play: (world: World, row: A) => Steps): Readonly<Record<string, Play>> =>
    Object.fromEntries(Object.entries(rows).map(([title, row]) => [title, (world: World) => play(world, row)]))

/** A call that was begun, and what became of it. */
export interface Call<out A> {
  readonly fiber: Fiber.Fiber<A, unknown>
  exit: Exit.Exit<A, unknown> | undefined
  /** When it ended, in virtual milliseconds. */
  ended: number
}

/** One write of an event or of a batch. */
export interface Write {
  readonly labels: Labels
  /** How many leading events were acknowledged. */
  accepted: number
  readonly call: Call<unknown>
}

/** An event that the part reported as given up, or returned from `shutdown`. */
export interface GivenUp {
  readonly label: unknown
  readonly inFlight: boolean
  readonly reason: string
}

interface LogEntry {
  readonly level: string
  readonly text: string
}

/** How a part ends: in the close of its scope, after a shutdown, or as a program does that a signal interrupts. */
export type ClosedBy = "close" | "shutdown" | "interruption"

/** What `onDropped` does that does not take its report. */
const reports = {
  dies: Effect.die(new Error("onDropped died")),
  hangs: Effect.never,
  refuses: Effect.uninterruptible(Effect.never)
}

/** How a scenario begins, and what ends it. */
export interface Life {
  /** How the receiver takes its writes: as before by default. */
  readonly mode?: Modes | undefined
  /** What is wrong with `onDropped`. */
  readonly onDropped?: keyof typeof reports | undefined
  /** What is written, each in a write of its own: 1 to 4 by default. */
  readonly labels?: Labels | undefined
  /** Whether each write goes as far as it can without time passing before the next. */
  readonly apart?: boolean | undefined
  /** How many milliseconds pass after the writes: 20 by default. */
  readonly pause?: number | undefined
  readonly by?: ClosedBy | undefined
}

export type World = Effect.Success<ReturnType<typeof makeWorld>>

/** Makes the part, and what can be done to it. Events are identified by their labels: what the suite wrote. */
const makeWorld = Effect.fnUntraced(function* (subject: Subject, logs: Array<LogEntry>, misbehaving: number) {
  const context = yield* Effect.context<never>()
  const clock = yield* Effect.service(Clock.Clock)
  const numbers = yield* Effect.service(Random.Random)
  const { event, order = "all", read = (received: unknown) => received } = subject
  const deadline = Duration.toMillis(subject.deadline ?? defaultDrainTimeout)
  const nodes = new Set<SinkNode>()
  const records: Array<Target> = []
  let report: Effect.Effect<void> = Effect.void

  const now = () => clock.currentTimeMillisUnsafe()
  // With `event` the labels are numbers.
  const eventOf = (label: unknown) => (event === undefined ? label : event(label as number))
  const keyOf = (label: unknown) => (typeof order === "function" ? order(eventOf(label)) : label)
  const givenUp = (one: Undelivered<unknown>, reason: string): GivenUp => ({
    label: read(one.event),
    inFlight: one.inFlight,
    reason
  })
  /** Another receiver, for a part with many. */
  const record = (name: string): Target => {
    const target = makeTarget(name, read, now)
    records.push(target)
    return target
  }
  const names = subject.targets === undefined ? ["receiver"] : ["receiver", "the second receiver"]
  const targets = names.map(record)
  const dropped: Array<GivenUp> = []
  /** How many fibers of the part are running. */
  const fibers = { running: 0 }
  const counted = Effect.provideService(Metric.FiberRuntimeMetrics, {
    recordFiberStart: () => void fibers.running++,
    recordFiberEnd: () => void fibers.running--
  })
  /** Makes the part in a scope, above the receivers. */
  const make = (scope: Scope.Scope) => {
    const take = ({ event, reason }: Dropped<unknown, unknown>) => {
      const inFlight = "inFlight" in reason && reason.inFlight
      dropped.push(givenUp({ event, inFlight }, reason._tag))
    }
    const onDropped = (one: Dropped<unknown, unknown>) => Effect.suspend(() => Effect.map(report, () => take(one)))
    const [first, second = first] = targets
    return subject.make(first!.sink, onDropped, second!.sink).pipe(Scope.provide(scope), counted)
  }
  // The part is in one scope with its receivers, which are released after it.
  const scope = Scope.makeUnsafe()
  for (const { released } of targets) yield* Scope.addFinalizer(scope, released)
  const sink: Sink = yield* make(scope)
  if (subject.stream !== undefined)
    Effect.runForkWith(context)(Stream.runForEachArray(subject.stream(sink), (events) => targets[0]!.read(events)))

  const world = {
    subject,
    sink,
    make,
    targets,
    /** The receiver that misbehaves. */
    receiver: targets[misbehaving]!,
    record,
    fibers,
    logs,
    writes: [] as Array<Write>,
    dropped,
    /** What `shutdown` returned, where the scenario noted it. */
    returned: [] as ReadonlyArray<GivenUp>,
    /** What a durable part kept when it was last read. */
    remaining: { waiting: [], deadLetters: [] } as Remaining<unknown>,
    now,
    /** A whole number from `min` to `max`. */
    pick: (min: number, max: number) => min + Math.floor(numbers.nextDoubleUnsafe() * (max - min + 1)),
    /** Whether two events stay in order. */
    together: (one: unknown, other: unknown) =>
      order === "all" || (order === "none" ? Object.is(one, other) : Equal.equals(keyOf(one), keyOf(other))),
    /** Lets everything that can go on without time passing go on. */
    rest: Effect.sleep(1),
    /** Begins a call, in a fiber that is not the part's. */
    call: <A>(effect: Effect.Effect<A, unknown>): Call<A> => {
      const fiber = Effect.runForkWith(context)(counted(effect))
      const one: Call<A> = { fiber, exit: undefined, ended: Number.POSITIVE_INFINITY }
      fiber.addObserver((exit) => Object.assign(one, { exit, ended: now() }))
      return one
    },
    /** Waits for a call to end, as long as a close may take by default, and answers whether it has. */
    ends: (one: Call<unknown>, millis: number = world.closeLimit()): Effect.Effect<boolean> =>
      Effect.map(Effect.timeoutOption(Fiber.await(one.fiber), millis), () => one.exit !== undefined),
    /** Begins the write of an event, or of a batch: as batches if the part takes them, else one by one. */
    write: (...labels: Labels): Write => world.writeTo(sink, labels),
    writeTo: (to: Sink, labels: Labels): Write => {
      const progress = { labels, accepted: 0 }
      const batches = labels.length > 1 ? to.writeSome : undefined
      const writing = commitAll(
        batches ?? (([event]) => Effect.as(to.write(event), 1)),
        labels.map(eventOf),
        (n) => void (progress.accepted += n)
      )
      const write = Object.assign(progress, { call: world.call(writing) })
      world.writes.push(write)
      return write
    },
    begin: Effect.fnUntraced(function* (life: Life): Steps {
      const { apart, labels = [1, 2, 3, 4], mode = world.receiver.mode, onDropped, pause = 20 } = life
      world.receiver.mode = mode
      if (onDropped !== undefined) report = reports[onDropped]
      for (const label of labels) {
        world.write(label)
        if (apart) yield* world.rest
      }
      yield* Effect.sleep(pause)
    }),
    /** The health of every node that was seen at the beginning or at the end. */
    books: () => [...nodes].filter(({ kind }) => kind !== "Receiver").map((node) => node.health(now())),
    noteNodes: (node = sink.node): void => {
      if (nodes.has(node)) return
      nodes.add(node)
      for (const next of node.downstream()) world.noteNodes(next.node)
    },
    shutdown: Effect.suspend((): Effect.Effect<ReadonlyArray<GivenUp>> => {
      world.noteNodes()
      const list = subject.shutdown?.(sink) ?? Effect.succeed([])
      return Effect.map(list, (undelivered) => undelivered.map((one) => givenUp(one, "Undelivered")))
    }),
    /** How long a shutdown may take, and a close, in milliseconds. */
    deadline,
    closeLimit: (): number => deadline + Math.max(1, world.books().length) * reportLimit + 100,
    beginClose: (by: ClosedBy = "close"): Call<unknown> => {
      world.noteNodes()
      const close = Scope.close(scope, Exit.void)
      if (by !== "interruption") return world.call(by === "close" ? close : Effect.andThen(world.shutdown, close))
      const program = world.call(Effect.ensuring(Effect.never, close))
      program.fiber.interruptUnsafe()
      return program
    },
    /** Closes the part and lets everything come to rest. Answers whether the close came back in time. */
    close: (by?: ClosedBy): Effect.Effect<boolean, unknown> => {
      const atRest = Effect.andThen(world.rest, world.readRemaining)
      return Effect.tap(
        Effect.suspend(() => world.ends(world.beginClose(by))),
        () => atRest
      )
    },
    /** Reads what a durable part keeps. */
    readRemaining: Effect.suspend((): Effect.Effect<void> => {
      if (subject.remaining === undefined) return Effect.void
      return Effect.map(subject.remaining(sink), ({ deadLetters, waiting }) => {
        world.remaining = { waiting: waiting.map(read), deadLetters: deadLetters.map(read) }
      })
    }),
    add: (to: EventSink<unknown>) => subject.sinks?.add(sink, to) ?? Effect.void,
    remove: (from: EventSink<unknown>) => subject.sinks?.remove(sink, from) ?? Effect.void,
    /** Ends all writes that hang, now and later. */
    release: () => records.forEach(({ release }) => release()),
    /** Ends all writes: they are interrupted, and what refuses that is released. */
    end: (): void => {
      for (const { call } of world.writes) call.fiber.interruptUnsafe()
      world.release()
    }
  }
  world.noteNodes()
  return world
})

/** Plays a scenario with one receiver misbehaving, to its end or as far as it goes, and answers what is wrong. */
export const run = (subject: Subject, scenario: Scenario, misbehaving: number, seed: string) =>
  Effect.suspend(() => {
    const logs: Array<LogEntry> = []
    return drive(scenario, makeWorld(subject, logs, misbehaving)).pipe(
      Effect.provideService(Logger.CurrentLoggers, new Set([into(logs)])),
      Effect.provideService(References.MinimumLogLevel, "Info"),
      Random.withSeed(seed),
      Effect.provide(TestClock.layer({ warningDelay: turnsOfOne })),
      Effect.provideService(Clock.Clock, turns())
    )
  })

// internals

/** The scenario sleeps, and here the clock is moved: what happens before a moment has happened when the moment comes. */
const drive = Effect.fnUntraced(function* ({ minutes = 20, play }: Scenario, making: Effect.Effect<World, unknown>) {
  const story = Effect.gen(function* () {
    yield* Effect.sleep(1)
    const world = yield* making
    const steps = Effect.gen(() => play(world))
    yield* Effect.ensuring(steps, Effect.sync(world.end))
  })
  const fiber = Effect.runForkWith(yield* Effect.context<never>())(story)
  let isLate = false
  let isBusy = false
  while (fiber.pollUnsafe() === undefined && !isLate && !isBusy) {
    yield* TestClock.adjust("10 seconds")
    isLate = (yield* Clock.currentTimeMillis) > minutes * 60_000
    isBusy = (yield* TestClock.withLive(Clock.currentTimeMillis)) > turnsOfAll
  }
  const exit = fiber.pollUnsafe()
  fiber.interruptUnsafe()
  if (exit !== undefined) return evidence(exit)
  if (isLate) return `nothing moves after ${minutes} minutes of virtual time`
  return `it did not come to rest within ${turnsOfAll} turns of its fibers`
})

/**
 * Stands in for the clock of the machine, with turns for milliseconds: how far a fiber comes in so many of them does not
 * depend on how fast the machine is, or how busy. Time goes by in sleeps that are slept to their end, and in no others.
 */
const turns = (): Clock.Clock => {
  let passed = 0
  const millis = () => passed
  const nanos = () => BigInt(passed) * 1_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.suspend(() => {
        const millis = Duration.toMillis(duration)
        let left = millis
        const turns = Effect.whileLoop({ while: () => left-- > 0, body: () => Effect.yieldNow, step: () => {} })
        return Effect.map(turns, () => void (passed += millis))
      })
  }
}

const into = (logs: Array<LogEntry>) =>
  Logger.make<unknown, void>(({ cause, fiber, logLevel, message }) => {
    const annotations = Object.entries(fiber.getRef(References.CurrentLogAnnotations)).flat()
    const causes = cause.reasons.length > 0 ? [Cause.pretty(cause)] : []
    const text = [message, annotations, causes].flat().map(String).join(" ")
    logs.push({ level: logLevel, text })
  })
