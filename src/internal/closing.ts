import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Undelivered } from "../Dropped.ts"

/**
 * The close of a part, which happens once: every call waits for the same one and gets the same list, and what no call
 * returned is reported when the scope closes. It runs in a fiber of its own, so interrupting a call interrupts only the
 * waiting.
 */
export class Closing<A> {
  private readonly context: Context.Context<never>
  private readonly report: (left: ReadonlyArray<Undelivered<A>>) => Effect.Effect<void>
  private readonly result = Deferred.makeUnsafe<ReadonlyArray<Undelivered<A>>>()
  /** Waits for a close that has begun, and tells what it left without taking charge of it. */
  readonly left: Effect.Effect<ReadonlyArray<Undelivered<A>>> = Deferred.await(this.result)
  private begun = false
  /** A call returned the list, or it has been reported. */
  private known = false

  constructor(context: Context.Context<never>, report: (left: ReadonlyArray<Undelivered<A>>) => Effect.Effect<void>) {
    this.context = context
    this.report = report
  }

  /** Begins the close unless it has begun. */
  begin(close: Effect.Effect<ReadonlyArray<Undelivered<A>>>): void {
    if (this.begun) return
    this.begun = true
    Effect.runForkWith(this.context)(Effect.onExit(close, (exit) => Deferred.done(this.result, exit)))
  }

  /** Begins the close unless it has begun, and reports what it leaves without waiting for the scope. */
  beginReported(
    close: Effect.Effect<ReadonlyArray<Undelivered<A>>>,
    report: (left: ReadonlyArray<Undelivered<A>>) => Effect.Effect<void> = this.report
  ): void {
    if (this.begun) return
    this.known = true
    this.begin(Effect.tap(close, report))
  }

  /** Somebody has the list, and it need not be reported. */
  taken(): void {
    this.known = true
  }

  /** Waits for a close that has begun, and hands over what it left. */
  readonly awaited: Effect.Effect<ReadonlyArray<Undelivered<A>>> = Effect.suspend(() =>
    Effect.map(this.left, (left) => {
      this.taken()
      return left
    })
  )

  /** Waits for a close that has begun, and reports what no call returned. */
  readonly finished: Effect.Effect<void> = Effect.suspend(() =>
    this.left.pipe(
      // Calls that were waiting too get the list first.
      Effect.tap(() => Effect.yieldNow),
      Effect.flatMap((left) => {
        if (this.known) return Effect.void
        this.known = true
        return this.report(left)
      })
    )
  )
}

/** What ends when its source has ended, and then gives up what it has in hand. */
export interface Drain<out A> {
  readonly close: (timeout: Duration.Duration) => Effect.Effect<void>
  readonly left: () => ReadonlyArray<Undelivered<A>>
}

/** Closes drainers side by side, and answers with what they had in hand, then with the `rest` that none of them took. */
export const closeAll = <A>(
  drainers: ReadonlyArray<Drain<A>>,
  timeout: Duration.Duration,
  rest: () => ReadonlyArray<A>
): Effect.Effect<ReadonlyArray<Undelivered<A>>> =>
  Effect.map(
    Effect.forEach(drainers, (drainer) => drainer.close(timeout), { concurrency: "unbounded", discard: true }),
    () => [...drainers.flatMap((drainer) => drainer.left()), ...rest().map((event) => ({ event, inFlight: false }))]
  )
