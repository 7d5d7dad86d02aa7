import * as Clock from "effect/Clock"
import * as Context from "effect/Context"

/** Marks are this far apart at least, in milliseconds: what an age may be off by. */
const resolution = 10

/**
 * How old the oldest of a sequence of waiting events is, without a clock reading or a byte for each event: the clock is
 * read once for all events that enter before the next microtask.
 */
export class Ages {
  /** How many events have entered. */
  entered = 0
  private marked = false
  private marks: Array<{ readonly after: number; readonly time: number }> = []
  private readonly clock: Clock.Clock
  private readonly unmark = () => {
    this.marked = false
  }

  /** How many of the events that entered last still wait. */
  private readonly pending: () => number

  constructor(context: Context.Context<never>, pending: () => number) {
    this.clock = Context.get(context, Clock.Clock)
    this.pending = pending
  }

  /** Notes that `n` events enter now. */
  enter(n: number): void {
    if (!this.marked) this.mark()
    this.entered += n
  }

  private mark(): void {
    this.marked = true
    void Promise.resolve().then(this.unmark)
    const time = this.clock.currentTimeMillisUnsafe()
    const last = this.marks[this.marks.length - 1]
    if (last !== undefined && time - last.time < resolution) return
    this.marks.splice(0, this.markOf(this.pending()))
    this.marks.push({ after: this.entered, time })
  }

  /** The age in milliseconds of the oldest of the `pending` events that entered last. */
  oldest(pending: number, now: number): number {
    const mark = this.marks[this.markOf(pending)]
    return mark === undefined ? 0 : Math.max(0, now - mark.time)
  }

  /** Which mark the oldest of `pending` events entered under; those before it are of no use any more. */
  private markOf(pending: number): number {
    const before = this.entered - pending
    let mark = 0
    while (mark + 1 < this.marks.length && this.marks[mark + 1]!.after <= before) mark++
    return mark
  }
}
