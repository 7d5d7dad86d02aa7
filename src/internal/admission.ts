import * as Effect from "effect/Effect"
import { type Arrival, type Arrivals, makeArrivals } from "./arrivals.ts"
import type { SinkClosed } from "./sink.ts"

interface Waiter extends Arrival {
  readonly n: number
  readonly offer: () => void
  readonly resume: (effect: Effect.Effect<void, SinkClosed>) => void
}

/**
 * Writers that wait for room in a bounded part, in the order of their arrival. They wait in front of the Effect `Queue` and
 * not in it: a `Queue` that ends admits the writers that wait, and these must fail. A `Semaphore` would let small writes
 * overtake large ones.
 *
 * `room` is how many events fit now. A batch larger than any room enters when `isEmpty`: it would wait for ever.
 */
export const makeAdmission = (room: () => number, isEmpty: () => boolean) => {
  /** There is none in a part that never was full. */
  let waiters: Arrivals<Waiter> | undefined
  let closed: Effect.Effect<never, SinkClosed> | undefined

  const hasRoom = (n: number) => n <= room() || isEmpty()
  /** Admits the writers that fit, in order. To be called after room was made. */
  const admit = () => {
    if (waiters === undefined || waiters.size() === 0) return
    const entered: Array<readonly [waiter: Waiter, effect: Effect.Effect<void>]> = []
    for (let one = waiters.first(); one !== undefined && hasRoom(one.n); one = waiters.first()) {
      waiters.leave(one)
      try {
        one.offer()
        entered.push([one, Effect.void])
      } catch (defect) {
        // What a key's comparison throws is the writer's own: it must not end the drainer that has made the room.
        entered.push([one, Effect.die(defect)])
      }
    }
    // A resumed writer runs inside this call and may write again: the state must be whole by now.
    for (const [{ resume }, effect] of entered) resume(effect)
  }
  return {
    admit,
    /** Whether `n` events may be offered now without passing writers that wait. */
    fits: (n: number) => (waiters === undefined || waiters.size() === 0) && hasRoom(n),
    /**
     * Waits until `n` events fit, which `offer` then adds as a whole; what it throws is a defect of the wait. An interrupted
     * writer waits no more.
     */
    wait: (n: number, offer: () => void) =>
      Effect.callback<void, SinkClosed>((resume) => {
        if (closed !== undefined) return resume(closed)
        const waiter: Waiter = { n, offer, resume, hasLeft: false }
        const all = (waiters ??= makeArrivals<Waiter>())
        all.add(waiter)
        admit()
        return Effect.sync(() => {
          // The interrupted writer may have been too large for room that the writers behind it fit in.
          if (all.leave(waiter)) admit()
        })
      }),
    /** Fails the writers that wait now and those that would wait later. */
    close: (effect: Effect.Effect<never, SinkClosed>) => {
      closed = effect
      for (let one = waiters?.first(); one !== undefined; one = waiters?.first()) {
        waiters?.leave(one)
        one.resume(effect)
      }
    }
  }
}
