/** What a queue keeps: events that wait in an Effect `Queue`, in the order of their arrival or partitioned by key. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as MutableHashMap from "effect/MutableHashMap"
import * as MutableList from "effect/MutableList"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { type Arrival, makeArrivals } from "../arrivals.ts"
import { type Buffer, type Left, maxPage, type Page, pageOf, pageReader, pageWriter } from "../pages.ts"
import type { ReceiptRequest } from "../receipt.ts"
import { makeTaken } from "../taken.ts"
import { maxTurn } from "../turns.ts"
import type { WriterSpan } from "../writerSpan.ts"
import type { Weights } from "./weights.ts"

/** How many events a drainer takes: small pages are joined up to `joinUpTo`, and a batch has at most `max`. */
export interface Batching {
  readonly joinUpTo: number
  readonly max: number
}

/** Events in the order of their arrival: a `Queue` of pages. A drainer takes its share of them as a batch. */
export const fifo = <A>(
  queue: Queue.Queue<Page<A>, Cause.Done>,
  drainers: number,
  { joinUpTo, max }: Batching,
  weights?: Weights
): Buffer<A> => {
  let offered = 0
  let size = 0
  let isEnded = false
  let isStopped = false
  /** The positions of the events that each drainer has taken and not settled. */
  const taken = Array.from({ length: drainers }, () => ({ from: 0, to: 0 }))
  // A `Queue` wakes one taker for each page: the events that one drainer leaves of a page would wake no other drainer.
  const pages = pageWriter<A>(drainers === 1 ? maxPage : 1, (page) => Queue.offerUnsafe(queue, page))
  const reader = pageReader(() => {
    const exit = Queue.takeUnsafe(queue)
    if (exit?._tag !== "Success") return undefined
    pages.seal(exit.value)
    return exit.value
  })
  const least = drainers === 1 ? joinUpTo : max
  const take = (n: number, joinUpTo = least) => {
    const events = reader.take(joinUpTo, n)
    size -= events.length
    return events
  }
  const isReady = () => size > 0 || isEnded
  // The end of the queue wakes as well, and is no failure.
  const wait = Effect.suspend(() => (isReady() ? Effect.void : Effect.ignore(Queue.peek(queue))))
  return {
    keyOf: undefined,
    size: () => size,
    offered: () => offered,
    offer: (event, _, writer, receipt) => {
      offered++
      size++
      pages.write(event, writer, receipt)
    },
    offerAll: (events, _, writer, receipt) => {
      offered += events.length
      size += events.length
      pages.writeAll(events, writer, receipt)
    },
    oldest: () => {
      let oldest = offered - size
      for (const { from, to } of taken) if (from < to) oldest = Math.min(oldest, from)
      return oldest
    },
    takeOldest: (asked) => {
      weights?.take(offered - size)
      weights?.settle(offered - size)
      const page = take(1)
      const receipt = page.receipts?.[0]
      if (receipt !== undefined) asked?.(receipt)
      // A drainer that is about to be woken finds nothing in a queue whose one page is here in part: that would be all it hears of.
      if (!isEnded && size > 0 && Queue.sizeUnsafe(queue) === 0) Queue.offerUnsafe(queue, reader.take(1, size))
      return page[0]!
    },
    takeRest: () => take(maxTurn, maxTurn),
    end: (atOnce) => {
      isEnded = true
      isStopped ||= atOnce
      Queue.endUnsafe(queue)
    },
    source: (drainer) => {
      const range = taken[drainer]!
      return {
        wait,
        poll: () => {
          if (isStopped) return []
          if (!isReady()) return undefined
          range.from = offered - size
          // Events that one drainer takes as a batch are lost to the others, which would be idle.
          const events = take(Math.min(max, Math.ceil(size / drainers)))
          range.to = range.from + events.length
          if (weights !== undefined) for (let i = range.from; i < range.to; i++) weights.take(i)
          return events
        },
        settle: (n) => {
          if (weights !== undefined) for (let i = 0; i < n; i++) weights.settle(range.from + i)
          range.from += n
        }
      }
    }
  }
}

interface Entry<A> extends Arrival, Left<A> {
  readonly position: number
  readonly partition: Partition<A>
}

/** The events of one key. At most one drainer has any of them, which keeps them in order. */
export interface Partition<A> {
  readonly key: unknown
  readonly waiting: MutableList.MutableList<Entry<A>>
  /** It is among the ready ones, or a drainer has it. */
  isScheduled: boolean
}

/** Events in order within a key: a `Queue` of the partitions that are ready. A drainer takes the first of them. */
export const partitioned = <A>(
  ready: Queue.Queue<Partition<A>, Cause.Done>,
  { max }: Batching,
  keyOf: (event: A) => unknown,
  weights?: Weights
): Buffer<A> => {
  const partitions = MutableHashMap.empty<unknown, Partition<A>>()
  /** The events that no drainer has taken. */
  const waiting = makeArrivals<Entry<A>>()
  const taken = makeTaken(weights)
  let offered = 0
  let dropped = 0
  let isEnded = false
  let isStopped = false

  const partitionOf = (key: unknown) => {
    const found = MutableHashMap.get(partitions, key)
    if (Option.isSome(found)) return found.value
    const partition: Partition<A> = { key, waiting: MutableList.make(), isScheduled: false }
    MutableHashMap.set(partitions, key, partition)
    return partition
  }
  const schedule = (partition: Partition<A>) => {
    partition.isScheduled = partition.waiting.length > 0
    if (partition.isScheduled) {
      Queue.offerUnsafe(ready, partition)
      return
    }
    try {
      MutableHashMap.remove(partitions, partition.key)
    } catch {
      // A key that cannot be compared any more costs the memory of its partition, and not the drainer that is done with it.
    }
  }
  const takeReady = () => {
    const exit = Queue.takeUnsafe(ready)
    return exit?._tag === "Success" ? exit.value : undefined
  }
  /** Removes keys all of whose events were dropped before a drainer came to them. */
  const sweep = () => {
    dropped = 0
    const all: Array<Partition<A>> = []
    for (let one = takeReady(); one !== undefined; one = takeReady()) all.push(one)
    for (const one of all) schedule(one)
  }
  const isOver = () => isStopped || (isEnded && waiting.size() === 0)
  const endIfOver = () => {
    if (isOver()) Queue.endUnsafe(ready)
  }
  const add = (
    event: A,
    partition: Partition<A>,
    writer: WriterSpan | undefined,
    receipt: ReceiptRequest | undefined
  ) => {
    const bare = { event, position: offered++, partition, hasLeft: false }
    const entry: Entry<A> =
      writer === undefined && receipt === undefined
        ? bare
        : { ...bare, ...(writer && { writer }), ...(receipt && { receipt }) }
    waiting.add(entry)
    MutableList.append(partition.waiting, entry)
    if (!partition.isScheduled) schedule(partition)
  }
  /** Takes the event that has waited longest, which is the first of its partition; there must be one. */
  const takeFirst = () => {
    const { partition } = waiting.first()!
    const first = MutableList.take(partition.waiting) as Entry<A>
    waiting.leave(first)
    return first
  }
  const wait = Effect.suspend(() => (isOver() ? Effect.void : Effect.ignore(Queue.peek(ready))))

  return {
    keyOf: (event) => {
      const key = keyOf(event)
      // A key that cannot be compared throws here, in its write.
      MutableHashMap.has(partitions, key)
      return key
    },
    offer: (event, key, writer, receipt) => add(event, partitionOf(key), writer, receipt),
    offerAll: (events, keys, writer, receipt) => {
      const found: Array<Partition<A>> = []
      try {
        for (const key of keys) found.push(partitionOf(key))
      } catch (defect) {
        // A partition without events, which later keys would be compared with.
        for (const one of found) if (!one.isScheduled) schedule(one)
        throw defect
      }
      events.forEach((event, i) => add(event, found[i]!, writer, receipt))
    },
    offered: () => offered,
    size: waiting.size,
    oldest: () => taken.oldest(waiting.first()?.position ?? offered),
    takeOldest: (asked) => {
      const { event, position, receipt } = takeFirst()
      weights?.take(position)
      weights?.settle(position)
      if (receipt !== undefined) asked?.(receipt)
      if (++dropped > waiting.size() + 16) sweep()
      return event
    },
    takeRest: () => pageOf(Array.from({ length: Math.min(maxTurn, waiting.size()) }, takeFirst)),
    end: (atOnce) => {
      isEnded = true
      isStopped ||= atOnce
      endIfOver()
    },
    source: () => {
      let partition: Partition<A> | undefined
      const own = taken.source()
      return {
        wait,
        poll: () => {
          for (let next = isStopped ? undefined : takeReady(); next !== undefined; next = takeReady()) {
            if (next.waiting.length === 0) {
              // All of it was dropped meanwhile.
              schedule(next)
              continue
            }
            partition = next
            const entries = MutableList.takeN(next.waiting, max)
            entries.forEach(waiting.leave)
            endIfOver()
            own.take(entries)
            return pageOf(entries)
          }
          return isOver() ? [] : undefined
        },
        settle: (n) => {
          if (!own.settle(n) || partition === undefined) return
          const done = partition
          partition = undefined
          schedule(done)
        }
      }
    }
  }
}
