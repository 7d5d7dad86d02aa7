import * as Effect from "effect/Effect"
import type { SinkClosed } from "./sink.ts"

interface Waiter {
  /** How many events it wants to bring in, and what brings them in. */
  readonly n: number
  readonly enter: () => void
  readonly resume: (effect: Effect.Effect<void, SinkClosed>) => void
}

const admitted: Effect.Effect<void> = Effect.void

/**
 * The line in front of a bounded part: writers that wait for room, first come, first in. It stands in front of what
 * keeps the events and not in it (an Effect `Queue` that ends admits the writers that wait, and these must fail).
 */
export class Admission {
  /** How many events there is room for now; 0 or less for none. */
  private readonly room: () => number
  /** A group larger than any room enters when this holds: it would wait for ever. */
  private readonly empty: () => boolean
  private readonly waiters = new Set<Waiter>()
  private closed: Effect.Effect<never, SinkClosed> | undefined = undefined

  constructor(room: () => number, empty: () => boolean) {
    this.room = room
    this.empty = empty
  }

  /** Whether `n` events may enter now, without passing writers that wait. */
  fits(n: number): boolean {
    return this.waiters.size === 0 && this.hasRoom(n)
  }

  private hasRoom(n: number): boolean {
    return n <= this.room() || this.empty()
  }

  /** Waits in line until `n` events fit, which `enter` then brings in, whole. An interrupted writer leaves the line. */
  wait(n: number, enter: () => void): Effect.Effect<void, SinkClosed> {
    return Effect.callback<void, SinkClosed>((resume) => {
      if (this.closed !== undefined) return resume(this.closed)
      const waiter = { n, enter, resume }
      this.waiters.add(waiter)
      this.admit()
      return Effect.sync(() => {
        // It may have been too large for the room that those behind it fit in.
        if (this.waiters.delete(waiter)) this.admit()
      })
    })
  }

  /** Lets in who fits, in order. To be called whenever room came. */
  admit(): void {
    if (this.waiters.size === 0) return
    const entered: Array<Waiter> = []
    for (const waiter of this.waiters) {
      if (!this.hasRoom(waiter.n)) break
      this.waiters.delete(waiter)
      waiter.enter()
      entered.push(waiter)
    }
    // Resuming a writer runs it inside this call, and it may write again: the state is whole by now.
    for (const waiter of entered) waiter.resume(admitted)
  }

  /** Turns away who waits, and who would. */
  close(closed: Effect.Effect<never, SinkClosed>): void {
    this.closed = closed
    const waiters = [...this.waiters]
    this.waiters.clear()
    for (const waiter of waiters) waiter.resume(closed)
  }
}
