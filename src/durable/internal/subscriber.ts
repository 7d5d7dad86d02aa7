/**
 * A subscription that this process serves: the drainers that deliver what it takes from the store, and what is to be settled.
 * What is not settled stays in the store, so nothing here can lose an event.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { startDrainer } from "../../internal/drainer.ts"
import { noteError, notify } from "../../internal/node.ts"
import { pageOf } from "../../internal/pages.ts"
import { type Drainer, endDrainer } from "../../internal/shutdown.ts"
import { parse } from "../../internal/traceparent.ts"
import type { Delivery, Settled, Taken, Wanted } from "../EventStore.ts"
import { AttemptDetail, type Said } from "./attemptDetail.ts"
import { makeCertainty } from "./certainty.ts"
import { type Decoded, decodeDeliveries } from "./eventCodec.ts"
import { disabled, isDisabled } from "./isDisabled.ts"
import { type Row, rowWithout } from "./rows.ts"
import type { DeliveryServer, Serving, Subscriber, SubscriberOptions } from "./serving.ts"
import { reasonOf, textOf, toDeadLetter } from "./toDeadLetter.ts"
import { makeWindow, type Window } from "./window.ts"

export const makeSubscriber = Effect.fnUntraced(function* <A, E>(
  server: DeliveryServer,
  options: SubscriberOptions<A, E>
) {
  const { account, codec, concurrency, id, log } = options
  const { counts } = account
  const window: Window<A> = yield* makeWindow<A>({
    ...options,
    giveBack: server.giveBack,
    settle: () => server.settle(subscriber, true)
  })
  const { buffer, isKeyed, lanes, redelivering, resumed, rows, state, unsettled } = window
  const clock = Context.get(options.context, Clock.Clock)
  const [dropping, certainty] = [Latch.makeUnsafe(), makeCertainty()]
  const idle = Array.from({ length: concurrency }, () => false)

  /** In a fiber of its own: a log that is interrupted costs the loops nothing. */
  const run = (effect: Effect.Effect<void>) => void Effect.runForkWith(options.context)(effect)
  const canDeliver = () => state.lease !== undefined && !server.isStale()
  const ask = () => {
    if (state.isDirty && state.lease !== undefined) server.want(subscriber)
  }
  /** Nothing is taken that would have to wait: the definition is asked for all the same, as an attempt may hang. */
  const doubted = () => {
    if (certainty.isInDoubt() && !certainty.isHolding()) options.progressed?.(true)
    return undefined
  }
  const isDone = () => rows.size() === unsettled.all().length
  const settle = (settled: Settled) => {
    unsettled.add(settled)
    server.settle(subscriber, isDone())
  }
  const drop = (row: Row<A>) => {
    rows.decide(row, "dropped")
    redelivering.removed(row.position)
    unsettled.add({ _tag: "Acknowledged", position: row.position, lane: row.lane, isDropped: true })
    server.settle(subscriber, true)
  }

  const receive = (taken: Taken, wanted: Wanted) => {
    const { deliveries, more } = taken
    const counted = reading
    state.isDirty = more || state.isNews
    // What waits for its time is not in the answer.
    counted?.(deliveries.length + rows.live(), more || state.hasAside || redelivering.isWaiting())
    const noteLanes = () => {
      // What the store gives while the subscription waits, or for fresh events alone, does not show what is in lanes.
      if (wanted.perLane === 0 || (deliveries.length === 0 && mayWait)) return
      if (lanes?.taken(deliveries, more, wanted.busy, unsettled.all()) === true) state.isDirty = true
    }
    if (deliveries.length === 0) {
      if (askedUnder !== state.generation) window.dirty()
      else noteLanes()
      if (wanted.perLane === 0) {
        state.hasNoFresh = true
        window.dirty()
      }
      ask()
      doubted()
      options.progressed?.(false)
      return
    }
    const at = askedUnder
    const pauses = options.onUndecodable === "pause"
    state.isReceiving = true
    const received = ({ bad, rows: found }: Decoded<A>): Effect.Effect<void> => {
      state.isReceiving = false
      if (state.isStopped) return Effect.void
      // Another owner has them by now, or they would pass what was taken back meanwhile.
      if (at !== state.generation) {
        window.dirty()
        ask()
        return Effect.void
      }
      noteLanes()
      const offered: Array<Row<A>> = []
      for (const row of found) {
        rows.add(row)
        const lane = row.lane === undefined ? lanes?.behind(row.event) : undefined
        if (lane === undefined) offered.push(row)
        else window.setAside(row, lane)
      }
      buffer.offerAll(offered, buffer.keyOf === undefined ? [] : offered.map(buffer.keyOf))
      buffer.wake?.()
      const [first] = bad
      if (first !== undefined && pauses) {
        window.dirty()
        // The events before it are delivered and acknowledged first.
        return rows.size() > 0 ? Effect.void : pause(first[0], first[1])
      }
      for (const [delivery, cause] of bad) {
        // No event: it is settled before a drainer could take it.
        const row = rowWithout<A>(delivery)
        const outcome = toDeadLetter("Undecodable", row, cause, row.attempts)
        log.deadLettering(row, cause)
        rows.add(row)
        rows.decide(row, outcome)
        settle(outcome)
        redelivering.removed(row.position)
      }
      ask()
      return Effect.void
    }
    const receiving = Effect.flatMap(decodeDeliveries(deliveries, codec, buffer.keyOf, pauses), received)
    // What comes before a take may have waited for the rows.
    const go = () =>
      run(options.before === undefined ? receiving : Effect.map(receiving, () => server.want(subscriber)))
    if (!certainty.isInDoubt()) return go()
    certainty.hold(go)
    options.progressed?.(true)
  }
  /** Keeps all events, and releases the lease after what is in flight, once the store has the subscription as disabled. */
  const disabling = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
    // What is not settled is delivered again.
    Effect.andThen(disabled(options, textOf(cause)), Effect.exit(server.flush(subscriber))).pipe(
      Effect.andThen(Effect.sync(window.suspend))
    )
  /** Pauses delivery in front of an event, and gives the lease to another process. */
  const pause = ({ position }: Delivery, cause: Cause.Cause<unknown>) => {
    state.isPaused = true
    return Effect.andThen(log.paused(`event ${position}: ${textOf(cause)}`), Effect.sync(window.giveBack))
  }
  let askedUnder = state.generation
  /** Whether the store may give nothing for a wait. */
  let mayWait = false
  let reading: ((n: number, more: boolean) => void) | undefined
  const subscriber: Subscriber = {
    id,
    isHosted: options.lease !== undefined,
    leaseTtl: options.leaseTtl,
    isOpen: () => !state.isStopped && !state.isPaused,
    lease: () => state.lease,
    claimed: (claimed) => {
      if (state.isStopped || state.isPaused) return
      window.claimed(claimed)
      options.found(true)
      for (const { lane, outcome, position } of rows.all()) {
        if (outcome === "dropped") settle({ _tag: "Acknowledged", position, lane, isDropped: true })
      }
      window.dirty()
      resumed.openUnsafe()
      ask()
    },
    suspend: () => {
      options.found(false)
      window.suspend()
      options.progressed?.(false)
    },
    lost: () => {
      if (state.lease === undefined) return
      window.released()
      server.lost()
      run(log.leaseLost)
      options.progressed?.(false)
    },
    isSuspended: () => state.isSuspended,
    woken: (isDue) => {
      state.isDue ||= isDue
      // Another claim has found it active.
      state.isSuspended = false
      state.hasNoFresh = false
      if (options.lease !== undefined) certainty.doubt()
      window.dirty()
      ask()
    },
    renewed: () => {
      if (canDeliver()) resumed.openUnsafe()
      ask()
    },
    wanted: () => {
      if (state.lease === undefined || state.isStopped || state.isPaused || state.isSuspended) return doubted()
      if (state.isReceiving || !state.isDirty || !idle.includes(true) || redelivering.isHeld()) return doubted()
      const isFull = rows.size() >= window.size && buffer.size() > 0
      if (isFull && !window.hurry() && isKeyed) window.spill()
      const free = (redelivering.isWaiting() ? 1 : window.size) - rows.size()
      if (free < 1) return doubted()
      state.isNews = false
      reading = account.reading()
      askedUnder = state.generation
      mayWait = redelivering.isWaiting() && !state.isDue
      return window.wanting({ rows: free, bytes: options.batchBytes })
    },
    before: options.before,
    receive,
    settlement: () => {
      if (state.lease === undefined) return undefined
      const waiting = redelivering.settlement()
      const taken = unsettled.take()
      // An attempt may be known before what comes of it: its plan takes its time.
      if (taken.settled.length === 0 && taken.attempts?.length === 0 && waiting === undefined) return undefined
      state.settling++
      return { lease: state.lease, ...taken, ...waiting }
    },
    unsettled: (settlement) => {
      if (state.lease?.epoch !== settlement.lease.epoch) return
      state.settling--
      unsettled.putBack(settlement)
      redelivering.unsettled(settlement)
    },
    settled: ({ isFailing, lease: { epoch }, settled, wait }) => {
      if (state.lease?.epoch !== epoch) return
      state.settling--
      redelivering.settled({ isFailing, wait })
      const dead = settled.flatMap(({ _tag, position }) => (_tag === "DeadLettered" ? [position] : []))
      for (const { position } of settled) rows.settled(position)
      window.endSuspended()
      if (lanes?.hasSome() === true) window.dirty()
      ask()
      const known = () => unsettled.settled({ settled, wait })
      if (dead.length === 0) known()
      else {
        counts.deadLettered += dead.length
        account.removed(dead.length)
        // What was dead-lettered is logged before more is delivered.
        run(Effect.ensuring(log.deadLettered(dead), Effect.sync(known)))
      }
      if (options.before !== undefined) server.want(subscriber)
      options.settled()
      options.progressed?.(false)
    },
    changed: () => {
      if (options.before !== undefined) server.want(subscriber)
      options.changed()
    },
    troubled: (error) => run(log.troubled(error)),
    recovered: () => run(log.storeRecovered)
  }

  const drainer = (i: number) => {
    const source = buffer.source(i)
    let taken: ReadonlyArray<Row<A>> = []
    let at = 0
    let takenUnder = state.generation
    /** When the attempt that is under way began. */
    let beganAt = 0
    /** What the sink says of the attempt. */
    const said: Said = { detail: undefined }
    const attempted = (row: Row<A>, error: string | undefined) => {
      const { beganAt: at = beganAt, detail } = said
      const took = Math.max(0, clock.currentTimeMillisUnsafe() - at)
      unsettled.attempted({ position: row.position, at, took, error, detail })
      Object.assign(said, { detail: undefined, beganAt: undefined })
    }
    const begins = () => void (beganAt = clock.currentTimeMillisUnsafe())
    return startDrainer<A, E>({
      node: options.node,
      sink: options.sink,
      account: account.delivering,
      context: options.keepsOutcomes ? Context.add(options.context, AttemptDetail, said) : options.context,
      processSpan: options.processSpan,
      onSinkClosed: options.onSinkClosed,
      // A failure during the close costs no event.
      isEnding: () => counts.state !== "open",
      source: {
        poll: () => {
          dropping.closeUnsafe()
          if (state.isStopped) return []
          const isOwner = canDeliver()
          if (!isOwner) {
            // Until the lease is renewed, or there is another.
            resumed.closeUnsafe()
            if (state.lease !== undefined) server.want(subscriber)
          }
          const found = isOwner ? source.poll() : undefined
          idle[i] = found === undefined
          if (found === undefined) {
            // A drainer that waits has nothing better to do than to make room.
            if (unsettled.all().length > 0) server.settle(subscriber, true)
            ask()
            return undefined
          }
          taken = found
          if (options.keepsOutcomes) begins()
          takenUnder = state.generation
          at = 0
          if (options.processSpan === undefined) return pageOf(found)
          return pageOf(
            found.map(({ event, trace }) => ({ event, writer: trace === undefined ? undefined : parse(trace) }))
          )
        },
        wait: Effect.suspend(() => {
          if (!canDeliver()) return resumed.await
          return options.before === undefined ? source.wait : Effect.raceFirst(source.wait, dropping.await)
        }),
        revoke: () => {
          if (takenUnder === state.generation && !server.isStale()) return false
          const back = taken.slice(at)
          for (const row of back) rows.forget(row)
          source.settle(back.length)
          // What is behind them must not pass them, nor what is being taken, nor what is set aside behind one of them.
          const last = Math.max(window.evict(), ...back.map(({ position }) => position))
          lanes?.putBack(last)
          state.generation++
          window.dirty()
          window.endSuspended()
          return true
        },
        settle: (n) => {
          let delivered = 0
          const observed: Array<A> | undefined = counts.observers && []
          for (const end = at + n; at < end; at++) {
            const row = taken[at]!
            if (state.lease === undefined || row.outcome === "remaining") rows.forget(row)
            else if (row.outcome === undefined) {
              delivered++
              observed?.push(row.event)
              rows.decide(row, "delivered")
              if (options.keepsOutcomes) attempted(row, undefined)
              unsettled.add({ _tag: "Acknowledged", position: row.position, lane: row.lane })
            }
          }
          counts.delivered += delivered
          account.removed(delivered)
          if (observed !== undefined && counts.observers !== undefined) notify(counts.observers, "delivered", observed)
          if (delivered > 0) redelivering.answered()
          source.settle(n)
          if (options.keepsOutcomes) begins()
          if (unsettled.hasSome()) server.settle(subscriber, state.isSuspended || isDone())
          else window.endSuspended()
        },
        idOf: (place) => String(taken[place]?.position)
      },
      report: {
        failed: (_, cause, restore) => {
          noteError(counts, Cause.squash(cause), clock)
          account.failed()
          const row = taken[at]
          // The drainer has one. A lease that is lost has no use for what became of it.
          if (row === undefined || state.lease === undefined) return Effect.void
          const disabled = isDisabled(cause)
          if (disabled && options.onDisabled === "pause") {
            row.outcome = "remaining"
            return restore(disabling(cause))
          }
          if (options.keepsOutcomes) attempted(row, reasonOf(cause))
          const failed = cause.reasons.some(Cause.isFailReason) ? "Failed" : "Died"
          const { epoch } = state.lease
          return Effect.flatMap(disabled ? Effect.succeed(undefined) : redelivering.judge(row, cause), (next) => {
            // It was lost meanwhile, and the event is delivered under another lease.
            if (state.lease?.epoch !== epoch) {
              row.outcome = "remaining"
              return Effect.void
            }
            if (next?._tag === "Again") window.again(row, next.delay, takenUnder, cause)
            else {
              const reason = next === undefined ? "Disabled" : next._tag === "Permanent" ? failed : next._tag
              const outcome = toDeadLetter(reason, row, cause, redelivering.attemptsOf(row))
              log.deadLettering(row, cause)
              window.ended(row, next === undefined || next._tag === "Permanent", takenUnder, cause)
              rows.decide(row, outcome)
              unsettled.add(outcome)
              if (counts.observers !== undefined) notify(counts.observers, "deadLettered", [row.event], reason)
            }
            const known = unsettled.known(row.position)
            server.settle(subscriber, true)
            // Nothing behind it is delivered before.
            return restore(known)
          })
        },
        recovered: log.recovered,
        abandoned: log.abandoned,
        unreported: () => Effect.void
      }
    })
  }
  let drainers: ReadonlyArray<Drainer<A>> = []

  const serving: Serving<A> = {
    subscriber,
    isWaiting: redelivering.isWaiting,
    rows,
    // What is being decoded is not among the rows yet.
    wanting: (limits) => {
      const wanted = state.isReceiving ? undefined : window.wanting(limits)
      // What is dropped passes nothing.
      return wanted && { ...wanted, busy: [] }
    },
    drop: (delivery) => {
      // No event: it is settled, and no drainer takes it.
      const row = rowWithout<A>(delivery)
      rows.add(row)
      drop(row)
    },
    dropOldest: () => {
      if (buffer.size() === 0) return undefined
      const row = buffer.takeOldest()
      drop(row)
      // It may have taken what a drainer was being woken for, and left the rest of it.
      dropping.openUnsafe()
      return row
    },
    isAtRest: () =>
      !state.isDirty && !state.isReceiving && state.settling === 0 && rows.size() === 0 && !unsettled.hasSome(),
    asking: certainty.asking,
    rest: (delay, reason) => {
      if (state.lease === undefined) return
      redelivering.rest(delay, reason)
      window.stepBack()
      server.settle(subscriber, true)
    },
    begin: () => {
      if (options.lease === undefined) server.register(subscriber)
      else server.adopt(subscriber, options.lease)
      drainers = Array.from({ length: concurrency }, (_, i) => drainer(i))
    },
    close: Effect.fnUntraced(function* (timeout, beside, last, cut) {
      state.isStopped = true
      buffer.end(true)
      resumed.openUnsafe()
      const ends = drainers.map((one) => endDrainer(one, timeout, "undelivered", cut))
      const ended = Effect.all(ends, { concurrency: "unbounded" })
      const [, undelivered] = yield* Effect.all([beside, ended], { concurrency: "unbounded" })
      const inFlight = undelivered.flat().flatMap(({ event, inFlight }) => (inFlight ? [event] : []))
      if (!(yield* server.unregister(subscriber, last))) yield* log.unacknowledged
      return inFlight
    })
  }
  return serving
})
