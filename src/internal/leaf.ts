/** Sinks over functions: the leaves of every graph. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { capture } from "./context.ts"
import { defaultDrainTimeout } from "./deadline.ts"
import { controlledBy, type SinkControls } from "./controls.ts"
import { endAccount, noteError, type SinkNode } from "./node.ts"
import { apart, delivered, noteOutcome, type ReceiptRequest, requestOf, within } from "./receipt.ts"
import { type BatchSink, type EventSink, makePart, makeSink, type Parts, runWrite, type SinkClosed } from "./sink.ts"
import { makeWrites } from "./writes.ts"

/**
 * A sink that a function writes to.
 *
 * @category options
 * @since 0.1.0
 */
export interface Downstream {
  readonly sink: EventSink<never, unknown>
  /** Whether the function succeeds only when that sink has committed the event. */
  readonly acknowledges: boolean
}

/**
 * The options of a sink over a plain function.
 *
 * @category options
 * @since 0.1.0
 */
export interface SyncOptions {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** What it is called in logs, pictures and health, such as `SqlSink`: `EventSink` by default. */
  readonly kind?: string | undefined
  /** The sinks that the function writes to, for pictures and health. */
  readonly downstream?: ReadonlyArray<Downstream> | undefined
  /**
   * Where an event is when a write of it has succeeded: `"memory"` for a sink that keeps events in memory, `"store"` for one
   * that has stored the event. By default the function has handed the event to its receiver, or to `downstream`.
   */
  readonly acknowledges?: SinkNode["acknowledges"]
  /** How many attempts the function has made so far, for health and metrics, where it counts them. */
  readonly attempts?: (() => number) | undefined
  /** What it can be asked to do beside writes, such as to pause: for a dashboard. */
  readonly controls?: SinkControls | undefined
}

/**
 * The options of a sink over an effectful function.
 *
 * @category options
 * @since 0.1.0
 */
export interface MakeOptions extends SyncOptions {
  /** How long the close waits for writes that are under way; 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/** An error type without `SinkClosed`, which every write may fail with anyway. */
type Own<E> = Exclude<E, SinkClosed>

/**
 * Makes a sink from an effectful function: the leaf of most graphs.
 *
 * **Details**
 *
 * The services that the function needs are captured here. A write runs in them merged with the caller's context, the
 * caller's winning, so that spans and references are the caller's own. When the scope closes, writes fail with
 * `SinkClosed`, and the close waits up to `drainTimeout` for those under way.
 *
 * **Gotchas**
 *
 * The function must not need a `Scope`: what belongs to one write is released by `Effect.scoped` inside it.
 *
 * **Example** (A sink that prints)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const printer = yield* EventSink.make((line: string) => Console.log(line))
 *   yield* printer.write("hello")
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: hello
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never, R = never>(
  write: (event: A) => Effect.Effect<unknown, E, R>,
  options?: MakeOptions
): Effect.Effect<EventSink<A, Own<E>>, never, R | Scope.Scope> => leaf(options, write)

/**
 * Makes a sink from a function that commits batches: it commits all events and answers nothing, or a leading part of at
 * least one event and answers how many that was. On failure it has committed none.
 *
 * **Details**
 *
 * A single write is a batch of one. An answer that is not a whole number from 1 to the batch's length is a defect.
 *
 * **Example** (A sink that takes at most two events at once)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const rows = yield* EventSink.makeBatch((events: ReadonlyArray<string>) =>
 *     Effect.as(Console.log(events.slice(0, 2).join(" ")), Math.min(events.length, 2))
 *   )
 *   yield* EventSink.writeAll(rows, ["a", "b", "c"])
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: a b
 * // prints: c
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeBatch = <A, E = never, R = never>(
  writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number | void | undefined, E, R>,
  options?: MakeOptions
): Effect.Effect<BatchSink<A, Own<E>>, never, R | Scope.Scope> => {
  const checked = (events: NonEmptyReadonlyArray<A>) =>
    Effect.flatMap(writeSome(events), (answer) => {
      const n = answer ?? events.length
      return Number.isInteger(n) && n >= 1 && n <= events.length
        ? Effect.succeed(n)
        : Effect.die(new RangeError(`a sink answered that it committed ${n} of ${events.length} events`))
    })
  // It has `writeSome`, since it was given one.
  return leaf(options, (event) => checked([event]), checked) as Effect.Effect<
    BatchSink<A, Own<E>>,
    never,
    R | Scope.Scope
  >
}

/**
 * Makes a sink from a plain function, such as a counter, a cache or an index in memory. What it throws is a defect.
 *
 * **Details**
 *
 * Queues, filters and broadcasters call the function directly, without running an effect; `write` itself stays lazy.
 *
 * **Example** (Collecting events)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const seen: Array<number> = []
 *   const collector = yield* EventSink.sync((n: number) => seen.push(n))
 *   yield* EventSink.writeAll(collector, [1, 2, 3])
 *   console.log(seen.join())
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: 1,2,3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sync = <A>(
  write: (event: A) => unknown,
  options?: SyncOptions
): Effect.Effect<EventSink<A>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const { account, closed, node } = leafPart(options)
    const writeSync = (event: A): boolean => {
      if (account.state !== "open") return false
      write(event)
      account.delivered++
      return true
    }
    const sink = makeSink<A, never>({
      node,
      writeSync,
      write: (event) =>
        Effect.suspend(() => {
          if (!writeSync(event)) return closed
          return noteOutcome(node, delivered)
        })
    })
    return Effect.as(
      Effect.addFinalizer(() => Effect.sync(() => endAccount(account))),
      sink
    )
  })

// internals

const leafPart = ({
  acknowledges,
  attempts,
  controls,
  downstream = [],
  kind = "EventSink",
  name
}: SyncOptions = {}) => {
  const part = makePart({
    kind,
    name,
    acknowledges,
    attempts,
    // A leaf holds nothing.
    update: () => void (part.account.accepted = part.account.delivered),
    downstream: () => downstream.map(({ acknowledges, sink }) => ({ node: sink.node, acknowledges }))
  })
  controlledBy(part.node, controls)
  return part
}

const leaf = <A, E, R>(
  options: MakeOptions | undefined,
  write: (event: A) => Effect.Effect<unknown, E, R>,
  writeSome?: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E, R>
): Effect.Effect<EventSink<A, Own<E>>, never, R | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.contextWith((context: Context.Context<R>) => {
      const timeout = Duration.fromInputUnsafe(options?.drainTimeout ?? defaultDrainTimeout)
      const { account, closed, node } = leafPart(options)
      const writes = makeWrites(account, node)
      const provide = capture(context)
      const hasDownstream = (options?.downstream?.length ?? 0) > 0
      const clock = Context.get(context, Clock.Clock)

      /** What a function without `downstream` writes to is its own, and not of the receipt. */
      const requested = <B>(request: ReceiptRequest, write: Effect.Effect<B, E, R>) =>
        hasDownstream ? within(request, node, () => write) : apart(write)
      const begins = <I, B>(write: (input: I) => Effect.Effect<B, E, R>, committed: (b: B) => number) => {
        // One for all writes without a request: the effect is read at once, and the end is the same.
        const begun = {
          effect: Effect.never as Effect.Effect<B, Own<E> | SinkClosed>,
          end: (exit: Exit.Exit<B, unknown>): undefined => {
            if (Exit.isSuccess(exit)) account.delivered += committed(exit.value)
            else if (!Cause.hasInterruptsOnly(exit.cause)) noteError(account, Cause.squash(exit.cause), clock)
            writes.end()
          }
        }
        return (input: I, fiber: Fiber.Fiber<unknown, unknown>) => {
          if (account.state !== "open") return undefined
          const request = requestOf(fiber)
          const effect = request === undefined ? write(input) : requested(request, write(input))
          account.inFlight++
          // `SinkClosed` of a sink further down is part of every write's type already.
          const provided = provide(effect, fiber) as Effect.Effect<B, Own<E> | SinkClosed>
          if (request !== undefined) {
            return {
              effect: provided,
              end: (exit: Exit.Exit<B, unknown>): undefined => {
                begun.end(exit)
                if (hasDownstream || Exit.isFailure(exit)) return
                for (let n = committed(exit.value); n > 0; n--) request.note(node, delivered)
              }
            }
          }
          begun.effect = provided
          return begun
        }
      }
      // A write answers nothing, whatever the function answers.
      const begin = begins(write as (event: A) => Effect.Effect<void, E, R>, () => 1)
      const beginSome = writeSome && begins(writeSome, (n) => n)
      const parts: Parts<A, Own<E>> = {
        node,
        begin,
        write: (event) => runWrite(event, begin, closed),
        writeSome: beginSome && ((events) => runWrite(events, beginSome, closed))
      }
      return Effect.as(
        Effect.addFinalizer(() => writes.close(timeout)),
        makeSink(parts)
      )
    })
  )
