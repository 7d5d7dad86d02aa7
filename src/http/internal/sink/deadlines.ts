/** Time limits for many effects, with one timer between them. */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** An effect that is under way. */
interface Limited {
  /** When its time is up, on the clock's monotonic time. */
  readonly due: number
  readonly fiber: Fiber.Fiber<unknown, unknown>
  isLate: boolean
  isInLine: boolean
  /** Its neighbours in the line of those under way. */
  before: Limited | undefined
  after: Limited | undefined
}

/**
 * The same limit for every effect, so that they are due in the order in which they began: one fiber sleeps for all of
 * them, until the first is due. `Effect.timeout` has two fibers and a timer for each.
 */
export class Deadlines {
  private readonly timeout: Duration.Duration
  private readonly millis: number
  private first: Limited | undefined = undefined
  private last: Limited | undefined = undefined
  private clock: Clock.Clock | undefined = undefined
  private sleeper: Fiber.Fiber<void> | undefined = undefined
  /** The turn of the one that sleeps: a new one begins where the last was told to stop. */
  private turn: object | undefined = undefined

  constructor(timeout: Duration.Duration) {
    this.timeout = timeout
    this.millis = Duration.toMillis(timeout)
  }

  /**
   * Runs an effect in a context, on a fiber of its own. When its time is up it is interrupted, and once it has ended
   * `late` says what comes of it.
   */
  limit<A, E>(
    self: Effect.Effect<A, E>,
    contextOf: (caller: Context.Context<never>) => Context.Context<never>,
    late: () => Effect.Effect<A, E>
  ): Effect.Effect<A, E> {
    return Effect.withFiber((caller) => {
      const clock = caller.getRef(Clock.Clock)
      const context = contextOf(caller.context)
      if (!(this.millis > 0) || !this.isOn(clock)) {
        const inContext = Effect.updateContext(self, (_: Context.Context<never>) => context)
        return Effect.timeoutOrElse(inContext, { duration: this.timeout, orElse: late })
      }
      const fiber = Effect.runForkWith(context)(self)
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      const limited = this.enter(fiber, clock)
      if (this.turn === undefined) this.sleep(clock, caller.context)
      return Effect.callback<A, E>((resume) => {
        fiber.addObserver((exit) => {
          this.remove(limited)
          // Who writes one event after the other begins the next in here.
          resume(limited.isLate ? late() : exit)
          this.rest()
        })
        return Effect.suspend(() => {
          // One that refuses the interruption may be under way for good, and nobody waits for its time to be up.
          this.remove(limited)
          this.rest()
          return Fiber.interrupt(fiber)
        })
      })
    })
  }

  /** Whether the sleeper keeps, or can keep, the time of this clock: who writes may have one of its own. */
  private isOn(clock: Clock.Clock): boolean {
    if (this.clock === clock) return true
    if (this.first !== undefined) return false
    this.stop()
    this.clock = clock
    return true
  }

  private enter(fiber: Fiber.Fiber<unknown, unknown>, clock: Clock.Clock): Limited {
    const limited: Limited = {
      due: now(clock) + this.millis,
      fiber,
      isLate: false,
      isInLine: true,
      before: this.last,
      after: undefined
    }
    if (this.last === undefined) this.first = limited
    else this.last.after = limited
    this.last = limited
    return limited
  }

  private remove(limited: Limited): void {
    if (!limited.isInLine) return
    limited.isInLine = false
    if (limited.before === undefined) this.first = limited.after
    else limited.before.after = limited.after
    if (limited.after === undefined) this.last = limited.before
    else limited.after.before = limited.before
  }

  private sleep(clock: Clock.Clock, context: Context.Context<never>): void {
    const turn = {}
    this.turn = turn
    let due = 0
    const sleeper = Effect.runForkWith(context)(
      Effect.whileLoop({
        while: () => {
          if (this.turn !== turn) return false
          if (this.first === undefined) this.turn = undefined
          return this.first !== undefined
        },
        body: () => {
          ;({ due } = this.first!)
          return clock.sleep(Duration.millis(Math.max(1, Math.ceil(due - now(clock)))))
        },
        // It has slept for the first: a timer may be a moment early by another clock.
        step: () => this.expire(Math.max(due, now(clock)))
      })
    )
    if (this.turn === turn) this.sleeper = sleeper
  }

  /** Interrupts those whose time is up. What that wakes runs at once, and may begin more. */
  private expire(time: number): void {
    while (this.first !== undefined && this.first.due <= time) {
      const { first } = this
      this.remove(first)
      first.isLate = true
      first.fiber.interruptUnsafe()
    }
  }

  /** Lets the timer go when nothing is under way, since it keeps a process alive. */
  private rest(): void {
    if (this.first === undefined) this.stop()
  }

  private stop(): void {
    const { sleeper } = this
    this.turn = undefined
    this.sleeper = undefined
    sleeper?.interruptUnsafe()
  }
}

const now = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
