/** The data of a memory store: its queues, as plain values without effects. */
import { Listeners } from "./listeners.ts"

export interface Limits {
  readonly rows: number
  readonly bytes: number
}

/** A stored event. It knows its neighbours, so that one is removed from anywhere without a look at the others. */
export interface Row {
  readonly key: number
  readonly payload: Uint8Array
  readonly attempts: number
  readonly writtenAt: number
  before: Row | undefined
  after: Row | undefined
}

export interface DeadLettered {
  readonly key: number
  readonly reason: "Failed" | "Died" | "Undecodable"
  readonly cause: string
  readonly attempts: number
}

export interface DeadLetter extends DeadLettered {
  readonly payload: Uint8Array
  readonly writtenAt: number
  readonly deadLetteredAt: number
}

export type Place = Pick<DeadLetter, "key" | "deadLetteredAt">

const isAfter = (one: Place, other: Place): boolean =>
  one.deadLetteredAt > other.deadLetteredAt || (one.deadLetteredAt === other.deadLetteredAt && one.key > other.key)

/** A copy with memory of its own. `slice` would not do: that of a `Buffer` shares its memory. */
const copy = (payload: Uint8Array): Uint8Array => new Uint8Array(payload)

/** One queue: its events, its dead letters, and its lease. */
export class MemoryQueue {
  private readonly rows = new Map<number, Row>()
  private bytes = 0
  private first: Row | undefined
  private last: Row | undefined
  private lastKey = 0
  /** In the order of their pages. */
  private readonly deadLetters: Array<DeadLetter> = []
  private epoch = 0
  /** When the lease expires; nothing when it was released, or never acquired. */
  private expires: number | undefined

  append(payloads: ReadonlyArray<Uint8Array>, limits: Limits | undefined, now: number): boolean {
    const bytes = payloads.reduce((sum, payload) => sum + payload.length, 0)
    const fits =
      limits === undefined ||
      this.rows.size === 0 ||
      (this.rows.size + payloads.length <= limits.rows && this.bytes + bytes <= limits.bytes)
    if (fits) for (const payload of payloads) this.add(copy(payload), 0, now)
    return fits
  }

  next(limits: Limits) {
    const some: Array<Omit<Row, "before" | "after">> = []
    let bytes = 0
    for (let row = this.first; row !== undefined && some.length < limits.rows; row = row.after) {
      const { attempts, key, payload, writtenAt } = row
      bytes += payload.length
      if (some.length > 0 && bytes > limits.bytes) break
      some.push({ key, payload: copy(payload), attempts, writtenAt })
    }
    return some
  }

  /** Answers whether any of the keys was there to be removed. */
  acknowledge(keys: ReadonlyArray<number>): boolean {
    let changed = false
    for (const key of keys) changed = this.remove(key) !== undefined || changed
    return changed
  }

  deadLetter(events: ReadonlyArray<DeadLettered>, deadLetteredAt: number): boolean {
    let changed = false
    for (const { attempts, cause, key, reason } of events) {
      const row = this.remove(key)
      if (row === undefined) continue
      const { payload, writtenAt } = row
      const deadLetter = { key, reason, cause, attempts, payload, writtenAt, deadLetteredAt }
      const at = this.deadLetters.findLastIndex((other) => isAfter(deadLetter, other))
      this.deadLetters.splice(at + 1, 0, deadLetter)
      changed = true
    }
    return changed
  }

  list(after: Place | undefined, limit: number): ReadonlyArray<DeadLetter> {
    const from = after === undefined ? 0 : this.deadLetters.findIndex((deadLetter) => isAfter(deadLetter, after))
    if (from < 0) return []
    return this.deadLetters
      .slice(from, from + limit)
      .map((deadLetter) => ({ ...deadLetter, payload: copy(deadLetter.payload) }))
  }

  replay(keys: ReadonlyArray<number>): number {
    const deadLetters = keys.flatMap((key) => this.removeDeadLetter(key))
    for (const { attempts, payload, writtenAt } of deadLetters) this.add(payload, attempts, writtenAt)
    return deadLetters.length
  }

  purge(keys: ReadonlyArray<number>): number {
    return keys.flatMap((key) => this.removeDeadLetter(key)).length
  }

  get size() {
    const { bytes, deadLetters, first, last, rows } = this
    return { rows: rows.size, bytes, deadLetters: deadLetters.length, first: first?.key, last: last?.key }
  }

  /** The new epoch; or how long another owner still has the lease, as a negative number. */
  acquire(ttl: number, now: number): number {
    if (this.expires !== undefined && now < this.expires) return now - this.expires
    this.expires = now + ttl
    return ++this.epoch
  }

  renew(ttl: number, now: number): void {
    this.expires = now + ttl
  }

  /** Answers whether this epoch had the lease. */
  release(epoch: number): boolean {
    const isHeld = this.isHeldBy(epoch)
    if (isHeld) this.expires = undefined
    return isHeld
  }

  /** Whether the lease of this epoch is neither taken by another owner nor released; it may have expired. */
  isHeldBy(epoch: number): boolean {
    return this.epoch === epoch && this.expires !== undefined
  }

  private add(payload: Uint8Array, attempts: number, writtenAt: number): void {
    const row: Row = { key: ++this.lastKey, payload, attempts, writtenAt, before: this.last, after: undefined }
    if (this.last === undefined) this.first = row
    else this.last.after = row
    this.last = row
    this.rows.set(row.key, row)
    this.bytes += payload.length
  }

  private remove(key: number): Row | undefined {
    const row = this.rows.get(key)
    if (row === undefined) return undefined
    const { after, before } = row
    if (before === undefined) this.first = after
    else before.after = after
    if (after === undefined) this.last = before
    else after.before = before
    this.rows.delete(key)
    this.bytes -= row.payload.length
    return row
  }

  private removeDeadLetter(key: number): ReadonlyArray<DeadLetter> {
    const at = this.deadLetters.findIndex((deadLetter) => deadLetter.key === key)
    return at < 0 ? [] : this.deadLetters.splice(at, 1)
  }
}

/**
 * All queues of a memory store, and their listeners. The data lives as long as this value: stores come and go over it.
 */
export class Memory {
  private readonly queues = new Map<string, MemoryQueue>()
  readonly listeners = new Listeners()

  /** A queue, which exists from the first call for it. */
  queue(name: string): MemoryQueue {
    let queue = this.queues.get(name)
    if (queue === undefined) this.queues.set(name, (queue = new MemoryQueue()))
    return queue
  }
}
