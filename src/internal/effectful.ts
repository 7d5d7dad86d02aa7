/** Sinks over functions: the leaves of every graph. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { Captured } from "./captured.ts"
import { defaultDrainTimeout } from "./deadline.ts"
import { Node } from "./node.ts"
import { type EventSink, operation, Sink, SinkClosed } from "./sink.ts"
import { Writes } from "./writes.ts"

/**
 * What a sink over a function may be told.
 *
 * @category options
 * @since 0.1.0
 */
export interface MakeOptions {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** What it is called in logs, pictures and health, such as `SqlSink`: `EventSink` by default. */
  readonly kind?: string | undefined
  /** How long the close waits for writes that are under way; 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/** An error type without `SinkClosed`, which every write may fail with anyway. */
type Own<E> = Exclude<E, SinkClosed>

type Leaf<A, E, R> = Effect.Effect<EventSink<A, Own<E>>, never, R | Scope.Scope>

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
): Leaf<A, E, R> => leaf(options, { write, writeSome: undefined })

/**
 * Makes a sink from a function that commits groups: it commits a leading part of at least one event and answers how
 * many that was. On failure it has committed none.
 *
 * **Details**
 *
 * A single write is a group of one. An answer that is not a whole number from 1 to the group's length is a defect.
 *
 * **Example** (A sink that takes at most two events at once)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const rows = yield* EventSink.makeGroup((events: ReadonlyArray<string>) =>
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
export const makeGroup = <A, E = never, R = never>(
  writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E, R>,
  options?: MakeOptions
): Leaf<A, E, R> => {
  const checked = (events: NonEmptyReadonlyArray<A>) =>
    Effect.flatMap(writeSome(events), (n) =>
      Number.isInteger(n) && n >= 1 && n <= events.length
        ? Effect.succeed(n)
        : Effect.die(new RangeError(`a sink answered that it committed ${n} of ${events.length} events`))
    )
  return leaf(options, { write: (event) => checked([event]), writeSome: checked })
}

const leaf = <A, E, R>(
  options: MakeOptions | undefined,
  functions: {
    readonly write: (event: A) => Effect.Effect<unknown, E, R>
    readonly writeSome: ((events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E, R>) | undefined
  }
): Leaf<A, E, R> =>
  Effect.uninterruptible(
    Effect.contextWith((context: Context.Context<R>) => {
      const node = new Node(options?.kind ?? "EventSink", options?.name)
      const writes = new Writes(node)
      const captured = new Captured(context)
      const closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: node.name })))
      const ended = (cause: Cause.Cause<unknown> | undefined, n: number): undefined => {
        if (cause === undefined) {
          node.accepted += n
          node.delivered += n
        } else if (!Cause.hasInterruptsOnly(cause)) {
          node.lastError = Cause.squash(cause)
        }
        writes.leave()
      }
      const endedOne = (exit: Exit.Exit<unknown, unknown>) => ended(Exit.isFailure(exit) ? exit.cause : undefined, 1)
      const endedSome = (exit: Exit.Exit<number, unknown>) =>
        Exit.isFailure(exit) ? ended(exit.cause, 0) : ended(undefined, exit.value)
      // `SinkClosed` of a sink further down is part of every write's type already.
      const provide = <B>(effect: Effect.Effect<B, E, R>, fiber: Fiber.Fiber<unknown, unknown>) =>
        captured.provide(effect, fiber) as Effect.Effect<B, Own<E> | SinkClosed>
      const { write, writeSome } = functions
      const begin = (event: A, fiber: Fiber.Fiber<unknown, unknown>) => {
        if (node.state !== "open") return undefined
        const effect = provide(write(event), fiber)
        writes.enter()
        return effect
      }
      const sink = new Sink<A, Own<E>>({
        node,
        write: operation("EventSink.write", (event: A, fiber) => {
          const effect = begin(event, fiber)
          if (effect === undefined) return closed
          // The value of the effect is nobody's business: a write answers with nothing.
          return Effect.onExitPrimitive(effect, endedOne) as Effect.Effect<void, Own<E> | SinkClosed>
        }),
        writeSome:
          writeSome &&
          operation("EventSink.writeSome", (events: NonEmptyReadonlyArray<A>, fiber) => {
            if (node.state !== "open") return closed
            const effect = provide(writeSome(events), fiber)
            writes.enter()
            return Effect.onExitPrimitive(effect, endedSome)
          }),
        direct: { begin, end: (cause) => ended(cause, 1) }
      })
      const timeout = Duration.fromInputUnsafe(options?.drainTimeout ?? defaultDrainTimeout)
      return Effect.as(
        Effect.addFinalizer(() => writes.close(timeout)),
        sink
      )
    })
  )

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
  options?: Pick<MakeOptions, "name">
): Effect.Effect<EventSink<A>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const node = new Node("EventSink", options?.name)
    const writeUnsafe = (event: A): boolean => {
      if (node.state !== "open") return false
      write(event)
      node.accepted++
      node.delivered++
      return true
    }
    const sink = new Sink<A>({
      node,
      writeUnsafe,
      write: operation("EventSink.write", (event: A) =>
        writeUnsafe(event) ? Effect.void : Effect.fail(new SinkClosed({ sink: node.name }))
      )
    })
    return Effect.as(
      Effect.addFinalizer(() => Effect.sync(() => void (node.state = "closed"))),
      sink
    )
  })
