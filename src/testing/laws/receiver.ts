/** The sink that the law suite puts at the bottom of every part: it misbehaves on demand and remembers everything. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { EventSink } from "../../EventSink.ts"
import { makeAccount, makeNode } from "../../internal/node.ts"
import { makeSink, SinkClosed } from "../../internal/sink.ts"
import { TestError } from "../TestSink.ts"

/**
 * What a part is made over in the law suite: a sink that can fail, in the forms that a part may need. What all of them
 * take is one record.
 *
 * @category models
 * @since 0.1.0
 */
export interface Receiver<in A> extends EventSink<A, TestError> {
  /** The same for parts that take reliable sinks only: where the other fails, it dies. */
  readonly reliable: EventSink<A>
  /** The same as a sink that takes groups. */
  readonly group: EventSink<A, TestError> & {
    readonly writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, TestError | SinkClosed>
  }
  /** The same as a plain function, which cannot hang; where the others fail, it throws. */
  readonly record: (event: A) => void
}

/**
 * How the receiver takes one write. `hang` waits to be let go, `refuse` does so uninterruptibly, `interrupt` ends in an
 * interruption, `kill` interrupts the fiber it runs on, a number is how many milliseconds it takes.
 */
export type Mode = "commit" | "fail" | "die" | "interrupt" | "kill" | "hang" | "refuse" | "closed" | number

type Taken = Effect.Effect<void, TestError | SinkClosed>

/** The receiver and its record. Events are known by their labels: what the suite wrote. */
export class Record {
  /** What it committed, in order. */
  readonly received: Array<unknown> = []
  /** What it is committing now. */
  readonly inFlight: Array<unknown> = []
  /** When each attempt began, in virtual milliseconds. */
  readonly attempts: Array<number> = []
  /** How each attempt is taken. */
  mode: (attempt: number) => Mode = () => "commit"
  /** Runs before each attempt, inside it. */
  before: (label: unknown) => Effect.Effect<unknown> = () => Effect.void
  /** How often it was released, and what was going on when it was. */
  releases = 0
  inFlightAtRelease = 0
  receivedAtRelease = 0
  attemptsAtRelease = 0

  readonly sink: Receiver<unknown>
  private readonly label: (event: unknown) => unknown
  private readonly now: () => number
  private readonly name: string
  private readonly gate = Latch.makeUnsafe()

  constructor(name: string, label: (event: unknown) => unknown, now: () => number) {
    this.name = name
    this.label = label
    this.now = now
    const node = makeNode({ kind: "Receiver", name, account: makeAccount() })
    const write = (event: unknown) => this.take([event])
    const group = makeSink<unknown, TestError>({
      node,
      write,
      writeSome: (events) => Effect.as(this.take(events), events.length)
    })
    this.sink = Object.assign(makeSink<unknown, TestError>({ node, write }), {
      reliable: makeSink<unknown, never>({
        node,
        write: (event) => Effect.catchTag(write(event), "TestError", (error) => Effect.die(error))
      }),
      group: Object.assign(group, { writeSome: group.writeSome! }),
      record: (event: unknown) => this.takeAtOnce(event)
    })
  }

  /** Lets go of every write that hangs, now and later. */
  release(): void {
    this.gate.openUnsafe()
  }

  /** Notes that the scope released it: whatever it gets from here on comes too late. */
  readonly released = Effect.sync(() => {
    this.releases++
    if (this.releases > 1) return
    this.inFlightAtRelease = this.inFlight.length
    this.receivedAtRelease = this.received.length
    this.attemptsAtRelease = this.attempts.length
  })

  private begin(): Mode {
    this.attempts.push(this.now())
    return this.releases > 0 ? "closed" : this.mode(this.attempts.length)
  }

  private take(events: NonEmptyReadonlyArray<unknown>): Taken {
    return Effect.suspend(() => {
      const labels = events.map((event) => this.label(event))
      const mode = this.begin()
      this.inFlight.push(...labels)
      return Effect.andThen(this.before(labels[0]), this.obey(mode)).pipe(
        Effect.map(() => void this.received.push(...labels)),
        Effect.onExit(() =>
          Effect.sync(() => {
            for (const label of labels) this.inFlight.splice(this.inFlight.indexOf(label), 1)
          })
        )
      )
    })
  }

  /** Takes what was read from a stream: it is committed at once, and then the reader takes its time. */
  read(events: ReadonlyArray<unknown>): Effect.Effect<unknown> {
    return Effect.suspend(() => {
      const labels = events.map((event) => this.label(event))
      const mode = this.begin()
      this.received.push(...labels)
      const pause = mode === "hang" || mode === "refuse" || typeof mode === "number" ? this.obey(mode) : Effect.void
      return Effect.andThen(this.before(labels[0]), Effect.exit(pause))
    })
  }

  private takeAtOnce(event: unknown): void {
    const mode = this.begin()
    if (mode !== "commit" && mode !== "hang" && typeof mode === "string") {
      throw new TestError({ attempt: this.attempts.length })
    }
    this.received.push(this.label(event))
  }

  private obey(mode: Mode): Taken {
    const attempt = this.attempts.length
    switch (mode) {
      case "commit":
        return Effect.void
      case "fail":
        return Effect.fail(new TestError({ attempt }))
      case "die":
        return Effect.die(new Error(`attempt ${attempt} died`))
      case "interrupt":
        return Effect.interrupt
      case "kill":
        return Effect.withFiber((fiber) => {
          fiber.interruptUnsafe()
          return Effect.yieldNow
        })
      case "hang":
        return Effect.asVoid(this.gate.await)
      case "refuse":
        return Effect.uninterruptible(Effect.asVoid(this.gate.await))
      case "closed":
        return Effect.fail(new SinkClosed({ sink: this.name }))
      default:
        return Effect.sleep(mode)
    }
  }
}
