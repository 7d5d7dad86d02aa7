/**
 * What a broadcaster keeps for late subscribers: its last events in a ring, and tokens for positions. `PubSub` has a `replay` of its own,
 * which does not hold here: it counts messages, which are pages of 1 to 1024 events, and a page still grows once it is published.
 */
import * as Data from "effect/Data"
import { maxPage, type Page } from "../pages.ts"
import { randomUuid } from "../uuid.ts"

/**
 * What a late subscriber gets before what is published from now on: that many of the events that the broadcaster keeps, the last ones, or all
 * events since a position.
 *
 * @category options
 * @since 0.1.0
 */
export type Replay = number | { readonly since: string }

/**
 * An event, with the position behind it: a subscription with that as `since` goes on with the next event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Positioned<out A> {
  readonly event: A
  readonly position: string
}

/**
 * Events since the position are gone: more were published than the broadcaster keeps, or the position is of another
 * broadcaster, or of one in an earlier process. The subscription was not made.
 *
 * @category errors
 * @since 0.1.0
 */
export class ReplayExpired extends Data.TaggedError("ReplayExpired")<{
  readonly broadcaster: string
  readonly since: string
  /** How many events are gone; `undefined` for a position that this broadcaster did not give. */
  readonly missed: number | undefined
}> {
  override get message(): string {
    return this.missed === undefined
      ? `"${this.since}" is no position of "${this.broadcaster}"`
      : `"${this.broadcaster}" keeps no longer ${this.missed} of the events since "${this.since}"`
  }
}

/** What `options` may fail with: `ReplayExpired` where they give a position. */
export type ExpiryOf<R> = [Extract<R, object>] extends [never] ? never : ReplayExpired

/** Keeps the last `max` of the events that a topic publishes. */
export const makeKept = <A>(name: () => string, max: number, published: () => number) => {
  /** An event is at its position modulo `max`. */
  const ring: Array<A> = []
  /** Tells the positions of this broadcaster from those of others. */
  let id: string | undefined
  const token = (position: number) => `${(id ??= randomUuid())}.${position}`
  const positionOf = (since: string) => {
    const position = Number(since.slice(since.lastIndexOf(".") + 1))
    // Only a text that `token` has made is one.
    return position >= 0 && position <= published() && token(position) === since ? position : undefined
  }
  return {
    /** The text for a position. */
    token,
    /** Keeps events that are published next. */
    keep: (events: ReadonlyArray<A>) => {
      if (max === 0) return
      const first = published()
      for (let i = Math.max(0, events.length - max); i < events.length; i++) ring[(first + i) % max] = events[i]!
    },
    /** The position that a replay begins at. */
    begin: (replay: Replay): number | ReplayExpired => {
      const end = published()
      const first = Math.max(0, end - max)
      if (typeof replay === "number") return Math.max(first, end - replay)
      const { since } = replay
      const position = positionOf(since)
      if (position !== undefined && position >= first) return position
      return new ReplayExpired({
        broadcaster: name(),
        since,
        missed: position === undefined ? undefined : first - position
      })
    },
    /** The events from a position on, which `begin` has answered in this turn. */
    from: (position: number): ReadonlyArray<Page<A>> => {
      const pages: Array<Page<A>> = []
      const end = published()
      for (let at = position; at < end; at += maxPage) {
        // It has the event, by the answer of `begin`.
        pages.push(Array.from({ length: Math.min(maxPage, end - at) }, (_, i) => ring[(at + i) % max] as A))
      }
      return pages
    }
  }
}
