/** Runs a random case on virtual time, and tells where the law of conservation was broken. */
import { Cause, Clock, Effect, Exit, type Fiber, Layer, Logger, Random, References, Scope, Stream } from "effect"
import { Broadcaster, type EventChannel, type EventQueue, EventSink } from "effect-events"
import { TestClock } from "effect/testing"
import { type Account, type Call, type Line, twice, unlogged } from "./account.ts"
import { type Attempt, type Edge, type Event, Ticks } from "./ledger.ts"
import { Builder, type MakeQueue, type Part, passes } from "./parts.ts"
import type { CaseSpec, OperationSpec, WriterSpec } from "./randomGraph.ts"

/** What a stream of a broadcaster read. */
interface Reading {
  readonly of: Part
  readonly since: number
  /** When its scope closed. */
  until: number
  readonly reads: Array<Event>
  ended: "running" | "end" | { readonly missed: number }
}

/** Parts that are never closed: the sinks below them are. */
const transparents: ReadonlyArray<string> = ["filter", "mapInput", "tap", "timeout"]

/** Scheduler turns that a close may need at one moment of the clock. */
const turnsToClose = 500

class Run {
  readonly ticks = new Ticks()
  readonly lines: Array<Line> = []
  readonly builder: Builder
  readonly readings: Array<Reading> = []
  readonly found: Array<string> = []
  /** What writes returned as committed: no probe has a part in this. */
  readonly succeeded: Array<Event> = []
  private readonly spec: CaseSpec
  private readonly isNaive: boolean
  private n = 0

  constructor(spec: CaseSpec, makeQueue: MakeQueue | undefined) {
    this.spec = spec
    this.isNaive = makeQueue !== undefined
    this.builder = new Builder(this.ticks, makeQueue)
  }

  readonly logger = Logger.make(({ fiber, message }) => {
    const { kind, sink } = fiber.getRef(References.CurrentLogAnnotations)
    const text = (Array.isArray(message) ? message : [message]).filter((part) => typeof part === "string").join(" ")
    this.lines.push({ by: `${kind} ${sink}`, text })
  })

  private events(writer: number, size: number): ReadonlyArray<Event> {
    return Array.from({ length: size }, () => {
      const n = ++this.n
      return { id: `event-${n}`, n, writer }
    })
  }

  private writer(sink: EventSink.EventSink<Event, unknown>, writer: number, spec: WriterSpec): Effect.Effect<void> {
    const batches = spec.writes.map((write) => ({ ...write, events: this.events(writer, write.size) }))
    return Effect.forEach(
      batches,
      ({ events, how, pause }) => {
        const { writeSome } = sink
        const write =
          how === "some" && writeSome !== undefined
            ? Effect.map(
                writeSome(events as [Event, ...Array<Event>]),
                (n) => void this.succeeded.push(...events.slice(0, n))
              )
            : how === "each" || writeSome === undefined
              ? Effect.forEach(events, (event) =>
                  Effect.map(this.write(sink, event), () => void this.succeeded.push(event))
                )
              : Effect.map(EventSink.writeAll(sink, events), () => void this.succeeded.push(...events))
        // Not `Effect.exit`, which would go on after the writer's own interruption.
        return Effect.andThen(
          Effect.sleep(pause),
          Effect.catchCause(write, () => Effect.void)
        )
      },
      { discard: true }
    )
  }

  /** Every other write asks for a receipt, where all parts are the library's. */
  private write(sink: EventSink.EventSink<Event, unknown>, event: Event): Effect.Effect<void, unknown> {
    if (event.n % 2 === 0 || this.isNaive) return sink.write(event)
    return Effect.map(EventSink.writeWithReceipt(sink, event), (receipt) => void this.receipts.push({ event, receipt }))
  }

  readonly receipts: Array<{ readonly event: Event; readonly receipt: Effect.Effect<EventSink.Receipt> }> = []

  /** Each receipt is complete at rest, and has no more outcomes of a kind than its sink counts. */
  private readonly completeReceipts = Effect.gen({ self: this }, function* () {
    const tally = new Map<string, number>()
    for (const { event, receipt } of this.receipts) {
      const fiber = yield* Effect.forkDetach(receipt, { startImmediately: true })
      for (let turn = 0; turn < 8 && fiber.pollUnsafe() === undefined; turn++) yield* Effect.yieldNow
      const exit = fiber.pollUnsafe()
      if (exit === undefined || Exit.isFailure(exit)) {
        this.found.push(`${event.n}: its receipt is not complete`)
        continue
      }
      for (const { kind, outcome, sink } of exit.value.outcomes) {
        const key = `${kind} ${sink} ${outcome._tag.toLowerCase()}`
        tally.set(key, (tally.get(key) ?? 0) + 1)
      }
    }
    const nodes = new Set(
      this.builder.parts.flatMap(({ members, sink }) => [
        sink.node,
        ...members.flatMap(({ terms }) => terms.map(({ node }) => node))
      ])
    )
    for (const { counts, kind, name } of [...nodes].map((node) => node.health(0))) {
      for (const [what, n] of Object.entries(counts)) {
        const key = `${kind} ${name} ${what}`
        tally.set(key, (tally.get(key) ?? 0) - n)
      }
    }
    for (const [key, more] of tally) if (more > 0) this.found.push(`${key}: ${more} more in receipts than it counts`)
  })

  private operation(spec: OperationSpec, scope: Scope.Scope): Effect.Effect<unknown> {
    const pick = <A>(all: ReadonlyArray<A>): A | undefined => all[spec.target % all.length]
    const { parts } = this.builder
    const members = parts.flatMap((part) => part.members)
    switch (spec.what) {
      case "flush": {
        const part = pick(parts.filter(({ spec }) => spec.part === "queue"))
        if (part?.account === undefined) return Effect.void
        const queue = part.sink as EventQueue.EventQueue<Event, unknown>
        return this.call([part.account.flushes], Effect.as(queue.flush, []))
      }
      case "shutdown": {
        const part = pick(parts.filter(({ spec }) => ["queue", "channel", "broadcaster"].includes(spec.part)))
        if (part === undefined) return Effect.void
        if (part.account !== undefined) {
          return this.call([part.account.calls], (part.sink as EventChannel.EventChannel<Event>).shutdown)
        }
        return this.shutdown(part)
      }
      case "add": {
        const member = pick(members)
        return member === undefined ? Effect.void : this.builder.join(member)
      }
      case "remove": {
        const member = pick(members)
        const term = member?.terms.at(-1)
        if (member === undefined || term === undefined) return Effect.void
        const now = this.ticks.next()
        const remove = Broadcaster.remove(member.of as Broadcaster.Broadcaster<Event>, member.edge.sink)
        term.until = [Math.min(term.until[0], now), Math.min(term.until[1], now)]
        // Nothing for a sink that is not there.
        return this.call(
          [term.calls],
          Effect.map(remove, (left) => (left.length > 0 ? left : undefined))
        )
      }
      case "subscribe": {
        const part = pick(parts.filter(({ spec }) => spec.part === "broadcaster"))
        return part === undefined ? Effect.void : this.subscribe(part, spec, scope)
      }
    }
  }

  /** A broadcaster's `shutdown` returns the list of each of its members that had not drained before. */
  private shutdown(part: Part): Effect.Effect<unknown> {
    const terms = part.members.flatMap(({ terms }) => terms)
    const begin = this.ticks.next()
    const broadcaster = part.sink as Broadcaster.Broadcaster<Event>
    return Effect.map(broadcaster.shutdown, (left) => {
      const end = this.ticks.next()
      // The names may be shared: the events tell whose they are.
      for (const term of terms) {
        const { possibly } = term.accepted()
        const own = left.filter(({ event, sink }) => sink === term.node.name && possibly.has(event.n))
        if (own.length > 0) this.shutdowns.push({ term, call: { begin, end, left: own } })
      }
    })
  }

  readonly shutdowns: Array<{ readonly term: Account; readonly call: Call }> = []

  private call(notes: ReadonlyArray<Array<Call>>, effect: Effect.Effect<Call["left"]>): Effect.Effect<unknown> {
    return Effect.suspend(() => {
      const call: Call = { begin: this.ticks.next(), end: Infinity, left: undefined }
      for (const note of notes) note.push(call)
      return Effect.map(effect, (left) => {
        call.end = this.ticks.next()
        call.left = left
      })
    })
  }

  private subscribe(part: Part, spec: OperationSpec, scope: Scope.Scope): Effect.Effect<unknown> {
    const maxLag = spec.at % 3 === 0 ? { maxLag: 3 } : {}
    const every = spec.target * 3
    return Effect.flatMap(
      Effect.exit(Scope.provide(Broadcaster.subscribe(part.sink as Broadcaster.Broadcaster<Event>, maxLag), scope)),
      (exit) => {
        if (Exit.isFailure(exit)) return Effect.void
        const reading: Reading = { of: part, since: this.ticks.next(), until: Infinity, reads: [], ended: "running" }
        this.readings.push(reading)
        // Runs just before the subscription ends: what a queue above publishes while it drains after that is not for it.
        const ends = Effect.sync(() => void (reading.until = this.ticks.next()))
        const reads = exit.value.pipe(
          Stream.runForEach((event) => {
            reading.reads.push(event)
            return Effect.sleep(every)
          }),
          Effect.matchEffect({
            onSuccess: () => Effect.sync(() => void (reading.ended = "end")),
            onFailure: ({ missed }) => Effect.sync(() => void (reading.ended = { missed }))
          }),
          Effect.forkDetach
        )
        return Effect.andThen(Scope.addFinalizer(scope, ends), reads)
      }
    )
  }

  /** Runs an effect at a time, and interrupts it at another. */
  private at(effect: Effect.Effect<unknown>, from: number, until: number | undefined) {
    return Effect.gen(function* () {
      const fiber = yield* Effect.forkDetach(Effect.delay(effect, from))
      if (until !== undefined) {
        yield* Effect.forkDetach(
          Effect.delay(
            Effect.sync(() => fiber.interruptUnsafe()),
            until
          )
        )
      }
      return fiber
    })
  }

  readonly program = Effect.gen({ self: this }, function* () {
    const { builder, found, spec } = this
    const clock = yield* Effect.service(Clock.Clock)
    this.ticks.now = () => clock.currentTimeMillisUnsafe()
    const scope = yield* Scope.make()
    const root = yield* Scope.provide(builder.build(spec.graph), scope)
    const entry = builder.connect(root, "writers")
    const fibers: Array<readonly [string, Fiber.Fiber<unknown, unknown>]> = []
    for (const [i, writer] of spec.writers.entries()) {
      fibers.push([`writer ${i}`, yield* this.at(this.writer(entry.sink, i, writer), 0, writer.interruptAt)])
    }
    for (const operation of spec.operations) {
      const { at, interruptAfter } = operation
      const run = Effect.suspend(() => this.operation(operation, scope))
      const until = interruptAfter === undefined ? undefined : at + interruptAfter
      fibers.push([operation.what, yield* this.at(run, at, until)])
    }
    for (let i = 0; (yield* Clock.currentTimeMillis) < spec.closeAt; i++) {
      yield* TestClock.adjust(spec.steps[i % spec.steps.length]!)
    }
    const closing = yield* Effect.forkDetach(Scope.close(scope, Exit.void))
    const deadline = (yield* Clock.currentTimeMillis) + builder.deadline
    do {
      for (let turn = 0; turn < turnsToClose && closing.pollUnsafe() === undefined; turn++) yield* Effect.yieldNow
      yield* TestClock.adjust(closing.pollUnsafe() === undefined ? 1000 : 0)
    } while (closing.pollUnsafe() === undefined && (yield* Clock.currentTimeMillis) <= deadline)
    if (closing.pollUnsafe() === undefined)
      found.push(`the close took longer than all its deadlines, ${builder.deadline} ms`)
    const closed = this.ticks.next()
    // Writes that refused interruption may end now, and readers may read on.
    yield* Effect.forEach(builder.parts, ({ release }) => release, { discard: true })
    yield* TestClock.adjust(10_000)
    for (const [name, fiber] of fibers) {
      if (fiber.pollUnsafe() === undefined) found.push(`${name} still waits after the close`)
    }
    for (const { edge, transparent } of builder.parts.flatMap(({ inbound, spec }) =>
      inbound.map((edge) => ({ edge, transparent: transparents.includes(spec.part) }))
    )) {
      const stuck = edge.attempts.filter(({ outcome }) => outcome === "running")
      if (stuck.length > 0) found.push(`${edge.name}: ${stuck.length} writes never ended`)
      const late = edge.attempts.filter(({ begin, outcome }) => begin > closed && outcome !== "closed")
      if (late.length > 0 && !transparent) found.push(`${edge.name}: ${late.length} writes began after the close`)
    }
    this.balance(root)
    yield* this.completeReceipts
    yield* this.writeAfterClose
  })

  private readonly writeAfterClose = Effect.gen({ self: this }, function* () {
    for (const { label, sink, spec } of this.builder.parts) {
      if (transparents.includes(spec.part)) continue
      const [event] = this.events(0, 1)
      const write = Effect.forkDetach(Effect.exit(sink.write(event!)), { startImmediately: true })
      const fiber = yield* write
      for (let turn = 0; turn < 8 && fiber.pollUnsafe() === undefined; turn++) yield* Effect.yieldNow
      const exit = fiber.pollUnsafe()
      const inner = exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
      // A filter below may keep it back, and that is a success.
      const ok =
        inner !== undefined &&
        (Exit.isSuccess(inner)
          ? this.mayFilter(sink.node)
          : inner.cause.reasons.some(
              (reason) => Cause.isFailReason(reason) && reason.error instanceof EventSink.SinkClosed
            ))
      if (!ok)
        this.found.push(`${label}: a write after the close ended in ${inner === undefined ? "nothing" : inner._tag}`)
    }
  })

  private mayFilter(node: EventSink.SinkNode): boolean {
    return (
      node.kind === "EventFilter" ||
      node.kind === "EventRouter" ||
      (node.kind === "RetryingSink" && node.downstream().some((below) => this.mayFilter(below.node)))
    )
  }

  private balance(root: Part): void {
    const { builder, found, lines } = this
    for (const { term, call } of this.shutdowns) term.calls.push(call)
    const accounts = builder.parts.flatMap(({ account, members }) => [
      ...(account === undefined ? [] : [account]),
      ...members.flatMap(({ terms }) => terms)
    ])
    for (const account of accounts) found.push(...account.violations())
    found.push(...unlogged(accounts, lines))
    const exempt = new Set(accounts.flatMap((account) => account.inFlight))
    const anonymous = accounts.some((account) => account.anonymous > 0)
    const orders = this.orders(root)
    for (const part of builder.parts) {
      found.push(...this.passed(part))
      for (const edge of part.inbound) {
        const moduli = orders.get(edge)
        const last = new Map<string, number>()
        const seen = new Set<number>()
        for (const { event } of edge.committed) {
          if (seen.has(event.n) || exempt.has(event.n)) continue
          seen.add(event.n)
          if (moduli === undefined) continue
          const line = [event.writer, ...moduli.map((modulus) => event.n % modulus)].join()
          if (!anonymous && (last.get(line) ?? 0) > event.n)
            found.push(`${edge.name}: ${event.n} came after ${last.get(line)}`)
          last.set(line, event.n)
        }
      }
    }
    for (const reading of this.readings) found.push(...this.read(reading))
    const charged = new Map<Account, Set<number>>()
    for (const event of this.succeeded) {
      if (!this.accounted(root, event, charged))
        found.push(`${event.n} was accepted at ${root.label} and is in no account`)
    }
  }

  /**
   * Which of a writer's events stay in order on their way to each edge: those whose numbers leave the same rests by all of
   * these; for an edge that is not there, none.
   */
  private orders(root: Part): ReadonlyMap<Edge, ReadonlyArray<number>> {
    const orders = new Map<Edge, ReadonlyArray<number>>(root.inbound.map((edge) => [edge, []]))
    const visit = ({ below, edge, members, next, spec }: Part, order: ReadonlyArray<number>): void => {
      for (const member of members) {
        orders.set(member.edge, order)
        visit(member.part, order)
      }
      if (next !== undefined) {
        // What the other sink is left with may come late.
        orders.set(next.edge, order)
        visit(next.part, order)
        return
      }
      if (edge === undefined || below === undefined) return
      const mixes = (spec.part === "queue" || spec.part === "batching") && spec.concurrency > 1
      if (mixes && spec.keys === 0) return
      const kept = mixes ? [...order, spec.keys] : order
      orders.set(edge, kept)
      visit(below, kept)
    }
    visit(root, [])
    return orders
  }

  /** The account of a part that holds nothing: what it took went through it. */
  private passed({ edge, inbound, label, members, next, received, sink, spec }: Part): ReadonlyArray<string> {
    const found: Array<string> = []
    const check = (holds: boolean, what: string) => {
      if (!holds) found.push(`${label}: ${what}`)
    }
    if (["queue", "channel", "mapInput", "tap", "timeout"].includes(spec.part)) return found
    const { accepted, delivered, dropped, filtered, undelivered } = sink.node.health(0).counts
    const bounds = inbound.map(({ bounds }) => bounds)
    const least = bounds.reduce((n, [least]) => n + least, 0)
    const most = bounds.reduce((n, [, most]) => n + most, 0)
    check(accepted === delivered + filtered + dropped + undelivered, "counts do not balance")
    check(accepted >= least && accepted <= most, `counts ${accepted} accepted, of ${least} to ${most}`)
    if (received !== undefined) {
      const got = new Set(received.map(({ n }) => n))
      const committed = inbound.flatMap((edge) => edge.committed.map(({ event }) => event.n))
      check(received.length >= delivered, `counts ${delivered} delivered, and has ${received.length}`)
      check(
        committed.every((n) => got.has(n)),
        "acknowledged what it has not"
      )
      const written = new Set(
        inbound.flatMap(({ attempts }) => attempts.flatMap(({ events }) => events.map(({ n }) => n)))
      )
      check(
        received.every(({ n }) => written.has(n)),
        "has what was not written"
      )
    }
    if (members.length > 0 || edge === undefined) return found
    const over = next === undefined ? [edge] : [edge, next.edge]
    const through = new Set(over.flatMap((edge) => edge.committed.map(({ event }) => event.n)))
    const written = edge.attempts.flatMap(({ events }) => events)
    const taken = inbound.flatMap((edge) => edge.committed.map(({ event }) => event))
    const filter = (event: Event) => spec.part !== "filter" || passes(spec.mod, event)
    check(written.every(filter), "let through what the filter keeps back")
    check(
      taken.every((event) => !filter(event) || through.has(event.n)),
      "answered for what it has not written"
    )
    check(filtered >= taken.filter((event) => !filter(event)).length, `counts ${filtered} filtered`)
    return found
  }

  /** What a stream read is what was published since, in order, without gaps, to its end. */
  private read({ ended, of, reads, since, until }: Reading): ReadonlyArray<string> {
    const label = `a stream of ${of.label}`
    if (ended === "running") return [`${label} never ended`]
    const writes = of.inbound
      .flatMap(({ attempts }) => attempts)
      .filter(({ begin, outcome }: Attempt) => begin > since && outcome === "committed")
      .toSorted((a, b) => a.begin - b.begin)
    const published = writes.flatMap(({ events }) => events.map(({ n }) => n))
    const due = writes.filter(({ end }) => end < until).flatMap(({ events }) => events).length
    const found: Array<string> = []
    const repeated = twice(reads.map(({ n }) => n))
    if (repeated.length > 0) found.push(`${label} read twice ${repeated}`)
    const gap = reads.findIndex(({ n }, i) => published[i] !== n)
    if (gap >= 0) found.push(`${label} read ${reads[gap]!.n} and not ${published[gap]}`)
    if (ended === "end" && reads.length < due) found.push(`${label} read ${reads.length} of ${due}`)
    if (ended !== "end" && reads.length + ended.missed > published.length) {
      found.push(`${label} missed ${ended.missed} of ${published.length} and read ${reads.length}`)
    }
    return found
  }

  /** Follows an event down the graph, by what receivers have and what parts reported: no probe has a part in this. */
  private accounted(part: Part, event: Event, charged: Map<Account, Set<number>>): boolean {
    const { account, below, members, next, received, spec } = part
    const held = (account: Account, below: () => boolean): boolean => {
      if (account.notDelivered.has(event.n) || below()) return true
      // It is one of those that it only counted, or one above has lost it.
      const events = charged.get(account) ?? new Set()
      if (events.size >= account.anonymous) return events.has(event.n)
      charged.set(account, events.add(event.n))
      return true
    }
    if (received !== undefined) return received.some(({ n }) => n === event.n)
    if (spec.part === "filter" && !passes(spec.mod, event)) return true
    if (account !== undefined) {
      const got = () => account.reads?.some((read) => read.event.n === event.n) ?? false
      return held(account, below === undefined ? got : () => this.accounted(below, event, charged))
    }
    if (below !== undefined && this.accounted(below, event, charged)) return true
    if (next !== undefined) return this.accounted(next.part, event, charged)
    if (below !== undefined) return false
    return members.every(({ part, terms }) =>
      terms.every(
        (term) => !term.accepted().surely.has(event.n) || held(term, () => this.accounted(part, event, charged))
      )
    )
  }
}

/** Runs a case, and answers with what is wrong about it. */
export const violationsOf = (spec: CaseSpec, makeQueue?: MakeQueue): Promise<ReadonlyArray<string>> => {
  const run = new Run(spec, makeQueue)
  return Effect.runPromise(
    run.program.pipe(
      Random.withSeed(spec.seed),
      Effect.provide(Layer.merge(Logger.layer([run.logger]), TestClock.layer({ warningDelay: "20 seconds" }))),
      Effect.as(run.found)
    )
  )
}
