/**
 * What a broadcaster keeps: an Effect `PubSub` of pages, and a subscription for each of its readers. A reader waits at a
 * latch and not in `PubSub.take`, which holds a page between two operations of the reader's fiber: an interruption there
 * loses the page, and what is read meanwhile passes it (test/regressions.test.ts, "between any two operations").
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as MutableList from "effect/MutableList"
import type { Predicate } from "effect/Predicate"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"
import { join, maxPage, type Page, pageReader, pageWriter } from "../pages.ts"
import type { ReceiptRequest } from "../receipt.ts"
import { maxTurn } from "../turns.ts"
import type { WriterSpan } from "../writerSpan.ts"

/** After this many pages the subscriptions that have not read as many take theirs out of the `PubSub`. */
const behind = 256
/** Pages smaller than this are joined when they are taken out: 9 bytes an event in place of 114 for pages of one event. */
const smallPage = 32

export interface Topic<in out A> {
  /** How many events were published. */
  readonly published: () => number
  readonly publish: (event: A, writer?: WriterSpan, receipt?: ReceiptRequest) => void
  readonly publishAll: (events: ReadonlyArray<A>, writer?: WriterSpan, receipt?: ReceiptRequest) => void
  /** Subscribes to the events published from now on, after the events on `pages`. */
  readonly subscribe: (pages?: ReadonlyArray<Page<A>>) => Subscription<A>
}

export interface Subscription<out A> {
  /** How many events wait. */
  readonly size: () => number
  /** How many events were published before the next one that it gets. */
  readonly position: () => number
  /** Takes at most `most` events without waiting: none once there will be no more, `undefined` when none wait. */
  readonly poll: (joinUpTo: number, most: number) => Page<A> | undefined
  /** Waits until `poll` may answer otherwise. */
  readonly wait: Effect.Effect<void>
  /** Ends the subscription here: events published before are kept, events published later are not for it. */
  readonly cut: () => void
  /** The events that wait, on their pages. Leaves them there. */
  readonly pages: () => ReadonlyArray<Page<A>>
}

/** What takes a published event. `after` is how many were published when it was, itself included. */
export type Offer<A> = (event: A, after: number, writer?: WriterSpan, receipt?: ReceiptRequest) => void

export const makeTopic = <A>(context: Context.Context<never>): Topic<A> => {
  // Making a `PubSub` and subscribing to it are effects that are over at once: no other fiber comes between.
  const pubsub = Effect.runSync(PubSub.unbounded<Page<A>>())
  let published = 0
  let pages = 0
  /** What takes the pages of a subscription out of the `PubSub`. */
  const pulls = new Map<PubSub.Subscription<Page<A>>, () => void>()
  /** The subscriptions whose readers wait. */
  const waiting = new Set<Latch.Latch>()
  const { seal, write, writeAll } = pageWriter<A>(maxPage, (page) => {
    PubSub.publishUnsafe(pubsub, page)
    for (const woken of waiting) {
      waiting.delete(woken)
      woken.openUnsafe()
    }
    if (++pages % behind !== 0) return
    for (const [{ subscription }, pull] of pulls) if (subscription.size() >= behind) pull()
  })

  const subscribe = (earlier: ReadonlyArray<Page<A>> = []): Subscription<A> => {
    const scope = Scope.makeUnsafe()
    // Its own page begins with the next event: the open page was published before it subscribed.
    seal()
    const source = Effect.runSync(Scope.provide(PubSub.subscribe(pubsub), scope))
    /** Pages that were taken from the `PubSub` and are not read. */
    const ahead = MutableList.make<Page<A>>()
    MutableList.appendAll(ahead, earlier)
    let end: number | undefined
    let position = earlier.reduce((position, page) => position - page.length, published)

    const size = () => (end ?? published) - position
    /** After the cut, which has taken all, a page that is there belongs to later events. */
    const publishedPage = () => (end === undefined ? source.subscription.poll() : MutableList.Empty)
    const nextPage = () => {
      const page = ahead.length > 0 ? MutableList.take(ahead) : publishedPage()
      if (page === MutableList.Empty) return undefined
      seal(page)
      return page
    }
    const pull = () => {
      seal()
      let small: Array<Page<A>> = []
      const joinSmall = () => {
        if (small.length > 0) MutableList.append(ahead, join(small))
        small = []
      }
      for (let page = publishedPage(); page !== MutableList.Empty; page = publishedPage()) {
        const isSmall = page.length < smallPage
        if (isSmall) small.push(page)
        if (!isSmall || small.length === smallPage) joinSmall()
        if (!isSmall) MutableList.append(ahead, page)
      }
      joinSmall()
    }
    pulls.set(source, pull)
    const reader = pageReader(nextPage)
    const isReady = () => end !== undefined || size() > 0
    const woken = Latch.makeUnsafe()
    // A reader is woken inside the publisher, and yields so that the page fills before it is read.
    const wait = Effect.andThen(
      Effect.suspend(() => {
        if (isReady()) return Effect.void
        woken.closeUnsafe()
        waiting.add(woken)
        return woken.await
      }),
      Effect.yieldNow
    )
    return {
      size,
      position: () => position,
      wait,
      poll: (joinUpTo, most) => {
        if (!isReady()) return undefined
        const events = reader.take(joinUpTo, most)
        position += events.length
        return events
      },
      pages: () => {
        pull()
        return [reader.rest(), ...MutableList.toArray(ahead)]
      },
      cut: () => {
        if (end !== undefined) return
        pull()
        end = published
        pulls.delete(source)
        waiting.delete(woken)
        woken.openUnsafe()
        // Frees the pages that only this subscription has not read.
        Effect.runForkWith(context)(Scope.close(scope, Exit.void))
      }
    }
  }
  return {
    published: () => published,
    publish: (event, writer, receipt) => {
      published++
      if (pulls.size > 0) write(event, writer, receipt)
    },
    publishAll: (events, writer, receipt) => {
      published += events.length
      if (pulls.size > 0) writeAll(events, writer, receipt)
    },
    subscribe
  }
}

/** Judges events by a filter, for what takes those that it lets through, or notes that it died on one, or held one back. */
export const judging =
  <A>(
    filter: Predicate<A>,
    take: Offer<A>,
    died: (event: A, defect: unknown, receipt?: ReceiptRequest) => void,
    refused?: (receipt: ReceiptRequest) => void
  ): Offer<A> =>
  (event, after, writer, receipt) => {
    try {
      if (filter(event)) take(event, after, writer, receipt)
      else if (receipt !== undefined) refused?.(receipt)
    } catch (defect) {
      died(event, defect, receipt)
    }
  }

/**
 * Calls `judge` with the events that wait, and with what is published meanwhile, some of them a turn. `last` is called in the turn in which
 * none waits any more: nothing is published between the two.
 */
export const catchUp = <A, B, E, R>(
  subscription: Subscription<A>,
  judge: (event: A, after: number) => void,
  last: () => Effect.Effect<B, E, R>
): Effect.Effect<B, E, R> => {
  const turn: Effect.Effect<B, E, R> = Effect.suspend(() => {
    const before = subscription.position()
    subscription.poll(1, maxTurn)?.forEach((event, i) => judge(event, before + i + 1))
    if (subscription.size() > 0) return Effect.andThen(Effect.yieldNow, turn)
    subscription.cut()
    return last()
  })
  return Effect.ensuring(
    turn,
    Effect.sync(() => subscription.cut())
  )
}
