/** What the sides share: loops, counters and clocks. Whatever one side does here, every other side does too. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Load, Sample } from "./model.ts"

/** The event of every row that needs only one: what an event itself costs is nobody's cost. */
export const event = "event"

/** Runs an effect `n` times: the cheapest loop that Effect has. */
export const times = <E, R>(n: number, body: (i: number) => Effect.Effect<unknown, E, R>): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    let i = 0
    return Effect.whileLoop({ while: () => i < n, body: () => body(i++), step: () => {} })
  })

/** A sink that counts, and opens when the last of the expected events has come. */
export class Meter {
  private left = 0
  private readonly latch = Latch.makeUnsafe()
  readonly done = this.latch.await

  expect(n: number): void {
    this.left = n
    this.latch.closeUnsafe()
  }

  readonly count = (_event?: unknown): void => {
    if (--this.left === 0) this.latch.openUnsafe()
  }

  readonly countAll = (events: ReadonlyArray<unknown>): void => {
    for (const event of events) this.count(event)
  }

  /** The same as an effect, made anew for each event as any effectful sink's is. */
  readonly counted = (event?: unknown): Effect.Effect<void> => Effect.sync(() => this.count(event))

  /** Does something that leads to `n` deliveries, and waits for the last. */
  delivered(n: number, act: Effect.Effect<unknown, unknown>): Effect.Effect<void> {
    return Effect.orDie(
      Effect.suspend(() => {
        this.expect(n)
        return Effect.andThen(act, this.done)
      })
    )
  }
}

/** The collector, which `--expose-gc` gives. */
export const collect = (): void => {
  const { gc } = globalThis as { readonly gc?: () => void }
  gc?.()
}

/** Wall and CPU time, in nanoseconds per event, of a body that handles `load.n` events. */
export const throughput = (load: Load, body: Effect.Effect<void>): Sample =>
  Effect.suspend(() => {
    collect()
    let rounds = 0
    const cpu = process.cpuUsage()
    const start = performance.now()
    return Effect.map(
      Effect.whileLoop({
        while: () => rounds === 0 || performance.now() - start < load.millis,
        body: () => body,
        step: () => void rounds++
      }),
      () => {
        const wall = performance.now() - start
        const { system, user } = process.cpuUsage(cpu)
        const events = rounds * load.n
        return { wall: (wall * 1e6) / events, cpu: ((system + user) * 1e3) / events }
      }
    )
  })

/** Wall and CPU time of one act, in milliseconds. */
export const duration = (act: Effect.Effect<unknown>): Sample =>
  Effect.suspend(() => {
    collect()
    const cpu = process.cpuUsage()
    const start = performance.now()
    return Effect.map(act, () => {
      const wall = performance.now() - start
      const { system, user } = process.cpuUsage(cpu)
      return { wall, cpu: (system + user) / 1e3 }
    })
  })

/** Bytes in use after a collection. */
export const bytesInUse = (): number => {
  collect()
  collect()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

/** Waits for ever, and keeps nothing alive. */
export const stuck: Effect.Effect<never> = Effect.callback<never>(() => {})
