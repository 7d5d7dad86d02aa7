/** What the sides share: loops, counters and clocks. Whatever one side does here, every other side does too. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as References from "effect/References"
import type { Load, Sample } from "./model.ts"
import { quantile } from "./statistics.ts"

/** The event of every row that needs only one: what an event itself costs is in no figure. */
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

  /** Dies unless all that is expected is still to come. */
  missing(n: number): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.left === n ? Effect.void : Effect.die(new Error(`${this.left} still to come, and not ${n}`))
    )
  }

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

/** Starts a watch, which answers with the CPU and the wall time since then, in milliseconds. CPU is all threads'. */
export const stopwatch = (): (() => { readonly cpu: number; readonly wall: number }) => {
  const cpu = process.cpuUsage()
  const start = performance.now()
  return () => {
    const wall = performance.now() - start
    const { system, user } = process.cpuUsage(cpu)
    return { cpu: (system + user) / 1e3, wall }
  }
}

/** What this thread has used, in milliseconds. */
const threadTime = (): number => {
  const { system, user } = process.threadCpuUsage()
  return (system + user) / 1e3
}

/** CPU and wall time, in nanoseconds per event, of a body that handles `load.n` events. */
export const throughput = (load: Load, body: Effect.Effect<void>): Sample =>
  Effect.suspend(() => {
    collect()
    let rounds = 0
    const watch = stopwatch()
    const start = performance.now()
    return Effect.map(
      Effect.whileLoop({
        while: () => rounds === 0 || performance.now() - start < load.millis,
        body: () => body,
        step: () => void rounds++
      }),
      () => {
        const { cpu, wall } = watch()
        const events = rounds * load.n
        return { cpu: (cpu * 1e6) / events, wall: (wall * 1e6) / events }
      }
    )
  })

/** CPU and wall time of one act, in milliseconds. */
export const duration = (act: Effect.Effect<unknown>): Sample =>
  Effect.suspend(() => {
    collect()
    const watch = stopwatch()
    return Effect.map(act, watch)
  })

/**
 * What `duration` gives, and how late the timers of the process were meanwhile, in milliseconds: one is due each
 * millisecond, from the start of the act to the first after its end. Beside that the most CPU time that the thread has
 * used between two of them: a busy machine makes timers late as well.
 */
export const delays = (act: Effect.Effect<unknown>): Sample =>
  Effect.suspend(() => {
    const late: Array<number> = []
    let isOver = false
    let over = () => {}
    let last = 0
    let used = threadTime()
    let longestCpu = 0
    const tick = () => {
      const now = performance.now()
      late.push(Math.max(0, now - last - 1))
      last = now
      const usedNow = threadTime()
      longestCpu = Math.max(longestCpu, usedNow - used)
      used = usedNow
      if (isOver) over()
      else setTimeout(tick, 1)
    }
    const started = Effect.suspend(() => {
      last = performance.now()
      used = threadTime()
      setTimeout(tick, 1)
      return act
    })
    const ended = Effect.callback<void>((resume) => {
      isOver = true
      over = () => resume(Effect.void)
    })
    return Effect.flatMap(duration(started), (figures) =>
      Effect.map(ended, () => ({ ...figures, p99: quantile(late, 0.99), longest: Math.max(...late), longestCpu }))
    )
  })

const oneTurn = Context.make(References.MaxOpsBeforeYield, Number.POSITIVE_INFINITY)

/**
 * Does something without a turn for any other fiber, and then another thing that begins in the same turn: what the first
 * writes to a queue is there when the second begins, even if the sink below is a plain function.
 */
export const inOneTurn = <A>(first: Effect.Effect<unknown>, then: Effect.Effect<A>): Effect.Effect<A> =>
  // Two fibers: the budget of the first ends with it and not before, and what the second makes has the usual one.
  Effect.promise(async () => {
    await Effect.runPromiseWith(oneTurn)(first)
    return Effect.runPromise(then)
  })

/**
 * Bytes in use after collections, as many as still find something. Of what is external only buffers count, and not what
 * Node keeps of the modules' sources.
 */
export const bytesInUse = (): number => {
  let least = Number.POSITIVE_INFINITY
  for (let vain = 0; vain < 2;) {
    collect()
    const { arrayBuffers, heapUsed } = process.memoryUsage()
    vain = heapUsed + arrayBuffers < least ? 0 : vain + 1
    least = Math.min(least, heapUsed + arrayBuffers)
  }
  return least
}

/** Waits for ever, and keeps nothing alive. */
export const stuck: Effect.Effect<never> = Effect.callback<never>(() => {})
