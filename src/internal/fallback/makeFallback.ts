/** Sinks in order, each with a gate: what one does not commit in time goes to the next. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import { defaultDrainTimeout, endWithin, unwind } from "../deadline.ts"
import { logLine, makeFailureLog, numbered } from "../failureLog.ts"
import { monotonicMillis } from "../monotonic.ts"
import { edgesTo, noteError } from "../node.ts"
import { count } from "../options.ts"
import { type EventSink, makePart, makeSink, runWrite } from "../sink.ts"
import { leading } from "../turns.ts"
import { makeWrites } from "../writes.ts"
import { makeGate, type Pass } from "./makeGate.ts"

/**
 * Options of a fallback.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** How long a sink may take for a write before the event goes to the next. The last sink may take any time. */
  readonly after: Duration.Input
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** When a sink that fails is left out, and for how long: after 5 failures in a row, for 10 seconds by default. */
  readonly breaker?: BreakerOptions | undefined
  /** How long the close waits for writes that are under way: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * When a sink is left out.
 *
 * @category options
 * @since 0.1.0
 */
export interface BreakerOptions {
  /** Failures in a row that open the breaker: a whole number from 1. */
  readonly threshold: number
  /** How long it stays open before a write probes. */
  readonly backoff: Duration.Input
}

/**
 * The sink took longer than `after`. Its write was interrupted, but it may have committed the event by then, or may yet.
 *
 * @category errors
 * @since 0.1.0
 */
export class Blocked extends Data.TaggedError("Blocked")<{
  /** The name of the sink that did not answer in time. */
  readonly sink: string
  readonly after: Duration.Duration
}> {
  override get message(): string {
    return `"${this.sink}" did not commit within ${Duration.format(this.after)}; it may have committed all the same`
  }
}

/**
 * The write of the sink died, or was interrupted by other than its caller.
 *
 * @category errors
 * @since 0.1.0
 */
export class Died extends Data.TaggedError("Died")<{
  /** The name of the sink. */
  readonly sink: string
  readonly defect: unknown
}> {
  override get message(): string {
    return `a write to "${this.sink}" died`
  }
  /** The same as `defect`, where logs look for it. */
  override get cause(): unknown {
    return this.defect
  }
}

type AnySink = EventSink<unknown, unknown>
type Write<B> = Effect.Effect<B, unknown>

/** Tries the sinks in order. `inputOf` makes of an event what the last of them takes. */
export const makeFallback = (
  sinks: ReadonlyArray<AnySink>,
  { after: afterInput, breaker: { backoff, threshold } = { backoff: "10 seconds", threshold: 5 }, ...options }: Options,
  inputOf: (event: unknown, failure: unknown) => unknown
) =>
  Clock.clockWith((clock) => {
    const after = Duration.fromInputUnsafe(afterInput)
    const afterMillis = Duration.toMillis(after)
    const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    const backoffMillis = Duration.toMillis(Duration.fromInputUnsafe(backoff))
    const failuresToOpen = count("FallbackSink.make", "threshold", threshold, 1)
    /** Those before the last, each with what is known of it. */
    const stages = sinks.slice(0, -1).map((sink) => ({
      sink,
      gate: makeGate(failuresToOpen, backoffMillis, clock),
      log: makeFailureLog(),
      /** Why it did not commit the last event that it was given and did not commit. */
      failure: undefined as unknown
    }))
    type Stage = (typeof stages)[number]
    // There are at least two.
    const last = sinks.at(-1)!

    const { account, closed, node } = makePart({
      kind: "FallbackSink",
      name: options.name,
      downstream: () => edgesTo(sinks.map((sink, i) => [["", "fallback"][i] ?? `fallback ${i}`, sink])),
      breaker: () => stages[0]?.gate.state(),
      update: () => void (account.accepted = account.delivered)
    })
    const writes = makeWrites(account, node)

    /**
     * Runs a write in a fiber of its own, which a caller can leave behind: no timeout bounds an effect that refuses
     * interruption. Answers its exit, and nothing for one that took longer than `after`.
     */
    const bounded = <B>({ sink }: Stage, write: Write<B>): Effect.Effect<Exit.Exit<B, unknown> | undefined> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.forkDetach(write, { startImmediately: true, uninterruptible: false }), (fiber) => {
          const over = fiber.pollUnsafe()
          if (over !== undefined) return Effect.succeed(over)
          const begun = monotonicMillis(clock)
          const ended = Latch.makeUnsafe()
          fiber.addObserver(() => ended.openUnsafe())
          const interrupt = () => fiber.interruptUnsafe()
          const came = Effect.as(ended.await, true)
          const wait = Duration.isFinite(after)
            ? Effect.timeoutOrElse(came, { duration: after, orElse: () => Effect.succeed(false) })
            : came
          return restore(wait).pipe(
            Effect.onInterrupt(() => {
              interrupt()
              const rest = Math.max(0, afterMillis - (monotonicMillis(clock) - begun))
              return Effect.flatMap(endWithin(ended, Duration.millis(rest), interrupt), (isOver) =>
                isOver ? Effect.void : leftBehind(sink)
              )
            }),
            Effect.flatMap((isInTime) => {
              if (isInTime) return Effect.sync(() => fiber.pollUnsafe())
              return Effect.flatMap(unwind(ended, interrupt), (isOver) => {
                const exit = fiber.pollUnsafe()
                // What was committed at that very moment is committed.
                if (exit !== undefined && Exit.isSuccess(exit)) return Effect.succeed(exit)
                return Effect.as(isOver ? Effect.void : leftBehind(sink), undefined)
              })
            })
          )
        })
      )
    const leftBehind = (sink: AnySink) =>
      logLine(node, "Warn", `left a write to "${sink.node.name}" behind that refuses interruption`)

    /** Why a sink did not commit an event. */
    const failureOf = ({ sink }: Stage, exit: Exit.Exit<unknown, unknown> | undefined): unknown => {
      if (exit === undefined) return new Blocked({ sink: sink.node.name, after })
      const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
      const failed = cause.reasons.find(Cause.isFailReason)
      return failed === undefined ? new Died({ sink: sink.node.name, defect: Cause.squash(cause) }) : failed.error
    }
    /** Notes what an attempt says of its sink: nothing, where its caller was interrupted. */
    const judge = <B>(stage: Stage, pass: Pass, exit: Exit.Exit<Exit.Exit<B, unknown> | undefined>): void => {
      if (Exit.isFailure(exit)) return stage.gate.end(pass, "none")
      if (exit.value !== undefined && Exit.isSuccess(exit.value)) return stage.gate.end(pass, "success")
      stage.failure = failureOf(stage, exit.value)
      noteError(account, stage.failure, clock)
      stage.gate.end(pass, "failure")
    }
    /** Writes to a stage unless it is left out; what it does not commit goes on by `next`. */
    const tried = <B>(stage: Stage, write: Write<B>, next: (failure: unknown) => Write<B>): Write<B> => {
      const { gate, log, sink } = stage
      let pass: Pass | undefined
      const attempt = Effect.onExitPrimitive(
        // Inside of what notices its end: a fiber that is made to yield in between can be interrupted there, and a probe without
        // a verdict would leave the sink out for ever.
        Effect.suspend(() => {
          pass = gate.begin()
          return pass === undefined ? Effect.succeed(undefined) : bounded(stage, write)
        }),
        (exit) => {
          if (pass !== undefined) judge(stage, pass, exit)
          return undefined
        }
      )
      return Effect.flatMap(attempt, (exit): Write<B> => {
        if (pass === undefined) return next(stage.failure)
        if (exit !== undefined && Exit.isSuccess(exit)) {
          const run = log.recovered()
          if (run === 0) return exit
          const line = logLine(
            node,
            "Info",
            `writes to "${sink.node.name}" again, after ${numbered(run, "failed write")}`,
            { failures: run }
          )
          return Effect.andThen(line, exit)
        }
        const failure = failureOf(stage, exit)
        const run = log.failed()
        if (run === 0) return next(failure)
        const line = logLine(node, "Warn", `falls back from "${sink.node.name}"`, { failures: run })
        return Effect.andThen(
          line,
          Effect.suspend(() => next(failure))
        )
      })
    }
    /** Writes to the first that is not left out, from a place on, and then to those behind it. */
    const from = <B>(
      place: number,
      write: (sink: AnySink) => Write<B>,
      writeLast: (failure: unknown) => Write<B>,
      failure: unknown
    ): Write<B> => {
      const stage = stages[place]
      if (stage === undefined) return writeLast(failure)
      const next = (failure: unknown) => from(place + 1, write, writeLast, failure)
      return tried(stage, write(stage.sink), next)
    }
    const begins =
      <I, B>(write: (input: I) => Write<B>, committed: (b: B) => number) =>
      (input: I) => {
        if (account.state !== "open") return undefined
        account.inFlight++
        return {
          effect: Effect.suspend(() => write(input)),
          end: (exit: Exit.Exit<B, unknown>): undefined => {
            if (Exit.isSuccess(exit)) account.delivered += committed(exit.value)
            else if (!Cause.hasInterruptsOnly(exit.cause)) noteError(account, Cause.squash(exit.cause), clock)
            writes.end()
          }
        }
      }
    const begin = begins<unknown, void>(
      (event) =>
        from(
          0,
          (sink) => sink.write(event),
          (failure) => last.write(inputOf(event, failure)),
          undefined
        ),
      () => 1
    )
    const beginSome = sinks.every(({ writeSome }) => writeSome !== undefined)
      ? begins<Arr.NonEmptyReadonlyArray<unknown>, number>((events) => {
          const some = leading(events)
          const inputs = (failure: unknown) => Arr.map(some, (event) => inputOf(event, failure))
          // All of them take batches.
          return from(
            0,
            (sink) => sink.writeSome!(some),
            (failure) => last.writeSome!(inputs(failure)),
            undefined
          )
        }, identity)
      : undefined
    const sink = makeSink<unknown, unknown>({
      node,
      write: (event) => runWrite(event, begin, closed),
      writeSome: beginSome && ((events) => runWrite(events, beginSome, closed))
    })
    return Effect.as(
      Effect.addFinalizer(() => writes.close(drainTimeout)),
      sink
    )
  })
