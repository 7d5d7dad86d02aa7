import * as Clock from "effect/Clock"
import * as Context from "effect/Context"

/** Marks are this far apart at least, in milliseconds: what an age may be off by. */
const resolution = 10
/** Marks are looked through for those of no more use when there are twice as many as last time, and at least this many. */
const fewMarks = 64

/** How old the oldest of a sequence of waiting events is. */
export type Ages = ReturnType<typeof makeAges>

/**
 * Keeps ages without a clock reading or a byte for each event: the clock is read once for all events that are offered
 * before the next microtask. `pending` is how many of the events offered last still wait.
 */
export const makeAges = (context: Context.Context<never>, pending: () => number) => {
  const clock = Context.get(context, Clock.Clock)
  let offered = 0
  let isMarked = false
  let marks: Array<{ readonly after: number; readonly time: number }> = []
  let most = fewMarks
  /** Which mark the oldest of `pending` events was offered under; those before it are of no use any more. */
  const markOf = (pending: number) => {
    const before = offered - pending
    let mark = 0
    while (mark + 1 < marks.length && marks[mark + 1]!.after <= before) mark++
    return mark
  }
  const mark = () => {
    isMarked = true
    void Promise.resolve().then(() => void (isMarked = false))
    const time = clock.currentTimeMillisUnsafe()
    const last = marks[marks.length - 1]
    if (last !== undefined && time - last.time < resolution) return
    if (marks.length >= most) {
      // What is pending is the most of all sinks of a broadcaster, so it is not asked for at each mark.
      marks = marks.slice(markOf(pending()))
      most = Math.max(fewMarks, 2 * marks.length)
    }
    marks.push({ after: offered, time })
  }
  return {
    /** Notes that `n` events are offered now. */
    offer: (n: number) => {
      if (!isMarked) mark()
      offered += n
    },
    /** The age in milliseconds of the oldest of the `pending` events that were offered last. */
    oldest: (pending: number, now: number) => {
      const found = marks[markOf(pending)]
      return found === undefined ? 0 : Math.max(0, now - found.time)
    }
  }
}
