/** Probes on the edges of a graph: what was written over each edge, when, and how it ended. It knows no part of the library. */
import { Cause, Effect, Exit, type Fiber } from "effect"
import { EventSink } from "effect-events"
import { WriteHalves } from "../../src/internal/sink.ts"

/** A written event: `n` tells it apart, and grows in each writer. The id is what the log may name. */
export interface Event {
  readonly id: string
  readonly n: number
  readonly writer: number
}

/** Any sink of events: what it fails with is looked at when it does. */
export type AnySink = EventSink.EventSink<Event, unknown>

export type Outcome = "running" | "committed" | "failed" | "closed" | "died" | "interrupted"

export interface Attempt {
  readonly events: ReadonlyArray<Event>
  readonly begin: number
  end: number
  outcome: Outcome
  /** How many leading events were committed. */
  committed: number
}

/** The order of all that is noted, which virtual time is too coarse for. */
export class Ticks {
  /** The virtual time. */
  now: () => number = () => 0
  private readonly times: Array<number> = [0]
  readonly next = (): number => this.times.push(this.now()) - 1

  /** When it was, in virtual milliseconds. */
  timeOf(tick: number): number {
    return this.times[tick] ?? Infinity
  }
}

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): Outcome => {
  if (Exit.isSuccess(exit)) return "committed"
  const { cause } = exit
  for (const reason of cause.reasons) {
    if (Cause.isFailReason(reason)) return reason.error instanceof EventSink.SinkClosed ? "closed" : "failed"
  }
  return Cause.hasDies(cause) ? "died" : "interrupted"
}

/** From one wrapper, or the writers, to one part. */
export class Edge {
  readonly attempts: Array<Attempt> = []
  readonly name: string
  readonly sink: AnySink
  private readonly ticks: Ticks

  constructor(name: string, ticks: Ticks, to: AnySink) {
    this.name = name
    this.ticks = ticks
    const { writeSome, [WriteHalves]: begin, [EventSink.WriteSync]: writeSync } = to
    // The same sink in everything else: node, pipe and type id are inherited.
    this.sink = Object.assign(Object.create(to) as AnySink, {
      write: (event: Event) =>
        Effect.suspend(() => {
          const attempt = this.begin([event])
          return Effect.onExit(to.write(event), (exit) => Effect.sync(() => this.end(attempt, outcomeOf(exit), 1)))
        }),
      writeSome:
        writeSome &&
        ((events: readonly [Event, ...Array<Event>]) =>
          Effect.suspend(() => {
            const attempt = this.begin([...events])
            return Effect.onExit(writeSome(events), (exit) =>
              Effect.sync(() => this.end(attempt, outcomeOf(exit), Exit.isSuccess(exit) ? exit.value : 0))
            )
          })),
      [EventSink.WriteSync]:
        writeSync &&
        ((event: Event) => {
          const attempt = this.begin([event])
          let outcome: Outcome = "died"
          try {
            const open = writeSync(event)
            outcome = open ? "committed" : "closed"
            return open
          } finally {
            this.end(attempt, outcome, 1)
          }
        }),
      [WriteHalves]:
        begin &&
        ((event: Event, fiber: Fiber.Fiber<unknown, unknown>) => {
          const begun = begin(event, fiber)
          // It is closed: the caller goes on to `write`, which is an attempt of its own.
          if (begun === undefined) return undefined
          const attempt = this.begin([event])
          return {
            effect: begun.effect,
            end: (exit: Exit.Exit<void, unknown>) => {
              const rest = begun.end(exit)
              this.end(attempt, outcomeOf(exit), 1)
              return rest
            }
          }
        })
    })
  }

  private begin(events: ReadonlyArray<Event>): Attempt {
    const attempt: Attempt = { events, begin: this.ticks.next(), end: Infinity, outcome: "running", committed: 0 }
    this.attempts.push(attempt)
    return attempt
  }

  private end(attempt: Attempt, outcome: Outcome, n: number): void {
    attempt.outcome = outcome
    attempt.end = this.ticks.next()
    attempt.committed = outcome === "committed" ? n : 0
  }

  /** When the event was committed, if the last attempt to write it did that. */
  committedAt(n: number): number | undefined {
    const last = this.attempts.findLast(({ events }) => events.some((event) => event.n === n))
    const at = last?.events.findIndex((event) => event.n === n)
    return last !== undefined && at! < last.committed ? last.end : undefined
  }

  /** The committed events in the order in which their writes ended, with when. */
  get committed(): ReadonlyArray<{ readonly event: Event; readonly at: number }> {
    return this.attempts
      .filter(({ outcome }) => outcome === "committed")
      .toSorted((a, b) => a.end - b.end)
      .flatMap(({ committed, end, events }) => events.slice(0, committed).map((event) => ({ event, at: end })))
  }

  /** How many events a part must, and how many it may, have accepted over this edge. */
  get bounds(): readonly [least: number, most: number] {
    let least = 0
    let most = 0
    for (const { committed, events, outcome } of this.attempts) {
      least += committed
      if (outcome === "committed") most += committed
      else if (outcome === "interrupted" || outcome === "running") most += events.length
    }
    return [least, most]
  }
}
