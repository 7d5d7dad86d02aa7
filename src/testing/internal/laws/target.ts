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

/** How a receiver takes its writes: all alike, one after the other and then as the last, or each attempt from 1. */
export type Modes = Mode | ReadonlyArray<Mode> | ((attempt: number) => Mode)

/** A receiver and its record. Events are identified by their labels. */
export type Target = ReturnType<typeof makeTarget>

export const makeTarget = (name: string, label: (event: unknown) => unknown, now: () => number) => {
  const gate = Latch.makeUnsafe()
  const target = {
    /** What it committed, in order. */
    received: [] as Array<unknown>,
    /** What it is committing now. */
    inFlight: [] as Array<unknown>,
    /** When each attempt began, in virtual milliseconds. */
    attempts: [] as Array<number>,
    /** The events whose attempts met a defect or an interruption. */
    troubled: [] as Array<unknown>,
    /** What was in flight, received and attempted each time that the scope released it. */
    releases: [] as Array<{ readonly inFlight: number; readonly received: number; readonly attempts: number }>,
    mode: "commit" as Modes,
    /** Runs before each attempt, inside it. */
    before: (_label: unknown): Effect.Effect<unknown> => Effect.void
  }
  const begin = (labels: ReadonlyArray<unknown>): Mode => {
    const { attempts, releases, troubled } = target
    attempts.push(now())
    const mode = releases.length > 0 ? "closed" : modeAt(target.mode, attempts.length)
    if (mode === "die" || mode === "interrupt" || mode === "kill") troubled.push(...labels)
    return mode
  }
  const obey = (mode: Mode): Effect.Effect<unknown, TestError | SinkClosed> => {
    if (typeof mode === "number") return Effect.sleep(mode)
    const attempt = target.attempts.length
    return {
      commit: Effect.void,
      fail: Effect.fail(new TestError({ attempt })),
      die: Effect.die(new Error(`attempt ${attempt} died`)),
      interrupt: Effect.interrupt,
      kill: Effect.withFiber((fiber) => (fiber.interruptUnsafe(), Effect.yieldNow)),
      hang: gate.await,
      refuse: Effect.uninterruptible(gate.await),
      closed: Effect.fail(new SinkClosed({ sink: name }))
    }[mode]
  }
  const take = (events: NonEmptyReadonlyArray<unknown>) =>
    Effect.suspend(() => {
      const { before, inFlight, received } = target
      const labels = events.map(label)
      const mode = begin(labels)
      inFlight.push(...labels)
      const done = () => labels.forEach((label) => inFlight.splice(inFlight.indexOf(label), 1))
      return Effect.andThen(before(labels[0]), obey(mode)).pipe(
        Effect.map(() => (received.push(...labels), events.length)),
        Effect.onExit(() => Effect.sync(done))
      )
    })
  const takeAtOnce = (event: unknown): void => {
    const mode = begin([label(event)])
    const isTaken = mode === "commit" || mode === "hang" || typeof mode === "number"
    if (!isTaken) throw new TestError({ attempt: target.attempts.length })
    target.received.push(label(event))
  }
  const node = makeNode({ kind: "Receiver", name, account: makeAccount() })
  const write = (event: unknown) => Effect.asVoid(take([event]))
  const reliableWrite = (event: unknown) => Effect.catchTag(write(event), "TestError", (error) => Effect.die(error))
  const sink: Receiver<unknown> = Object.assign(makeSink<unknown, TestError>({ node, write }), {
    reliable: makeSink<unknown, never>({ node, write: reliableWrite }),
    batch: makeSink<unknown, TestError>({ node, write, writeSome: take }),
    record: takeAtOnce
  })
  return Object.assign(target, {
    sink,
    /** The scope releases it: what it gets from here on comes too late. */
    released: Effect.sync(() => {
      const { attempts, inFlight, received, releases } = target
      releases.push({ inFlight: inFlight.length, received: received.length, attempts: attempts.length })
    }),
    /** Ends every write that hangs, now and later. */
    release: () => void gate.openUnsafe(),
    /** Takes what was read from a stream: it is committed at once, and then the reader takes its time. */
    read: (events: ReadonlyArray<unknown>) =>
      Effect.suspend(() => {
        const labels = events.map(label)
        const mode = begin(labels)
        target.received.push(...labels)
        const pause = mode === "hang" || mode === "refuse" || typeof mode === "number" ? obey(mode) : Effect.void
        return Effect.andThen(target.before(labels[0]), Effect.exit(pause))
      })
  })
}

// internals

const modeAt = (modes: Modes, attempt: number): Mode => {
  if (typeof modes === "function") return modes(attempt)
  return typeof modes === "object" ? modes[Math.min(attempt, modes.length) - 1]! : modes
}
