/** The side of a durable queue that delivers: a drainer over the store, and what becomes of the events that it cannot deliver. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Undelivered } from "../../Dropped.ts"
import type { EventStoreError, LeaseLost, Operations, DeadLettered } from "../EventStore.ts"
import { Delivering } from "../../internal/context.ts"
import { reportTimeout, within } from "../../internal/deadline.ts"
import { Drainer } from "./storeDrainer.ts"
import { closeAll, endsClosed } from "./draining.ts"
import { type EventSink, WriteSync } from "../../internal/sink.ts"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type { Account } from "./account.ts"
import type { Codec } from "./eventCodec.ts"
import { Consumer, type ConsumerLine } from "./consumer.ts"
import type { QueueLog } from "./log.ts"
import { toDeadLetter } from "./toDeadLetter.ts"
import type { Settings } from "./settings.ts"

export interface DeliveryHooks {
  /** The store's content may have changed, by this process or another. */
  readonly changed: Effect.Effect<void>
  /** Events have left the line. */
  readonly removed: () => void
  /** What lies below is closed. */
  readonly downstreamClosed: () => void
}

/** How often at most a queue asks how much the store holds, in milliseconds: some stores must count. */
const refreshAfter = 5_000
/** How long it waits before it listens for changes again, or dead-letters an event again, after a failure. */
const again = "1 second"

export class Delivery<A, E> {
  readonly consumer: Consumer<A>
  private readonly settings: Settings<A>
  private readonly account: Account
  private readonly store: Operations
  private readonly log: QueueLog
  private readonly drainers: ReadonlyArray<Drainer<A, E>>
  private readonly context: Context.Context<never>
  private fibers: ReadonlyArray<Fiber.Fiber<void>> = []
  private refreshedAt = Number.NEGATIVE_INFINITY
  private readonly changed: Effect.Effect<void>

  constructor(
    dst: EventSink<A, E>,
    settings: Settings<A>,
    account: Account,
    store: Operations,
    codec: Codec<A>,
    log: QueueLog,
    hooks: DeliveryHooks,
    context: Context.Context<never>
  ) {
    this.settings = settings
    this.account = account
    this.store = store
    this.log = log
    this.context = context
    this.changed = hooks.changed
    const { node } = account
    this.consumer = new Consumer(
      settings,
      store,
      dst[WriteSync] !== undefined || dst.writeSome !== undefined,
      {
        decode: codec.decode,
        refresh: this.refresh,
        acquired: hooks.changed,
        looking: () => account.looking(),
        removed: hooks.removed,
        undecodable: (n) => this.deadLettered(n),
        log
      },
      context
    )
    // One for all of them: what a sink keeps by its caller's context is then kept once.
    const delivering = Context.add(context, Delivering, node)
    this.drainers = this.consumer.lines.map((line) => this.drainer(line, dst, hooks, delivering))
  }

  private drainer(
    line: ConsumerLine<A>,
    dst: EventSink<A, E>,
    hooks: DeliveryHooks,
    context: Context.Context<never>
  ): Drainer<A, E> {
    const { account, log } = this
    const { counts } = account
    /** The event that it gives up is among the dead letters. */
    let isParked = false
    return new Drainer(
      line,
      dst,
      counts,
      {
        failed: (_, cause, restore) => restore(this.failed(line, cause, () => (isParked = true))),
        recovered: () => log.delivering,
        abandoned: log.abandoned,
        // It is in the store as before.
        unreported: () => Effect.void
      },
      {
        settled: (n) => {
          if (!line.row?.exempt) account.left(n)
          line.settled(n)
        },
        gaveUp: () => {
          if (isParked) {
            counts.deadLettered++
            account.left(1)
          } else line.letGo()
          isParked = false
        },
        // A failure while it closes costs no event.
        ends: (cause) => endsClosed(cause) || counts.state !== "open",
        downstreamClosed: hooks.downstreamClosed
      },
      context
    )
  }

  start(): void {
    for (const drainer of this.drainers) drainer.start()
    const run = Effect.runForkWith(this.context)
    this.fibers = [run(this.consumer.ownership.renewing), run(this.consumer.acknowledger.beside), run(this.listening)]
  }

  /** Learns how much there is: other processes write and deliver too. */
  private readonly refresh: Effect.Effect<void, EventStoreError> = Effect.clockWith((clock) => {
    const now = monotonicMillis(clock)
    if (now - this.refreshedAt < refreshAfter) return Effect.void
    return Effect.map(this.store.size(this.settings.name), ({ rows }) => {
      this.refreshedAt = now
      this.account.exactly(rows - this.consumer.acknowledger.pending)
    })
  })

  /** Learns how much there is now, if the store tells. If not, what is known has to do. */
  private readonly counted: Effect.Effect<void> = Effect.suspend(() => {
    this.refreshedAt = Number.NEGATIVE_INFINITY
    return Effect.catch(this.refresh, () => Effect.void)
  })

  /** Whoever listens looks at once, and again when listening broke: the drainer says what is wrong with the store. */
  private readonly listening: Effect.Effect<void> = Effect.suspend(() =>
    Stream.runForEach(this.store.changes(this.settings.name), () => this.changed)
  ).pipe(
    Effect.exit,
    Effect.andThen(Effect.suspend(() => this.changed)),
    Effect.andThen(Effect.sleep(again)),
    Effect.forever
  )

  private deadLettered(n: number): Effect.Effect<void> {
    this.account.counts.deadLettered += n
    this.account.left(n)
    return this.log.deadLettered(n)
  }

  /**
   * Moves the event that a drainer is at to the dead letters, and tells at once when that is done: an interruption may come
   * with the next step. It comes back without, if the lease or the time is gone.
   */
  private failed({ row }: ConsumerLine<A>, cause: Cause.Cause<unknown>, deadLettered: () => void): Effect.Effect<void> {
    // The drainer is at one: it has just failed.
    if (row === undefined) return Effect.void
    row.exempt = true
    return this.deadLetter(
      toDeadLetter(row, cause.reasons.some(Cause.isFailReason) ? "Failed" : "Died", cause),
      deadLettered
    )
  }

  private deadLetter(letter: DeadLettered, deadLettered: () => void): Effect.Effect<void> {
    const { lease } = this.consumer.ownership
    // Somebody else delivers it.
    if (lease === undefined) return Effect.void
    return Effect.matchEffect(this.store.deadLetter(lease, [letter]), {
      onSuccess: () => {
        deadLettered()
        return this.log.deadLettered(1)
      },
      onFailure: (error: EventStoreError | LeaseLost) =>
        error._tag === "LeaseLost"
          ? this.consumer.ownership.lose(error.epoch)
          : Effect.andThen(
              Effect.andThen(this.log.troubled(error), Effect.sleep(again)),
              Effect.suspend(() => this.deadLetter(letter, deadLettered))
            )
    })
  }

  /** Gives nothing more out. */
  stop(): void {
    this.consumer.stop()
  }

  /** Waits for what is in flight until the time is up, and answers with what then was: it stays in the store. */
  readonly close: Effect.Effect<ReadonlyArray<Undelivered<A>>> = Effect.suspend(() =>
    Effect.flatMap(closeAll(this.drainers, this.settings.drainTimeout), (left) => {
      for (const fiber of this.fibers) fiber.interruptUnsafe()
      const finish = Effect.andThen(Effect.catch(this.consumer.finish, this.log.unacknowledged), this.counted)
      return Effect.as(within(finish, reportTimeout), left)
    })
  )
}
