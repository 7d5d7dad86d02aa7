/**
 * A subscription that this process serves: the drainers that deliver what it takes from the store, and what is to be settled.
 * What is not settled stays in the store, so nothing here can lose an event.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import { startDrainer } from "../../internal/drainer.ts"
import type { Page } from "../../internal/pages.ts"
import { type Buffer, fifo, type Partition, partitioned } from "../../internal/queue/buffer.ts"
import { endDrainer } from "../../internal/shutdown.ts"
import { WriteSync } from "../../internal/sink.ts"
import type { Delivery, Lease, Limits, Position, Settled, Taken, Wanted } from "../EventStore.ts"
import { type Decoded, decodeDeliveries } from "./decodeDeliveries.ts"
import { isDisabled } from "./isDisabled.ts"
import { makeLanes } from "./lanes.ts"
import { makeRows, type Row, rowWithout } from "./rows.ts"
import type { DeliveryServer, Serving, Subscriber, SubscriberOptions } from "./serving.ts"
import { textOf, toDeadLetter } from "./toDeadLetter.ts"

/** How many deliveries of one lane are taken at once, at most. */
const perLane = 16

export const makeSubscriber = Effect.fnUntraced(function* <A, E>(
  server: DeliveryServer,
  options: SubscriberOptions<A, E>
) {
  const { account, codec, concurrency, id, log, partitionBy, sink } = options
  const { counts } = account
  const window = Math.max(options.batchSize, concurrency)
  const isBatched = sink[WriteSync] !== undefined || sink.writeSome !== undefined
  const batching = { joinUpTo: isBatched ? window : 1, max: isBatched ? window : 1 }
  const buffer: Buffer<Row<A>> =
    concurrency === 1 || partitionBy === undefined
      ? fifo(yield* Queue.unbounded<Page<Row<A>>, Cause.Done>(), concurrency, batching)
      : partitioned(yield* Queue.unbounded<Partition<Row<A>>, Cause.Done>(), batching, ({ event }) =>
          partitionBy(event)
        )
  const isKeyed = buffer.keyOf !== undefined
  const lanes = makeLanes<A>(partitionBy ?? (() => undefined))
  const rows = makeRows<A>()
  /** What is to be settled, and belongs to rows that stay until it is. */
  let unsettled: Array<Settled> = []
  let lease: Lease | undefined
  /** What waits for its event to be among the dead letters, by position. */
  const moving = new Map<Position, Latch.Latch>()
  const moved = (position: Position) => {
    moving.get(position)?.openUnsafe()
    moving.delete(position)
  }
  /** Another take may find something. */
  let isDirty = false
  /** That was said since the last take was asked for, whose answer may not know of it. */
  let isNews = false
  const dirty = () => {
    isDirty = true
    isNews = true
  }
  let isReceiving = false
  /** The subscription is not active: the lease is given back when nothing is in flight. */
  let isSuspended = false
  let isStopped = false
  let isPaused = false
  /** Counts the leases that were lost: what was taken before belongs to another owner. */
  let generation = 0
  const resumed = Latch.makeUnsafe()
  const dropping = Latch.makeUnsafe()
  const idle = Array.from({ length: concurrency }, () => false)

  /** In a fiber of its own: a log that is interrupted costs the loops nothing. */
  const run = (effect: Effect.Effect<void>) => void Effect.runForkWith(options.context)(effect)
  const canDeliver = () => lease !== undefined && !server.isStale()
  const ask = () => {
    if (isDirty && lease !== undefined) server.want(subscriber)
  }
  const isDone = () => rows.size() === unsettled.length
  const settle = (settled: Settled) => {
    unsettled.push(settled)
    server.settle(subscriber, isDone())
  }
  /** Forgets what no drainer has taken, and answers the last position of it. */
  const evict = () => {
    let last = 0
    while (buffer.size() > 0) {
      const row = buffer.takeOldest()
      last = Math.max(last, row.position)
      rows.forget(row)
    }
    return last
  }

  const setAside = (row: Row<A>, lane: number) => {
    row.outcome = "aside"
    unsettled.push({ _tag: "Aside", position: row.position, lane })
    server.settle(subscriber, true)
  }
  /** Makes room where drainers wait, and all that waits is of keys in flight. */
  const spill = () => {
    while (buffer.size() > 0) {
      const row = buffer.takeOldest()
      if (row.lane === undefined) setAside(row, lanes.setAside(row.event))
      else rows.forget(row)
    }
  }

  const receive = (taken: Taken, wanted: Wanted) => {
    const { deliveries, more } = taken
    const counted = reading
    isDirty = more || isNews
    counted?.(deliveries.length + rows.live(), more)
    const noteLanes = () => {
      if (lanes.taken(deliveries, more, wanted.busy, unsettled)) isDirty = true
    }
    if (deliveries.length === 0) {
      noteLanes()
      ask()
      return
    }
    const at = askedUnder
    const pauses = options.onUndecodable === "pause"
    isReceiving = true
    const received = ({ bad, rows: found }: Decoded<A>): Effect.Effect<void> => {
      isReceiving = false
      if (isStopped) return Effect.void
      // Another owner has them by now, or they would pass what was taken back meanwhile.
      if (at !== generation) {
        dirty()
        ask()
        return Effect.void
      }
      noteLanes()
      const offered: Array<Row<A>> = []
      for (const row of found) {
        rows.add(row)
        const lane = isKeyed && row.lane === undefined ? lanes.behind(row.event) : undefined
        if (lane === undefined) offered.push(row)
        else setAside(row, lane)
      }
      buffer.offerAll(offered, buffer.keyOf === undefined ? [] : offered.map(buffer.keyOf))
      const [first] = bad
      if (first !== undefined && pauses) {
        dirty()
        // The events before it are delivered and acknowledged first.
        return rows.size() > 0 ? Effect.void : pause(first[0], first[1])
      }
      for (const [delivery, cause] of bad) {
        // No event: it is settled before a drainer could take it.
        const row = rowWithout<A>(delivery)
        const outcome = toDeadLetter("Undecodable", row, cause)
        rows.add(row)
        rows.decide(row, outcome)
        settle(outcome)
      }
      ask()
      return Effect.void
    }
    // What comes before a take may have waited for the rows.
    const over = Effect.sync(() => void (options.before && server.want(subscriber)))
    run(
      decodeDeliveries(deliveries, codec, (row) => buffer.keyOf?.(row), pauses).pipe(
        Effect.flatMap(received),
        Effect.andThen(over)
      )
    )
  }
  const giveBack = () => {
    if (lease !== undefined) server.giveBack(lease)
    lease = undefined
  }
  /** Keeps all events, and releases the lease, once the store has the subscription as disabled. */
  const disabling = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
    const reason = textOf(cause)
    return options.disable(reason).pipe(
      Effect.tapError((error) => Effect.andThen(log.troubled(error), Effect.sleep("1 second"))),
      // Until it is, the event cannot be left.
      Effect.eventually,
      Effect.andThen(log.disabled(reason)),
      // What is not settled is delivered again.
      Effect.andThen(Effect.exit(server.flush(subscriber))),
      Effect.andThen(
        Effect.sync(() => {
          giveBack()
          released()
        })
      )
    )
  }
  /** Pauses delivery in front of an event, and gives the lease to another process. */
  const pause = ({ position }: Delivery, cause: Cause.Cause<unknown>) => {
    isPaused = true
    return Effect.andThen(log.paused(`event ${position}: ${textOf(cause)}`), Effect.sync(giveBack))
  }

  const released = () => {
    lease = undefined
    isSuspended = false
    generation++
    unsettled = []
    // What was reported as dropped is never delivered by this process, whichever process has the lease meanwhile.
    for (const row of rows.all()) if (row.outcome !== undefined && row.outcome !== "dropped") rows.forget(row)
    evict()
    for (const position of moving.keys()) moved(position)
    resumed.closeUnsafe()
  }

  const endSuspended = () => {
    if (!isSuspended || unsettled.length > 0 || rows.live() > 0) return
    giveBack()
    released()
  }

  let askedUnder = generation
  let reading: ((n: number, more: boolean) => void) | undefined
  const subscriber: Subscriber = {
    id,
    leaseTtl: options.leaseTtl,
    isOpen: () => !isStopped && !isPaused,
    lease: () => lease,
    claimed: ({ epoch, lanes: aside, subscription }) => {
      if (isStopped || isPaused) return
      lease = { subscription, epoch }
      lanes.claimed(aside)
      for (const { lane, outcome, position } of rows.all()) {
        if (outcome === "dropped") settle({ _tag: "Acknowledged", position, lane })
      }
      dirty()
      resumed.openUnsafe()
      ask()
    },
    released,
    suspend: () => {
      if (lease === undefined || isSuspended) return
      isSuspended = true
      generation++
      lanes.putBack(evict())
      endSuspended()
    },
    lost: () => {
      if (lease === undefined) return
      released()
      server.lost()
      run(log.leaseLost)
    },
    isSuspended: () => isSuspended,
    woken: () => {
      // Another claim has found it active.
      isSuspended = false
      dirty()
      ask()
    },
    renewed: () => {
      if (canDeliver()) resumed.openUnsafe()
      ask()
    },
    wanted: () => {
      if (lease === undefined || isStopped || isPaused || isSuspended || isReceiving || !isDirty) return undefined
      if (!idle.includes(true)) return undefined
      if (isKeyed && rows.size() >= window && buffer.size() > 0) spill()
      const free = window - rows.size()
      if (free < 1) return undefined
      isNews = false
      reading = account.reading()
      askedUnder = generation
      return wanting({ rows: free, bytes: options.batchBytes })
    },
    before: options.before,
    receive,
    settlement: () => {
      if (lease === undefined || unsettled.length === 0) return undefined
      const settled = unsettled
      unsettled = []
      return { lease, settled }
    },
    unsettled: ({ lease: { epoch }, settled }) => {
      if (lease?.epoch === epoch) unsettled = [...settled, ...unsettled]
    },
    settled: ({ lease: { epoch }, settled }) => {
      if (lease?.epoch !== epoch) return
      const dead = settled.filter(({ _tag }) => _tag === "DeadLettered")
      for (const { position } of settled) rows.settled(position)
      endSuspended()
      if (lanes.hasSome()) dirty()
      ask()
      counts.deadLettered += dead.length
      account.removed(dead.length)
      if (dead.length > 0) {
        const go = () => dead.forEach(({ position }) => moved(position))
        run(Effect.ensuring(log.deadLettered(dead.length), Effect.sync(go)))
      }
      if (options.before !== undefined) server.want(subscriber)
      options.settled()
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
    let takenUnder = generation
    return startDrainer<A, E>({
      sink,
      account: account.delivering,
      context: options.context,
      onSinkClosed: options.onSinkClosed,
      // A failure during the close costs no event.
      isEnding: () => counts.state !== "open",
      source: {
        poll: () => {
          dropping.closeUnsafe()
          if (isStopped) return []
          const isOwner = canDeliver()
          if (!isOwner) {
            // Until the lease is renewed, or there is another.
            resumed.closeUnsafe()
            if (lease !== undefined) server.want(subscriber)
          }
          const found = isOwner ? source.poll() : undefined
          idle[i] = found === undefined
          if (found === undefined) {
            // A drainer that waits has nothing better to do than to make room.
            if (unsettled.length > 0) server.settle(subscriber, true)
            ask()
            return undefined
          }
          taken = found
          takenUnder = generation
          at = 0
          return found.map(({ event }) => event)
        },
        wait: Effect.suspend(() => {
          if (!canDeliver()) return resumed.await
          return options.before === undefined ? source.wait : Effect.raceFirst(source.wait, dropping.await)
        }),
        revoke: () => {
          if (takenUnder === generation && !server.isStale()) return false
          const back = taken.slice(at)
          for (const row of back) rows.forget(row)
          source.settle(back.length)
          // What is behind them must not pass them, nor what is being taken, nor what is set aside behind one of them.
          lanes.putBack(Math.max(evict(), ...back.map(({ position }) => position)))
          generation++
          dirty()
          endSuspended()
          return true
        },
        settle: (n) => {
          let delivered = 0
          for (const end = at + n; at < end; at++) {
            const row = taken[at]!
            if (lease === undefined || row.outcome === "remaining") rows.forget(row)
            else if (row.outcome === undefined) {
              delivered++
              rows.decide(row, "delivered")
              unsettled.push({ _tag: "Acknowledged", position: row.position, lane: row.lane })
            }
          }
          counts.delivered += delivered
          account.removed(delivered)
          source.settle(n)
          if (unsettled.length > 0) server.settle(subscriber, isSuspended || isDone())
          else endSuspended()
        }
      },
      report: {
        failed: (_, cause, restore) => {
          counts.lastError = Cause.squash(cause)
          const row = taken[at]
          // The drainer has one. A lease that is lost has no use for what became of it.
          if (row === undefined || lease === undefined) return Effect.void
          const disabled = isDisabled(cause)
          if (disabled && options.onDisabled === "pause") {
            row.outcome = "remaining"
            return restore(disabling(cause))
          }
          const reason = disabled ? "Disabled" : cause.reasons.some(Cause.isFailReason) ? "Failed" : "Died"
          const outcome = toDeadLetter(reason, row, cause)
          rows.decide(row, outcome)
          unsettled.push(outcome)
          server.settle(subscriber, true)
          // Nothing behind it is delivered before it is among the dead letters.
          const moved = Latch.makeUnsafe()
          moving.set(row.position, moved)
          return restore(moved.await)
        },
        recovered: log.recovered,
        abandoned: log.abandoned,
        unreported: () => Effect.void
      }
    })
  }
  let drainers: ReadonlyArray<ReturnType<typeof drainer>> = []

  const wanting = (limits: Limits): Wanted | undefined =>
    lease && { ...lease, limits, except: rows.positions(), busy: lanes.busy(rows.all), perLane }
  const drop = (row: Row<A>) => {
    rows.decide(row, "dropped")
    unsettled.push({ _tag: "Acknowledged", position: row.position, lane: row.lane })
    server.settle(subscriber, true)
  }
  const serving: Serving<A> = {
    subscriber,
    rows,
    // What is being decoded is not among the rows yet.
    wanting: (limits) => {
      const wanted = isReceiving ? undefined : wanting(limits)
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
    begin: () => {
      server.register(subscriber)
      drainers = Array.from({ length: concurrency }, (_, i) => drainer(i))
    },
    close: Effect.fnUntraced(function* (timeout, beside, last) {
      isStopped = true
      buffer.end(true)
      resumed.openUnsafe()
      const ended = Effect.forEach(drainers, (one) => endDrainer(one, timeout), { concurrency: "unbounded" })
      const [, undelivered] = yield* Effect.all([beside, ended], { concurrency: "unbounded" })
      const inFlight = undelivered.flat().flatMap(({ event, inFlight }) => (inFlight ? [event] : []))
      if (!(yield* server.unregister(subscriber, last))) yield* log.unacknowledged
      return inFlight
    })
  }
  return serving
})
