import * as Effect from "effect/Effect"
import * as MutableHashMap from "effect/MutableHashMap"
import * as MutableList from "effect/MutableList"
import * as Option from "effect/Option"
import type { Backlog, Line, Settle } from "./backlog.ts"

interface Entry<A> {
  /** Nothing once it is settled: an event that has been delivered is not held on to, nor its key. */
  event: A | undefined
  lane: Lane<A> | undefined
  readonly position: number
  state: "waits" | "given" | "settled"
}

/** The events of one key. Only one drainer has any of them at a time, which is what keeps them in order. */
interface Lane<A> {
  readonly key: unknown
  readonly entries: MutableList.MutableList<Entry<A>>
  isTaken: boolean
  /** Its neighbours in the line of those that are ready, if it stands there. */
  before: Lane<A> | undefined
  after: Lane<A> | undefined
}

const newLane = <A>(key: unknown): Lane<A> => ({
  key,
  entries: MutableList.make(),
  isTaken: false,
  before: undefined,
  after: undefined
})

const nobody = MutableHashMap.empty<unknown, never>()

/** The same, for keys that are to be compared: one that cannot be throws here, and not when its event has been accepted. */
export const comparing =
  <A>(partitionBy: (event: A) => unknown) =>
  (event: A): unknown => {
    const key = partitionBy(event)
    MutableHashMap.has(nobody, key)
    return key
  }

/**
 * Events in order within a key, and keys side by side: a drainer takes from the key that has waited longest for its
 * turn, and nobody else has that key until all it took is settled. A key is forgotten when its last event is.
 */
export class Lanes<A> implements Backlog<A> {
  entered = 0
  size = 0
  readonly lines: ReadonlyArray<Line<A>>
  readonly keyOf: (event: A) => unknown
  private readonly lanes = MutableHashMap.empty<unknown, Lane<A>>()
  /** The lanes that have events and are in nobody's hand stand in a line: who has waited longest is first. */
  private firstReady: Lane<A> | undefined = undefined
  private lastReady: Lane<A> | undefined = undefined
  /** All entries that are not settled, by position, with settled ones between them that are swept out now and then. */
  private order: Array<Entry<A>> = []
  private first = 0
  /** Before this place in it nothing waits. */
  private waiting = 0
  private unsettled = 0
  private ended = false
  private stopped = false
  private waiters: Array<() => void> = []

  constructor(lines: number, most: number, partitionBy: (event: A) => unknown) {
    this.keyOf = comparing(partitionBy)
    this.lines = Array.from({ length: lines }, () => this.line(most))
  }

  private line(most: number): Line<A> {
    let lane: Lane<A> | undefined
    let given: ReadonlyArray<Entry<A>> = []
    let settled = 0
    return {
      wait: this.wait,
      poll: () => {
        lane = this.stopped ? undefined : this.next()
        if (lane === undefined) return this.isOver ? [] : undefined
        given = MutableList.takeN(lane.entries, most)
        settled = 0
        for (const entry of given) this.give(entry)
        if (this.isOver) this.wake()
        // None of them is settled.
        return given.map(({ event }) => event as A)
      },
      settled: (n, settle) => {
        for (const end = settled + n; settled < end; settled++) this.settle(given[settled]!, settle)
        // Now, and not when it polls: it may not come to that for long, and others could take the rest.
        if (lane === undefined || settled < given.length) return
        this.release(lane)
        lane = undefined
      }
    }
  }

  /** Nothing is given out any more. */
  private get isOver(): boolean {
    return this.stopped || (this.ended && this.size === 0)
  }

  private give(entry: Entry<A>): void {
    entry.state = "given"
    this.size--
  }

  private settle(entry: Entry<A>, settle: Settle): void {
    entry.state = "settled"
    entry.event = entry.lane = undefined
    this.unsettled--
    this.forward()
    settle(entry.position, 1)
  }

  /** Goes on to the first entry that is not settled. */
  private forward(): void {
    while (this.order[this.first]?.state === "settled") this.first++
    if (this.order.length <= 2 * this.unsettled + 1024) return
    this.order = this.order.filter(({ state }) => state !== "settled")
    this.first = 0
    this.waiting = 0
  }

  get isReady(): boolean {
    return this.firstReady !== undefined
  }

  get oldest(): number {
    return this.order[this.first]?.position ?? this.entered
  }

  private release(lane: Lane<A>): void {
    lane.isTaken = false
    if (lane.entries.length > 0) this.makeReady(lane)
    else MutableHashMap.remove(this.lanes, lane.key)
  }

  private makeReady(lane: Lane<A>): void {
    lane.before = this.lastReady
    if (this.lastReady === undefined) this.firstReady = lane
    else this.lastReady.after = lane
    this.lastReady = lane
    if (this.waiters.length > 0) this.wake()
  }

  private unready(lane: Lane<A>): void {
    if (lane.before === undefined) this.firstReady = lane.after
    else lane.before.after = lane.after
    if (lane.after === undefined) this.lastReady = lane.before
    else lane.after.before = lane.before
    lane.before = lane.after = undefined
  }

  private next(): Lane<A> | undefined {
    const lane = this.firstReady
    if (lane === undefined) return undefined
    this.unready(lane)
    lane.isTaken = true
    return lane
  }

  /** The waiter is resumed inside a writer, which may have more to write: it is let go on first. */
  private readonly wait: Effect.Effect<void> = Effect.andThen(
    Effect.callback<void>((resume) => {
      // Between the look that found nothing and here the scheduler may have let others write.
      if (this.firstReady !== undefined || this.isOver) return resume(Effect.void)
      const waiter = () => resume(Effect.void)
      this.waiters.push(waiter)
      return Effect.sync(() => void (this.waiters = this.waiters.filter((other) => other !== waiter)))
    }),
    Effect.yieldNow
  )

  private wake(): void {
    const { waiters } = this
    this.waiters = []
    for (const wake of waiters) wake()
  }

  enter(event: A, key: unknown): void {
    const found = MutableHashMap.get(this.lanes, key)
    const lane = Option.isSome(found) ? found.value : newLane<A>(key)
    if (Option.isNone(found)) MutableHashMap.set(this.lanes, key, lane)
    const isReady = lane.entries.length > 0
    const entry: Entry<A> = { event, position: this.entered++, lane, state: "waits" }
    MutableList.append(lane.entries, entry)
    this.order.push(entry)
    this.size++
    this.unsettled++
    if (!isReady && !lane.isTaken) this.makeReady(lane)
  }

  enterAll(events: ReadonlyArray<A>, keys: ReadonlyArray<unknown>): void {
    events.forEach((event, i) => this.enter(event, keys[i]))
  }

  takeOldest(settle: Settle): A {
    while (this.order[this.waiting]?.state !== "waits") this.waiting++
    // There is one, says the caller, and it is the first of its lane.
    const oldest = this.order[this.waiting]!
    const event = oldest.event as A
    const lane = oldest.lane!
    MutableList.take(lane.entries)
    this.give(oldest)
    if (lane.entries.length === 0 && !lane.isTaken) {
      this.unready(lane)
      MutableHashMap.remove(this.lanes, lane.key)
    }
    this.settle(oldest, settle)
    return event
  }

  end(): void {
    this.ended = true
    this.wake()
  }

  stop(): void {
    this.stopped = true
    this.end()
  }

  rest(): ReadonlyArray<A> {
    const entries = this.order.slice(this.first).filter(({ state }) => state === "waits")
    for (const entry of entries) this.give(entry)
    for (const [, lane] of this.lanes) MutableList.clear(lane.entries)
    for (let lane = this.next(); lane !== undefined; lane = this.next()) MutableHashMap.remove(this.lanes, lane.key)
    return entries.map(({ event }) => event as A)
  }
}
