/** The lease of a queue, as one process has it, renews it and loses it. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type { EventStoreError, Lease, LeaseLost, Operations } from "../EventStore.ts"

/** Both clocks: the one jumps when it is set, and the other stands still while the machine is suspended. */
interface Reading {
  readonly wall: number
  readonly monotonic: number
}

export class Ownership {
  private readonly queue: string
  private readonly store: Operations
  private readonly ttl: Duration.Duration
  private readonly clock: Clock.Clock
  /** The lease was lost: what was read under it is somebody else's. */
  private readonly lost: Effect.Effect<void>
  private current: Lease | undefined = undefined
  /** When it was last sure to have the lease. */
  private renewedAt: Reading = { wall: 0, monotonic: 0 }
  /** Who asks for the lease, or has. */
  private asking: Fiber.Fiber<number, EventStoreError> | undefined = undefined
  private readonly ended = Latch.makeUnsafe()

  constructor(
    queue: string,
    store: Operations,
    ttl: Duration.Duration,
    lost: Effect.Effect<void>,
    context: Context.Context<never>
  ) {
    this.queue = queue
    this.store = store
    this.ttl = ttl
    this.lost = lost
    this.clock = Context.get(context, Clock.Clock)
  }

  private reading(): Reading {
    return { wall: this.clock.currentTimeMillisUnsafe(), monotonic: monotonicMillis(this.clock) }
  }

  get lease(): Lease | undefined {
    return this.current
  }

  /** It may have been paused for so long that another has the lease: nothing is to be delivered before it knows. */
  get isStale(): boolean {
    const now = this.reading()
    return (
      Math.max(now.wall - this.renewedAt.wall, now.monotonic - this.renewedAt.monotonic) >= Duration.toMillis(this.ttl)
    )
  }

  /**
   * Asks for the lease. Answers for how many milliseconds somebody else has it, or 0. The question has a fiber of its own:
   * who waits for the answer may be interrupted by the close, and what was given then is to be given back. Who was interrupted
   * otherwise, and asks again, waits for the same answer: it would be told that somebody has the lease, and that is this one.
   */
  readonly acquire: Effect.Effect<number, EventStoreError> = Effect.suspend(() => {
    if (this.asking !== undefined && this.asking.pollUnsafe() === undefined) return Fiber.join(this.asking)
    const asked = this.reading()
    const question = Effect.map(this.store.acquire(this.queue, this.ttl), (acquired) => {
      if (acquired._tag === "Held") return Math.max(1, acquired.remaining)
      this.current = acquired.lease
      this.renewedAt = asked
      return 0
    })
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.forkDetach(question, { startImmediately: true, uninterruptible: false }), (fiber) => {
        this.asking = fiber
        return restore(Fiber.join(fiber))
      })
    )
  })

  /** Waits for the answer to a question for the lease that is under way. An interruption ends the question too. */
  readonly answered: Effect.Effect<void> = Effect.suspend(() => {
    const { asking } = this
    if (asking === undefined) return Effect.void
    return Effect.asVoid(Effect.onInterrupt(Fiber.await(asking), () => Effect.sync(() => asking.interruptUnsafe())))
  })

  readonly renew: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    const { current } = this
    if (current === undefined) return Effect.void
    const asked = this.reading()
    return Effect.map(this.store.renew(current, this.ttl), () => {
      // Counted from before the question: the store may have taken its time to answer.
      if (this.current === current) this.renewedAt = asked
    })
  })

  /** Keeps the lease, whatever the delivery is at, until it is stopped. */
  readonly renewing: Effect.Effect<void> = Effect.suspend(() => {
    const turn = Effect.andThen(
      Effect.timeoutOption(this.ended.await, Duration.toMillis(this.ttl) / 3),
      this.renew.pipe(
        Effect.catchTag("LeaseLost", ({ epoch }) => this.lose(epoch)),
        // The lease goes stale by that: the delivery then asks in its turn, and says what is wrong.
        Effect.catchTag("EventStoreError", () => Effect.void)
      )
    )
    return Effect.whileLoop({ while: () => !this.ended.isOpen(), body: () => turn, step: () => {} })
  })

  /** Somebody else has the lease of this epoch. */
  lose(epoch: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      // Of a lease that is no longer the one it has, it has been told before.
      if (this.current?.epoch !== epoch) return Effect.void
      this.current = undefined
      return this.lost
    })
  }

  /** Gives the lease back, for another process to have at once. */
  readonly release: Effect.Effect<void, EventStoreError> = Effect.suspend(() => {
    const { current } = this
    this.current = undefined
    return current === undefined ? Effect.void : this.store.release(current)
  })

  stop(): void {
    this.ended.openUnsafe()
  }
}
