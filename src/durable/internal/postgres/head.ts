/** Where a queue begins, so that events that were removed before need not be passed over again. */

/** How many events are removed before the next look for the beginning. */
const many = 2_000

/** How long a beginning is cached, in milliseconds. */
const cacheTtl = 30_000

/**
 * A removed event stays in the index until it is vacuumed, and cannot be vacuumed while any transaction of the database
 * has a snapshot from before: a report that runs for an hour keeps an hour's events. A read from the head of the queue
 * passes over all of them. This caches a key below which there is nothing, and nothing can appear.
 *
 * **Why no late commit is skipped.** Keys are assigned before the commit, so below a key that was given there may be
 * others whose transactions still run. Such a transaction took its lock on the table, which an INSERT holds until its
 * transaction ends, before it took its key, and so before the greater key was taken, committed and given. It is
 * therefore among the lock's holders that are read after that. Once none of those is left, all keys up to the given one
 * are settled: what a read that begins then does not find below its first event is gone for good.
 *
 * A prepared transaction holds its lock under another name, so while there is one no key is settled. And keys can come
 * a second time, after a failover to a standby that lacked some or from a backup: so the cache is emptied every half
 * minute, and the next read is from the very first key.
 */
export class Head {
  private at = 0
  private since = 0
  private removed = 0
  /** The greatest key that was given. */
  last = 0
  private waits: { readonly upTo: number; readonly holders: ReadonlyArray<string> } | undefined

  /** The key to read from. */
  from(now: number): number {
    if (now - this.since > cacheTtl) {
      this.at = 0
      this.last = 0
      this.waits = undefined
      this.since = now
    }
    return this.at
  }

  /** Whether to read the holders of the table's lock, before the next read of events. */
  get isDue(): boolean {
    return this.removed >= many
  }

  /**
   * Notes the holders, and the greatest key that was given before they were read. Answers up to which key all is
   * settled for a read that begins now.
   */
  settled(upTo: number, holders: ReadonlyArray<string>): number | undefined {
    this.removed = 0
    if (holders.some((holder) => holder.startsWith("-1/"))) return undefined
    const waits = (this.waits ??= { upTo, holders })
    if (waits.holders.some((holder) => holders.includes(holder))) return undefined
    this.waits = undefined
    return waits.upTo
  }

  /** Notes what a read from the head gave: its first and last key, and up to where all was settled when it began. */
  given(first: number | undefined, last: number | undefined, settled: number | undefined): void {
    if (last !== undefined) this.last = Math.max(this.last, last)
    if (settled !== undefined) this.at = Math.max(this.at, Math.min(first ?? settled + 1, settled + 1))
  }

  removedRows(rows: number): void {
    this.removed += rows
  }
}
