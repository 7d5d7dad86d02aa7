/** One scenario of the law suite: a part over a receiver, in virtual time, and everything that can be seen of them. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import type * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Dropped } from "../../Dropped.ts"
import type { SinkNode } from "../../EventSink.ts"
import { sinkClosedOf } from "../../internal/sink.ts"
import { Record } from "./receiver.ts"
import type { Remaining, Part, Subject } from "./subject.ts"

/** What a close may take beyond its deadline: `onDropped` has 5 seconds of its own in each part. */
const reportLimit = 5_000

/** A call that was begun, and what became of it. */
export class Call<out A> {
  readonly fiber: Fiber.Fiber<A, unknown>
  /** How it ended, if it has. */
  exit: Exit.Exit<A, unknown> | undefined = undefined
  /** When it ended, in virtual milliseconds. */
  ended = Number.POSITIVE_INFINITY

  constructor(fiber: Fiber.Fiber<A, unknown>, now: () => number) {
    this.fiber = fiber
    fiber.addObserver((exit) => {
      this.exit = exit
      this.ended = now()
    })
  }

  /** Whether it failed with `SinkClosed`. */
  get isClosed(): boolean {
    return this.exit !== undefined && Exit.isFailure(this.exit) && sinkClosedOf(this.exit.cause) !== undefined
  }

  /** What became of it, in words. */
  get outcome(): string {
    if (this.exit === undefined) return "has not ended"
    return Exit.isSuccess(this.exit) ? "succeeded" : `failed (${Cause.pretty(this.exit.cause).split("\n")[0]})`
  }
}

/** One write of an event or of a group. */
export interface Write {
  readonly labels: ReadonlyArray<unknown>
  /** How many leading events were acknowledged. */
  accepted: number
  readonly call: Call<unknown>
}

/** An event that the part reported as given up, or returned from `shutdown`. */
export interface Left {
  readonly label: unknown
  readonly inFlight: boolean
}

/** A line of the log. */
export interface Line {
  readonly level: string
  readonly text: string
}

export class World {
  readonly subject: Subject
  readonly random: Random.Random
  readonly receiver: Record
  readonly writes: Array<Write> = []
  readonly dropped: Array<Left & { readonly reason: string }> = []
  readonly logs: ReadonlyArray<Line>
  readonly evidence: Array<string> = []
  /** The first list that a `shutdown` returned. */
  returned: ReadonlyArray<Left> = []
  /** What a durable part kept when it was last looked for. */
  kept: Remaining<unknown> = { waiting: [], deadLetters: [] }
  /** What `onDropped` does with a report. */
  onDropped: Effect.Effect<void> = Effect.void
  /** Fibers of the part that are running. */
  live = 0
  part!: Part
  private readonly scope = Scope.makeUnsafe()
  private readonly records: Array<Record> = []
  private nodes: ReadonlySet<SinkNode> = new Set()
  private readonly context: Context.Context<never>
  private readonly clock: Clock.Clock

  constructor(
    subject: Subject,
    logs: ReadonlyArray<Line>,
    random: Random.Random,
    context: Context.Context<never>,
    clock: Clock.Clock
  ) {
    this.subject = subject
    this.logs = logs
    this.random = random
    this.context = context
    this.clock = clock
    this.receiver = this.record("receiver")
  }

  get now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  /** Another receiver, for a part with many. */
  record(name: string): Record {
    const record = new Record(name, this.subject.label, () => this.now)
    this.records.push(record)
    return record
  }

  violate(what: string): void {
    this.evidence.push(what)
  }

  expect(holds: boolean, what: () => string): void {
    if (!holds) this.violate(what())
  }

  /** A whole number from `min` to `max`. */
  pick(min: number, max: number): number {
    return min + Math.floor(this.random.nextDoubleUnsafe() * (max - min + 1))
  }

  /** Makes the part in `scope`, above a receiver. */
  make(receiver: Record, scope: Scope.Scope): Effect.Effect<Part, unknown> {
    const onDropped = ({ event, reason }: Dropped<unknown, unknown>) =>
      Effect.map(this.onDropped, () => {
        const inFlight = "inFlight" in reason && reason.inFlight
        this.dropped.push({ label: this.subject.label(event), inFlight, reason: reason._tag })
      })
    return this.subject.make(receiver.sink, onDropped).pipe(Scope.provide(scope), (make) => this.watched(make))
  }

  /** The part of this scenario, with its receiver, in one scope. */
  readonly open: Effect.Effect<void, unknown> = Effect.suspend(() =>
    Effect.andThen(
      Scope.addFinalizer(this.scope, this.receiver.released),
      Effect.map(this.make(this.receiver, this.scope), (part) => {
        this.part = part
        this.look()
        if (this.subject.hasStream) this.readStream()
      })
    )
  )

  /** The nodes that can be seen now belong to the account at the end. */
  look(): void {
    const nodes = new Set(this.nodes)
    const visit = (node: SinkNode): void => {
      if (nodes.has(node)) return
      nodes.add(node)
      for (const next of node.downstream()) visit(next.node)
    }
    visit(this.part.sink.node)
    this.nodes = nodes
  }

  get counts() {
    return [...this.nodes].filter(({ kind }) => kind !== "Receiver").map((node) => node.health(this.now))
  }

  private readStream(): void {
    const read = Stream.runForEachArray(this.part.stream, (events) => this.receiver.read(events))
    Effect.runForkWith(this.context)(read)
  }

  /** Lets the fibers that an effect forks be counted. */
  private watched<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.provideService(effect, Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => void this.live++,
      recordFiberEnd: () => void this.live--
    })
  }

  /** Begins a call, in a fiber that is not the part's. */
  call<A>(effect: Effect.Effect<A, unknown>): Call<A> {
    return new Call(Effect.runForkWith(this.context)(this.watched(effect)), () => this.now)
  }

  /** Begins a write. */
  write(label: unknown, part: Part = this.part): Write {
    return this.begin([label], (write) =>
      Effect.map(part.sink.write(this.subject.event(label)), () => void (write.accepted = 1))
    )
  }

  /** Begins the write of a group: in groups if the part takes them, else one by one. */
  writeGroup(labels: ReadonlyArray<unknown>): Write {
    const { sink } = this.part
    const events = labels.map((label) => this.subject.event(label))
    return this.begin(labels, (write) =>
      Effect.whileLoop({
        while: () => write.accepted < events.length,
        body: () =>
          sink.writeSome === undefined
            ? Effect.as(sink.write(events[write.accepted]), 1)
            : // Not empty, by the condition of the loop.
              sink.writeSome(events.slice(write.accepted) as unknown as NonEmptyReadonlyArray<unknown>),
        step: (n) => void (write.accepted += n)
      })
    )
  }

  private begin(
    labels: ReadonlyArray<unknown>,
    run: (write: { accepted: number }) => Effect.Effect<unknown, unknown>
  ): Write {
    const progress = { labels, accepted: 0 }
    const write = Object.assign(progress, { call: this.call(Effect.suspend(() => run(progress))) })
    this.writes.push(write)
    return write
  }

  /** Waits for a call to end, up to `millis`. */
  ends(call: Call<unknown>, millis: number): Effect.Effect<boolean> {
    return Effect.map(Effect.timeoutOption(Fiber.await(call.fiber), millis), () => call.exit !== undefined)
  }

  /** How long a close may take, in milliseconds. */
  get closeLimit(): number {
    return Duration.toMillis(this.subject.deadline) + Math.max(1, this.counts.length) * reportLimit + 100
  }

  /** Begins the close of the scope: by a fiber of its own, or by one that is interrupted, as a program is by a signal. */
  beginClose(by: "call" | "interruption" = "call"): Call<unknown> {
    const close = Scope.close(this.scope, Exit.void)
    if (by === "call") return this.call(close)
    const program = this.call(Effect.ensuring(Effect.never, close))
    program.fiber.interruptUnsafe()
    return program
  }

  /** Closes the scope and lets everything come to rest. Answers whether the close came back in time. */
  readonly close = Effect.suspend(() => this.closeBy("call"))

  closeBy(by: "call" | "interruption"): Effect.Effect<boolean> {
    return Effect.tap(this.ends(this.beginClose(by), this.closeLimit), () => Effect.andThen(this.rest, this.findKept))
  }

  /** Looks for what a durable part keeps. */
  readonly findKept = Effect.suspend(() => Effect.map(this.part.kept, (kept) => void (this.kept = kept)))

  /** Lets everything that can go on without time passing go on. */
  readonly rest = Effect.sleep(1)

  /** Everything that was accepted. */
  get accepted(): ReadonlyArray<unknown> {
    return this.writes.flatMap(({ labels, accepted }) => labels.slice(0, accepted))
  }

  /** What was accepted, and neither delivered nor reported nor returned nor, if the part is durable, kept. */
  get missing(): ReadonlyArray<unknown> {
    const { deadLetters, waiting } = this.kept
    const settled = new Set([
      ...this.receiver.received,
      ...this.dropped.map(({ label }) => label),
      // Nobody but the one who called for the close knows what it returned: a durable part keeps that too.
      ...(this.subject.keeps ? [] : this.returned.map(({ label }) => label)),
      ...waiting,
      ...deadLetters
    ])
    return this.accepted.filter((label) => !settled.has(label))
  }

  /** The lines of the log at error. */
  get errors(): ReadonlyArray<string> {
    return this.logs.filter(({ level }) => level === "Error" || level === "Fatal").map(({ text }) => text)
  }

  /** Whether the books of the nodes and the log say that `n` events were given up, by a part without `onDropped`. */
  admits(n: number): boolean {
    const lost = this.counts.reduce((sum, { counts }) => sum + counts.dropped + counts.undelivered, 0)
    return lost >= n && this.errors.length > 0
  }

  /** Ends what the scenario has begun. */
  end(): void {
    for (const record of this.records) record.release()
    for (const { call } of this.writes) call.fiber.interruptUnsafe()
  }
}
