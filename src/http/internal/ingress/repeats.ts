/**
 * The ids that were written within a window, so that a repeat is not written again. An id counts from when its write
 * committed; until then it is claimed by one write, and whoever comes with it waits for that one's end.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

/** Writes the events at these places, in order, and tells of each that was committed. */
export type WriteAt<E> = (places: ReadonlyArray<number>, committed: (n: number) => void) => Effect.Effect<void, E>

export class Repeats {
  private readonly window: number
  private readonly max: number
  /** When each id is forgotten, in the order in which they were committed. */
  private readonly known = new Map<string, number>()
  private readonly claimed = new Map<string, Latch.Latch>()

  /** Ids are kept for `window` milliseconds, and at most `max` of them: the oldest go first. */
  constructor(window: number, max: number) {
    this.window = window
    this.max = max
  }

  /**
   * Writes those of a request's events whose id is new, and answers how many were repeats. No two writes have an id at
   * once: while one of them is claimed this waits, with no claim of its own, so that two requests never wait for each
   * other. What a failed write committed counts, and the rest is free again.
   */
  once<E>(ids: ReadonlyArray<string>, write: WriteAt<E>): Effect.Effect<number, E> {
    return Effect.uninterruptibleMask((restore) =>
      Clock.clockWith((clock) => {
        for (const id of ids) {
          const claim = this.claimed.get(id)
          if (claim !== undefined) return restore(Effect.flatMap(claim.await, () => this.once(ids, write)))
        }
        const now = clock.currentTimeMillisUnsafe()
        this.forget(now)
        const claim = Latch.makeUnsafe()
        const places: Array<number> = []
        ids.forEach((id, place) => {
          if (this.isKnown(id, now) || this.claimed.has(id)) return
          this.claimed.set(id, claim)
          places.push(place)
        })
        if (places.length === 0) return Effect.succeed(ids.length)
        let committed = 0
        const settle = Effect.sync(() => {
          this.settle(
            places.map((place) => ids[place]!),
            committed,
            clock.currentTimeMillisUnsafe()
          )
          claim.openUnsafe()
        })
        return restore(Effect.suspend(() => write(places, (n) => void (committed += n)))).pipe(
          Effect.onExit(() => settle),
          Effect.as(ids.length - places.length)
        )
      })
    )
  }

  private isKnown(id: string, now: number): boolean {
    return (this.known.get(id) ?? Number.NEGATIVE_INFINITY) > now
  }

  private settle(ids: ReadonlyArray<string>, committed: number, now: number): void {
    ids.forEach((id, i) => {
      this.claimed.delete(id)
      if (i >= committed) return
      // Last in the order, also if it was known once.
      this.known.delete(id)
      this.known.set(id, now + this.window)
    })
    this.forget(now)
  }

  /** Forgets what is too old, and the oldest of what is too much. */
  private forget(now: number): void {
    for (const [id, until] of this.known) {
      if (until > now && this.known.size <= this.max) return
      this.known.delete(id)
    }
  }
}
