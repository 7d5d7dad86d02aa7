/** A subscription of a broadcaster that is read as a stream. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Predicate } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SinkClosed } from "../sink.ts"
import { maxTurn } from "../turns.ts"
import { limitLag } from "./lag.ts"
import type { makeKept } from "./replay.ts"
import { catchUp, judging, makeTopic, type Offer, type Subscription, type Topic } from "./topic.ts"

export interface Options<A, B> {
  /** What the stream has of an event: the event itself by default. */
  readonly show: ((event: A, position: string) => B) | undefined
  readonly filter: Predicate<A> | undefined
  readonly maxLag: number
  /** The position of the first event that it gets; nothing for the next one that is published. */
  readonly from: number | undefined
}

/** What the streams of a broadcaster share. */
export interface Streaming<A, Lagged> {
  readonly topic: Topic<A>
  readonly kept: ReturnType<typeof makeKept<A>>
  readonly context: Context.Context<never>
  readonly filters: Set<Offer<A>>
  readonly limits: Set<() => void>
  /** What ends the subscription of each stream. */
  readonly streams: Set<() => void>
  /** What a subscription fails with that begins now, once the broadcaster is closed. */
  readonly refused: () => Effect.Effect<never, SinkClosed> | undefined
  /** The error of a stream that is too far behind. */
  readonly lagging: (missed: number, position: number) => Lagged
  /** A filter died on an event. */
  readonly died: (defect: unknown) => void
}

export const makeStream = <A, Lagged, B>(
  { filter, from, maxLag, show }: Options<A, B>,
  shared: Streaming<A, Lagged>
): Effect.Effect<Stream.Stream<A | B, Lagged>, SinkClosed, Scope.Scope> => {
  const { context, filters, kept, limits, streams, topic } = shared
  const begin = (
    reader: Reader<A>,
    offer?: Offer<A>
  ): Effect.Effect<Stream.Stream<A | B, Lagged>, never, Scope.Scope> => {
    if (offer !== undefined) filters.add(offer)
    let lagged: Lagged | undefined
    const unlimit = limitLag(limits, context, {
      maxLag,
      lag: reader.size,
      evict: () => {
        lagged = shared.lagging(reader.size(), reader.next())
        end()
        // What it has not read is left to the collector, page by page.
        while (reader.size() > 0) reader.discard()
      }
    })
    const end = () => {
      streams.delete(end)
      if (offer !== undefined) filters.delete(offer)
      unlimit()
      reader.cut()
    }
    streams.add(end)
    const pull: Effect.Effect<Arr.NonEmptyReadonlyArray<A | B>, Lagged | Cause.Done> = Effect.suspend(() => {
      if (lagged !== undefined) return Effect.fail(lagged)
      // One event at a pull: a run that stops early leaves what it did not read to the next.
      const events = reader.read()
      if (events === undefined) return Effect.andThen(reader.wait, pull)
      if (!Arr.isReadonlyArrayNonEmpty(events)) return Cause.done()
      return Effect.succeed(show === undefined ? events : Arr.of(show(events[0], kept.token(reader.after()))))
    })
    return Effect.as(
      Effect.addFinalizer(() => Effect.sync(end)),
      Stream.fromPull(Effect.succeed(pull))
    )
  }
  if (filter === undefined) {
    return begin(reading(topic.subscribe(from === undefined ? [] : kept.from(from))))
  }
  // What the filter lets through is a topic of its own. What it throws is logged, as a lost event.
  const passed = makeTopic<Entry<A>>(context)
  const judge = (take: (entry: Entry<A>) => void) =>
    judging<A>(
      filter,
      (event, after) => take({ event, after }),
      (_, defect) => shared.died(defect)
    )
  const filtered = (earlier: ReadonlyArray<Entry<A>>) =>
    begin(readingEntries(passed.subscribe([earlier]), topic), judge(passed.publish))
  if (from === undefined) return filtered([])
  const earlier: Array<Entry<A>> = []
  return catchUp<A, Stream.Stream<A | B, Lagged>, SinkClosed, Scope.Scope>(
    topic.subscribe(kept.from(from)),
    judge((entry) => void earlier.push(entry)),
    () => shared.refused() ?? filtered(earlier)
  )
}

// internals

/** An event, and how many had been published when it was. */
interface Entry<out A> {
  readonly event: A
  readonly after: number
}

interface Reader<out A> extends Pick<Subscription<A>, "size" | "wait" | "cut"> {
  /** One event: none once there will be no more, `undefined` when none waits. */
  readonly read: () => ReadonlyArray<A> | undefined
  /** The position behind the event that was read last. */
  readonly after: () => number
  /** The position of the next event. */
  readonly next: () => number
  readonly discard: () => void
}

const reading = <A>({ cut, poll, position, size, wait }: Subscription<A>): Reader<A> => ({
  cut,
  size,
  wait,
  read: () => poll(1, 1),
  after: position,
  next: position,
  discard: () => void poll(1, maxTurn)
})

const readingEntries = <A>({ cut, pages, poll, size, wait }: Subscription<Entry<A>>, topic: Topic<A>): Reader<A> => {
  let last = 0
  return {
    cut,
    size,
    wait,
    read: () =>
      poll(1, 1)?.map(({ after, event }) => {
        last = after
        return event
      }),
    after: () => last,
    next: () => {
      const first = pages().find(({ length }) => length > 0)?.[0]
      return first === undefined ? topic.published() : first.after - 1
    },
    discard: () => void poll(1, maxTurn)
  }
}
