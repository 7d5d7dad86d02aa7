/**
 * One scenario of the laws of sinks: a part over its receivers, in virtual time, and everything that can be seen of them.
 * It is bounded: what never ends is found out and not waited for.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
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
import type { Dropped } from "../../../Dropped.ts"
import type { EventSink, SinkNode } from "../../../EventSink.ts"
import { defaultDrainTimeout } from "../../../internal/deadline.ts"
import type { Remaining, Subject } from "./sinkSubject.ts"
import { makeTarget, type Target } from "./target.ts"

/** What a close may take beyond its deadline: `onDropped` has 5 seconds of its own in each part. */
const reportLimit = 5_000
/** Turns that a fiber has until it waits again, and that a scenario has for all fibers that do not. */
const turnsOfOne = 10_000
const turnsOfAll = 25 * turnsOfOne

type Sink = EventSink<unknown, unknown>

/** What happens to a part; what is wrong is noted in the world. */
export type Scenario = (world: World) => Effect.Effect<void, unknown>

/** A law, as a row: which parts it concerns, and its scenarios. */
export interface Law {
  /** Its number in the list of laws; conservation, which stands above them, is 0. */
  readonly number: number
  readonly title: string
  readonly concerns: (subject: Subject) => boolean
  /** @internal */
  readonly scenarios: (subject: Subject) => ReadonlyArray<Row>
}

/** A scenario with its title, how often it is played with other random numbers, and the virtual minutes it has. */
export interface Row {
  readonly title: string
  readonly play: Scenario
  readonly times?: number | undefined
  readonly minutes?: number | undefined
}

/** A call that was begun, and what became of it. */
export interface Call<out A> {
  readonly fiber: Fiber.Fiber<A, unknown>
  exit: Exit.Exit<A, unknown> | undefined
  /** When it ended, in virtual milliseconds. */
  ended: number
}

/** One write of an event or of a batch. */
export interface Write {
  readonly labels: ReadonlyArray<unknown>
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

/** Runs a scenario with one receiver misbehaving, to its end or as far as it goes, and answers what it found. */
export const run = (
  subject: Subject,
  { minutes = 20, play }: Row,
  options: { readonly seed: string; readonly misbehaving: number }
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const logs: Array<LogEntry> = []
    return drive(subject, play, logs, minutes, options.misbehaving).pipe(
      Effect.provideService(Logger.CurrentLoggers, new Set([into(logs)])),
      Effect.provideService(References.MinimumLogLevel, "Info"),
      Random.withSeed(options.seed),
      Effect.provide(TestClock.layer({ warningDelay: turnsOfOne })),
      Effect.provideService(Clock.Clock, turns())
    )
  })

export type World = Effect.Success<ReturnType<typeof makeWorld>>

/** The part is made by `open`. Events are identified by their labels: what the suite wrote. */
const makeWorld = Effect.fnUntraced(function* (subject: Subject, logs: ReadonlyArray<LogEntry>, misbehaving: number) {
  const context = yield* Effect.context<never>()
  const clock = yield* Effect.service(Clock.Clock)
  const random = yield* Effect.service(Random.Random)
  const { event, order = "all", read = (received: unknown) => received } = subject
  const scope = Scope.makeUnsafe()
  const nodes = new Set<SinkNode>()
  const records: Array<Target> = []
  const now = () => clock.currentTimeMillisUnsafe()
  /** Another receiver, for a part with many. */
  const record = (name: string) => {
    const target = makeTarget(name, read, now)
    records.push(target)
    return target
  }
  const targets =
    subject.targets === undefined ? [record("receiver")] : [record("receiver"), record("the second receiver")]
  const state = {
    part: undefined as Sink | undefined,
    /** Fibers of the part that are running. */
    live: 0,
    /** The first list that a `shutdown` returned. */
    returned: [] as ReadonlyArray<GivenUp>,
    /** What a durable part kept when it was last read. */
    remaining: { waiting: [], deadLetters: [] } as Remaining<unknown>,
    /** What `onDropped` does with a report. */
    onDropped: Effect.void as Effect.Effect<void>
  }
  const writes: Array<Write> = []
  const dropped: Array<GivenUp> = []
  const evidence: Array<string> = []

  // With `event` the labels are numbers.
  const eventOf = (label: unknown) => (event === undefined ? label : event(label as number))
  const keyOf = (label: unknown) => (typeof order === "function" ? order(eventOf(label)) : label)
  /** Whether two events stay in order. */
  const together = (one: unknown, other: unknown) =>
    order === "all" || (order === "none" ? Object.is(one, other) : Equal.equals(keyOf(one), keyOf(other)))
  const givenUp = (one: { readonly event: unknown; readonly inFlight: boolean }, reason: string): GivenUp => ({
    label: read(one.event),
    inFlight: one.inFlight,
    reason
  })
  /** The part, once it is made. */
  const part = () => {
    if (state.part === undefined) throw new Error("the part is not made yet")
    return state.part
  }
  /** Lets the fibers that an effect forks be counted. */
  const counted = Effect.provideService(Metric.FiberRuntimeMetrics, {
    recordFiberStart: () => void state.live++,
    recordFiberEnd: () => void state.live--
  })
  /** Begins a call, in a fiber that is not the part's. */
  const call = <A>(effect: Effect.Effect<A, unknown>): Call<A> => {
    const one: Call<A> = {
      fiber: Effect.runForkWith(context)(counted(effect)),
      exit: undefined,
      ended: Number.POSITIVE_INFINITY
    }
    one.fiber.addObserver((exit) => {
      one.exit = exit
      one.ended = now()
    })
    return one
  }
  /** Begins the write of an event, or of a batch: as batches if the part takes them, else one by one. */
  const writeTo = (sink: Sink, labels: ReadonlyArray<unknown>): Write => {
    const events = labels.map(eventOf)
    const progress = { labels, accepted: 0 }
    const body = () =>
      sink.writeSome === undefined || events.length === 1
        ? Effect.as(sink.write(events[progress.accepted]), 1)
        : // Not empty, by the condition of the loop.
          sink.writeSome(events.slice(progress.accepted) as unknown as NonEmptyReadonlyArray<unknown>)
    const loop = Effect.whileLoop({
      while: () => progress.accepted < events.length,
      body,
      step: (n) => void (progress.accepted += n)
    })
    const write = Object.assign(progress, { call: call(loop) })
    writes.push(write)
    return write
  }
  /** Makes the part in a scope, above the receivers. */
  const make = (scope: Scope.Scope) => {
    const onDropped = ({ event, reason }: Dropped<unknown, unknown>) =>
      Effect.map(
        Effect.suspend(() => state.onDropped),
        () => {
          const inFlight = "inFlight" in reason && reason.inFlight
          dropped.push(givenUp({ event, inFlight }, reason._tag))
        }
      )
    const [first, second = first] = targets
    return subject.make(first!.sink, onDropped, second!.sink).pipe(Scope.provide(scope), counted)
  }
  /** The nodes that can be seen now belong to the account at the end. */
  const noteNodes = (node: SinkNode = part().node): void => {
    if (nodes.has(node)) return
    nodes.add(node)
    for (const next of node.downstream()) noteNodes(next.node)
  }
  const books = () => [...nodes].filter(({ kind }) => kind !== "Receiver").map((node) => node.health(now()))
  const rest = Effect.sleep(1)
  /** Reads what a durable part keeps. */
  const readRemaining = Effect.suspend(() =>
    subject.remaining === undefined
      ? Effect.void
      : Effect.map(subject.remaining(part()), ({ deadLetters, waiting }) => {
          state.remaining = { waiting: waiting.map(read), deadLetters: deadLetters.map(read) }
        })
  )
  /** Waits for a call to end, up to `millis`. */
  const ends = (one: Call<unknown>, millis: number) =>
    Effect.map(Effect.timeoutOption(Fiber.await(one.fiber), millis), () => one.exit !== undefined)
  /** How long a close may take, in milliseconds. */
  const closeLimit = () =>
    Duration.toMillis(subject.deadline ?? defaultDrainTimeout) + Math.max(1, books().length) * reportLimit + 100
  /** Begins the close of the scope: by a fiber of its own, or by one that is interrupted, as a program is by a signal. */
  const beginClose = (by: "call" | "interruption" = "call"): Call<unknown> => {
    const close = Scope.close(scope, Exit.void)
    if (by === "call") return call(close)
    const program = call(Effect.ensuring(Effect.never, close))
    program.fiber.interruptUnsafe()
    return program
  }
  const expect = (holds: boolean, what: string): void => {
    if (!holds) evidence.push(what)
  }
  return Object.assign(state, {
    subject,
    logs,
    /** The receiver that misbehaves. */
    receiver: targets[misbehaving]!,
    targets,
    writes,
    dropped,
    evidence,
    now,
    record,
    together,
    /** A whole number from `min` to `max`. */
    pick: (min: number, max: number) => min + Math.floor(random.nextDoubleUnsafe() * (max - min + 1)),
    make,
    /** Makes the part of this scenario in one scope with its receivers, which are released after it. */
    open: Effect.gen(function* () {
      for (const { released } of targets) yield* Scope.addFinalizer(scope, released)
      state.part = yield* make(scope)
      noteNodes()
      if (subject.stream === undefined) return
      Effect.runForkWith(context)(Stream.runForEachArray(subject.stream(part()), (events) => targets[0]!.read(events)))
    }),
    sink: part,
    noteNodes: () => noteNodes(),
    books,
    call,
    write: (...labels: ReadonlyArray<unknown>) => writeTo(part(), labels),
    writeTo,
    ends,
    closeLimit,
    beginClose,
    /** Closes the scope and lets everything come to rest. Answers whether the close came back in time. */
    close: (by: "call" | "interruption" = "call") =>
      Effect.tap(
        Effect.suspend(() => ends(beginClose(by), closeLimit())),
        () => Effect.andThen(rest, readRemaining)
      ),
    shutdown: Effect.suspend(() =>
      subject.shutdown === undefined
        ? Effect.succeed([])
        : Effect.map(subject.shutdown(part()), (list) => list.map((one) => givenUp(one, "Undelivered")))
    ),
    add: (to: EventSink<unknown>) => Effect.suspend(() => subject.sinks?.add(part(), to) ?? Effect.void),
    remove: (from: EventSink<unknown>) => Effect.suspend(() => subject.sinks?.remove(part(), from) ?? Effect.void),
    readRemaining,
    /** Lets everything that can go on without time passing go on. */
    rest,
    /** Ends all writes that hang, now and later. */
    release: () => records.forEach(({ release }) => release()),
    expect,
    /** Ends what the scenario has begun. */
    end: () => {
      for (const { release } of records) release()
      for (const { call } of writes) call.fiber.interruptUnsafe()
    }
  })
})

// internals

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

const drive = Effect.fnUntraced(function* (
  subject: Subject,
  play: Scenario,
  logs: ReadonlyArray<LogEntry>,
  minutes: number,
  misbehaving: number
) {
  const world = yield* makeWorld(subject, logs, misbehaving)
  const story = Effect.andThen(
    world.rest,
    Effect.andThen(
      world.open,
      Effect.suspend(() => play(world))
    )
  )
  // The scenario sleeps, and here the clock is moved, so that all that happens between two moments has happened before
  // the second comes.
  const fiber = Effect.runForkWith(yield* Effect.context<never>())(story)
  let exit = fiber.pollUnsafe()
  while (exit === undefined) {
    yield* TestClock.adjust("10 seconds")
    exit = fiber.pollUnsafe()
    if (exit !== undefined) break
    const isLate = world.now() > minutes * 60_000
    const isBusy = (yield* TestClock.withLive(Clock.currentTimeMillis)) > turnsOfAll
    world.expect(!isLate, `nothing moves after ${minutes} minutes of virtual time`)
    world.expect(isLate || !isBusy, `it did not come to rest within ${turnsOfAll} turns of its fibers`)
    if (isLate || isBusy) break
  }
  if (exit !== undefined && Exit.isFailure(exit))
    world.expect(false, `the scenario broke off: ${Cause.pretty(exit.cause)}`)
  fiber.interruptUnsafe()
  world.end()
  return world.evidence
})

const into = (logs: Array<LogEntry>) =>
  Logger.make<unknown, void>(({ cause, fiber, logLevel, message }) => {
    const text = [
      ...(Array.isArray(message) ? message : [message]),
      ...Object.entries(fiber.getRef(References.CurrentLogAnnotations)).flat(),
      ...(cause.reasons.length > 0 ? [Cause.pretty(cause)] : [])
    ]
    logs.push({ level: logLevel, text: text.map(String).join(" ") })
  })
