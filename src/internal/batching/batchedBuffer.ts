/**
 * Events that wait for their batch: for others of their key until the batch is full or its oldest event has its age, and from
 * then on for a drainer alone. A batch of its age takes more while no drainer is free. An Effect `Queue` wakes at each offer
 * and a `Stream.groupedWithin` holds events past their age over a slow sink; a latch and one sleep to the next age do not.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as MutableHashMap from "effect/MutableHashMap"
import * as MutableList from "effect/MutableList"
import * as Option from "effect/Option"
import { type Arrival, makeArrivals } from "../arrivals.ts"
import { type Buffer, type Left, pageOf } from "../pages.ts"
import { makeTaken } from "../taken.ts"
import { maxTurn } from "../turns.ts"
import type { WriterSpan } from "../writerSpan.ts"
import type { ReceiptRequest } from "../receipt.ts"
import type { Weights } from "../queue/weights.ts"
import type { BatchLimits } from "./limits.ts"

export interface Entry<A> extends Arrival, Left<A> {
  readonly position: number
  readonly size: number
  readonly batch: Batch<A>
}

interface Batch<A> {
  readonly partition: Partition<A>
  /** With those that have left meanwhile, of which there are never many. */
  entries: Array<Entry<A>>
  size: number
  bytes: number
  /** When its oldest event has its age, in monotonic milliseconds. */
  due: number
  /** It waits for more events; or for a drainer alone, and takes more until it is full; or has been taken, or left by all. */
  state: "open" | "due" | "full" | "gone"
}

/** The batches of one key, in order: all but the last are full, or gone. */
interface Partition<A> {
  readonly key: unknown
  readonly batches: MutableList.MutableList<Batch<A>>
  last: Batch<A> | undefined
  /** How many batches it has. */
  size: number
  /** A drainer can take a batch of it: its place among the ready ones. */
  place: Place<A> | undefined
  /** A drainer has a batch of it, and no other may have one. */
  isTaken: boolean
}

interface Place<A> {
  readonly partition: Partition<A>
}

export interface Options<in A> extends BatchLimits<A> {
  readonly partitionBy: ((event: A) => unknown) | undefined
  readonly weights?: Weights | undefined
  /** For how many milliseconds an event has waited elsewhere. */
  readonly ageOf?: ((event: A) => number) | undefined
  /** Monotonic milliseconds. */
  readonly now: () => number
}

export interface BatchedBuffer<A> extends Buffer<A> {
  readonly wake: () => void
  /**
   * Takes leading events of one key in, as many as fit into one batch, and into one batch; `taken` is called with them before
   * a drainer can have them. The sizes come first: what they throw, this throws before it takes anything.
   */
  readonly offerTogether: (
    events: NonEmptyReadonlyArray<A>,
    key: unknown,
    writer: WriterSpan | undefined,
    receipt: ReceiptRequest | undefined,
    taken: (entries: ReadonlyArray<Entry<A>>) => void
  ) => void
  /** Takes entries out that no drainer has taken. */
  readonly leave: (entries: ReadonlyArray<Entry<A>>) => void
  /** What waits now waits for no more events. Answers whether a drainer can take some of it. */
  readonly hurry: () => boolean
}

/** What is of no use any more is looked for once there is this much of it, and more of it than of the rest. */
const sweep = 64

export const batchedBuffer = <A>(options: Options<A>): BatchedBuffer<A> => {
  const { ageOf, batchSize, maxAge, maxBytes, now, partitionBy, sizeOf, weights } = options
  const partitions = MutableHashMap.empty<unknown, Partition<A>>()
  /** The events that no drainer has taken. */
  const waiting = makeArrivals<Entry<A>>()
  /** The batches that are open, by when they are due, with others among them. */
  let open: Array<Batch<A>> = []
  let head = 0
  let openSize = 0
  /** The partitions that a drainer can take a batch of, in the order in which they became so, with others among them. */
  const ready = MutableList.make<Place<A>>()
  let readySize = 0
  const taken = makeTaken(weights)
  const woken = Latch.makeUnsafe()
  /** The age that the drainers sleep to which sleep: later ones sleep to the same or an earlier one. */
  let sleepsTo = Number.POSITIVE_INFINITY
  let offered = 0
  let offeredAt = 0
  let isEnded = false
  let isStopped = false

  const partitionOf = (key: unknown) => {
    const found = MutableHashMap.get(partitions, key)
    if (Option.isSome(found)) return found.value
    const batches = MutableList.make<Batch<A>>()
    const partition: Partition<A> = { key, batches, last: undefined, size: 0, place: undefined, isTaken: false }
    MutableHashMap.set(partitions, key, partition)
    return partition
  }
  const isPlaced = (place: Place<A>) => place.partition.place === place
  const setReady = (partition: Partition<A>, isReady: boolean) => {
    if ((partition.place !== undefined) === isReady) return
    readySize += isReady ? 1 : -1
    partition.place = isReady ? { partition } : undefined
    if (partition.place !== undefined) MutableList.append(ready, partition.place)
    if (ready.length > 2 * readySize + sweep) MutableList.filter(ready, isPlaced)
  }
  /** Judges whether a partition is ready, and forgets one without events. */
  const schedule = (partition: Partition<A>) => {
    const { isTaken, last, size } = partition
    setReady(partition, !isTaken && (size > 1 || (size === 1 && last?.state !== "open")))
    if (isTaken || size > 0 || partitionBy === undefined) return
    try {
      MutableHashMap.remove(partitions, partition.key)
    } catch {
      // A key that cannot be compared any more costs the memory of its partition, and not the drainer that is done with it.
    }
  }
  const becomes = (batch: Batch<A>, state: "due" | "full" | "gone") => {
    const { partition } = batch
    if (batch.state === "open") openSize--
    batch.state = state
    if (state === "gone") {
      partition.size--
      if (partition.last === batch) partition.last = undefined
    }
    schedule(partition)
  }
  const isOpen = ({ state }: Batch<A>) => state === "open"
  const isThere = ({ state }: Batch<A>) => state !== "gone"
  const sort = () => {
    open = open.filter(isOpen).toSorted((a, b) => a.due - b.due)
    head = 0
  }
  /** The open batch that is due before all others. */
  const nextOpen = () => {
    while (head < open.length && !isOpen(open[head]!)) head++
    return open[head]
  }
  const openBatch = (partition: Partition<A>, due: number) => {
    const batch: Batch<A> = { partition, entries: [], size: 0, bytes: 0, due, state: "open" }
    MutableList.append(partition.batches, batch)
    partition.last = batch
    partition.size++
    if (partition.batches.length > 2 * partition.size + sweep) MutableList.filter(partition.batches, isThere)
    const last = open.at(-1)
    open.push(batch)
    openSize++
    // Only events that have waited elsewhere come out of order.
    if (last !== undefined && due < last.due) sort()
    // What is full or gone before its age must not stay in memory until then.
    else if (open.length > 2 * openSize + sweep) {
      open = open.filter(isOpen)
      head = 0
    }
    return batch
  }
  /** The batches that are due by a time wait for a drainer alone. */
  const ripen = (time: number) => {
    for (let batch = nextOpen(); batch !== undefined && batch.due <= time; batch = nextOpen()) becomes(batch, "due")
  }
  const add = (
    event: A,
    size: number,
    partition: Partition<A>,
    time: number,
    writer: WriterSpan | undefined,
    receipt?: ReceiptRequest
  ) => {
    const due = time + maxAge - Math.max(0, ageOf?.(event) ?? 0)
    let { last } = partition
    if (last !== undefined && last.state !== "full" && last.bytes + size > maxBytes) becomes(last, "full")
    if (last === undefined || last.state === "full") last = openBatch(partition, due)
    else if (due < last.due) {
      last.due = due
      if (last.state === "open") sort()
    }
    const entry: Entry<A> = { event, size, position: offered++, batch: last, writer, receipt, hasLeft: false }
    waiting.add(entry)
    last.entries.push(entry)
    last.size++
    last.bytes += size
    if (last.size >= batchSize || last.bytes >= maxBytes) becomes(last, "full")
    return entry
  }
  /** To be called after events were added: a drainer that is woken may run within the call. */
  const wake = (time: number) => {
    ripen(isEnded ? Number.POSITIVE_INFINITY : time)
    const first = nextOpen()
    // A drainer may sleep for longer than to the next age.
    if (readySize > 0 || (first !== undefined && first.due < sleepsTo)) woken.openUnsafe()
  }
  const leave = (entry: Entry<A>) => {
    if (!waiting.leave(entry)) return
    const { batch, size } = entry
    batch.bytes -= size
    if (--batch.size === 0) {
      batch.entries = []
      becomes(batch, "gone")
    } else if (batch.entries.length > 2 * batch.size + sweep) {
      batch.entries = batch.entries.filter(({ hasLeft }) => !hasLeft)
    }
  }
  /** Takes the event out that has waited longest; there must be one. */
  const takeFirst = () => {
    const entry = waiting.first()!
    leave(entry)
    weights?.take(entry.position)
    weights?.settle(entry.position)
    return entry
  }
  /** Takes the first batch of the first partition that is ready. */
  const takeBatch = () => {
    if (readySize === 0) return undefined
    // A place is there, and its partition has a batch: none of the lists is empty.
    let place = MutableList.take(ready) as Place<A>
    while (!isPlaced(place)) place = MutableList.take(ready) as Place<A>
    const { partition } = place
    setReady(partition, false)
    let batch = MutableList.take(partition.batches) as Batch<A>
    while (!isThere(batch)) batch = MutableList.take(partition.batches) as Batch<A>
    return batch
  }
  const isOver = () => isStopped || (isEnded && waiting.size() === 0)
  const wait = Effect.suspend(() => {
    const time = now()
    ripen(time)
    if (readySize > 0 || isOver()) return Effect.void
    woken.closeUnsafe()
    const next = nextOpen()
    sleepsTo = next?.due ?? Number.POSITIVE_INFINITY
    if (next === undefined || next.due === Number.POSITIVE_INFINITY) return woken.await
    return Effect.timeoutOrElse(woken.await, { duration: next.due - time, orElse: () => Effect.void })
  })
  const sizes = (events: ReadonlyArray<A>) => events.map((event) => sizeOf?.(event) ?? 0)

  return {
    keyOf:
      partitionBy &&
      ((event) => {
        const key = partitionBy(event)
        // A key that cannot be compared throws here, in its write.
        MutableHashMap.has(partitions, key)
        return key
      }),
    offer: (event, key, writer, receipt) => {
      const time = now()
      add(event, sizeOf?.(event) ?? 0, partitionOf(key), time, writer, receipt)
      offeredAt = time
    },
    offerAll: (events, keys, writer, receipt) => {
      const time = now()
      const found = sizes(events)
      // The keys have been compared by `keyOf`.
      events.forEach((event, i) => void add(event, found[i]!, partitionOf(keys[i]), time, writer, receipt))
      offeredAt = time
    },
    wake: () => wake(offeredAt),
    offerTogether: (events, key, writer, receipt, taken) => {
      const time = now()
      let bytes = 0
      const found: Array<number> = []
      for (const event of events.slice(0, batchSize)) {
        const size = sizeOf?.(event) ?? 0
        if (found.length > 0 && bytes + size > maxBytes) break
        bytes += size
        found.push(size)
      }
      const partition = partitionOf(key)
      const { last } = partition
      if (last !== undefined && (last.size + found.length > batchSize || last.bytes + bytes > maxBytes)) {
        becomes(last, "full")
      }
      taken(found.map((size, i) => add(events[i]!, size, partition, time, writer, receipt)))
      wake(time)
    },
    leave: (entries) => entries.forEach(leave),
    hurry: () => {
      ripen(Number.POSITIVE_INFINITY)
      const isReady = readySize > 0
      if (isReady) woken.openUnsafe()
      return isReady
    },
    offered: () => offered,
    size: waiting.size,
    oldest: () => taken.oldest(waiting.first()?.position ?? offered),
    takeOldest: (asked) => {
      const { event, receipt } = takeFirst()
      if (receipt !== undefined) asked?.(receipt)
      return event
    },
    takeRest: () => pageOf(Array.from({ length: Math.min(maxTurn, waiting.size()) }, takeFirst)),
    end: (atOnce) => {
      isEnded = true
      isStopped ||= atOnce
      ripen(Number.POSITIVE_INFINITY)
      woken.openUnsafe()
    },
    source: () => {
      let partition: Partition<A> | undefined
      const own = taken.source()
      return {
        wait,
        poll: () => {
          if (isStopped) return []
          ripen(now())
          const batch = takeBatch()
          if (batch === undefined) return isOver() ? [] : undefined
          partition = batch.partition
          partition.isTaken = partitionBy !== undefined
          const entries = batch.entries.filter(({ hasLeft }) => !hasLeft)
          entries.forEach(waiting.leave)
          batch.entries = []
          becomes(batch, "gone")
          // Other drainers may wait for the end.
          if (isOver()) woken.openUnsafe()
          own.take(entries)
          return pageOf(entries)
        },
        settle: (n) => {
          if (!own.settle(n) || partition === undefined) return
          const done = partition
          partition = undefined
          done.isTaken = false
          schedule(done)
          if (done.place !== undefined) woken.openUnsafe()
        }
      }
    }
  }
}
