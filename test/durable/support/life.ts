/**
 * Random lives of a durable queue: processes over one memory that write, deliver, pause, close and crash, lose their lease, and
 * find their store failing. At the end all is well, and each event must have arrived.
 */
import { Cause, Effect, Exit, Logger, Random, Schedule, Schema, SchemaGetter, Scope } from "effect"
import { TestClock } from "effect/testing"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore, MemoryStore, Redelivery } from "effect-events/durable"
import { type Around, error, deadLettersOf, eventsOf, type Name, operationsAround, queueOf } from "./store.ts"

export interface Life {
  readonly seed: string
  /** What the queues write to. */
  readonly taker: "plain" | "batch" | "sync"
  readonly batchSize: number
  readonly concurrency: number
  /** The key when several are delivered at once: the remainder by this number, or nothing when it is 0. */
  readonly keys: number
  /** How much the store may hold before the oldest is dropped: unbounded when it is 0. */
  readonly capacity: number
  /** Whether failed events are tried again. */
  readonly redelivers: boolean
  /** Whether some events have a time of their own. */
  readonly delays: boolean
  /** Whether events have ids, and some are written again. */
  readonly ids: boolean
  /** Whether the codec takes its time. */
  readonly slowCodec: boolean
  readonly leaseTtl: number
  readonly processes: number
  readonly steps: number
  /** In a hundred: how often a delivery goes wrong, and a call of the store. */
  readonly badDeliveries: number
  readonly badCalls: number
}

const plan = Redelivery.make(Schedule.exponential("100 millis"), { maxAttempts: 5 })

/** A write, and when it began and ended in the order of all that happened. */
interface Attempt {
  readonly labels: ReadonlyArray<number>
  readonly began: number
  ended: number
  exit: Exit.Exit<number, unknown> | undefined
}

/** A process. When it is dead, nothing is heard of it any more. */
interface Process {
  readonly name: number
  readonly scope: Scope.Closeable
  readonly queue: DurableQueue.DurableQueue<number>
  isDead: boolean
}

/** What chance and the memory give all processes of a life. */
class World {
  readonly memory: MemoryStore.Memory
  readonly life: Life
  readonly delivered: Array<number> = []
  readonly dropped: Array<number> = []
  readonly attempts: Array<Attempt> = []
  /** What was among the dead letters once: it may come late, and again. */
  readonly aside = new Set<number>()
  /** The earliest times of events that have one of their own, which are in no order. */
  readonly dueAt = new Map<number, number>()
  readonly evidence: Array<string> = []
  /** The operations that the stores were asked for, but for those of the lease. */
  readonly asked: Array<Name> = []
  private readonly random: Random.Random
  ticks = 0
  labels = 0
  /** How many leases were given: each may cost a batch of duplicates. */
  leases = 0
  /** Whether a failing publish may have stored. */
  maybeCommitted = false
  /** From some moment on all is well. */
  calm = false

  constructor(memory: MemoryStore.Memory, life: Life, random: Random.Random) {
    this.memory = memory
    this.life = life
    this.random = random
  }

  pick(min: number, max: number): number {
    return min + Math.floor(this.random.nextDoubleUnsafe() * (max - min + 1))
  }

  chance(percent: number): boolean {
    return this.random.nextDoubleUnsafe() * 100 < percent
  }

  get isBadDelivery(): boolean {
    return !this.calm && this.chance(this.life.badDeliveries)
  }

  /** What a delivery does, of any kind of sink. */
  take(process: { readonly isDead: boolean }, labels: ReadonlyArray<number>): Effect.Effect<void, string> {
    return Effect.suspend(() => {
      if (process.isDead) return Effect.never
      const commit = Effect.suspend(() => {
        if (process.isDead) return Effect.never
        return Effect.clockWith(({ currentTimeMillisUnsafe }) =>
          Effect.sync(() => this.deliver(labels, currentTimeMillisUnsafe()))
        )
      })
      if (!this.isBadDelivery) return this.chance(30) ? Effect.delay(commit, this.pick(1, 60)) : commit
      const ways: ReadonlyArray<Effect.Effect<void, string>> = [
        Effect.fail("no"),
        Effect.delay(Effect.fail("late"), this.pick(1, 200)),
        Effect.die("a defect"),
        Effect.interrupt,
        Effect.withFiber((fiber) => {
          fiber.interruptUnsafe()
          return Effect.yieldNow
        }),
        Effect.delay(commit, this.pick(1, 3_000))
      ]
      return ways[this.pick(0, ways.length - 1)]!
    })
  }

  private deliver(labels: ReadonlyArray<number>, now: number): void {
    this.delivered.push(...labels)
    for (const label of labels) {
      const dueAt = this.dueAt.get(label)
      if (dueAt !== undefined && now < dueAt) this.evidence.push(`${label} came ${dueAt - now} ms before its time`)
    }
  }

  sinkOf(process: { readonly isDead: boolean }) {
    const options = { drainTimeout: 0 }
    switch (this.life.taker) {
      case "plain":
        return EventSink.make((n: number) => this.take(process, [n]), options)
      case "batch":
        return EventSink.makeBatch((events: readonly [number, ...Array<number>]) => {
          const some = events.slice(0, this.pick(1, events.length))
          return Effect.as(this.take(process, some), some.length)
        }, options)
      case "sync":
        return EventSink.sync((n: number) => {
          if (process.isDead) return
          if (this.isBadDelivery) throw new Error("a defect")
          this.deliver([n], Number.POSITIVE_INFINITY)
        })
    }
  }

  /** The store of a process: it takes its time, fails, and fails after it has done what it was asked to. */
  around(process: { readonly isDead: boolean }): Around {
    const alive = <A, E>(run: Effect.Effect<A, E>) => Effect.suspend(() => (process.isDead ? Effect.never : run))
    return (name, run) =>
      Effect.suspend(() => {
        if (!["claim", "renew"].includes(name)) this.asked.push(name)
        const noted = Effect.tap(run, (answer) => Effect.sync(() => this.note(name, answer)))
        const done = alive(this.chance(20) ? Effect.delay(alive(noted), this.pick(1, 20)) : noted)
        const answered = Effect.tap(done, () => alive(Effect.sleep(this.chance(20) ? this.pick(1, 20) : 0)))
        if (this.calm || !this.chance(this.life.badCalls)) return answered
        const fail = (maybeCommitted: boolean) => Effect.fail(error(name, { maybeCommitted }))
        switch (this.pick(0, 2)) {
          case 0:
            return Effect.delay(fail(false), this.pick(0, 50))
          case 1:
            if (name === "publish") this.maybeCommitted = true
            return Effect.andThen(answered, fail(true))
          default:
            return Effect.delay(fail(false), this.pick(100, 2_000))
        }
      })
  }

  private note(name: Name, answer: unknown): void {
    if (name === "claim") this.leases += (answer as EventStore.Claims).acquired.length
    if (name === "deadLetter") for (const label of deadLettersOf(this.memory)) this.aside.add(Number(label))
  }

  /** The events as they are, at once or after some time. */
  get schema(): Schema.Codec<number> {
    if (!this.life.slowCodec) return Schema.Int
    const some = SchemaGetter.transformEffect((n: number) =>
      Effect.suspend(() => (this.chance(30) ? Effect.delay(Effect.succeed(n), this.pick(1, 30)) : Effect.succeed(n)))
    )
    return Schema.Int.pipe(Schema.decodeTo(Schema.Int, { decode: some, encode: some }))
  }

  write({ queue }: Process): Effect.Effect<Attempt> {
    const labels = Array.from(
      { length: this.chance(60) ? 1 : this.pick(2, this.life.batchSize + 2) },
      () => ++this.labels
    )
    const attempt: Attempt = { labels, began: ++this.ticks, ended: Number.POSITIVE_INFINITY, exit: undefined }
    this.attempts.push(attempt)
    let done = 0
    const delay = this.life.delays && labels.length === 1 && this.chance(30) ? this.pick(1, 5_000) : undefined
    const sending = (label: number, delay: number) =>
      Effect.clockWith(({ currentTimeMillisUnsafe }) => {
        this.dueAt.set(label, currentTimeMillisUnsafe() + delay)
        this.aside.add(label)
        return queue.send(label, { delay })
      })
    const writing = Effect.whileLoop({
      while: () => done < labels.length,
      body: () =>
        labels.length === 1
          ? Effect.as(delay === undefined ? queue.write(labels[0]!) : sending(labels[0]!, delay), 1)
          : // Not empty, by the condition of the loop.
            queue.writeSome!(labels.slice(done) as [number, ...Array<number>]),
      step: (n) => void (done += n)
    })
    const noted = Effect.onExit(writing, (exit) =>
      Effect.sync(() => {
        attempt.exit = Exit.isSuccess(exit) ? Exit.succeed(done) : Exit.failCause(exit.cause)
        attempt.ended = ++this.ticks
      })
    )
    return Effect.gen({ self: this }, function* () {
      const fiber = yield* Effect.forkDetach(Effect.exit(noted))
      if (this.chance(10)) {
        yield* TestClock.adjust(this.pick(0, 10))
        fiber.interruptUnsafe()
      } else if (this.chance(70)) {
        for (let turn = 0; turn < 60 && attempt.exit === undefined; turn++) yield* TestClock.adjust(50)
      }
      return attempt
    })
  }

  /** Writes an event again that is stored, or was. */
  rewrite({ queue }: Process): Effect.Effect<unknown> {
    const stored = this.attempts.flatMap(({ exit, labels }) =>
      exit !== undefined && Exit.isSuccess(exit) ? labels : []
    )
    const label = stored[this.pick(0, stored.length - 1)]
    return label === undefined ? Effect.void : Effect.forkDetach(Effect.exit(queue.write(label)))
  }

  /** Looks for what is wrong at the end. */
  judge(): void {
    const { aside, attempts, delivered, dropped, evidence, life, memory } = this
    const left = eventsOf(memory) as ReadonlyArray<number>
    const deadLetters = deadLettersOf(memory) as ReadonlyArray<number>
    const expect = (holds: boolean, what: () => string) => void (holds || evidence.push(what()))
    expect(left.length === 0, () => `left in the queue behind a sound owner: ${left.join(" ")}`)
    const arrived = new Set([...delivered, ...dropped, ...left, ...deadLetters])
    // What was dropped by an owner that lost its lease, the next one may deliver, or drop.
    if (this.leases === 1) {
      const ends = new Set([...delivered, ...deadLetters])
      const other = dropped.filter((one, i) => ends.has(one) || dropped.indexOf(one) < i)
      expect(other.length === 0, () => `dropped, and ended in another way too: ${other.join(" ")}`)
    }
    for (const { exit, labels } of attempts) {
      const found = labels.filter((one) => arrived.has(one)).length
      if (exit !== undefined && Exit.isSuccess(exit)) {
        const lost = labels.filter((one) => !arrived.has(one))
        expect(lost.length === 0, () => `${lost.join(" ")} was stored, and is gone`)
        continue
      }
      const whole = labels.length > life.batchSize || found === 0 || found === labels.length
      expect(whole, () => `of the batch ${labels.join(" ")} only ${found} arrived`)
      const isRefused = exit !== undefined && !Cause.hasInterrupts(exit.cause) && labels.length <= life.batchSize
      expect(!isRefused || this.maybeCommitted || found === 0, () => `${labels.join(" ")} was refused, and arrived`)
    }
    const foreign = [...arrived].filter((one) => !(one >= 1 && one <= this.labels))
    expect(foreign.length === 0, () => `never written: ${foreign.join(" ")}`)
    const straight = delivered.filter((one) => !aside.has(one) && !dropped.includes(one))
    const place = new Map<number, number>()
    for (const label of straight) if (!place.has(label)) place.set(label, place.size)
    const repeats = straight.length - place.size
    const allowed = Math.max(0, this.leases - 1) * Math.max(life.batchSize, life.concurrency)
    expect(repeats <= allowed, () => `${repeats} repeats, and ${this.leases} leases allow ${allowed}`)
    for (const ordered of this.ordered) {
      const placesOf = ({ labels }: Attempt): ReadonlyArray<number> =>
        labels.flatMap((label) => (ordered(label) ? (place.get(label) ?? []) : []))
      for (const one of attempts) {
        if (one.exit === undefined || Exit.isFailure(one.exit)) continue
        const places = placesOf(one)
        const isInOrder = places.every((at, i) => i === 0 || at > places[i - 1]!)
        expect(isInOrder, () => `the batch ${one.labels.join(" ")} came in another order`)
        const last = Math.max(...places)
        for (const other of attempts) {
          if (other.began < one.ended) continue
          expect(
            last < Math.min(...placesOf(other)),
            () => `${other.labels.join(" ")} was written after ${one.labels.join(" ")}, and came before`
          )
        }
      }
    }
  }

  /** What is to be in order, each for itself. */
  private get ordered(): ReadonlyArray<(label: number) => boolean> {
    const { concurrency, keys } = this.life
    if (concurrency === 1) return [() => true]
    return Array.from({ length: keys }, (_, key) => (label) => label % keys === key)
  }
}

/** What is wrong in a life: nothing, if all is well. */
export const violationsOf = (
  life: Life,
  flawed: (store: EventStore.Operations, memory: MemoryStore.Memory) => EventStore.Operations = (store) => store
): Promise<ReadonlyArray<string>> =>
  lived(life, flawed).pipe(
    Effect.provideService(Logger.CurrentLoggers, new Set<Logger.Logger<unknown, unknown>>()),
    Random.withSeed(life.seed),
    Effect.provide(TestClock.layer({ warningDelay: "1 hour" })),
    Effect.runPromise
  )

const lived = Effect.fnUntraced(function* (life: Life, flawed: NonNullable<Parameters<typeof violationsOf>[1]>) {
  const memory = yield* MemoryStore.makeMemory
  const world = new World(memory, life, yield* Effect.service(Random.Random))
  const { evidence } = world
  let names = 0

  const start = Effect.gen(function* () {
    const state = { name: ++names, isDead: false }
    const store = flawed(yield* operationsAround(memory, world.around(state)), memory)
    const scope = yield* Scope.make()
    const made = Effect.flatMap(
      world.sinkOf(state) as Effect.Effect<EventSink.EventSink<number, unknown>, never, Scope.Scope>,
      DurableQueue.make({
        name: "events",
        schema: world.schema,
        redelivery: life.redelivers ? plan : Redelivery.none,
        ...(life.capacity > 0 ? { capacity: life.capacity, overflow: "drop-oldest" } : {}),
        onDropped: ({ event }) => Effect.sync(() => void (state.isDead || world.dropped.push(event))),
        ...(life.ids ? { id: String, deduplication: "1 day" } : {}),
        batchSize: life.batchSize,
        leaseTtl: life.leaseTtl,
        concurrency: life.concurrency,
        partitionBy: life.keys === 0 ? undefined : (n: number) => n % life.keys,
        drainTimeout: 500
      })
    )
    const queue = yield* made.pipe(Effect.provideService(EventStore.EventStore, store), Scope.provide(scope))
    return Object.assign(state, { queue, scope })
  })

  const close = Effect.fnUntraced(function* ({ name, queue, scope }: Process) {
    const closing = yield* Effect.forkDetach(Effect.andThen(queue.shutdown, Scope.close(scope, Exit.void)))
    yield* TestClock.adjust(6_000)
    if (closing.pollUnsafe() === undefined) evidence.push(`the close of process ${name} takes more than 6 seconds`)
  })

  const running: Array<Process> = []
  for (let n = 0; n < life.processes; n++) running.push(yield* start)
  for (let step = 0; step < life.steps; step++) {
    const at = world.pick(0, running.length - 1)
    const one = running[at]!
    const what = world.pick(0, 99)
    if (what < 60) {
      if (life.ids && world.chance(20)) yield* world.rewrite(one)
      yield* world.write(one)
    } else if (what < 78) {
      yield* TestClock.adjust(world.pick(1, 300))
    } else if (what < 84) {
      yield* TestClock.adjust(world.pick(300, 2 * life.leaseTtl))
    } else if (what < 89) {
      one.isDead = true
      running[at] = yield* start
    } else if (what < 93) {
      yield* close(one)
      running[at] = yield* start
    } else if (what < 97) {
      // The owner was paused, and another owner had the lease meanwhile, and released it.
      queueOf(memory).steal()
      world.leases++
      yield* queueOf(memory).release
    } else if (world.chance(50)) {
      yield* Effect.forkDetach(Effect.exit(one.queue.deadLetters.replay("all")))
      yield* TestClock.adjust(500)
    } else {
      yield* Effect.forkDetach(Effect.exit(one.queue.pause()))
      yield* world.write(one)
      yield* TestClock.adjust(world.pick(1, 3_000))
      yield* Effect.forkDetach(Effect.exit(running[world.pick(0, running.length - 1)]!.queue.resume))
    }
  }
  world.calm = true
  running.push(yield* start)
  // Among the pauses that were not ended may be one that is to come.
  yield* TestClock.adjust(5_000)
  yield* Effect.forkDetach(running.at(-1)!.queue.resume)
  for (let second = 0; second < (life.redelivers ? 900 : 120) && (second < 30 || eventsOf(memory).length > 0); second++)
    yield* TestClock.adjust(1_000)
  world.judge()
  if (eventsOf(memory).length === 0) {
    yield* TestClock.adjust(10_000)
    for (const { name, queue } of running) {
      const { pending } = queue.node.health(0)
      if (pending !== 0) evidence.push(`process ${name} takes ${pending} for pending of none`)
    }
    world.asked.length = 0
    yield* TestClock.adjust(10_000)
    if (world.asked.length > 0) evidence.push(`asked for while nothing was to be done: ${world.asked.join(" ")}`)
  }
  for (const one of running) yield* close(one)
  return evidence
})
