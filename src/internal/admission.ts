import * as Effect from "effect/Effect"
import type { SinkClosed } from "./sink.ts"

interface Waiter {
  readonly n: number
  readonly offer: () => void
  readonly resume: (effect: Effect.Effect<void, SinkClosed>) => void
  /** The writer has entered or was interrupted. */
  isGone: boolean
}

/** Gone waiters are removed from the array once there are this many, and more of them than of the others. */
const sweep = 1024

/**
 * Writers that wait for room in a bounded part, in the order of their arrival. They wait in front of the Effect `Queue` and
 * not in it: a `Queue` that ends admits the writers that wait, and these must fail. A `Semaphore` would let small writes
 * overtake large ones.
 *
 * `room` is how many events fit now. A batch larger than any room enters when `isEmpty`: it would wait for ever.
 */
export const makeAdmission = (room: () => number, isEmpty: () => boolean) => {
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
  const first = () => {
    while (waiters[head]?.isGone === true) head++
    return waiters[head]
  }
  /** Admits the writers that fit, in order. To be called after room was made. */
  const admit = () => {
    if (waiting === 0) return
    const entered: Array<readonly [waiter: Waiter, effect: Effect.Effect<void>]> = []
    for (let waiter = first(); waiter !== undefined && hasRoom(waiter.n); waiter = first()) {
      leave(waiter)
      try {
        waiter.offer()
        entered.push([waiter, Effect.void])
      } catch (defect) {
        // What a key's comparison throws is the writer's own: it must not end the drainer that has made the room.
        entered.push([waiter, Effect.die(defect)])
      }
    }
    // A resumed writer runs inside this call and may write again: the state must be whole by now.
    for (const [{ resume }, effect] of entered) resume(effect)
  }
  return {
    admit,
    /** Whether `n` events may be offered now without passing writers that wait. */
    fits: (n: number) => waiting === 0 && hasRoom(n),
    /**
     * Waits until `n` events fit, which `offer` then adds as a whole; what it throws is a defect of the wait. An interrupted
     * writer waits no more.
     */
    wait: (n: number, offer: () => void) =>
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
    /** Fails the writers that wait now and those that would wait later. */
    close: (effect: Effect.Effect<never, SinkClosed>) => {
      closed = effect
      const turnedAway = waiters.slice(head).filter(leave)
      for (const { resume } of turnedAway) resume(effect)
    }
  }
}
