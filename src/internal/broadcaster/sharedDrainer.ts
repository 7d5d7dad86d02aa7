/** The drainer that the sinks of a broadcaster share which are plain functions. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import { drop, noteError } from "../node.ts"
import { type Page, sliceOf } from "../pages.ts"
import { nextRequest, type ReceiptRequest, within } from "../receipt.ts"
import { reasonOf } from "../report.ts"
import { isSinkClosed, SinkClosed } from "../sink.ts"
import { maxTurn } from "../turns.ts"
import type { Options, SharedDrainer } from "./delivery.ts"
import type { Subscription, Topic } from "./topic.ts"

/** A sink that shares the drainer. */
interface Seat<in out A> {
  readonly options: Options<A>
  /** That of `options`, here: one look-up more for each sink costs a fifth of a broadcast to 10,000. */
  readonly write: (event: A) => boolean
  /** The positions of its first event, of the next one, and of the first that is not for the sink. */
  readonly first: number
  next: number
  until: number
  /** The position behind the last event that it threw at, until it is known to deliver again. */
  failedAt: number | undefined
  readonly ended: Latch.Latch
  /** What has the events that the sink left behind. */
  rest: Subscription<A> | undefined
}

/**
 * One subscription and one fiber for all sinks over plain functions: waking a fiber for each costs more than the calls (10,000
 * sinks take 0.14 ms in place of 1.8 ms). A plain function cannot wait, so no sink holds up the others for longer than
 * its own calls take.
 */
export const makeShared = <A>(topic: Topic<A>, context: Context.Context<never>): SharedDrainer<A> => {
  const subscription = topic.subscribe()
  const seats = new Set<Seat<A>>()
  /** The page that the sinks of the round get, and the position of its first event. */
  let page: Page<A> = []
  let start = topic.published()
  let round = seats.values()
  /** The sink that has not got all of the page in this turn. */
  let current: Seat<A> | undefined
  let sinceYield = 0
  let isEnded = false

  const clock = Context.get(context, Clock.Clock)
  const runFork = Effect.runForkWith(context)

  /** What was delivered is the way from the first event to the next one, less the events that it threw at. */
  const update = ({ first, next, options: { account } }: Seat<A>) => {
    account.delivered = next - first - account.dropped
  }
  const leave = (seat: Seat<A>) => {
    if (!seats.delete(seat)) return
    if (seat.next < seat.until) seat.rest = restOf(seat)
    seat.ended.openUnsafe()
    if (seats.size > 0) return
    isEnded = true
    subscription.cut()
  }
  /** Subscribes to the events that the sink has not got, from the next one on. */
  const restOf = ({ next, until }: Seat<A>) => {
    const pages: Array<Page<A>> = []
    let position = start
    for (const one of [page, ...subscription.pages()]) {
      const from = Math.max(next - position, 0)
      const to = Math.min(one.length, until - position)
      if (from < to) pages.push(from === 0 && to === one.length ? one : sliceOf(one, from, to))
      position += one.length
    }
    const rest = topic.subscribe(pages)
    rest.cut()
    return rest
  }
  const closed = (seat: Seat<A>) => {
    const { account, onSinkClosed, sink } = seat.options
    noteError(account, new SinkClosed({ sink: sink.node.name }), clock)
    onSinkClosed()
    leave(seat)
  }
  const died = (seat: Seat<A>, at: number, cause: Cause.Cause<unknown>) => {
    const { account, report } = seat.options
    noteError(account, Cause.squash(cause), clock)
    drop(account, "Died")
    runFork(report.failed(page[at]!, cause, identity))
    seat.failedAt = start + at + 1
  }
  /**
   * Writes to the sink the event of the page that is next for it, and whose write asked for a receipt. The end is noted in any
   * case: a function that interrupts the fiber it runs on has had the event.
   */
  const serveAlone = (seat: Seat<A>, receipt: ReceiptRequest) => {
    const { node, sink } = seat.options
    const at = seat.next - start
    const event = page[at]!
    current = seat
    sinceYield++
    const write = within(receipt, sink.node, () => sink.write(event))
    const noted = Effect.onExitPrimitive(write, (exit) => {
      // It was stopped meanwhile, and the event is among those that it left.
      if (seat.ended.isOpen()) return undefined
      const cause = Exit.isFailure(exit) ? exit.cause : undefined
      if (cause !== undefined && isSinkClosed(cause)) {
        closed(seat)
        return undefined
      }
      if (cause !== undefined) died(seat, at, cause)
      seat.next++
      if (seat.next >= seat.until) leave(seat)
      if (cause === undefined) receipt.release()
      else receipt.settle(node, { _tag: "Dropped", reason: reasonOf(cause) })
      return undefined
    })
    // Its end has been noted.
    return Effect.catchCause(noted, () => Effect.void)
  }
  /** Hands the sink what it has not got of the page, up to the end of the turn or to an event that it throws at. */
  const serve = (seat: Seat<A>) => {
    const { write } = seat
    const from = Math.max(seat.next - start, 0)
    const last = Math.min(page.length, seat.until - start)
    const end = Math.min(last, nextRequest(page, from), from + maxTurn - sinceYield)
    let at = from
    let isOpen = true
    try {
      while (at < end && (isOpen = write(page[at]!))) at++
    } catch (defect) {
      died(seat, at++, Cause.die(defect))
    }
    sinceYield += at - from
    if (at > from) seat.next += at - from
    if (seat.ended.isOpen()) return
    if (!isOpen) closed(seat)
    else if (seat.next >= seat.until) leave(seat)
    else if (at < last) current = seat
    else if (seat.failedAt !== undefined && seat.failedAt < seat.next) {
      seat.failedAt = undefined
      runFork(seat.options.report.recovered())
    }
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
        if (!seat.ended.isOpen()) serve(seat)
        const receipt = current === undefined ? undefined : page.receipts?.[seat.next - start]
        if (receipt !== undefined && sinceYield < maxTurn) return serveAlone(seat, receipt)
        if (sinceYield < maxTurn) continue
        sinceYield = 0
        return Effect.yieldNow
      }
      start += page.length
      page = []
    }
  })
  const loop = Effect.whileLoop({ while: () => !isEnded, body: () => turn, step: () => {} })
  const run = () => {
    // A function that interrupts the fiber it runs on ends a turn, and not the delivery.
    runFork(loop).addObserver(() => {
      if (!isEnded) run()
    })
  }
  run()

  return {
    isEnded: () => isEnded,
    start: (options) => {
      const first = topic.published()
      const seat: Seat<A> = {
        options,
        write: options.write,
        first,
        next: first,
        until: Number.POSITIVE_INFINITY,
        failedAt: undefined,
        ended: Latch.makeUnsafe(),
        rest: undefined
      }
      seats.add(seat)
      return {
        ended: seat.ended,
        update: () => update(seat),
        cut: () => {
          seat.until = Math.min(seat.until, topic.published())
          if (seat.next >= seat.until) leave(seat)
        },
        stop: () => leave(seat),
        abandoned,
        undelivered,
        takeRest: () => seat.rest?.poll(1, maxTurn) ?? []
      }
    }
  }
}

// internals

// A plain function is over when it returns.
const abandoned = () => Effect.void
const undelivered = () => []
