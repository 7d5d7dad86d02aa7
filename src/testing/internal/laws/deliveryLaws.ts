/** The laws of delivery: conservation, order, and what one sink, one event or one defect may cost. 0, 4, 7, 8, 10 and 17. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { SinkClosed } from "../../../internal/sink.ts"
import { ensure, outcome, range, show } from "./evidence.ts"
import * as Account from "./sinkAccount.ts"
import type { Subject } from "./sinkSubject.ts"
import { anySink, each, type Law, law, type Life, random, type World } from "./sinkWorld.ts"
import type { Mode, Modes } from "./target.ts"

const hasSiblings = ({ sinks, targets }: Subject) => sinks !== undefined || targets === "both"
const takesAnything = ({ event }: Subject) => event === undefined
const canMeetDefects = ({ stream, synchronous }: Subject) => stream === undefined && !synchronous
const batches = ({ batches }: Subject) => batches !== undefined
const keepsOrder = ({ order }: Subject) => order !== "none"

const moods: ReadonlyArray<Mode> = ["commit", "commit", 5, 20, "fail", "die", "interrupt", "kill"]

const oddValues = [undefined, null, Number.NaN, 0, -0, "", false, Symbol("event"), () => "called", [], {}]
/** Values that a part could run, wait for, or take for the end. */
const misleading = [
  new Error("an error as an event"),
  Promise.resolve("resolved"),
  Effect.die("an event that is an Effect was run"),
  Effect.fail("an event that is an Effect was run"),
  Exit.fail("an event that is an Exit was taken for one"),
  new SinkClosed({ sink: "an event" }),
  { _tag: "Failure", cause: Cause.empty },
  { _tag: "Done" }
]
const anything: ReadonlyArray<unknown> = [...oddValues, ...misleading]

export const deliveryLaws: ReadonlyArray<Law> = [
  law(0, "conservation: every accepted event has exactly one fate, and the books balance", anySink, {
    "everything is well": function* (world) {
      world.receiver.mode = 1
      for (const label of range(1, 20)) {
        yield* world.ends(world.write(label).call, 1_000)
        yield* Effect.sleep(2)
      }
      yield* Effect.sleep(100)
      if (!(yield* world.close())) return
      Account.expectReceived(world, Account.accepted(world), "everything was well")
      expectBalance(world)
    },
    // Writes and batches, some interrupted, a receiver with moods, and a close at some moment.
    "any life": random(12, function* (world) {
      const { pick } = world
      const hangsAt = pick(1, 40)
      world.receiver.mode = (attempt) => (attempt === hangsAt ? "hang" : moods[pick(0, moods.length - 1)]!)
      let next = 1
      for (let turn = pick(1, 12); turn > 0; turn--) {
        const size = pick(1, 3)
        const write = world.write(...range(next, next + size - 1))
        next += size
        if (pick(0, 2) === 0) yield* Effect.sleep(pick(1, 30))
        if (pick(0, 4) === 0) write.call.fiber.interruptUnsafe()
      }
      if (world.subject.shutdown !== undefined && pick(0, 1) === 0) {
        const call = world.call(world.shutdown)
        if (!(yield* world.ends(call))) return
        if (call.exit !== undefined && Exit.isSuccess(call.exit)) world.returned = call.exit.value
      }
      if (!(yield* world.close())) return
      world.end()
      yield* Effect.sleep("5 seconds")
      expectBalance(world)
    })
  }),
  law(4, "removing, failing or closing one sink leaves the sequence of every other unchanged", hasSiblings, {
    "sinks come, go and misbehave": random(8, function* (world) {
      const { add, pick, remove, subject } = world
      if (subject.sinks === undefined) return
      const written = range(1, 12)
      const [a, b, c] = [pick(2, 10), pick(2, 10), pick(2, 10)]
      const defects: ReadonlyArray<Mode> = ["die", "interrupt", "kill"]
      const rows: Readonly<Record<string, Sibling>> = {
        "a removed sink": { removed: a, gets: range(1, a) },
        "a sink that closed": { mode: ["commit", "commit", "closed"], gets: range(1, 2) },
        "a sink that dies": { mode: (attempt) => defects[attempt % 3]! },
        "a slow sink that stayed": { mode: () => pick(1, 30), gets: written },
        "a removed sink that hangs": { mode: ["commit", "hang"], removed: b },
        "a sink that was removed and added again": { removed: c, isBack: true, gets: written },
        "the last sink, which stayed": { gets: written }
      }
      const siblings = Object.entries(rows).map(([name, row]) => ({ ...row, name, target: world.record(name) }))
      for (const { mode = "commit", target } of siblings) {
        target.mode = mode
        yield* add(target.sink.reliable)
      }
      for (const label of written) {
        world.write(label)
        if (pick(0, 1) === 0) yield* world.rest
        for (const { isBack, removed, target } of siblings) {
          const { reliable } = target.sink
          if (removed === label && !isBack) world.call(remove(reliable))
          if (removed === label && isBack) yield* Effect.andThen(remove(reliable), add(reliable))
        }
      }
      yield* Effect.sleep("5 seconds")
      Account.expectSame(world, world.receiver.received, written, "a sink that stayed got")
      for (const { gets, name, target } of siblings)
        if (gets !== undefined) Account.expectSame(world, target.received, gets, `${name} got`)
    }),
    ...each({
      "one receiver fails for a while": "fail",
      "one receiver dies for a while": "die",
      "one receiver is interrupted for a while": "interrupt",
      "one receiver hangs for a while": "hang",
      "one receiver is closed for a while": "closed"
    })(function* (world, mode) {
      const { capacity = 8, queued = false, targets } = world.subject
      if (targets !== "both") return
      const labels = range(1, Math.min(8, capacity))
      yield* world.begin({ mode: ["commit", mode, mode, "commit"], labels, apart: true, pause: 1_000 })
      const { received } = world.targets.find((target) => target !== world.receiver)!
      const expectOther = (when: string) => {
        const expected = Account.accepted(world)
        // Without a queue a failed write may have reached this receiver, and writes of several fibers overtake each other.
        const found = queued ? received : received.filter((label) => expected.includes(label))
        const what = `the receiver that is well has ${show(found)} ${when}, instead of ${show(expected)}`
        ensure(Account.isSame(world, found, expected, queued), what)
      }
      expectOther("beside one that misbehaves")
      world.release()
      yield* Effect.sleep("1 minute")
      yield* world.close()
      expectOther("after the close")
    })
  }),
  law(7, "any value is an event", takesAnything, {
    "odd values are written": function* (world) {
      for (const label of anything) {
        const { call } = world.write(label)
        // Its delivery takes time too, and leaves the next event all the room.
        yield* world.ends(call)
        yield* Effect.sleep("5 seconds")
        const isWritten = call.exit !== undefined && Exit.isSuccess(call.exit)
        ensure(isWritten, `a write of ${show(label)} ${outcome(call)}`)
      }
      const batch = world.write(...anything.slice(0, 3))
      yield* Effect.sleep("1 minute")
      const { exit } = batch.call
      const isWhole = exit === undefined || Exit.isSuccess(exit) || batch.accepted === 0
      ensure(isWhole, `a batch of odd values ${outcome(batch.call)}`)
      Account.expectReceived(world, Account.accepted(world), "odd values were written")
    },
    // Those that a part gives up must be reported as ordinary ones are.
    "odd values are undelivered": function* (world) {
      yield* world.begin({ mode: ["die", "die", "hang"], labels: ["ordinary", ...anything, "ordinary too"], pause: 0 })
      if (!(yield* world.close())) return
      world.release()
      yield* Effect.sleep(100)
      // A part that loses any event breaks another law.
      if (Account.missing(world).some((label) => String(label).startsWith("ordinary"))) return
      Account.expectNothingLost(world, "closed with odd values waiting")
    }
  }),
  law(8, "an accepted event is never lost without a report, and its content is never logged", anySink, {
    ...each<Loss>({
      "one write dies": { mode: ["commit", "die", "commit"] },
      "one write fails": { mode: ["commit", "fail", "commit"] },
      "one write is interrupted": { mode: ["commit", "kill", "commit"] },
      "every write dies": { mode: "die", burst: 3 },
      "the receiver hangs": { mode: ["commit", "hang"] },
      "the receiver refuses interruption": { mode: [1, "refuse"] },
      // All at once: what is written when a sink has left a broadcaster is not for that sink.
      "the receiver closes": { mode: ["commit", "closed"], burst: 4 },
      "a burst": { mode: 10, burst: 6 },
      "onDropped dies": { mode: ["hang", "die", "hang"], onDropped: "dies" },
      "onDropped hangs at the close": { mode: "hang", onDropped: "hangs" },
      "an interruption closes the scope": { mode: "hang", by: "interruption" },
      "onDropped hangs when an interruption closes the scope": { mode: "hang", onDropped: "hangs", by: "interruption" }
    })(function* (world, { burst, ...life }) {
      const { capacity = 0, event } = world.subject
      const numbers = range(1, capacity + (burst ?? 4))
      const labels = event === undefined ? numbers.map((n) => ({ id: `id-${n}`, content: `secret-${n}` })) : numbers
      yield* world.begin({ ...life, labels, apart: burst === undefined, pause: 100 })
      if (!(yield* world.close(life.by))) return
      world.release()
      yield* Effect.sleep(100)
      const lost = Account.missing(world)
      const what = `${show(lost)} were accepted and neither delivered nor reported nor logged by count or id`
      ensure(lost.length === 0 || logsLoss(world, lost), `${what}: ${show(world.logs)}`)
      const secret = world.logs.find(({ text }) => text.includes("secret-"))
      ensure(secret === undefined, `the log has the content of an event: ${secret?.text}`)
    })
  }),
  law(10, "a defect or an interruption of a sink's own making stops neither worker nor sibling", canMeetDefects, {
    "three writes meet a defect": function* (world) {
      const { receiver, subject } = world
      const mode: Modes = ["commit", "die", "commit", "interrupt", "commit", "kill", "commit"]
      const sibling = world.record("sibling")
      yield* world.add(sibling.sink.reliable)
      yield* world.begin({ mode, labels: range(1, 8), apart: true, pause: 60_000 })
      const { troubled } = receiver
      const expected = range(1, 8).filter((label) => !troubled.includes(label))
      // The other of two receivers may have got an event that met a defect, or a smaller batch of it.
      const isAlone = subject.targets === undefined && subject.batches === undefined
      const isCertain = (label: unknown) => isAlone || !troubled.includes(label)
      for (const received of Account.views(world)) {
        const holds = Account.isSame(world, received.filter(isCertain), expected, subject.targets !== "one")
        ensure(holds, `${show(troubled)} met a defect, and of the others only ${show(received)} arrived`)
      }
      if (subject.sinks === undefined) return
      Account.expectSame(world, sibling.received, range(1, 8), "one sink had defects, and its sibling got")
    }
  }),
  law(15, "batches make progress, and hold no event past its age", batches, {
    "writes come at odd moments": {
      minutes: 10_000,
      ...random(8, function* (world) {
        const { pick, receiver, subject } = world
        const { maxAge = 0 } = subject.batches ?? {}
        const age = Duration.toMillis(Duration.fromInputUnsafe(maxAge))
        const slow = pick(0, 1) === 0 ? 0 : pick(1, Math.max(1, 4 * age))
        // A long age is looked at in steps, and a short one for a while.
        const step = Math.max(1, Math.floor(age / 20))
        const looks = Math.max(40, (40 * age) / step)
        receiver.mode = slow === 0 ? "commit" : slow
        /** When each event began to wait for others. */
        const since = new Map<unknown, number>()
        for (let next = 1, look = 0; look < looks; look++) {
          if (next <= 40 && pick(0, 2) === 0) world.write(...range(next, (next += pick(1, 3)) - 1))
          // What happens before a moment has happened when the moment comes.
          yield* Effect.sleep(step)
          const dropped = Account.labelsOf(world.dropped)
          for (const { accepted, call, labels } of world.writes) {
            const isWaiting = (i: number) => (subject.queued ? i < accepted : call.exit === undefined && i === accepted)
            for (const label of labels.filter((_, i) => isWaiting(i))) {
              const waited = world.now() - (since.get(label) ?? world.now())
              since.set(label, since.get(label) ?? world.now())
              const isGone = receiver.received.includes(label) || dropped.includes(label)
              // While the receiver is busy the event waits for that.
              const isHeld = !isGone && receiver.inFlight.length === 0 && waited > age + 1
              ensure(!isHeld, `${show(label)} has waited ${waited} ms at an age of ${age}, and the receiver is idle`)
            }
          }
        }
        yield* Effect.sleep(40 * (slow + age))
        const left = world.writes.filter(({ call }) => call.exit === undefined)
        ensure(left.length === 0, `${left.length} writes have not ended`)
        Account.expectNothingLost(world, "after all batches")
      })
    }
  }),
  law(17, "what one fiber wrote in order arrives in order at each sink", keepsOrder, {
    "three fibers write": random(6, function* (world) {
      const { pick, subject } = world
      const failures = subject.delays === undefined ? 0 : 30
      world.receiver.mode = () => (pick(1, 100) <= failures ? "fail" : pick(0, 1) === 0 ? "commit" : pick(1, 20))
      const largest = Math.min(3, Math.max(1, subject.capacity ?? 3))
      const writer = Effect.fnUntraced(function* (first: number) {
        for (let written = 0, next = first; written < 12;) {
          const size = pick(1, largest)
          // Gaps, so that neighbours have one key now and another then.
          const write = world.write(...range(1, size).map(() => (next += pick(1, 4))))
          written += size
          yield* world.ends(write.call, 600_000)
          if (pick(0, 3) === 0) yield* Effect.sleep(pick(1, 20))
        }
      })
      const firsts = [100, 200, 300]
      yield* Effect.forEach(firsts, writer, { concurrency: "unbounded" })
      yield* Effect.sleep(5_000)
      for (const { received } of world.targets) {
        for (const first of firsts) {
          const got = received.map(Number).filter((n) => n >= first && n < first + 100)
          const isAfter = (n: number, before: number) => n > before || !world.together(before, n)
          const isOrdered = got.every((n, i) => got.slice(0, i).every((before) => isAfter(n, before)))
          ensure(isOrdered, `what one fiber wrote in order arrived as ${show(got)}`)
        }
      }
    })
  })
]

// internals

/** A sink beside others: how it misbehaves, after which event it is removed, whether it is added again, what it gets. */
interface Sibling {
  readonly mode?: Modes
  readonly removed?: number
  readonly isBack?: boolean
  readonly gets?: ReadonlyArray<unknown>
}

/** How events may get lost: `burst` are written at once beyond the capacity, instead of four one after the other. */
interface Loss extends Life {
  readonly burst?: number
}

/** At rest, every accepted event has had one fate, and the books of every node say so. */
const expectBalance = (world: World): void => {
  const { remaining, returned, subject } = world
  for (const { counts, kind, name } of world.books()) {
    const { accepted, deadLettered, delivered, dropped, filtered, remaining, undelivered } = counts
    const sum = delivered + filtered + dropped + deadLettered + undelivered + remaining
    ensure(accepted === sum, `${kind} "${name}" settled other than it accepted: ${show(counts)}`)
  }
  if (subject.remaining !== undefined) expectBalanceOfStore(world)
  const certain = new Set(Account.accepted(world))
  // What a durable part returns is what may have arrived of all that it keeps.
  const given = subject.remaining === undefined ? [...world.dropped, ...returned] : world.dropped
  const inStore = [...remaining.waiting, ...remaining.deadLetters]
  const views = Account.views(world)
  for (const label of new Set([...certain, ...views.flat(), ...Account.labelsOf(given), ...inStore])) {
    const is = (other: unknown) => Object.is(other, label)
    const delivered = views.map((received) => received.filter(is).length)
    const drops = given.filter((one) => is(one.label))
    const stored = inStore.filter(is).length
    const fates = drops.length + stored
    const isReturned = returned.some((one) => is(one.label))
    const isDoubtful = drops.some(({ inFlight }) => inFlight) || (stored > 0 && isReturned)
    const sum = delivered.reduce((a, b) => a + b, 0)
    ensure(
      Math.max(...delivered) <= 1 && (isDoubtful ? fates : sum + fates) <= delivered.length,
      `${show(label)} was delivered ${sum} times, given up ${drops.length} times and kept ${stored} times`
    )
    if (certain.has(label) || !subject.queued || subject.targets === "both") continue
    // Of a batch that failed a part may have been taken in a batch of its own.
    const write = world.writes.find(({ labels }) => labels.length === 1 && labels[0] === label)
    const exit = write?.call.exit
    const isRefused = exit !== undefined && Exit.isFailure(exit) && !Cause.hasInterrupts(exit.cause)
    ensure(!isRefused, `${show(label)} was refused (${outcome({ exit })}) and taken all the same`)
  }
  Account.expectNothingLost(world, "at rest")
}

/** What a durable part keeps was written, what may have arrived is among it, and its books know how much it is. */
const expectBalanceOfStore = (world: World): void => {
  const { deadLetters, waiting } = world.remaining
  const written = new Set(world.writes.flatMap(({ labels }) => labels))
  const foreign = [...waiting, ...deadLetters].filter((label) => !written.has(label))
  ensure(foreign.length === 0, `${show(foreign)} is kept and was never written`)
  const gone = Account.labelsOf(world.returned).filter((label) => !waiting.includes(label))
  ensure(gone.length === 0, `${show(gone)} was returned as in flight, and is not kept`)
  const sum = (key: "deadLettered" | "remaining") => world.books().reduce((sum, { counts }) => sum + counts[key], 0)
  const counted = [sum("remaining"), sum("deadLettered")]
  const kept = [waiting.length, deadLetters.length]
  // A part may have no books of it.
  const agrees = counted.every((n) => n === 0) || show(counted) === show(kept)
  ensure(agrees, `the books count ${show(counted)} remaining and dead-lettered, and the store has ${show(kept)}`)
}

/** Whether the log names each of `lost` at error, by a count of all or by id. */
const logsLoss = (world: World, lost: ReadonlyArray<unknown>): boolean => {
  const errors = Account.errors(world)
  const says = (what: string) => errors.some((text) => new RegExp(`(?<![\\w-])${what}(?![\\w-])`).test(text))
  const ids = lost.flatMap((label) =>
    typeof label === "object" && label !== null && "id" in label ? [String(label.id)] : []
  )
  return (
    says(String(lost.length)) || (ids.length === lost.length ? ids.every(says) : Account.admits(world, lost.length))
  )
}
