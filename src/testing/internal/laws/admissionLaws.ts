/** The laws of admission, of retries and of fallbacks: 6, 9, 12, 14 and 16. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { ensure, outcome, range, show } from "./evidence.ts"
import * as Account from "./sinkAccount.ts"
import type { Subject } from "./sinkSubject.ts"
import { anySink, type Call, each, type Law, law, random } from "./sinkWorld.ts"

const retries = ({ delays }: Subject) => delays !== undefined
const canReenter = ({ queued, stream, synchronous }: Subject) => queued === true && stream === undefined && !synchronous
const isFallback = ({ fallsBack }: Subject) => fallsBack === true
const isBounded = ({ capacity }: Subject) => capacity !== undefined

/** Failures that are watched through the sink; the original's backoff is gone after 56. */
const failures = 160

export const admissionLaws: ReadonlyArray<Law> = [
  law(6, "a backoff is at most its maximum and never collapses, however many failures there were", retries, {
    [`the receiver fails ${failures} times`]: {
      minutes: 10_000,
      *play(world) {
        const { attempts } = world.receiver
        const { bound = () => 0, max: longest } = world.subject.delays ?? { max: 0 }
        const max = millis(longest)
        for (let n = 1, before = 0; n <= 10_000; n++) {
          const now = millis(bound(n))
          const isSound = now >= before && now <= max
          ensure(isSound, `after ${n} failures the backoff is ${now} ms; before ${before}, at most ${max}`)
          before = now
        }
        yield* world.begin({
          mode: (n) => (n > failures ? "commit" : "fail"),
          labels: [1],
          pause: failures * (max + 100)
        })
        ensure(attempts.length > failures, `after ${attempts.length} failed attempts there was no other`)
        const gaps = attempts.slice(1).map((time, i) => time - attempts[i]!)
        const found = Math.max(...gaps)
        // The clock counts whole milliseconds.
        ensure(found <= max + 1, `a backoff took ${found} ms, and its maximum is ${max}`)
        const late = gaps.slice(-60)
        const mean = Math.round(late.reduce((sum, gap) => sum + gap, 0) / late.length)
        ensure(mean >= max / 10, `after ${failures} failures a backoff takes ${mean} ms on average, of ${max} at most`)
      }
    }
  }),
  law(9, "interrupting a write leaves it accepted or not; a batch is taken whole or not at all", anySink, {
    "writes are interrupted at odd moments": random(12, function* (world) {
      const { pick, receiver, subject } = world
      const hangs = pick(0, 1) === 0
      const takes = pick(1, 5)
      const trouble = subject.delays === undefined ? 0 : pick(0, 8)
      receiver.mode = (attempt) => (hangs && attempt === 1 ? "hang" : attempt <= trouble ? "fail" : takes)
      for (let n = 0; n < 8; n++) {
        const write = world.write(...range(n * 10, n * 10 + (pick(0, 1) === 0 ? 0 : 2)))
        if (pick(0, 1) === 0) continue
        // At once, after some turns of the scheduler, when room comes, or some time later.
        const turns = pick(0, 6)
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        if (pick(0, 2) === 0) yield* Effect.sleep(pick(1, 12))
        if (pick(0, 3) === 0) world.release()
        write.call.fiber.interruptUnsafe()
      }
      // What sends each event to one of several receivers commits a batch part by part.
      const isWhole = world.sink.writeSome !== undefined && subject.targets !== "one"
      const batches = isWhole ? world.writes.map(({ labels }) => labels) : []
      yield* Effect.sleep(pick(1, 20))
      world.release()
      yield* Effect.sleep("1 minute")
      // An interrupted write has left nothing behind that others wait for.
      const { call } = world.write(1_000)
      yield* Effect.sleep("1 minute")
      const what = `after interruptions the receiver is well, and a write ${outcome(call)} and did not arrive`
      ensure(Account.isReceived(world, 1_000), what)
      if (subject.capacity === undefined || subject.capacity >= 2) {
        const { call, labels } = world.write(1_001, 1_002)
        yield* Effect.sleep("1 minute")
        const what = `after interruptions the receiver is well, and a batch ${outcome(call)} and did not arrive`
        ensure(
          labels.every((label) => Account.isReceived(world, label)),
          what
        )
      }
      if (!(yield* world.close())) return
      const received = Account.taken(world)
      for (const labels of batches) {
        const n = labels.filter((label) => received.has(label)).length
        // A write that waits for its batch is answered for a leading part, as that of any sink.
        const isLeading = subject.batches !== undefined && !subject.queued && received.has(labels[0])
        const isOne = n === 0 || n === labels.length || (isLeading && !received.has(labels.at(-1)))
        const isDropped = world.dropped.length === 0 && Account.admits(world, 1)
        ensure(isOne || isDropped, `of the interrupted batch ${show(labels)} only ${n} were taken`)
      }
      if (subject.queued) Account.expectNothingLost(world, "after interruptions")
    })
  }),
  law(12, "writing from inside a queue's own delivery to that queue never deadlocks", canReenter, {
    ...each({ "it is an event": "event", "it is a batch": "batch", "it is a fiber forked there": "fork" })(
      function* (world, how) {
        const { capacity = 1, event = (n: number): unknown => n } = world.subject
        const inner: Array<Call<unknown>> = []
        const writeInside = Effect.suspend(() => {
          const { write, writeSome } = world.sink
          const batch = how === "batch" ? writeSome?.([event(101), event(102), event(103)]) : undefined
          const writing = Effect.onExit(Effect.delay(batch ?? write(event(101)), 10), (exit) =>
            Effect.sync(() => inner.push(world.call(exit)))
          )
          return Effect.exit(how === "fork" ? Effect.flatMap(Effect.forkChild(writing), Fiber.join) : writing)
        })
        for (const target of world.targets) {
          target.mode = ["hang", "commit"]
          target.before = (label) => (label === 1 ? writeInside : Effect.void)
        }
        // It fills up while its first event is being delivered.
        yield* world.begin({ labels: [1], pause: 1 })
        for (const label of range(2, capacity + 2)) world.write(label)
        world.release()
        yield* Effect.sleep("1 minute")
        ensure(inner.length > 0, "a write from inside the queue's own delivery has not ended")
        for (const { exit } of inner) {
          const isSound = exit !== undefined && !hasDefect(exit)
          ensure(isSound, `a write from inside its own delivery ${outcome({ exit })}`)
        }
        yield* Effect.sleep("1 minute")
        const waiting = world.writes.filter(({ call }) => call.exit === undefined)
        ensure(waiting.length === 0, `${waiting.length} other writes have not ended then`)
        yield* world.readRemaining
        Account.expectNothingLost(world, "then")
      }
    )
  }),
  law(14, "a fallback fires on a first sink that blocks, as on one that fails", isFallback, {
    ...each({
      "the first receiver fails": "fail",
      "the first receiver is closed": "closed",
      "the first receiver hangs": "hang",
      "the first receiver refuses interruption": "refuse"
    } as const)(function* (world, mode) {
      const [first, second] = world.targets
      if (world.receiver !== first || second === undefined) return
      yield* world.begin({ mode, labels: range(1, 3), pause: 60_000 })
      for (const { call, labels } of world.writes)
        ensure(
          call.exit !== undefined && Exit.isSuccess(call.exit),
          `a minute later the write of ${show(labels[0])} ${outcome(call)}`
        )
      Account.expectSame(world, second.received, range(1, 3), "the second receiver got")
    })
  }),
  law(16, "a batch larger than the capacity enters an empty queue or fails typed; it never hangs", isBounded, {
    ...each({ "the queue is empty": [], "the queue is not empty": [1, 2] })(function* (world, before) {
      const { capacity = 1 } = world.subject
      const labels = range(10, 10 + 3 * capacity)
      yield* world.begin({ mode: 5, labels: before, pause: 0 })
      const { call } = world.write(...labels)
      if (before.length > 0) world.write(3)
      yield* Effect.sleep("1 minute")
      const hanging = world.writes.find(({ call }) => call.exit === undefined)
      ensure(hanging === undefined, `the write of ${show(hanging?.labels)} at capacity ${capacity} hangs`)
      const { exit } = call
      const received = Account.taken(world)
      const n = labels.filter((label) => received.has(label)).length
      const isAdmitted = Account.admits(world, 1)
      const mustBeWhole = world.sink.writeSome !== undefined && (world.dropped.length > 0 || !isAdmitted)
      const isWhole = n === 0 || n === labels.length
      ensure(!mustBeWhole || isWhole, `${n} of ${labels.length} events of the batch were taken`)
      const isTyped = exit !== undefined && Exit.isFailure(exit) ? !hasDefect(exit) : n === labels.length || isAdmitted
      ensure(isTyped, `a batch of ${labels.length} ${outcome(call)}, and ${n} were taken`)
    })
  })
]

// internals

const millis = (duration: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(duration))

const hasDefect = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) && Cause.hasDies(exit.cause)
