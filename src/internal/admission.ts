import * as Effect from "effect/Effect"
import type { SinkClosed } from "./sink.ts"

interface Waiter {
  readonly n: number
  readonly offer: () => void
  readonly resume: (effect: Effect.Effect<void, SinkClosed>) => void
  /** The writer has entered or was interrupted. */
  isGone: boolean
}

/** Writers that wait for room in a bounded part, in the order of their arrival. */
export interface Admission {
  /** Whether `n` events may be offered now without passing writers that wait. */
  readonly fits: (n: number) => boolean
  /**
   * Waits until `n` events fit, which `offer` then adds as a whole; what it throws is a defect of the wait. An interrupted
   * writer waits no more.
   */
  readonly wait: (n: number, offer: () => void) => Effect.Effect<void, SinkClosed>
  /** Admits the writers that fit, in order. To be called after room was made. */
  readonly admit: () => void
  /** Fails the writers that wait now and those that would wait later. */
  readonly close: (closed: Effect.Effect<never, SinkClosed>) => void
}

/** Gone waiters are removed from the array once there are this many, and more of them than of the others. */
const sweep = 1024

/**
 * Writers wait in front of the Effect `Queue` and not in it: a `Queue` that ends admits the writers that wait, and these
 * must fail. A `Semaphore` would let small writes overtake large ones.
 *
 * `room` is how many events fit now. A batch larger than any room enters when `isEmpty`: it would wait for ever.
 */
export const makeAdmission = (room: () => number, isEmpty: () => boolean): Admission => {
  let waiters: Array<Waiter> = []
  let head = 0
  let waiting = 0
  let closed: Effect.Effect<never, SinkClosed> | undefined

  const hasRoom = (n: number) => n <= room() || isEmpty()
  const leave = (waiter: Waiter) => {
    if (waiter.isGone) return false
    waiter.isGone = true
    waiting--
    // Also behind a writer that waits for long: what was interrupted must not stay in memory.
    const gone = waiters.length - waiting
    if (waiting === 0 || (gone >= sweep && gone * 2 > waiters.length)) {
      waiters = waiters.filter(({ isGone }) => !isGone)
      head = 0
    }
    return true
  }
  const first = (): Waiter | undefined => {
    while (head < waiters.length && waiters[head]!.isGone) head++
    return waiters[head]
  }
  const admit = () => {
    if (waiting === 0) return
    const entered: Array<Waiter> = []
    const refused: Array<{ readonly waiter: Waiter; readonly defect: unknown }> = []
    for (let waiter = first(); waiter !== undefined && hasRoom(waiter.n); waiter = first()) {
      leave(waiter)
      try {
        waiter.offer()
        entered.push(waiter)
      } catch (defect) {
        // What a key's comparison throws is the writer's own: it must not end the drainer that has made the room.
        refused.push({ waiter, defect })
      }
    }
    // A resumed writer runs inside this call and may write again: the state must be whole by now.
    for (const waiter of entered) waiter.resume(Effect.void)
    for (const { defect, waiter } of refused) waiter.resume(Effect.die(defect))
  }
  return {
    admit,
    fits: (n) => waiting === 0 && hasRoom(n),
    wait: (n, offer) =>
      Effect.callback<void, SinkClosed>((resume) => {
        if (closed !== undefined) return resume(closed)
        const waiter: Waiter = { n, offer, resume, isGone: false }
        waiters.push(waiter)
        waiting++
        admit()
        return Effect.sync(() => {
          // The interrupted writer may have been too large for room that the writers behind it fit in.
          if (leave(waiter)) admit()
        })
      }),
    close: (effect) => {
      closed = effect
      const turnedAway = waiters.slice(head).filter(leave)
      for (const { resume } of turnedAway) resume(effect)
    }
  }
}
