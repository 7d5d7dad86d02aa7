/**
 * The account of a durable part. Deliveries in the store were written by this process, by one before it or by another beside
 * it: the accepted ones are those that this process has seen stored, delivered or dropped.
 */
import { type Account as Counts, makeAccount, type Watch } from "../../internal/node.ts"

export interface DurableAccount {
  readonly counts: Counts
  /** That of the drainers: what they drop is among the dead letters, or remains. */
  readonly delivering: Counts
  /** How many deliveries are stored, as far as this process has seen. */
  readonly stored: () => number
  /**
   * Deliveries are about to be stored: they count before the store has them, since a drainer may come to them within the
   * commit. Answers a function for the end, which takes how many of them are stored. `hasTimes`: some have a time of their own.
   */
  readonly appending: (n: number, hasTimes: boolean) => (stored: number) => void
  /** Deliveries are settled, or otherwise gone. */
  readonly removed: (n: number) => void
  /**
   * Begins a read at the head, and answers a function for its end, which takes how many deliveries are known of then, and
   * whether there are more. If not, no more is stored, unless some were appended meanwhile, or may wait for a time of their own,
   * which no read shows: the transaction of an event that counted as stored was rolled back.
   */
  readonly reading: () => (n: number, more: boolean) => void
  readonly exactly: (n: number) => void
  /** An attempt has failed, of one event. */
  readonly failed: () => void
  /** How many attempts are over, an event each. */
  readonly attempts: () => number
  /** Counts what is stored as remaining, at the close. */
  readonly remain: () => number
  /** Brings the counts up to date that are not kept at every event. */
  readonly update: () => void
}

export const makeDurableAccount = (watch?: Watch): DurableAccount => {
  const counts = makeAccount(watch)
  // What watches the part sees its drainers work.
  const delivering = makeAccount(counts.watch)
  let stored = 0
  /** How many appends there were, and how many are under way. */
  let appends = 0
  let underWay = 0
  let failed = 0
  /** There are, or were, deliveries that wait for a time of their own. */
  let hasTimes = false
  return {
    counts,
    delivering,
    stored: () => stored,
    appending: (n, haveTimes) => {
      hasTimes ||= haveTimes
      stored += n
      appends++
      underWay++
      return (ofThem) => {
        underWay--
        stored = Math.max(0, stored - (n - ofThem))
      }
    },
    removed: (n) => void (stored = Math.max(0, stored - n)),
    reading: () => {
      const before = appends
      const isSure = underWay === 0
      return (n, more) => {
        stored = more || hasTimes || !isSure || appends !== before ? Math.max(stored, n) : n
      }
    },
    exactly: (n) => {
      // What others have written, or what no read has shown.
      hasTimes ||= n > stored
      stored = Math.max(0, n)
    },
    failed: () => void failed++,
    attempts: () => counts.delivered + failed,
    remain: () => {
      const remaining = stored
      stored = 0
      counts.remaining += remaining
      return remaining
    },
    update: () => {
      counts.inFlight = delivering.inFlight
      const { deadLettered, delivered, dropped, filtered, remaining } = counts
      counts.accepted = stored + delivered + filtered + dropped + deadLettered + remaining
    }
  }
}
