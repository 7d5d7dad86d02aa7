/**
 * The fiber that takes events from a source and writes them to a sink, one at a time or in batches, through failures,
 * defects and interruptions, until its source ends or its time is up.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { Undelivered } from "../../Dropped.ts"
import { endWithin } from "../../internal/deadline.ts"
import type { Hooks, Reports } from "./draining.ts"
import type { Source } from "./backlog.ts"
import type { Account } from "../../internal/node.ts"
import { type Begun, type EventSink, type WriteBegin, WriteHalves, WriteSync } from "../../internal/sink.ts"

/** Events written to a batch sink at once, at most: a failure of unknown extent takes that many apart. */
export const maxBatch = 1024
/** The least number of events that a batch sink is offered which commits a few of each batch. */
const minBatch = 64
/** Events written to a synchronous sink before other fibers get a turn. */
const maxTurn = 2048

export class Drainer<A, E> {
  private readonly source: Source<A>
  private readonly dst: EventSink<A, E>
  private readonly account: Account
  private readonly reporter: Reports<A>
  private readonly hooks: Hooks
  private readonly context: Context.Context<never>

  /** The batch that was taken, from where on it is not settled, and how many of its events are being written. */
  private batch: ReadonlyArray<A> = []
  private next = 0
  private inFlight = 0
  /** How many events a write may have: halved by a failure, doubled by a success. */
  private batchSize = maxBatch
  /** A failure was reported, and this many events had been delivered by then. */
  private failing = false
  private deliveredBefore = 0
  /** The event that failed, while its report is being made. */
  private reporting: { readonly event: A } | undefined = undefined
  /** The end of a write that has begun. */
  private begun: Begun<E> | undefined = undefined
  private fiber: Fiber.Fiber<void> | undefined = undefined
  /** No more turns: the source has ended, the downstream is closed, or the time is up. */
  private over = false
  private readonly ended = Latch.makeUnsafe()

  constructor(
    source: Source<A>,
    dst: EventSink<A, E>,
    account: Account,
    reporter: Reports<A>,
    hooks: Hooks,
    context: Context.Context<never>
  ) {
    this.source = source
    this.dst = dst
    this.account = account
    this.reporter = reporter
    this.hooks = hooks
    this.context = context
  }

  /**
   * Starts the fiber. It belongs to the part, and is ended by `close`, not by the end of the fiber that made the part.
   */
  start(): void {
    this.run(this.turns)
  }

  private run(effect: Effect.Effect<void>): void {
    const fiber = Effect.runForkWith(this.context)(effect)
    this.fiber = fiber
    fiber.addObserver((exit) => this.exited(exit))
  }

  private exited(exit: Exit.Exit<void>): void {
    this.endDirect(exit._tag === "Failure" ? exit.cause : undefined)
    if (this.over) {
      this.ended.openUnsafe()
      return
    }
    // A downstream write interrupted the very fiber it ran on: the event fails, and the drainer goes on.
    const cause = exit._tag === "Failure" ? exit.cause : Cause.empty
    this.run(Effect.andThen(this.failed(cause), this.turns))
  }

  private readonly turns: Effect.Effect<void> = Effect.suspend(() =>
    Effect.whileLoop({ while: () => !this.over, body: () => this.turn, step: () => {} })
  )

  private readonly turn: Effect.Effect<void> = Effect.suspend(() => {
    if (this.next >= this.batch.length) return this.take
    if (this.source.isRevoked?.() !== true) return this.deliver
    this.batch = []
    this.next = 0
    return this.take
  })

  private readonly take: Effect.Effect<void> = Effect.suspend(() => {
    if (this.failing && this.account.delivered > this.deliveredBefore) {
      this.failing = false
      return this.reporter.recovered()
    }
    return this.poll
  })

  private readonly poll: Effect.Effect<void> = Effect.suspend(() => {
    const events = this.source.poll()
    if (events === undefined) return this.source.wait
    this.batch = events
    this.next = 0
    if (events.length > 0) return this.deliver
    this.over = true
    return Effect.void
  })

  private readonly deliver: Effect.Effect<void> = Effect.suspend(() =>
    Effect.catchCause(
      this.dst[WriteSync] !== undefined
        ? this.deliverAtOnce(this.dst[WriteSync])
        : this.dst.writeSome !== undefined
          ? this.deliverBatches(this.dst.writeSome)
          : this.dst[WriteHalves] !== undefined
            ? this.deliverDirect(this.dst[WriteHalves])
            : this.deliverEach,
      (cause) => this.failed(cause)
    )
  )

  private readonly deliverEach: Effect.Effect<void, unknown> = Effect.suspend(() =>
    Effect.whileLoop({
      while: () => this.next < this.batch.length && !this.over,
      body: () => {
        this.flying(1)
        return this.dst.write(this.batch[this.next]!)
      },
      step: () => this.delivered(1)
    })
  )

  private deliverDirect(begin: WriteBegin<A, E>): Effect.Effect<void, unknown> {
    return Effect.withFiber((fiber) =>
      Effect.whileLoop<unknown, unknown, never>({
        while: () => this.next < this.batch.length && !this.over,
        body: () => {
          this.flying(1)
          const event = this.batch[this.next]!
          this.begun = begin(event, fiber)
          // The sink is closed: its `write` fails with that.
          return this.begun === undefined ? this.dst.write(event) : this.begun.effect
        },
        step: () => {
          this.endDirect(undefined)
          this.delivered(1)
        }
      })
    )
  }

  private endDirect(cause: Cause.Cause<unknown> | undefined): void {
    const { begun } = this
    this.begun = undefined
    const rest = begun?.end(cause === undefined ? Exit.void : Exit.failCause(cause))
    if (rest !== undefined) Effect.runForkWith(this.context)(rest)
  }

  private deliverBatches(
    writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, unknown>
  ): Effect.Effect<void, unknown> {
    // A source that may be revoked is asked between two writes of a batch.
    const asks = this.source.isRevoked !== undefined
    let writes = 0
    return Effect.whileLoop({
      while: () => this.next < this.batch.length && !this.over && !(asks && writes > 0),
      body: () => {
        writes++
        const events =
          this.next === 0 && this.batch.length <= this.batchSize
            ? this.batch
            : this.batch.slice(this.next, this.next + this.batchSize)
        this.flying(events.length)
        // Not empty, by the condition of the loop.
        return writeSome(events as unknown as NonEmptyReadonlyArray<A>)
      },
      step: (n) => {
        // A sink that takes a few at a time is not offered a thousand each time.
        this.batchSize = n < this.inFlight ? Math.max(minBatch, 16 * n) : Math.min(this.batchSize * 2, maxBatch)
        this.delivered(n)
      }
    })
  }

  private deliverAtOnce(write: (event: A) => boolean): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      const { batch, next } = this
      const end = Math.min(batch.length, next + maxTurn)
      let at = next
      let open = true
      try {
        while (at < end && (open = write(batch[at]!))) at++
      } finally {
        // Also when a write throws: the events before it are delivered, and only its own has failed.
        if (at > next) this.delivered(at - next)
        if (at < end) this.flying(1)
      }
      if (!open) this.downstreamClosed()
      return end < batch.length ? Effect.yieldNow : Effect.void
    })
  }

  /** Counts how many events are being written; other drainers of the part have theirs. */
  private flying(n: number): void {
    this.account.inFlight += n - this.inFlight
    this.inFlight = n
  }

  private delivered(n: number): void {
    // Events of an interrupted write that ends late have been returned as undelivered.
    if (this.over) return
    this.flying(0)
    this.account.delivered += n
    this.next += n
    if (this.next >= this.batch.length) this.batch = []
    this.hooks.settled(n)
  }

  private failed(cause: Cause.Cause<unknown>): Effect.Effect<void> {
    this.endDirect(cause)
    if (this.over) return Effect.void
    const { inFlight } = this
    this.flying(0)
    this.account.lastError = Cause.squash(cause)
    if (this.hooks.ends(cause)) {
      this.downstreamClosed()
      return Effect.void
    }
    if (inFlight === 0) return Effect.void
    if (inFlight > 1) {
      // None of the events was committed, and which one caused the failure is not known: smaller writes find out.
      this.batchSize = Math.floor(inFlight / 2)
      return Effect.void
    }
    const event = this.batch[this.next]!
    this.next++
    if (this.next >= this.batch.length) this.batch = []
    this.failing = true
    this.deliveredBefore = this.account.delivered
    // The event is pending until its report is made: a flush waits for that.
    this.reporting = { event }
    // An interruption comes before the report, and `undelivered` has the event, or its own end notices it.
    return Effect.uninterruptibleMask((restore) =>
      Effect.ensuring(
        this.reporter.failed(event, cause, restore),
        Effect.sync(() => this.reported())
      )
    )
  }

  private reported(): void {
    // The close counts the event whose report it could not wait for.
    if (this.reporting === undefined) return
    this.reporting = undefined
    this.hooks.dropped()
    this.hooks.settled(1)
  }

  private downstreamClosed(): void {
    this.flying(0)
    this.over = true
    this.hooks.downstreamClosed()
  }

  /** Waits until `timeout` for the end of its source, then stops. Called once, when the source is to end. */
  close(timeout: Duration.Duration): Effect.Effect<void> {
    return Effect.flatMap(
      endWithin(this.ended, timeout, () => {
        this.over = true
        this.fiber?.interruptUnsafe()
      }),
      (ended) => (ended ? Effect.void : this.abandoned)
    )
  }

  private readonly abandoned = Effect.suspend(() => {
    if (this.reporting !== undefined) {
      const { event } = this.reporting
      this.reported()
      return this.reporter.unreported(event)
    }
    return this.reporter.abandoned(this.dst.node.name)
  })

  /** Releases the rest of the batch. Called once, when it is closed. */
  undelivered(): ReadonlyArray<Undelivered<A>> {
    const { inFlight } = this
    // The fiber was interrupted before the report began: its event is undelivered, too.
    const unreported = this.reporting === undefined ? [] : [{ event: this.reporting.event, inFlight: false }]
    this.reporting = undefined
    const rest = this.batch.slice(this.next).map((event, i) => ({ event, inFlight: i < inFlight }))
    this.over = true
    this.batch = []
    this.next = 0
    this.flying(0)
    return [...unreported, ...rest]
  }
}
