/**
 * The fiber that takes events from a source and writes them to a sink, one at a time or in groups, through failures,
 * defects and interruptions, until its source ends or its time is up. Behind every queue and every subscription.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { Undelivered } from "../../Dropped.ts"
import { endWithin } from "../../internal/deadline.ts"
import type { Hooks, Reports, Source } from "./draining.ts"
import type { Account } from "../../internal/node.ts"
import { type Begun, type EventSink, type WriteBegin, WriteHalves, WriteSync } from "../../internal/sink.ts"

/** Events handed to a group sink at once, at most: what a failure of unknown extent has to be taken apart. */
export const maxGroup = 1024
/** What a sink that commits little of each group is offered, at least. */
const leastGroup = 64
/** Events given to a synchronous sink before other fibers get a turn. */
const maxTurn = 2048

export class Drainer<A, E> {
  private readonly source: Source<A>
  private readonly dst: EventSink<A, E>
  private readonly account: Account
  private readonly reporter: Reports<A>
  private readonly hooks: Hooks
  private readonly context: Context.Context<never>

  /** What was taken, from where on it is not settled, and how many of that are being written. */
  private hand: ReadonlyArray<A> = []
  private next = 0
  private inFlight = 0
  /** How many events a group may hold: halved by a failure, doubled by a success. */
  private group = maxGroup
  /** A failure was reported, and this many events had been delivered by then. */
  private failing = false
  private deliveredBefore = 0
  /** What was given up, while its report is being made. */
  private reporting: { readonly event: A } | undefined = undefined
  /** The sink that waits to be told of the end of a write. */
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

  /** Starts the fiber. It belongs to the part, which ends it by `close`, and not to the fiber that made the part. */
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
    // A downstream write interrupted the very fiber it ran on: that costs the event, not the line.
    const cause = exit._tag === "Failure" ? exit.cause : Cause.empty
    this.run(Effect.andThen(this.failed(cause), this.turns))
  }

  private readonly turns: Effect.Effect<void> = Effect.suspend(() =>
    Effect.whileLoop({ while: () => !this.over, body: () => this.turn, step: () => {} })
  )

  private readonly turn: Effect.Effect<void> = Effect.suspend(() => {
    if (this.next >= this.hand.length) return this.take
    if (this.source.isRevoked?.() !== true) return this.deliver
    this.hand = []
    this.next = 0
    return this.take
  })

  private readonly take: Effect.Effect<void> = Effect.suspend(() => {
    if (this.failing && this.account.delivered > this.deliveredBefore) {
      this.failing = false
      return this.reporter.recovered()
    }
    return this.taken
  })

  private readonly taken: Effect.Effect<void> = Effect.suspend(() => {
    const events = this.source.poll()
    if (events === undefined) return this.source.wait
    this.hand = events
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
          ? this.deliverGroups(this.dst.writeSome)
          : this.dst[WriteHalves] !== undefined
            ? this.deliverDirect(this.dst[WriteHalves])
            : this.deliverEach,
      (cause) => this.failed(cause)
    )
  )

  private readonly deliverEach: Effect.Effect<void, unknown> = Effect.suspend(() =>
    Effect.whileLoop({
      while: () => this.next < this.hand.length && !this.over,
      body: () => {
        this.flying(1)
        return this.dst.write(this.hand[this.next]!)
      },
      step: () => this.delivered(1)
    })
  )

  private deliverDirect(begin: WriteBegin<A, E>): Effect.Effect<void, unknown> {
    return Effect.withFiber((fiber) =>
      Effect.whileLoop<unknown, unknown, never>({
        while: () => this.next < this.hand.length && !this.over,
        body: () => {
          this.flying(1)
          const event = this.hand[this.next]!
          this.begun = begin(event, fiber)
          // It is closed, and says so.
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
    begun?.end(cause)
  }

  private deliverGroups(
    writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, unknown>
  ): Effect.Effect<void, unknown> {
    // What is left of a hand that may be somebody else's by now is asked about between two groups.
    const asks = this.source.isRevoked !== undefined
    let groups = 0
    return Effect.whileLoop({
      while: () => this.next < this.hand.length && !this.over && !(asks && groups > 0),
      body: () => {
        groups++
        const group =
          this.next === 0 && this.hand.length <= this.group
            ? this.hand
            : this.hand.slice(this.next, this.next + this.group)
        this.flying(group.length)
        // Not empty, by the condition of the loop.
        return writeSome(group as unknown as NonEmptyReadonlyArray<A>)
      },
      step: (n) => {
        // A sink that takes a few at a time is not offered a thousand each time.
        this.group = n < this.inFlight ? Math.max(leastGroup, 16 * n) : Math.min(this.group * 2, maxGroup)
        this.delivered(n)
      }
    })
  }

  private deliverAtOnce(write: (event: A) => boolean): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      const { hand, next } = this
      const end = Math.min(hand.length, next + maxTurn)
      let at = next
      let open = true
      try {
        while (at < end && (open = write(hand[at]!))) at++
      } finally {
        // Also when a write throws: what came before it is delivered, and only it has failed.
        if (at > next) this.delivered(at - next)
        if (at < end) this.flying(1)
      }
      if (!open) this.downstreamClosed()
      return end < hand.length ? Effect.yieldNow : Effect.void
    })
  }

  /** Notes how many events are being written; other drainers of the part have theirs. */
  private flying(n: number): void {
    this.account.inFlight += n - this.inFlight
    this.inFlight = n
  }

  private delivered(n: number): void {
    // Those of an interrupted write that ends late have been returned as undelivered.
    if (this.over) return
    this.flying(0)
    this.account.delivered += n
    this.next += n
    if (this.next >= this.hand.length) this.hand = []
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
      // None of the group was committed, and which event is to blame is not known: smaller groups find out.
      this.group = Math.floor(inFlight / 2)
      return Effect.void
    }
    const event = this.hand[this.next]!
    this.next++
    if (this.next >= this.hand.length) this.hand = []
    this.failing = true
    this.deliveredBefore = this.account.delivered
    // It is pending until its report is made: who waits for it finds it there.
    this.reporting = { event }
    // An interruption comes before the report, and `left` has the event, or its own end notices it.
    return Effect.uninterruptibleMask((restore) =>
      Effect.ensuring(
        this.reporter.failed(event, cause, restore),
        Effect.sync(() => this.reported())
      )
    )
  }

  private reported(): void {
    // The close counts the one whose report it could not wait for.
    if (this.reporting === undefined) return
    this.reporting = undefined
    this.hooks.gaveUp()
    this.hooks.settled(1)
  }

  private downstreamClosed(): void {
    this.flying(0)
    this.over = true
    this.hooks.downstreamClosed()
  }

  /** Waits until `timeout` for the end of its source, then stops. Called once, when the source has been told to end. */
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

  /** Gives up what it has in hand. Called once, when it is closed. */
  left(): ReadonlyArray<Undelivered<A>> {
    const { inFlight } = this
    // The fiber was interrupted before the report began: that makes it one more that is left.
    const unreported = this.reporting === undefined ? [] : [{ event: this.reporting.event, inFlight: false }]
    this.reporting = undefined
    const inHand = this.hand.slice(this.next).map((event, i) => ({ event, inFlight: i < inFlight }))
    const left = [...unreported, ...inHand]
    this.over = true
    this.hand = []
    this.next = 0
    this.flying(0)
    return left
  }
}
