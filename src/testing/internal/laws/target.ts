/** The receiver that the laws of sinks put at the bottom of every part: it misbehaves on demand and records everything. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { makeAccount, makeNode } from "../../../internal/node.ts"
import { makeSink, SinkClosed } from "../../../internal/sink.ts"
import { TestError } from "../testError.ts"
import type { Receiver } from "./sinkSubject.ts"

/**
 * How a receiver takes one write. `hang` waits to be released, `refuse` does so uninterruptibly, `interrupt` ends in an
 * interruption, `kill` interrupts the fiber it runs on, a number is how many milliseconds it takes.
 */
export type Mode = "commit" | "fail" | "die" | "interrupt" | "kill" | "hang" | "refuse" | "closed" | number

/** A receiver and its record. Events are identified by their labels. */
export interface Target {
  readonly sink: Receiver<unknown>
  /** What it committed, in order. */
  readonly received: Array<unknown>
  /** What it is committing now. */
  readonly inFlight: Array<unknown>
  /** When each attempt began, in virtual milliseconds. */
  readonly attempts: Array<number>
  /** The events whose attempts met a defect or an interruption. */
  readonly troubled: Array<unknown>
  /** How each attempt is taken. */
  mode: (attempt: number) => Mode
  /** Runs before each attempt, inside it. */
  before: (label: unknown) => Effect.Effect<unknown>
  /** What was in flight, received and attempted each time that the scope released it. */
  readonly releases: Array<{ readonly inFlight: number; readonly received: number; readonly attempts: number }>
  /** The scope releases it: what it gets from here on comes too late. */
  readonly released: Effect.Effect<void>
  /** Ends every write that hangs, now and later. */
  readonly release: () => void
  /** Takes what was read from a stream: it is committed at once, and then the reader takes its time. */
  readonly read: (events: ReadonlyArray<unknown>) => Effect.Effect<unknown>
}

type Taken = Effect.Effect<unknown, TestError | SinkClosed>

export const makeTarget = (name: string, label: (event: unknown) => unknown, now: () => number): Target => {
  const gate = Latch.makeUnsafe()
  const begin = (labels: ReadonlyArray<unknown>): Mode => {
    target.attempts.push(now())
    const mode = target.releases.length > 0 ? "closed" : target.mode(target.attempts.length)
    if (mode === "die" || mode === "interrupt" || mode === "kill") target.troubled.push(...labels)
    return mode
  }
  const obey = (mode: Mode): Taken => {
    if (typeof mode === "number") return Effect.sleep(mode)
    const attempt = target.attempts.length
    return {
      commit: Effect.void,
      fail: Effect.fail(new TestError({ attempt })),
      die: Effect.die(new Error(`attempt ${attempt} died`)),
      interrupt: Effect.interrupt,
      kill: Effect.withFiber((fiber) => {
        fiber.interruptUnsafe()
        return Effect.yieldNow
      }),
      hang: gate.await,
      refuse: Effect.uninterruptible(gate.await),
      closed: Effect.fail(new SinkClosed({ sink: name }))
    }[mode]
  }
  const take = (events: NonEmptyReadonlyArray<unknown>) =>
    Effect.suspend(() => {
      const labels = events.map(label)
      const mode = begin(labels)
      target.inFlight.push(...labels)
      return Effect.andThen(target.before(labels[0]), obey(mode)).pipe(
        Effect.map(() => void target.received.push(...labels)),
        Effect.onExit(() =>
          Effect.sync(() => {
            for (const label of labels) target.inFlight.splice(target.inFlight.indexOf(label), 1)
          })
        )
      )
    })
  const read = (events: ReadonlyArray<unknown>) =>
    Effect.suspend(() => {
      const labels = events.map(label)
      const mode = begin(labels)
      target.received.push(...labels)
      const pause = mode === "hang" || mode === "refuse" || typeof mode === "number" ? obey(mode) : Effect.void
      return Effect.andThen(target.before(labels[0]), Effect.exit(pause))
    })
  const takeAtOnce = (event: unknown): void => {
    const mode = begin([label(event)])
    if (mode !== "commit" && mode !== "hang" && typeof mode === "string") {
      throw new TestError({ attempt: target.attempts.length })
    }
    target.received.push(label(event))
  }

  const node = makeNode({ kind: "Receiver", name, account: makeAccount() })
  const write = (event: unknown) => take([event])
  const sink: Receiver<unknown> = Object.assign(makeSink<unknown, TestError>({ node, write }), {
    reliable: makeSink<unknown, never>({
      node,
      write: (event) => Effect.catchTag(write(event), "TestError", (error) => Effect.die(error))
    }),
    batch: makeSink<unknown, TestError>({
      node,
      write,
      writeSome: (events) => Effect.as(take(events), events.length)
    }),
    record: takeAtOnce
  })
  const target: Target = {
    sink,
    received: [],
    inFlight: [],
    attempts: [],
    troubled: [],
    mode: () => "commit",
    before: () => Effect.void,
    releases: [],
    released: Effect.sync(() => {
      const { attempts, inFlight, received, releases } = target
      releases.push({ inFlight: inFlight.length, received: received.length, attempts: attempts.length })
    }),
    release: () => void gate.openUnsafe(),
    read
  }
  return target
}
