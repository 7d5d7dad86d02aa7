/** The laws of closing and releasing: 1, 2, 3, 5, 11 and 13. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { TestError } from "../testError.ts"
import { ensure, outcome, range, show } from "./evidence.ts"
import * as Account from "./sinkAccount.ts"
import type { Subject } from "./sinkSubject.ts"
import type { Call, ClosedBy, Law, Life, World, Write } from "./sinkWorld.ts"
import { anySink, each, law, random } from "./sinkWorld.ts"
import type { Mode } from "./target.ts"

const hasShutdown = ({ shutdown }: Subject) => shutdown !== undefined
/** The reader of a queue that the part does not own is not the part's to wait for. */
const hasOwnReader = ({ shutdown, stream }: Subject) => stream === undefined || shutdown !== undefined
const isDurable = ({ remaining, synchronous, targets }: Subject) =>
  remaining !== undefined && !synchronous && targets === undefined

const modes = ["commit", 50, "hang", "refuse", "fail", "die", "interrupt", "kill", "closed"] as const

const inEachMode = (modes: ReadonlyArray<Mode>, closedBy: ReadonlyArray<ClosedBy>) =>
  Object.fromEntries(
    closedBy.flatMap((by) =>
      modes.map((mode) => [`the receiver's mode is "${mode}", then ${by}`, { mode, by }] as const)
    )
  )

export const closingLaws: ReadonlyArray<Law> = [
  law(1, "calls of shutdown wait for the same flush and get the same list; the close reports the rest", hasShutdown, {
    "shutdown is called five times": function* (world) {
      const { remaining, synchronous } = world.subject
      if (synchronous) return
      yield* world.begin({ mode: "hang", labels: range(1, 5), apart: true, pause: 0 })
      const hanging = Account.inFlight(world)
      const calls = [world.call(world.shutdown), world.call(world.shutdown)]
      yield* Effect.sleep(10)
      calls.push(world.call(world.shutdown))
      const close = world.beginClose()
      yield* Effect.sleep(500)
      calls.push(world.call(world.shutdown))
      yield* Effect.sleep(world.closeLimit())
      calls.push(world.call(world.shutdown))
      yield* world.rest
      if (close.exit === undefined) return
      yield* world.readRemaining
      const rest = backlog(world)
      ensure(remaining === undefined || rest.length === 0, `${show(rest)} was not delivered, and is not kept`)
      // Of what a durable part keeps, it returns what the receiver may have.
      const expected = remaining === undefined ? rest : hanging
      for (const { exit } of calls) {
        ensure(exit !== undefined && Exit.isSuccess(exit), `a call of shutdown ${outcome({ exit })}`)
        const what = "a call of shutdown returned other than was not delivered"
        Account.expectSame(world, Account.labelsOf(exit.value), expected, what)
      }
      const again = expected.filter((label) => Account.labelsOf(world.dropped).includes(label))
      ensure(again.length === 0, `${show(again)} was returned by shutdown and reported by the close too`)
      const [first, ...others] = calls.slice(0, -1)
      for (const { ended } of [...others, close]) {
        const early = first!.ended - ended
        ensure(!(early > 0), `another call came back ${early} ms before the first, while the flush was going on`)
      }
    },
    "shutdown and close while a flush goes on": function* (world) {
      yield* world.begin({ mode: 50, labels: range(1, 5), pause: 1 })
      const first = world.call(world.shutdown)
      yield* Effect.sleep(20)
      const second = world.call(world.shutdown)
      const close = world.beginClose("interruption")
      for (const call of [second, close, first]) {
        if (!(yield* world.ends(call))) return
        // The reader of a stream has taken the last event by now, and commits it next.
        if (world.subject.stream !== undefined) yield* world.rest
        yield* world.readRemaining
        const rest = backlog(world)
        ensure(rest.length === 0, `a close came back before ${show(rest)} was delivered`)
      }
    },
    // What is not returned by the call that was cut short is reported by the close: once.
    "calls of shutdown are interrupted": random(12, function* (world) {
      const { pick, subject } = world
      if (subject.synchronous) return
      yield* world.begin({ mode: "hang", labels: range(1, 5), apart: true, pause: 0 })
      // In the drain, or at the very moment when its time is up.
      const at = pick(0, 1) === 0 ? pick(0, 50) : world.deadline
      const turns = pick(0, 12)
      const call = world.call(world.shutdown)
      const cut = world.call(world.shutdown)
      call.fiber.interruptUnsafe()
      yield* Effect.sleep(at)
      for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
      const close = pick(0, 1) === 0 ? world.beginClose() : undefined
      cut.fiber.interruptUnsafe()
      yield* Effect.sleep(world.closeLimit())
      if (!(yield* world.ends(close ?? world.beginClose()))) return
      yield* world.rest
      yield* world.readRemaining
      const undelivered = backlog(world)
      const reported = Account.labelsOf(world.dropped.filter(({ reason }) => reason === "Undelivered"))
      if (cut.exit !== undefined && Exit.isSuccess(cut.exit)) {
        ensure(reported.length === 0, `${show(reported)} was returned by shutdown and reported by the close`)
      } else if (reported.length > 0 || !Account.admits(world, undelivered.length)) {
        const what = `no call returned, interrupted after ${at} ms, and the close reported`
        Account.expectSame(world, reported, undelivered, what)
      }
    })
  }),
  law(2, "a write after the close, or waiting when it came, fails with SinkClosed", anySink, {
    "writes come late": function* (world) {
      const { filtered } = world.subject
      yield* world.begin({ mode: 50, labels: range(1, 3), pause: 1 })
      const close = world.beginClose()
      yield* world.rest
      const during = world.write(10).call
      yield* world.ends(close)
      const after = world.write(11).call
      const batch = world.write(12, 13).call
      const filteredOut = filtered && world.call(world.sink.write(filtered()))
      yield* Effect.sleep(5_000)
      expectClosed("a write during the close", during)
      expectClosed("a write after the close", after)
      expectClosed("a write after the close, as a batch,", batch)
      if (filteredOut) expectClosed("after the close, a write of an event that is filtered out", filteredOut)
    },
    ...each({
      "writes wait behind a receiver that hangs": "hang",
      "writes wait behind a receiver that is slow": 100,
      "writes wait behind a receiver that fails": "fail"
    })(function* (world, mode) {
      yield* world.begin({ mode, labels: range(1, (world.subject.capacity ?? 0) + 4) })
      const inside = new Set(Account.inFlight(world))
      const waiting = world.writes.filter(({ call, labels }) => call.exit === undefined && !inside.has(labels[0]))
      yield* world.close()
      const isTried = ({ call: { exit }, labels }: Write) => {
        if (world.subject.batches === undefined || exit === undefined) return false
        return Exit.isSuccess(exit) ? Account.isReceived(world, labels[0]) : exit.cause.reasons.every(isTestError)
      }
      for (const { call, labels } of waiting.filter((write) => !isTried(write)))
        expectClosed(`the write of ${show(labels[0])}, which was waiting at the close,`, call)
    })
  }),
  law(3, "a close releases each part once, after its own flush and before what it wraps", hasOwnReader, {
    "the close comes while writes are under way": random(8, function* (world) {
      const { pick, subject } = world
      const fails = subject.delays !== undefined && pick(0, 1) === 0
      yield* world.begin({ mode: (attempt) => (fails && attempt % 2 === 0 ? "fail" : 50), pause: pick(1, 120) })
      const close = world.beginClose(pick(0, 1) === 0 ? "close" : "interruption")
      if (!(yield* world.ends(close))) return
      yield* Effect.sleep("1 minute")
      for (const { attempts, received, releases } of world.targets) {
        const [at = { inFlight: 0, received: 0, attempts: 0 }] = releases
        ensure(releases.length === 1, `a receiver was released ${releases.length} times`)
        ensure(at.inFlight === 0, `a receiver was released with ${at.inFlight} writes in flight`)
        const late = attempts.length - at.attempts
        ensure(late === 0, `${late} writes came to a receiver after it was released`)
        const events = received.length - at.received
        ensure(events === 0, `a receiver was released before the flush: ${events} events came later`)
      }
    }),
    "two parts stand over one receiver": function* (world) {
      const releases = () => Math.max(...world.targets.map(({ releases }) => releases.length))
      const scope = yield* Scope.make()
      const other = yield* world.make(scope)
      world.receiver.mode = 50
      for (const label of range(1, 3)) {
        world.write(label)
        world.writeTo(other, [label + 10])
      }
      yield* world.rest
      // The part in the other scope closes, and the receiver goes on for the first.
      if (!(yield* world.ends(world.call(Scope.close(scope, Exit.void))))) return
      ensure(releases() === 0, "the receiver was released with the first of its two wrappers")
      // What this one has not delivered yet may fill it.
      yield* Effect.sleep("1 minute")
      const { call } = world.write(4)
      yield* Effect.sleep("1 minute")
      const what = `one of two wrappers closed, and a write through the other ${outcome(call)} and did not arrive`
      ensure(Account.isReceived(world, 4), what)
      yield* world.close()
      ensure(releases() === 1, `the receiver was released ${releases()} times`)
    }
  }),
  law(5, "a close returns within its deadline, whatever the receiver does", anySink, {
    ...each<Life>({
      ...inEachMode(modes, ["close", "interruption"]),
      "the receiver hangs, and onDropped hangs": { mode: "hang", onDropped: "hangs" },
      "the receiver hangs, and onDropped refuses": { mode: "hang", onDropped: "refuses" }
    })(function* (world, life) {
      const { queued, remaining, stream } = world.subject
      yield* world.begin({ ...life, labels: range(1, 3) })
      const held = life.mode === "refuse" && queued && stream === undefined ? Account.inFlight(world) : []
      const began = world.now()
      const close = world.beginClose(life.by)
      const isInTime = yield* world.ends(close)
      ensure(isInTime, `the close ${outcome(close)} after ${world.now() - began} ms`)
      if (held.length === 0) return
      const names = ["receiver", ...world.books().map(({ name }) => name)]
      const warnings = world.logs.filter(({ level }) => level === "Warn")
      const isNamed = warnings.some(({ text }) => names.some((name) => text.includes(name)))
      ensure(isNamed, `no warning names the write that refuses interruption; the log: ${show(world.logs)}`)
      if (world.dropped.length === 0 || remaining !== undefined) return
      const marked = Account.labelsOf(world.dropped.filter(({ inFlight }) => inFlight))
      const isMarked = held.every((label) => marked.includes(label))
      ensure(isMarked, `${show(held)} was in flight, and ${show(marked)} was reported so`)
    })
  }),
  law(11, "no fiber is left after the close, but one whose write refuses interruption", anySink, {
    ...each<Life>({
      ...inEachMode(modes, ["close"]),
      "the receiver hangs, and so does onDropped": { mode: "hang", onDropped: "hangs" },
      "both hang, and an interruption closes the scope": { mode: "hang", onDropped: "hangs", by: "interruption" },
      "the receiver hangs, and an interruption closes the scope": { mode: "hang", by: "interruption" },
      "the receiver hangs for two minutes": { mode: "hang", pause: 120_000 }
    })(function* (world, life) {
      yield* world.begin(life)
      const refuses = life.mode === "refuse"
      world.writes[3]?.call.fiber.interruptUnsafe()
      const extra = world.record("extra").sink.reliable
      const times = refuses ? 0 : 3
      for (let n = 0; n < times; n++) yield* Effect.andThen(world.add(extra), world.remove(extra))
      if (!(yield* world.close(life.by))) return
      for (const { call } of world.writes) call.fiber.interruptUnsafe()
      yield* world.rest
      const abandoned = refuses ? Account.inFlight(world).length : 0
      const what = `fibers are left after the close, and ${abandoned} writes that refuse interruption`
      ensure(world.fibers.running <= abandoned, `${world.fibers.running} ${what}`)
      world.release()
      yield* world.rest
      ensure(world.fibers.running === 0, `${world.fibers.running} fibers are left after the last write has ended`)
    })
  }),
  law(13, "a failure during shutdown keeps the event", isDurable, {
    ...each(inEachMode(["fail", "die", "interrupt", "kill", "closed"], ["shutdown", "close", "interruption"]))(
      function* (world, { by, mode }) {
        // The event that fails before the close may be a dead letter.
        const others = (labels: ReadonlyArray<unknown>) => labels.filter((label) => label !== 1)
        world.receiver.before = (label) => (label === 1 ? Effect.void : Effect.sleep(50))
        yield* world.begin({ mode: ["fail", mode], labels: [1], pause: 10 })
        yield* world.begin({ labels: range(2, 5) })
        if (!(yield* world.close(by))) return
        const dead = others(world.remaining.deadLetters)
        ensure(dead.length === 0, `${show(dead)} failed during the close, and was dead-lettered`)
        const dropped = Account.labelsOf(world.dropped)
        const expected = others(Account.accepted(world)).filter((label) => !dropped.includes(label))
        const what = "what was pending at the close is not what remains"
        Account.expectSame(world, others(world.remaining.waiting), expected, what)
      }
    )
  })
]

// internals

/** What was accepted, and is neither delivered nor given up before the close, nor kept by a durable part. */
const backlog = (world: World) => {
  const givenUpBefore = world.dropped.filter(({ reason }) => reason !== "Undelivered")
  return Account.unsettled(world, givenUpBefore)
}

/** What a write fails with whose batch was tried, and failed. */
const isTestError = (reason: Cause.Reason<unknown>) => Cause.isFailReason(reason) && reason.error instanceof TestError

const expectClosed = (what: string, call: Call<unknown>): void =>
  ensure(Account.isClosed(call), `${what} ${outcome(call)} instead of failing with SinkClosed`)
