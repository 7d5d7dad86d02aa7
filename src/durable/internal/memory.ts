/** The data of a memory store: its queues, as plain values without effects. */
import { Listeners } from "./listeners.ts"

export interface Limits {
  readonly rows: number
  readonly bytes: number
}

/** An event in line. It knows its neighbours, so that one leaves from anywhere without a look at the others. */
export interface Row {
  readonly key: number
  readonly payload: Uint8Array
  readonly attempts: number
  readonly writtenAt: number
  before: Row | undefined
  after: Row | undefined
}

export interface Told {
  readonly key: number
  readonly reason: "Failed" | "Died" | "Undecodable"
  readonly cause: string
  readonly attempts: number
}

export interface Letter extends Told {
  readonly payload: Uint8Array
  readonly writtenAt: number
  readonly deadLetteredAt: number
}

export type Place = Pick<Letter, "key" | "deadLetteredAt">

const isAfter = (one: Place, other: Place): boolean =>
  one.deadLetteredAt > other.deadLetteredAt || (one.deadLetteredAt === other.deadLetteredAt && one.key > other.key)

/** A copy that nobody else writes to. `slice` would not do: that of a `Buffer` shares its memory. */
const copy = (payload: Uint8Array): Uint8Array => new Uint8Array(payload)

/** One queue: its line, its dead letters, and whose it is. */
export class MemoryQueue {
  private readonly rows = new Map<number, Row>()
  private bytes = 0
  private first: Row | undefined
  private last: Row | undefined
  private lastKey = 0
  /** In the order of their pages. */
  private readonly letters: Array<Letter> = []
  private epoch = 0
  /** When the lease runs out; nothing when it has been given back, or was never given. */
  private expires: number | undefined

  append(payloads: ReadonlyArray<Uint8Array>, limits: Limits | undefined, now: number): boolean {
    const bytes = payloads.reduce((sum, payload) => sum + payload.length, 0)
    const fits =
      limits === undefined ||
      this.rows.size === 0 ||
      (this.rows.size + payloads.length <= limits.rows && this.bytes + bytes <= limits.bytes)
    if (fits) for (const payload of payloads) this.enter(copy(payload), 0, now)
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

  /** Answers whether anything was there to be removed. */
  acknowledge(keys: ReadonlyArray<number>): boolean {
    let changed = false
    for (const key of keys) changed = this.leave(key) !== undefined || changed
    return changed
  }

  deadLetter(events: ReadonlyArray<Told>, deadLetteredAt: number): boolean {
    let changed = false
    for (const { attempts, cause, key, reason } of events) {
      const row = this.leave(key)
      if (row === undefined) continue
      const { payload, writtenAt } = row
      const letter = { key, reason, cause, attempts, payload, writtenAt, deadLetteredAt }
      const at = this.letters.findLastIndex((other) => isAfter(letter, other))
      this.letters.splice(at + 1, 0, letter)
      changed = true
    }
    return changed
  }

  list(after: Place | undefined, limit: number): ReadonlyArray<Letter> {
    const from = after === undefined ? 0 : this.letters.findIndex((letter) => isAfter(letter, after))
    if (from < 0) return []
    return this.letters.slice(from, from + limit).map((letter) => ({ ...letter, payload: copy(letter.payload) }))
  }

  replay(keys: ReadonlyArray<number>): number {
    const letters = keys.flatMap((key) => this.take(key))
    for (const { attempts, payload, writtenAt } of letters) this.enter(payload, attempts, writtenAt)
    return letters.length
  }

  purge(keys: ReadonlyArray<number>): number {
    return keys.flatMap((key) => this.take(key)).length
  }

  get size() {
    const { bytes, first, last, letters, rows } = this
    return { rows: rows.size, bytes, deadLetters: letters.length, first: first?.key, last: last?.key }
  }

  /** The new epoch; or how long somebody still has the lease, as a negative number. */
  acquire(ttl: number, now: number): number {
    if (this.expires !== undefined && now < this.expires) return now - this.expires
    this.expires = now + ttl
    return ++this.epoch
  }

  renew(ttl: number, now: number): void {
    this.expires = now + ttl
  }

  /** Answers whether it was this epoch's to give back. */
  release(epoch: number): boolean {
    const isHeld = this.isHeldBy(epoch)
    if (isHeld) this.expires = undefined
    return isHeld
  }

  /** Whether the lease of this epoch is neither taken by another nor given back; it may have run out. */
  isHeldBy(epoch: number): boolean {
    return this.epoch === epoch && this.expires !== undefined
  }

  private enter(payload: Uint8Array, attempts: number, writtenAt: number): void {
    const row: Row = { key: ++this.lastKey, payload, attempts, writtenAt, before: this.last, after: undefined }
    if (this.last === undefined) this.first = row
    else this.last.after = row
    this.last = row
    this.rows.set(row.key, row)
    this.bytes += payload.length
  }

  private leave(key: number): Row | undefined {
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

  private take(key: number): ReadonlyArray<Letter> {
    const at = this.letters.findIndex((letter) => letter.key === key)
    return at < 0 ? [] : this.letters.splice(at, 1)
  }
}

/** All queues of a memory store, and who listens to them. What holds it holds the data: stores come and go over it. */
export class Memory {
  private readonly queues = new Map<string, MemoryQueue>()
  readonly listeners = new Listeners()

  /** A queue, which begins to exist when it is asked for. */
  queue(name: string): MemoryQueue {
    let queue = this.queues.get(name)
    if (queue === undefined) this.queues.set(name, (queue = new MemoryQueue()))
    return queue
  }
}
