/** Builds a random graph out of the library's parts, with a probe on every edge and an account for every part that holds events. */
import { Effect, Schedule, type Scope, Stream } from "effect"
import {
  BatchingSink,
  Breaker,
  Broadcaster,
  ConcurrencyLimitedSink,
  type Dropped,
  EventChannel,
  EventFilter,
  EventQueue,
  EventRouter,
  EventSink,
  ExponentialBackoff,
  FallbackSink,
  RateLimitedSink,
  RetryingSink,
  RetryStrategy
} from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { Account } from "./account.ts"
import { type AnySink, Edge, type Event, type Ticks } from "./ledger.ts"
import type { Behaviour, GraphSpec, MemberSpec, Strategy, Taker } from "./randomGraph.ts"

export interface Part {
  readonly spec: GraphSpec
  readonly label: string
  readonly sink: AnySink
  /** Its type says that it can fail. */
  readonly fallible: boolean
  readonly inbound: Array<Edge>
  readonly below: Part | undefined
  readonly edge: Edge | undefined
  /** What a fallback writes to where `below` does not commit. */
  readonly next: { readonly part: Part; readonly edge: Edge } | undefined
  /** It is, or is above, a part that holds events. */
  readonly holds: boolean
  /** A queue's or a channel's. */
  readonly account: Account | undefined
  readonly members: ReadonlyArray<Member>
  /** What a receiver has. */
  readonly received: ReadonlyArray<Event> | undefined
  readonly release: Effect.Effect<void>
}

/** A sink of a broadcaster, and an account for each time it was added. */
export interface Member {
  readonly of: AnySink
  readonly spec: MemberSpec
  readonly part: Part
  readonly edge: Edge
  readonly terms: Array<Account>
  readonly inbound: ReadonlyArray<Edge>
}

/** How queues are made: the library's, or one with a defect. */
export type MakeQueue = (
  options: EventQueue.Options &
    EventQueue.Partitioned<Event> &
    EventQueue.Sized<Event> & { readonly onDropped?: Dropped.OnDropped<Event, unknown> | undefined }
) => (dst: AnySink) => Effect.Effect<EventQueue.EventQueue<Event, unknown>, never, Scope.Scope>

// What the types would check is checked here by `fallible`, since a random graph is not known to the compiler.
const libraryQueue = EventQueue.make as unknown as MakeQueue
const untyped = (sink: AnySink) => sink as EventSink.EventSink<Event>

export class Builder {
  readonly parts: Array<Part> = []
  /** The longest that closing all of it may take, in milliseconds. */
  deadline = 0
  private readonly ticks: Ticks
  private readonly makeQueue: MakeQueue

  constructor(ticks: Ticks, makeQueue: MakeQueue = libraryQueue) {
    this.ticks = ticks
    this.makeQueue = makeQueue
  }

  connect(to: Part, from: string): Edge {
    const edge = new Edge(`${from} -> ${to.label}`, this.ticks, to.sink)
    to.inbound.push(edge)
    return edge
  }

  build(spec: GraphSpec): Effect.Effect<Part, never, Scope.Scope> {
    switch (spec.part) {
      case "shared": {
        const receivers = this.parts.filter(({ received }) => received !== undefined)
        const part = receivers[spec.index % receivers.length]
        return part === undefined ? this.receiver(receiverOf({ does: "record" })) : Effect.succeed(part)
      }
      case "receiver":
        return this.receiver(spec)
      case "channel":
        return this.channel(spec)
      case "broadcaster":
        return this.broadcaster(spec)
      default:
        return Effect.flatMap(this.build(spec.below), (below) => {
          // There is nothing to retry.
          if (spec.part === "retry" && !below.fallible) return Effect.succeed(below)
          // Below it, events may repeat, and accounts are kept by event.
          if ((spec.part === "timeout" || spec.part === "fallback") && below.holds) return Effect.succeed(below)
          const takesBatches = below.sink.writeSome !== undefined && !below.holds
          if (spec.part === "batching" && !takesBatches) return Effect.succeed(below)
          const label = this.label(spec.part)
          const edge = this.connect(below, label)
          return this.wrapper(spec, label, below, edge)
        })
    }
  }

  private wrapper(
    spec: Extract<GraphSpec, { readonly below: GraphSpec }>,
    label: string,
    below: Part,
    edge: Edge
  ): Effect.Effect<Part, never, Scope.Scope> {
    const { fallible, holds } = below
    const add = (sink: AnySink, more: Partial<Part>) =>
      this.add({ spec, label, sink, below, edge, fallible, holds, ...more })
    switch (spec.part) {
      case "filter": {
        const cases = { 1: edge.sink, 2: edge.sink }
        const options = { orElse: "ignore", name: label } as const
        const make = spec.routes
          ? EventRouter.byKey((event: Event) => String(event.n % spec.mod), cases, options)
          : EventFilter.make(edge.sink, (event) => passes(spec.mod, event), { name: label })
        return Effect.map(make, (sink) => add(sink, {}))
      }
      case "mapInput":
        return Effect.map(
          EventSink.mapInput(edge.sink, (event: Event) => ({ ...event })),
          (sink) => add(sink, {})
        )
      case "tap":
        return Effect.suspend(() => {
          const look = spec.dies ? Effect.die(new Error("the tap died")) : Effect.sleep(spec.ms)
          return Effect.map(
            EventSink.tap(edge.sink, () => look),
            (sink) => add(sink, {})
          )
        })
      case "timeout":
        return Effect.map(EventSink.timeout(edge.sink, spec.ms), (sink) => add(sink, { fallible: true }))
      case "limit":
        return Effect.suspend(() => {
          this.deadline += spec.drain
          const { keys, most } = spec
          const options = {
            name: label,
            drainTimeout: spec.drain,
            ...(keys === 0 ? {} : { by: ({ n }: Event) => [n % keys] })
          }
          const make: Effect.Effect<AnySink, never, Scope.Scope> =
            spec.by === "permits"
              ? ConcurrencyLimitedSink.make(edge.sink, { ...options, permits: most })
              : RateLimitedSink.make(edge.sink, {
                  ...options,
                  limit: most,
                  window: 10,
                  onExceeded: spec.by === "rate" ? "delay" : "fail"
                })
          return Effect.map(make, (sink) => add(sink, { fallible: fallible || spec.by === "rateOrFail" }))
        })
      case "batching":
        return Effect.suspend(() => {
          this.deadline += spec.drain
          const { batchSize, concurrency, keys, maxAge } = spec
          const make = BatchingSink.make(edge.sink as EventSink.BatchSink<Event, unknown>, {
            name: label,
            batchSize,
            maxAge,
            concurrency,
            drainTimeout: spec.drain,
            ...(keys === 0 ? {} : { partitionBy: ({ n }: Event) => [n % keys] })
          })
          return Effect.map(make, (sink) => add(sink, {}))
        })
      case "fallback":
        return Effect.gen({ self: this }, function* () {
          const part = yield* this.build(spec.next)
          const next = { part, edge: this.connect(part, `${label}.next`) }
          this.deadline += spec.drain + spec.after
          const sink: AnySink = yield* FallbackSink.make(
            edge.sink as EventSink.EventSink<Event, "an error">,
            next.edge.sink,
            {
              name: label,
              after: spec.after,
              breaker: { threshold: spec.threshold, backoff: spec.after },
              drainTimeout: spec.drain
            }
          )
          return add(sink, { next, fallible: part.fallible, holds: part.holds })
        })
      case "retry":
        return Effect.gen({ self: this }, function* () {
          this.deadline += spec.drain
          const strategy = yield* strategyOf(spec.strategy)
          const make = RetryingSink.make(strategy, { name: label, drainTimeout: spec.drain })
          const sink: AnySink = yield* make(edge.sink as EventSink.EventSink<Event, "an error">)
          return add(sink, { fallible: spec.strategy.is === "limited" })
        })
      case "queue":
        return Effect.gen({ self: this }, function* () {
          this.deadline += spec.drain + 5000
          const lossy = spec.overflow.startsWith("drop") && spec.capacity > 0
          const taker = spec.taker === "none" && (lossy || below.fallible) ? "record" : spec.taker
          const options = {
            name: label,
            capacity: spec.capacity || undefined,
            overflow: spec.overflow,
            drainTimeout: spec.drain,
            concurrency: spec.concurrency,
            ...(spec.maxAge === undefined || spec.maxAge === 0 ? {} : { batchSize: 3, maxAge: spec.maxAge }),
            size: spec.weighs === true ? (event: Event) => event.n % 3 : undefined,
            partitionBy: spec.keys > 0 ? (event: Event) => [event.n % spec.keys] : undefined
          }
          let account: Account | undefined
          const onDropped = this.onDropped(taker, () => account!)
          const sink = yield* this.makeQueue(onDropped === undefined ? options : { ...options, onDropped })(edge.sink)
          const part = add(sink, { fallible: spec.overflow === "reject" && spec.capacity > 0, holds: true })
          account = new Account(sink.node, label, part.inbound, edge, onDropped !== undefined)
          account.partitions = { concurrency: spec.concurrency, keys: spec.concurrency > 1 ? spec.keys : 0 }
          account.timeOf = (tick) => this.ticks.timeOf(tick)
          return Object.assign(part, { account })
        })
    }
  }

  private receiver(spec: Extract<GraphSpec, { readonly part: "receiver" }>): Effect.Effect<Part, never, Scope.Scope> {
    const label = this.label("receiver")
    const { behaviour, drain } = spec
    this.deadline += drain
    const add = (sink: AnySink, received: ReadonlyArray<Event>, release: Effect.Effect<void> = Effect.void) =>
      this.add({
        spec,
        label,
        sink,
        received,
        release,
        fallible: behaviour.does === "fail" || behaviour.does === "failFirst"
      })
    const received: Array<Event> = []
    if (behaviour.does === "recordAtOnce") {
      let attempt = 0
      const write = (event: Event) => {
        if (++attempt % behaviour.dieEvery === 0) throw new Error(`attempt ${attempt} threw`)
        received.push(event)
      }
      return Effect.map(EventSink.sync(write, { name: label }), (sink) => add(sink, received))
    }
    const options = { name: label, drainTimeout: drain }
    if (behaviour.does === "delay" && behaviour.commitsFirst) {
      const commit = (events: ReadonlyArray<Event>) =>
        Effect.suspend(() => {
          const some = events.slice(0, spec.batchSize || 1)
          received.push(...some)
          const wait = Effect.sleep(behaviour.ms)
          return Effect.as(behaviour.uninterruptible ? Effect.uninterruptible(wait) : wait, some.length)
        })
      const make =
        spec.batchSize === 0
          ? EventSink.make((event: Event) => commit([event]), options)
          : EventSink.makeBatch<Event>(commit, options)
      return Effect.map(make, (sink) => add(sink, received))
    }
    const make = testSink(behaviour, spec.batchSize === 0 ? options : { ...options, batchSize: spec.batchSize })
    return Effect.map(make, (sink) => add(sink, sink.received, sink.release))
  }

  private channel(spec: Extract<GraphSpec, { readonly part: "channel" }>): Effect.Effect<Part, never, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const label = this.label("channel")
      this.deadline += spec.drain + 5000
      let account: Account | undefined
      const onDropped = this.onDropped(spec.taker, () => account!)
      const options = { name: label, capacity: spec.capacity, drainTimeout: spec.drain }
      const channel = yield* EventChannel.make<Event>(onDropped === undefined ? options : { ...options, onDropped })
      const part = this.add({ spec, label, sink: channel, holds: true })
      account = new Account(channel.node, label, part.inbound, undefined, onDropped !== undefined)
      const reads: NonNullable<Account["reads"]> = []
      account.reads = reads
      if (spec.readEvery < 15) {
        // Chunk by chunk: what was pulled is read.
        yield* channel.stream.pipe(
          Stream.chunks,
          Stream.runForEach((events) => {
            for (const event of events) reads.push({ event, at: this.ticks.next() })
            return Effect.sleep(spec.readEvery)
          }),
          Effect.forkDetach
        )
      }
      return Object.assign(part, { account })
    })
  }

  private broadcaster(
    spec: Extract<GraphSpec, { readonly part: "broadcaster" }>
  ): Effect.Effect<Part, never, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const belows: Array<Part> = []
      for (const member of spec.members) {
        const below = yield* this.build(member.below)
        // A subscription has the name of its sink, and lists and lines tell by that whose they are.
        const isShared = this.members.has(below.sink.node)
        belows.push(isShared ? yield* this.filterAll(below) : below)
        this.members.add(belows.at(-1)!.sink.node)
      }
      const label = this.label("broadcaster")
      const sink = yield* Broadcaster.make<Event>({ name: label })
      for (const { drain } of spec.members) this.deadline += drain + 5000
      const inbound: Array<Edge> = []
      const members = spec.members.map((member, i): Member => {
        const part = belows[i]!
        const edge = this.connect(part, `${label}.${i}`)
        return { spec: member, part, edge, terms: [], inbound, of: sink }
      })
      const part = this.add({ spec, label, sink, members, inbound, holds: true })
      for (const member of members) if (!member.spec.later) yield* this.join(member)
      return part
    })
  }

  /** Adds a member, and opens an account if it was not there. */
  join(member: Member): Effect.Effect<void> {
    return Effect.suspend(() => {
      const broadcaster = member.of as Broadcaster.Broadcaster<Event>
      const { drain: drainTimeout, maxLag, taker: given } = member.spec
      const taker = given === "none" && (member.part.fallible || maxLag > 0) ? "record" : given
      let account: Account | undefined
      const onDropped = this.onDropped(taker, () => account!)
      const asked = this.ticks.next()
      const add = Broadcaster.add(broadcaster, untyped(member.edge.sink), {
        drainTimeout,
        ...(maxLag > 0 ? { maxLag } : {}),
        ...(onDropped === undefined ? {} : { onDropped })
      } as Broadcaster.LossyAddOptions<Event, never>)
      const known = new Set(member.terms.map(({ node }) => node))
      const opened = Effect.sync(() => {
        const node = broadcaster.node
          .downstream()
          .map(({ node }) => node)
          .find(
            (node) => !known.has(node) && node.downstream()[0]?.node === member.edge.sink.node && !this.taken.has(node)
          )
        if (node === undefined) return
        this.taken.add(node)
        const label = `${member.edge.name} #${member.terms.length}`
        account = new Account(node, label, member.inbound, member.edge, onDropped !== undefined)
        const before = member.terms.at(-1)
        // It was not there any more when this was asked.
        if (before !== undefined) before.until = [Math.min(before.until[0], asked), Math.min(before.until[1], asked)]
        account.since = [asked, this.ticks.next()]
        account.evictable = maxLag > 0
        member.terms.push(account)
      })
      return Effect.ignore(Effect.andThen(add, opened))
    })
  }

  private filterAll(below: Part): Effect.Effect<Part> {
    const label = this.label("filter")
    const edge = this.connect(below, label)
    const { fallible, holds } = below
    return Effect.map(
      EventFilter.make(edge.sink, () => true, { name: label }),
      (sink) =>
        this.add({
          spec: { part: "filter", mod: Infinity, routes: false, below: below.spec },
          label,
          sink,
          below,
          edge,
          fallible,
          holds
        })
    )
  }

  private readonly members = new Set<EventSink.SinkNode>()
  private readonly taken = new Set<EventSink.SinkNode>()

  private onDropped(taker: Taker, account: () => Account): Dropped.OnDropped<Event, unknown> | undefined {
    if (taker === "none") return undefined
    let calls = 0
    return (dropped) => {
      const at = this.ticks.next()
      const record = Effect.sync(() => void account().reports.push({ dropped, at }))
      switch (taker) {
        case "record":
          return record
        case "slow":
          return Effect.andThen(Effect.sleep(3), record)
        case "dies":
          return ++calls % 2 === 0 ? Effect.die(new Error("onDropped died")) : record
        case "hangs":
          // A report of an overflow is waited for by the writer.
          return dropped.reason._tag !== "Overflow" && ++calls % 3 === 0 ? Effect.never : record
      }
    }
  }

  private label(kind: string): string {
    return `${kind}${this.parts.length}`
  }

  private add(part: Pick<Part, "label" | "sink" | "spec"> & Partial<Part>): Part {
    const whole: Part = {
      fallible: false,
      holds: false,
      inbound: [],
      below: undefined,
      edge: undefined,
      next: undefined,
      account: undefined,
      members: [],
      received: undefined,
      release: Effect.void,
      ...part
    }
    this.parts.push(whole)
    return whole
  }
}

export const passes = (mod: number, event: Event): boolean => event.n % mod !== 0

const receiverOf = (behaviour: Behaviour) => ({ part: "receiver", behaviour, batchSize: 0, drain: 0 }) as const

const testSink = (
  behaviour: Exclude<Behaviour, { readonly does: "recordAtOnce" }>,
  options: TestSink.Options
): Effect.Effect<TestSink.TestSink<Event, unknown>, never, Scope.Scope> => {
  switch (behaviour.does) {
    case "record":
      return TestSink.recording(options)
    case "fail":
      return behaviour.after === 0
        ? TestSink.flaky({ ...options, rate: behaviour.rate, seed: behaviour.seed })
        : TestSink.make<Event, TestSink.TestError>(
            (attempt) =>
              Effect.andThen(
                Effect.sleep(behaviour.after),
                (attempt * behaviour.seed) % 10 < behaviour.rate * 10
                  ? Effect.fail(new TestSink.TestError({ attempt }))
                  : Effect.void
              ),
            options
          )
    case "failFirst":
      return TestSink.failing({ ...options, times: behaviour.times })
    case "delay":
      return behaviour.uninterruptible
        ? TestSink.make<Event>(() => Effect.uninterruptible(Effect.sleep(behaviour.ms)), options)
        : TestSink.slow(behaviour.ms, options)
    case "hang":
      return behaviour.uninterruptible
        ? TestSink.uninterruptible({ ...options, from: behaviour.from })
        : TestSink.hanging({ ...options, from: behaviour.from })
    case "die":
      return TestSink.dying({ ...options, when: (attempt) => attempt % behaviour.every === 0 })
    case "interruptItself":
      return TestSink.selfInterrupting({ ...options, when: (attempt) => attempt % behaviour.every === 0 })
    case "close":
      return TestSink.closing({ ...options, from: behaviour.from })
  }
}

const strategyOf = (strategy: Strategy): Effect.Effect<RetryStrategy.RetryStrategy<unknown, unknown>> => {
  switch (strategy.is) {
    case "limited":
    case "forever": {
      const schedule = Schedule.spaced(strategy.ms).pipe(Schedule.upTo({ times: strategy.times }))
      return Effect.succeed(
        strategy.is === "limited" ? RetryStrategy.fromSchedule(schedule) : RetryStrategy.forever(schedule)
      )
    }
    case "backoff":
      return Effect.succeed(ExponentialBackoff.make({ base: 1, factor: strategy.ms, max: 3 * strategy.ms }))
    case "breaker":
      return Breaker.make({ threshold: strategy.threshold, backoff: strategy.ms })
    case "backoffUnderBreaker":
      return Effect.map(Breaker.make({ threshold: strategy.threshold, backoff: 2 * strategy.ms }), (breaker) =>
        ExponentialBackoff.make({ base: 1, factor: strategy.ms, max: 20 }).pipe(RetryStrategy.combine(breaker))
      )
  }
}
