import * as Effect from "effect/Effect"
import * as MutableHashMap from "effect/MutableHashMap"
import * as MutableList from "effect/MutableList"
import * as Option from "effect/Option"
import type { Backlog, BacklogSource, Settle } from "./backlog.ts"

interface Entry<A> {
  /** Nothing once it is settled: a delivered event, and its key, is left to the collector. */
  event: A | undefined
  partition: Partition<A> | undefined
  readonly position: number
  state: "waits" | "given" | "settled"
}

/** The events of one key. Only one drainer has any of them at a time, which is what keeps them in order. */
interface Partition<A> {
  readonly key: unknown
  readonly entries: MutableList.MutableList<Entry<A>>
  isTaken: boolean
  /** The neighbours in the list of ready partitions, if it is in it. */
  before: Partition<A> | undefined
  after: Partition<A> | undefined
}

const newPartition = <A>(key: unknown): Partition<A> => ({
  key,
  entries: MutableList.make(),
  isTaken: false,
  before: undefined,
  after: undefined
})

const noKeys = MutableHashMap.empty<unknown, never>()

/**
 * The same function, for keys that are to be compared: one that cannot be throws here, and not for an accepted event.
 */
export const comparing =
  <A>(partitionBy: (event: A) => unknown) =>
  (event: A): unknown => {
    const key = partitionBy(event)
    MutableHashMap.has(noKeys, key)
    return key
  }

/**
 * Events in order within a key, and keys side by side: a drainer takes from the key that has waited longest for its
 * turn, and no other drainer has that key until all of its batch is settled. A key is evicted when its last event is
 * settled.
 */
export class Partitions<A> implements Backlog<A> {
  offered = 0
  size = 0
  readonly sources: ReadonlyArray<BacklogSource<A>>
  readonly keyOf: (event: A) => unknown
  private readonly partitions = MutableHashMap.empty<unknown, Partition<A>>()
  /** The list of partitions that have events and that no drainer has: the one that has waited longest is first. */
  private firstReady: Partition<A> | undefined = undefined
  private lastReady: Partition<A> | undefined = undefined
  /** All entries that are not settled, by position, with settled ones between them that are swept out now and then. */
  private order: Array<Entry<A>> = []
  private first = 0
  /** Before this place no entry waits. */
  private waiting = 0
  private unsettled = 0
  private ended = false
  private stopped = false
  private waiters: Array<() => void> = []

  constructor(sources: number, most: number, partitionBy: (event: A) => unknown) {
    this.keyOf = comparing(partitionBy)
    this.sources = Array.from({ length: sources }, () => this.source(most))
  }

  private source(most: number): BacklogSource<A> {
    let partition: Partition<A> | undefined
    let given: ReadonlyArray<Entry<A>> = []
    let settled = 0
    return {
      wait: this.wait,
      poll: () => {
        partition = this.stopped ? undefined : this.next()
        if (partition === undefined) return this.isOver ? [] : undefined
        given = MutableList.takeN(partition.entries, most)
        settled = 0
        for (const entry of given) this.give(entry)
        if (this.isOver) this.wake()
        // None of them is settled.
        return given.map(({ event }) => event as A)
      },
      settled: (n, settle) => {
        for (const end = settled + n; settled < end; settled++) this.settle(given[settled]!, settle)
        // Now, and not at the next poll, which may be long in coming: another drainer could take the rest.
        if (partition === undefined || settled < given.length) return
        this.release(partition)
        partition = undefined
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
    entry.event = entry.partition = undefined
    this.unsettled--
    this.forward()
    settle(entry.position, 1)
  }

  /** Advances to the first entry that is not settled. */
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
    return this.order[this.first]?.position ?? this.offered
  }

  private release(partition: Partition<A>): void {
    partition.isTaken = false
    if (partition.entries.length > 0) this.makeReady(partition)
    else MutableHashMap.remove(this.partitions, partition.key)
  }

  private makeReady(partition: Partition<A>): void {
    partition.before = this.lastReady
    if (this.lastReady === undefined) this.firstReady = partition
    else this.lastReady.after = partition
    this.lastReady = partition
    if (this.waiters.length > 0) this.wake()
  }

  private unready(partition: Partition<A>): void {
    if (partition.before === undefined) this.firstReady = partition.after
    else partition.before.after = partition.after
    if (partition.after === undefined) this.lastReady = partition.before
    else partition.after.before = partition.before
    partition.before = partition.after = undefined
  }

  private next(): Partition<A> | undefined {
    const partition = this.firstReady
    if (partition === undefined) return undefined
    this.unready(partition)
    partition.isTaken = true
    return partition
  }

  /** The waiter is resumed inside a writer, which may have more to write: the waiter yields first. */
  private readonly wait: Effect.Effect<void> = Effect.andThen(
    Effect.callback<void>((resume) => {
      // Since the poll that found nothing the scheduler may have run writers.
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

  offer(event: A, key: unknown): void {
    const found = MutableHashMap.get(this.partitions, key)
    const partition = Option.isSome(found) ? found.value : newPartition<A>(key)
    if (Option.isNone(found)) MutableHashMap.set(this.partitions, key, partition)
    const isReady = partition.entries.length > 0
    const entry: Entry<A> = { event, position: this.offered++, partition, state: "waits" }
    MutableList.append(partition.entries, entry)
    this.order.push(entry)
    this.size++
    this.unsettled++
    if (!isReady && !partition.isTaken) this.makeReady(partition)
  }

  offerAll(events: ReadonlyArray<A>, keys: ReadonlyArray<unknown>): void {
    events.forEach((event, i) => this.offer(event, keys[i]))
  }

  takeOldest(settle: Settle): A {
    while (this.order[this.waiting]?.state !== "waits") this.waiting++
    // The caller has checked that there is one, and it is the first of its partition.
    const oldest = this.order[this.waiting]!
    const event = oldest.event as A
    const partition = oldest.partition!
    MutableList.take(partition.entries)
    this.give(oldest)
    if (partition.entries.length === 0 && !partition.isTaken) {
      this.unready(partition)
      MutableHashMap.remove(this.partitions, partition.key)
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

  takeAll(): ReadonlyArray<A> {
    const entries = this.order.slice(this.first).filter(({ state }) => state === "waits")
    for (const entry of entries) this.give(entry)
    for (const [, partition] of this.partitions) MutableList.clear(partition.entries)
    for (let partition = this.next(); partition !== undefined; partition = this.next())
      MutableHashMap.remove(this.partitions, partition.key)
    return entries.map(({ event }) => event as A)
  }
}
