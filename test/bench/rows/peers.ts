import * as Effect from "effect/Effect"
import { event, Meter, throughput } from "../measure.ts"
import type { Side } from "../model.ts"

/** Loaded only by the processes that measure it. */
export const rxjs = Effect.promise(() => import("rxjs"))

/** A new RxJS `Subject` of strings. */
export const subject = Effect.map(rxjs, ({ Subject }) => new Subject<string>())

export const rxjsLabel = "RxJS Subject (synchronous, keeps no account)"

/** A subscriber that counts, called by `next` as often as the others write. */
export const rxjsSide: Side = {
  label: rxjsLabel,
  run: (load) =>
    Effect.map(subject, (subject) => {
      const meter = new Meter()
      subject.subscribe(meter.count)
      const writes = Effect.sync(() => {
        for (let i = 0; i < load.n; i++) subject.next(event)
      })
      return throughput(load, meter.delivered(load.n, writes))
    })
}

/**
 * A fiber that does the same thing again and again, as Effect's own modules write it. `Effect.forever` lets other fibers
 * run after every turn unless `disableYield` is set, which makes a loop on `take` ten times as slow.
 */
export const loop = <E>(turn: Effect.Effect<void, E>): Effect.Effect<never, E> =>
  Effect.forever(turn, { disableYield: true })
