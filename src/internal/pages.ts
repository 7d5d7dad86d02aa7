/**
 * Pages: arrays of events, the unit in which a `Queue` or a `PubSub` carries them. All events that are written until a
 * reader takes share a page, so that the cost of an item, a wake-up and a turn is paid once for all of them.
 */
import type * as Effect from "effect/Effect"
import type { ExternalSpan } from "effect/Tracer"
import type { ReceiptRequest, WithReceipts } from "./receipt.ts"

export interface Page<out A> extends ReadonlyArray<A>, WithReceipts {
  /** What the writers have left with the events, in their places: a page without any has no such array. */
  readonly writers?: ReadonlyArray<ExternalSpan | undefined> | undefined
}

/** Where a drainer takes its events from. */
export interface Source<out A> {
  /**
   * Takes some events: none once there will be no more, `undefined` when none wait. It is no effect, so that no
   * interruption comes between the source and the drainer.
   */
  readonly poll: () => Page<A> | undefined
  /** Waits until there may be events, or no more. */
  readonly wait: Effect.Effect<void>
  /** The next `n` of the taken events are settled: delivered or dropped. */
  readonly settle: (n: number) => void
  /** Takes the rest of the taken events back, if they are not to be delivered any more; asked before each write of them. */
  readonly revoke?: (() => boolean) | undefined
  /** The id of a taken event, by its place among those that were taken last; for a span of its delivery alone. */
  readonly idOf?: ((place: number) => string) | undefined
}

/** What keeps the events of a part, and is the source of all of its drainers. */
export interface Buffer<A> {
  /** Takes an event in, which belongs to `key`. What the comparison of keys throws, it throws before it takes anything. */
  readonly offer: (event: A, key: unknown, writer?: ExternalSpan, receipt?: ReceiptRequest) => void
  readonly offerAll: (
    events: ReadonlyArray<A>,
    keys: ReadonlyArray<unknown>,
    writer?: ExternalSpan,
    receipt?: ReceiptRequest
  ) => void
  /** Wakes the drainers for what was offered, where the offers do not: a drainer may run within the call. */
  readonly wake?: (() => void) | undefined
  /** How many events were offered. */
  readonly offered: () => number
  /** How many events no drainer has taken. */
  readonly size: () => number
  /** How many events were offered before the first that is not settled. */
  readonly oldest: () => number
  /** Drops the event that has waited longest, and calls `asked` where its write asked for a receipt; there must be one. */
  readonly takeOldest: (asked?: (receipt: ReceiptRequest) => void) => A
  /** Takes some of the events that wait, once all drainers have ended; none when there are none. */
  readonly takeRest: () => Page<A>
  /** Ends the sources once nothing waits, or at once. */
  readonly end: (atOnce: boolean) => void
  readonly source: (drainer: number) => Source<A>
  /** The key of an event, if events have one. What it throws is the writer's, before anything has changed. */
  readonly keyOf: ((event: A) => unknown) | undefined
}

/** An event with what its writer has left. */
export interface Left<out A> {
  readonly event: A
  readonly writer?: ExternalSpan | undefined
  readonly receipt?: ReceiptRequest | undefined
}

/** A page of events that were kept one by one. */
export const pageOf = <A>(some: ReadonlyArray<Left<A>>): Page<A> => {
  const page: Page<A> = some.map(({ event }) => event)
  if (some.some(({ writer }) => writer !== undefined)) {
    Object.assign(page, { writers: some.map(({ writer }) => writer) })
  }
  if (some.some(({ receipt }) => receipt !== undefined)) {
    Object.assign(page, { receipts: some.map(({ receipt }) => receipt) })
  }
  return page
}

type OpenPage<A> = Array<A> & {
  writers?: Array<ExternalSpan | undefined>
  receipts?: Array<ReceiptRequest | undefined>
}

/** The most events on a page that is filled by single writes: what a slow reader keeps from the collector. */
export const maxPage = 1024
/** A batch of at least this many events becomes a page of its own. */
const batchPage = 32

/** Adds each event to the last page while that page is open and has less than `max`, and offers a new page otherwise. */
export const pageWriter = <A>(max: number, offer: (page: Page<A>) => void) => {
  /** The page that is still written to. */
  let open: OpenPage<A> | undefined
  const write = (event: A, writer?: ExternalSpan, receipt?: ReceiptRequest) => {
    if (open !== undefined && open.length < max) {
      open.push(event)
      leave(open, writer, receipt, open.length - 1)
      return
    }
    open = [event]
    // A reader may take the page within the offer.
    leave(open, writer, receipt, 0)
    offer(open)
  }
  return {
    write,
    writeAll: (events: ReadonlyArray<A>, writer?: ExternalSpan, receipt?: ReceiptRequest) => {
      if (events.length < batchPage || max < batchPage) {
        for (const event of events) write(event, writer, receipt)
        return
      }
      open = undefined
      const page: OpenPage<A> = events.slice()
      leave(page, writer, receipt, 0)
      offer(page)
    },
    /** Ends `page`, or any page, to which the next write would be added. A page that a reader has must not grow. */
    seal: (page?: Page<unknown>) => {
      if (page === undefined || page === open) open = undefined
    }
  }
}

/** Joins pages by `concat`, which copies arrays whole where `flat` copies event by event (170 ns each). */
export const join = <A>(pages: ReadonlyArray<Page<A>>): Page<A> => {
  const [first = [], ...others] = pages
  if (others.length === 0) return first
  const joined: OpenPage<A> = first.concat(...others)
  if (pages.some(({ writers }) => writers !== undefined)) {
    joined.writers = pages.flatMap(({ length, writers }) => Array.from({ length }, (_, i) => writers?.[i]))
  }
  if (pages.some(({ receipts }) => receipts !== undefined)) {
    joined.receipts = pages.flatMap(({ length, receipts }) => Array.from({ length }, (_, i) => receipts?.[i]))
  }
  return joined
}

/** The events of a page in some of its places. */
export const sliceOf = <A>(page: Page<A>, from: number, to?: number): Page<A> => {
  const slice: OpenPage<A> = page.slice(from, to)
  if (page.writers !== undefined) slice.writers = page.writers.slice(from, to)
  if (page.receipts !== undefined) slice.receipts = page.receipts.slice(from, to)
  return slice
}

/** Reads events from the pages that `next` answers with, without copying where a whole page is taken. */
export const pageReader = <A>(next: () => Page<A> | undefined) => {
  let page: Page<A> = []
  let at = 0
  const rest = () => (at === 0 ? page : sliceOf(page, at))
  const turn = () => {
    const found = next()
    if (found === undefined) return false
    page = found
    at = 0
    return true
  }
  const joinUpTo = (least: number) => {
    const pages = [rest()]
    for (let n = page.length - at; n < least && turn(); n += page.length) pages.push(page)
    page = join(pages)
    at = 0
  }
  return {
    /** Takes at most `most` events, and at least `least` of them if small pages can be joined. None when there are none. */
    take: (least: number, most: number): Page<A> => {
      if (at === page.length) turn()
      if (page.length - at < Math.min(least, most)) joinUpTo(Math.min(least, most))
      const { length } = page
      const taken = at === 0 && length <= most ? page : sliceOf(page, at, at + most)
      at += taken.length
      if (at === length) {
        // Delivered events are left to the collector.
        page = []
        at = 0
      }
      return taken
    },
    /** The events of a page that was taken in part. */
    rest
  }
}

// internals

/** Notes what the writer of the events from a place on has left. */
const leave = (
  page: OpenPage<unknown>,
  writer: ExternalSpan | undefined,
  receipt: ReceiptRequest | undefined,
  from: number
) => {
  if (writer !== undefined) {
    const writers = (page.writers ??= [])
    for (let i = from; i < page.length; i++) writers[i] = writer
  }
  if (receipt !== undefined) {
    const receipts = (page.receipts ??= [])
    for (let i = from; i < page.length; i++) receipts[i] = receipt
  }
}
