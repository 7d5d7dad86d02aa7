/** Conservation and order: what a part must say of every event, and of their sequence. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { expectNothingLost, type Law, range, sameInOrder, show } from "./law.ts"
import type { Mode } from "./receiver.ts"
import type { Scenario } from "./run.ts"
import type { World } from "./world.ts"

const modes: ReadonlyArray<Mode> = ["commit", "commit", 5, 20, "fail", "die", "interrupt", "kill"]

/** Any life: writes and groups, some interrupted, a receiver with moods, and a close at some moment. */
const anyLife: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver, subject } = world
    const hangsAt = world.pick(1, 40)
    receiver.mode = (attempt) => (attempt === hangsAt ? "hang" : modes[world.pick(0, modes.length - 1)]!)
    let next = 1
    for (let turn = world.pick(1, 12); turn > 0; turn--) {
      const size = world.pick(1, 3)
      const write = size === 1 ? world.write(next) : world.writeGroup(range(next, next + size - 1))
      next += size
      if (world.pick(0, 2) === 0) yield* Effect.sleep(world.pick(1, 30))
      if (world.pick(0, 4) === 0) write.call.fiber.interruptUnsafe()
    }
    world.look()
    if (subject.hasShutdown && world.pick(0, 1) === 0) {
      const call = world.call(world.part.shutdown)
      if (!(yield* world.ends(call, world.closeLimit))) return
      if (call.exit !== undefined && Exit.isSuccess(call.exit)) world.returned = call.exit.value
    }
    if (!(yield* world.close)) return
    for (const { call } of world.writes) call.fiber.interruptUnsafe()
    receiver.release()
    yield* Effect.sleep("5 seconds")
    balance(world)
  })

/** At rest, every accepted event has had one fate, and the books of every node say so. */
const balance = (world: World): void => {
  const { accepted, dropped, kept, receiver, returned, subject } = world
  for (const { counts, kind, name } of world.counts) {
    const { accepted, deadLettered, delivered, dropped, filtered, remaining, undelivered } = counts
    world.expect(
      accepted === delivered + filtered + dropped + deadLettered + undelivered + remaining,
      () => `${kind} "${name}" says that it settled other than it accepted: ${show(counts)}`
    )
  }
  balanceKept(world)
  const certain = new Set(accepted)
  // What a durable part returns is what may have arrived of all that it keeps.
  const given = subject.keeps ? dropped : [...dropped, ...returned]
  const inStore = [...kept.waiting, ...kept.deadLetters]
  const found = [...accepted, ...receiver.received, ...given.map(({ label }) => label), ...inStore]
  for (const label of new Set(found)) {
    const delivered = receiver.received.filter((one) => Object.is(one, label)).length
    const left = given.filter((one) => Object.is(one.label, label))
    const stored = inStore.filter((one) => Object.is(one, label)).length
    const isReturned = returned.some((one) => Object.is(one.label, label))
    const doubtful = left.some(({ inFlight }) => inFlight) || (stored > 0 && isReturned)
    const fates = left.length + stored
    world.expect(
      delivered + fates <= 1 || (doubtful && delivered <= 1 && fates === 1),
      () => `${show(label)} was delivered ${delivered} times, given up ${left.length} times and kept ${stored} times`
    )
    if (!certain.has(label) && subject.queued) {
      // Of a group that failed a part may have been taken in a group of its own.
      const write = world.writes.find(({ labels }) => labels.length === 1 && labels[0] === label)
      const refused =
        write?.call.exit !== undefined && Exit.isFailure(write.call.exit) && !Cause.hasInterrupts(write.call.exit.cause)
      world.expect(!refused, () => `${show(label)} was refused (${write!.call.outcome}) and taken all the same`)
    }
  }
  expectNothingLost(world, "at rest")
}

/** What a durable part keeps was written, what may have arrived is among it, and its books know how much it is. */
const balanceKept = (world: World): void => {
  const { kept, returned, subject, writes } = world
  if (!subject.keeps) return
  const written = new Set(writes.flatMap(({ labels }) => labels))
  const foreign = [...kept.waiting, ...kept.deadLetters].filter((label) => !written.has(label))
  world.expect(foreign.length === 0, () => `${show(foreign)} is kept and was never written`)
  const gone = returned.filter(({ label }) => !kept.waiting.includes(label)).map(({ label }) => label)
  world.expect(gone.length === 0, () => `${show(gone)} was returned as in flight, and is not kept`)
  const told = { deadLettered: 0, kept: 0 }
  for (const { counts } of world.counts) {
    told.deadLettered += counts.deadLettered
    told.kept += counts.remaining
  }
  // A part may have no books of it.
  if (told.deadLettered + told.kept === 0) return
  world.expect(
    told.deadLettered === kept.deadLetters.length && told.kept === kept.waiting.length,
    () => `the books tell of ${show(told)}, and kept are ${show(kept)}`
  )
}

const deliversAll: Scenario = (world) =>
  Effect.gen(function* () {
    world.receiver.mode = () => 1
    for (const label of range(1, 20)) {
      const { call } = world.write(label)
      yield* world.ends(call, 1_000)
      yield* Effect.sleep(2)
    }
    yield* Effect.sleep(100)
    world.look()
    if (!(yield* world.close)) return
    world.expect(
      sameInOrder(world.subject, world.receiver.received, world.accepted),
      () => `${show(world.accepted)} was accepted and ${show(world.receiver.received)} delivered`
    )
    balance(world)
  })

const inOrder: Scenario = (world) =>
  Effect.gen(function* () {
    const { receiver } = world
    const moods = world.subject.delays === undefined ? 0 : 30
    receiver.mode = () => (world.pick(1, 100) <= moods ? "fail" : world.pick(0, 1) === 0 ? "commit" : world.pick(1, 20))
    const largest = Math.min(3, Math.max(1, world.subject.capacity ?? 3))
    const writer = (first: number) =>
      Effect.gen(function* () {
        for (let written = 0, next = first; written < 12;) {
          const size = world.pick(1, largest)
          // Gaps, so that neighbours have one key now and another then.
          const labels = range(1, size).map(() => (next += world.pick(1, 4)))
          const write = size === 1 ? world.write(labels[0]) : world.writeGroup(labels)
          written += size
          yield* world.ends(write.call, 600_000)
          if (world.pick(0, 3) === 0) yield* Effect.sleep(world.pick(1, 20))
        }
      })
    yield* Effect.all([writer(100), writer(200), writer(300)], { concurrency: "unbounded" })
    yield* Effect.sleep(5_000)
    for (const first of [100, 200, 300]) {
      const got = receiver.received.filter((label) => Number(label) >= first && Number(label) < first + 100)
      world.expect(
        got.every((label, i) =>
          got.slice(0, i).every((before) => Number(label) > Number(before) || !world.subject.together(before, label))
        ),
        () => `what one fiber wrote in order arrived as ${show(got)}`
      )
    }
  })

export const account: ReadonlyArray<Law> = [
  {
    number: 0,
    title: "conservation: every accepted event has exactly one fate, and the books balance",
    concerns: () => true,
    scenarios: () => [
      { title: "everything is well", play: deliversAll },
      { title: "any life", play: anyLife, times: 12 }
    ]
  },
  {
    number: 17,
    title: "what one fiber wrote in order arrives in order at each sink",
    concerns: (subject) => subject.ordered,
    scenarios: () => [{ title: "three fibers write", play: inOrder, times: 6 }]
  }
]
