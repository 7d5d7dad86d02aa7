/** The lease of a queue, as one process acquires, renews and loses it. */
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
  /** The lease was lost: another owner delivers what was read under it. */
  private readonly lost: Effect.Effect<void>
  private current: Lease | undefined = undefined
  /** When this process was last sure to have the lease. */
  private renewedAt: Reading = { wall: 0, monotonic: 0 }
  /** The last request for the lease. */
  private request: Fiber.Fiber<number, EventStoreError> | undefined = undefined
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

  /** The process may have been paused for so long that another has the lease: nothing is delivered before a renewal. */
  get isStale(): boolean {
    const now = this.reading()
    return (
      Math.max(now.wall - this.renewedAt.wall, now.monotonic - this.renewedAt.monotonic) >= Duration.toMillis(this.ttl)
    )
  }

  /**
   * Requests the lease. Answers for how many milliseconds another owner has it, or 0. The request has a fiber of its
   * own: a caller may be interrupted by the close, and a lease that was granted then is to be released. A caller that
   * was interrupted otherwise, and requests again, waits for the same answer: a second request would find the lease of
   * the first.
   */
  readonly acquire: Effect.Effect<number, EventStoreError> = Effect.suspend(() => {
    if (this.request !== undefined && this.request.pollUnsafe() === undefined) return Fiber.join(this.request)
    const asked = this.reading()
    const request = Effect.map(this.store.acquire(this.queue, this.ttl), (acquired) => {
      if (acquired._tag === "Held") return Math.max(1, acquired.remaining)
      this.current = acquired.lease
      this.renewedAt = asked
      return 0
    })
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.forkDetach(request, { startImmediately: true, uninterruptible: false }), (fiber) => {
        this.request = fiber
        return restore(Fiber.join(fiber))
      })
    )
  })

  /** Waits for the answer to a request for the lease that is under way. An interruption ends the request too. */
  readonly answered: Effect.Effect<void> = Effect.suspend(() => {
    const { request } = this
    if (request === undefined) return Effect.void
    return Effect.asVoid(Effect.onInterrupt(Fiber.await(request), () => Effect.sync(() => request.interruptUnsafe())))
  })

  readonly renew: Effect.Effect<void, EventStoreError | LeaseLost> = Effect.suspend(() => {
    const { current } = this
    if (current === undefined) return Effect.void
    const asked = this.reading()
    return Effect.map(this.store.renew(current, this.ttl), () => {
      // Counted from before the request: the store may have taken its time to answer.
      if (this.current === current) this.renewedAt = asked
    })
  })

  /** Renews the lease until it is stopped, however long the delivery takes. */
  readonly renewing: Effect.Effect<void> = Effect.suspend(() => {
    const turn = Effect.andThen(
      Effect.timeoutOption(this.ended.await, Duration.toMillis(this.ttl) / 3),
      this.renew.pipe(
        Effect.catchTag("LeaseLost", ({ epoch }) => this.lose(epoch)),
        // The lease goes stale after this: the delivery then renews it in its turn, and logs what is wrong.
        Effect.catchTag("EventStoreError", () => Effect.void)
      )
    )
    return Effect.whileLoop({ while: () => !this.ended.isOpen(), body: () => turn, step: () => {} })
  })

  /** Another owner has the lease of this epoch. */
  lose(epoch: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      // The loss of an earlier lease has been reported before.
      if (this.current?.epoch !== epoch) return Effect.void
      this.current = undefined
      return this.lost
    })
  }

  /** Releases the lease, for another process to acquire at once. */
  readonly release: Effect.Effect<void, EventStoreError> = Effect.suspend(() => {
    const { current } = this
    this.current = undefined
    return current === undefined ? Effect.void : this.store.release(current)
  })

  stop(): void {
    this.ended.openUnsafe()
  }
}
