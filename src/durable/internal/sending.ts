/** What a write may say of its event beside the event, and what it is answered with. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type { EventKey, NewEvent, Position } from "../EventStore.ts"

/**
 * The id that a store gives an event: what `status` asks by.
 *
 * @category models
 * @since 0.1.0
 */
export type EventId = Position

/**
 * What the store has of an event that was written.
 *
 * @category models
 * @since 0.1.0
 */
export interface Receipt {
  /** The id of the event, or that of the event which it duplicates. */
  readonly id: EventId
  /** Whether an event with its id, within the window of deduplication, is stored already: then it is not stored again. */
  readonly isDuplicate: boolean
}

/**
 * When an event is to be delivered, by the clock of the store, and its id.
 *
 * @category options
 * @since 0.1.0
 */
export type SendOptions = {
  /** What makes it the same event as another: what the part's `id` answers by default. */
  readonly id?: string | undefined
} & (
  | {
      /** Not before this time: at once by default, and where that is past. A number is milliseconds since 1970. */
      readonly deliverAt?: DateTime.DateTime | Date | number | undefined
      readonly delay?: never
    }
  | {
      /** Not before this time is over, from the commit on. */
      readonly delay?: Duration.Input | undefined
      readonly deliverAt?: never
    }
)

/** The part of a stored event that the options say. A time that is none is a mistake in the program and a defect. */
export const sentWith = ({ deliverAt, delay, id }: SendOptions): Pick<NewEvent, "id" | "due"> => {
  const due =
    delay !== undefined
      ? { after: aDelay(Duration.fromInputUnsafe(delay)) }
      : deliverAt !== undefined
        ? { at: DateTime.toEpochMillis(DateTime.makeUnsafe(deliverAt)) }
        : undefined
  return { ...(id === undefined ? {} : { id }), ...(due === undefined ? {} : { due }) }
}

/** An event by the id that the store has given it, or by its own. */
export const eventKeyOf = (event: EventKey | string): EventKey => (typeof event === "string" ? { id: event } : event)

// internals

/** A time after it is one that a `Date` has: 100 million days are its range. */
const longestDelay = Duration.days(50_000_000)

const aDelay = (delay: Duration.Duration): Duration.Duration => {
  if (Duration.isLessThanOrEqualTo(delay, longestDelay)) return delay
  throw new RangeError(`send: delay must be at most 50,000,000 days, and is ${Duration.format(delay)}`)
}
