/** The drainer that the sinks of a broadcaster share which are plain functions. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Undelivered } from "../../Dropped.ts"
import { endWithin } from "../deadline.ts"
import { monotonicMillis } from "../monotonic.ts"
import type { Account } from "../node.ts"
import type { Page } from "../pages.ts"
import { type EventSink, SinkClosed } from "../sink.ts"
import { maxTurn } from "../turns.ts"
import type { Subscription, Topic } from "./topic.ts"

export interface Delivery<out A> {
  /** Ends it here: events published before are delivered, events published later are not for this sink. */
  readonly cut: () => void
  /** Waits for the end of the delivery until `timeout`, then stops it. To be called after `cut`. */
  readonly close: (timeout: Duration.Duration) => Effect.Effect<void>
  /** The events that are not settled, after `close`. */
  readonly undelivered: Effect.Effect<ReadonlyArray<Undelivered<A>>>
  /** How many times each of the sinks that share the drainer had its turn. */
  readonly rounds: (() => number) | undefined
  /** Brings the account up to date, which the shared drainer does not keep at every event. */
  readonly update: () => void
}

/** A sink that is to share the drainer. */
export interface Options<in out A> {
  readonly sink: EventSink<A, unknown>
  readonly write: (event: A) => boolean
  readonly account: Account
  /** The sink has answered that it is closed. */
  readonly onSinkClosed: () => void
  /** Starts a drainer of its own for a sink that has thrown: the batch begins with the event that it threw at. */
  readonly goOn: (
    failed: { readonly batch: ReadonlyArray<A>; readonly cause: Cause.Cause<unknown> },
    rest: Subscription<A>
  ) => Delivery<A>
}

export interface SharedDrainer<in out A> {
  readonly start: (options: Options<A>) => Delivery<A>
  /** All of its sinks have left, and it serves no more. */
  readonly isEnded: () => boolean
}

/** A sink that shares the drainer. */
interface Seat<in out A> {
  readonly options: Options<A>
  /** That of `options`, here: one look-up more for each sink costs a fifth of a broadcast to 10,000. */
  readonly write: (event: A) => boolean
  /** The positions of its first event, of the next one, and of the first that is not for the sink. */
  readonly first: number
  next: number
  until: number
  /** Opened when the drainer has nothing more to do for the sink. */
  readonly left: Latch.Latch
  hasLeft: boolean
  /** The events that the sink left behind. */
  rest: ReadonlyArray<Page<A>>
  /** The delivery that goes on for a sink that has thrown. */
  own: Delivery<A> | undefined
}

/**
 * One subscription and one fiber for all sinks over plain functions: waking a fiber for each costs more than the calls (10,000
 * sinks take 0.14 ms in place of 1.8 ms). A plain function cannot wait, so no sink holds up the others for longer than
 * its own calls take; but its `onDropped` can. So a sink that throws leaves with the event that it threw at, and gets a
 * drainer of its own, which makes the report.
 */
export const makeShared = <A>(topic: Topic<A>, context: Context.Context<never>): SharedDrainer<A> => {
  const subscription = topic.subscribe()
  const seats = new Set<Seat<A>>()
  /** The page that the sinks of the round get, and the position of its first event. */
  let page: ReadonlyArray<A> = []
  let start = topic.published()
  let round = seats.values()
  /** The sink that has not got all of the page in this turn. */
  let current: Seat<A> | undefined
  let rounds = 0
  let sinceYield = 0
  let isRunning = false
  let isEnded = false

  const leave = (seat: Seat<A>) => {
    seat.hasLeft = true
    seats.delete(seat)
    seat.left.openUnsafe()
    if (seats.size > 0) return
    isEnded = true
    subscription.cut()
  }
  /** The events that the sink has not got, from the next one on. */
  const restOf = ({ next, until }: Seat<A>) => {
    const rest: Array<Page<A>> = []
    let position = start
    for (const one of [{ events: page, notes: undefined }, ...subscription.pages()]) {
      const { events } = one
      const from = Math.max(next - position, 0)
      const to = Math.min(events.length, until - position)
      if (from < to)
        rest.push(from === 0 && to === events.length ? one : { events: events.slice(from, to), notes: undefined })
      position += events.length
    }
    return rest
  }
  /** What was delivered is the way from the first event to the next one. */
  const update = ({ first, next, options, own }: Seat<A>) => {
    if (own === undefined) options.account.delivered = next - first
  }
  const threw = (seat: Seat<A>, cause: Cause.Cause<unknown>) => {
    update(seat)
    const [first, ...pages] = restOf(seat)
    const subscription = topic.subscribe(pages)
    // Before anything can be published: the rest of a sink that was cut ends at its boundary.
    if (seat.until !== Number.POSITIVE_INFINITY) subscription.cut()
    seat.own = seat.options.goOn({ batch: first?.events ?? [], cause }, subscription)
    leave(seat)
  }
  const closed = (seat: Seat<A>) => {
    const { account, onSinkClosed, sink } = seat.options
    account.lastError = new SinkClosed({ sink: sink.node.name })
    onSinkClosed()
    seat.rest = restOf(seat)
    leave(seat)
  }
  /** Hands the sink what it has not got of the page, up to the end of the turn. */
  const serve = (seat: Seat<A>) => {
    const { write } = seat
    const from = Math.max(seat.next - start, 0)
    const last = Math.min(page.length, seat.until - start)
    const end = Math.min(last, from + maxTurn - sinceYield)
    let at = from
    let isOpen = true
    let cause: Cause.Cause<unknown> | undefined
    try {
      while (at < end && (isOpen = write(page[at]!))) at++
    } catch (defect) {
      cause = Cause.die(defect)
    }
    if (at > from) {
      sinceYield += at - from
      seat.next += at - from
    }
    if (seat.hasLeft) return
    if (cause !== undefined) threw(seat, cause)
    else if (!isOpen) closed(seat)
    else if (seat.next >= seat.until) leave(seat)
    else if (end < last) current = seat
  }
  const turn = Effect.suspend((): Effect.Effect<void> => {
    for (;;) {
      if (isEnded) return Effect.void
      if (page.length === 0) {
        const events = subscription.poll(1, maxTurn)
        if (events === undefined) return subscription.wait
        page = events
        round = seats.values()
      }
      const seat = current ?? round.next().value
      current = undefined
      if (seat !== undefined) {
        if (!seat.hasLeft) serve(seat)
        if (sinceYield < maxTurn) continue
        sinceYield = 0
        return Effect.yieldNow
      }
      start += page.length
      page = []
      rounds++
    }
  })
  const loop = Effect.whileLoop({ while: () => !isEnded, body: () => turn, step: () => {} })
  const run = () => {
    // A function that interrupts the fiber it runs on ends a turn, and not the delivery.
    Effect.runForkWith(context)(loop).addObserver(() => {
      if (!isEnded) run()
    })
  }

  return {
    isEnded: () => isEnded,
    start: (options) => {
      const seat: Seat<A> = {
        options,
        write: options.write,
        first: topic.published(),
        next: topic.published(),
        until: Number.POSITIVE_INFINITY,
        left: Latch.makeUnsafe(),
        hasLeft: false,
        rest: [],
        own: undefined
      }
      seats.add(seat)
      if (!isRunning) run()
      isRunning = true
      const stop = () => {
        if (seat.hasLeft) return
        seat.rest = restOf(seat)
        leave(seat)
      }
      return {
        rounds: () => (seat.own === undefined ? rounds : Number.NaN),
        update: () => update(seat),
        cut: () => {
          if (seat.own !== undefined) return seat.own.cut()
          seat.until = Math.min(seat.until, topic.published())
          if (!seat.hasLeft && seat.next >= seat.until) leave(seat)
        },
        close: (timeout) => {
          const clock = Context.get(context, Clock.Clock)
          const begun = monotonicMillis(clock)
          const left = () => {
            const passed = Duration.millis(monotonicMillis(clock) - begun)
            return Duration.max(Duration.zero, Duration.subtract(timeout, passed))
          }
          const end = seat.hasLeft ? Effect.void : endWithin(seat.left, timeout, stop)
          return Effect.flatMap(end, () => seat.own?.close(left()) ?? Effect.void)
        },
        undelivered: Effect.suspend(() =>
          seat.own === undefined
            ? listed([], seat.rest)
            : Effect.flatMap(seat.own.undelivered, (own) => listed([...own], seat.rest))
        )
      }
    }
  }
}

/** Adds the events of the pages to the list, a page a turn where there are many. */
export const listed = <A>(list: Array<Undelivered<A>>, pages: ReadonlyArray<Page<A>>) =>
  Effect.gen(function* () {
    for (const { events } of pages) {
      for (let i = 0; i < events.length; i++) {
        list.push({ event: events[i]!, inFlight: false })
        if (list.length % maxTurn === 0) yield* Effect.yieldNow
      }
    }
    return list
  })
