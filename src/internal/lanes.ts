import * as Effect from "effect/Effect"
import * as MutableHashMap from "effect/MutableHashMap"
import * as MutableList from "effect/MutableList"
import * as Option from "effect/Option"
import type { Backlog, Line, Settle } from "./backlog.ts"

interface Entry<A> {
  readonly event: A
  readonly position: number
  readonly lane: Lane<A>
  waits: boolean
}

/** The events of one key. Only one drainer has any of them at a time, which is what keeps them in order. */
interface Lane<A> {
  readonly key: unknown
  readonly entries: MutableList.MutableList<Entry<A>>
  state: "idle" | "ready" | "taken"
}

/**
 * Events in order within a key, and keys side by side: a drainer takes from the key that has waited longest for its
 * turn, and nobody else has that key until all it took is settled. A key is forgotten when its last event is.
 */
export class Lanes<A> implements Backlog<A> {
  entered = 0
  size = 0
  readonly lines: ReadonlyArray<Line<A>>
  private readonly lanes = MutableHashMap.empty<unknown, Lane<A>>()
  /** Each lane once whose events nobody has in hand; it may have become empty meanwhile. */
  private readonly ready = MutableList.make<Lane<A>>()
  /** All entries by position, for those who ask for the oldest; taken ones are swept out now and then. */
  private order: Array<Entry<A>> | undefined
  private ended = false
  private waiters: Array<() => void> = []

  constructor(lines: number, most: number, keepsOrder: boolean) {
    this.order = keepsOrder ? [] : undefined
    this.lines = Array.from({ length: lines }, () => this.line(most))
  }

  private line(most: number): Line<A> {
    let lane: Lane<A> | undefined
    let given: ReadonlyArray<Entry<A>> = []
    let settled = 0
    return {
      wait: this.wait,
      poll: () => {
        // It polls when all that it was given is settled.
        if (lane !== undefined) this.release(lane)
        lane = this.next()
        if (lane === undefined) return this.isOver ? [] : undefined
        given = MutableList.takeN(lane.entries, most)
        settled = 0
        for (const entry of given) this.take(entry)
        if (this.isOver) this.wake()
        return given.map(({ event }) => event)
      },
      settled: (n, settle) => {
        for (const end = settled + n; settled < end; settled++) settle(given[settled]!.position, 1)
      }
    }
  }

  /** Nothing waits, and nothing will. */
  private get isOver(): boolean {
    return this.ended && this.size === 0
  }

  private take(entry: Entry<A>): void {
    entry.waits = false
    this.size--
  }

  private release(lane: Lane<A>): void {
    if (lane.entries.length > 0) this.makeReady(lane)
    else this.forget(lane)
  }

  private makeReady(lane: Lane<A>): void {
    lane.state = "ready"
    MutableList.append(this.ready, lane)
    if (this.waiters.length > 0) this.wake()
  }

  private forget(lane: Lane<A>): void {
    lane.state = "idle"
    MutableHashMap.remove(this.lanes, lane.key)
  }

  private next(): Lane<A> | undefined {
    for (;;) {
      const lane = MutableList.take(this.ready)
      if (lane === MutableList.Empty) return undefined
      if (lane.entries.length > 0) {
        lane.state = "taken"
        return lane
      }
      this.forget(lane)
    }
  }

  /** The waiter is resumed inside a writer, which may have more to write: it is let go on first. */
  private readonly wait: Effect.Effect<void> = Effect.andThen(
    Effect.callback<void>((resume) => {
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
    const lane: Lane<A> = Option.isSome(found) ? found.value : { key, entries: MutableList.make(), state: "idle" }
    if (Option.isNone(found)) MutableHashMap.set(this.lanes, key, lane)
    const entry: Entry<A> = { event, position: this.entered++, lane, waits: true }
    MutableList.append(lane.entries, entry)
    this.size++
    if (this.order !== undefined) this.note(entry, this.order)
    if (lane.state === "idle") this.makeReady(lane)
  }

  enterAll(events: ReadonlyArray<A>, keys: ReadonlyArray<unknown>): void {
    events.forEach((event, i) => this.enter(event, keys[i]))
  }

  private note(entry: Entry<A>, order: Array<Entry<A>>): void {
    order.push(entry)
    if (order.length > 2 * this.size + 1024) this.order = order.filter(({ waits }) => waits)
  }

  takeOldest(settle: Settle): A {
    // There is one, says the caller, and it is the first of its lane.
    const oldest = this.order!.find(({ waits }) => waits)!
    MutableList.take(oldest.lane.entries)
    this.take(oldest)
    settle(oldest.position, 1)
    return oldest.event
  }

  end(): void {
    this.ended = true
    this.wake()
  }

  rest(): ReadonlyArray<A> {
    const entries: Array<Entry<A>> = []
    for (const [, lane] of this.lanes) {
      for (const entry of MutableList.takeAll(lane.entries)) {
        this.take(entry)
        entries.push(entry)
      }
    }
    return entries.sort((a, b) => a.position - b.position).map(({ event }) => event)
  }
}
