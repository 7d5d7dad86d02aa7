/** The operations of the SQLite store within one transaction: prepared statements, and nothing that waits. */
/// <reference types="node" />
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"
import type {
  Acquired,
  Key,
  Limits,
  Page,
  DeadLettered,
  DeadLetterReason,
  Size,
  Stored,
  StoredDeadLetter
} from "../../EventStore.ts"
import { expiry, isFromLater, type LeaseTimes } from "./leaseTimes.ts"
import { isKey, keyBits, maxKey, runs } from "./sqliteSchema.ts"

/** A queue's own row. */
interface Queue extends LeaseTimes {
  readonly id: number
  readonly rows: number
  readonly bytes: number
  readonly deadLetters: number
  readonly last: number
  readonly epoch: number
}

/** How a queue's own row is to change. */
interface Change {
  readonly rows?: number
  readonly bytes?: number
  readonly deadLetters?: number
  readonly last?: number
}

/** Node 22 binds no numbered parameters: they are numbered here, and stand in the statement in this order. */
interface Prepared {
  readonly statement: StatementSync
  readonly order: ReadonlyArray<number>
}

/** So many events go into the file with one statement: calling one costs more than its work. */
const together = 10

/** An event's row: the number of its queue and its key. Numbers come as floating point, which an integer `|` is not. */
const row = (key: string): string => `((?1 << ${keyBits}) | ${key})`
const inQueue = `id BETWEEN ${row("0")} AND ${row(String(maxKey))}`
const key = `id & ${maxKey} AS key`
/** SQLite binds bytes of length 0 as NULL. */
const blob = (parameter: string): string => `ifnull(${parameter}, x'')`

/** `LIMIT` knows no infinity. */
const atMost = (n: number): number => (n === Number.POSITIVE_INFINITY ? -1 : n)

export class Statements {
  private readonly prepared = new Map<string, Prepared>()
  private readonly db: DatabaseSync

  constructor(db: DatabaseSync) {
    this.db = db
  }

  begin(): void {
    this.run("BEGIN")
  }

  beginImmediate(): void {
    this.run("BEGIN IMMEDIATE")
  }

  commit(): void {
    this.run("COMMIT")
  }

  /** A number that changes with the commits of other connections. */
  get dataVersion(): number {
    return Number(this.get<{ data_version: number }>("PRAGMA data_version")?.data_version)
  }

  /** How many bytes of the file removed events have left to others. */
  get unusedBytes(): number {
    const pages = this.get<{ freelist_count: number }>("PRAGMA freelist_count")?.freelist_count ?? 0
    return pages * (this.get<{ page_size: number }>("PRAGMA page_size")?.page_size ?? 0)
  }

  append(name: string, payloads: ReadonlyArray<Uint8Array>, limits: Limits | undefined, now: number): boolean {
    const queue = this.queueOrNew(name)
    const bytes = payloads.reduce((sum, payload) => sum + payload.length, 0)
    const fits =
      limits === undefined ||
      queue.rows === 0 ||
      (queue.rows + payloads.length <= limits.rows && queue.bytes + bytes <= limits.bytes)
    if (!fits) return false
    let from = 0
    for (; from + together <= payloads.length; from += together)
      this.run(many, queue.id, queue.last + from, now, ...payloads.slice(from, from + together))
    for (const payload of payloads.slice(from)) this.run(one, queue.id, queue.last + ++from, now, payload, 0)
    this.change(queue, { rows: payloads.length, bytes, last: queue.last + payloads.length })
    return true
  }

  /** Nothing when the lease of this epoch is lost. */
  next(name: string, epoch: number, { bytes, rows }: Limits): ReadonlyArray<Stored> | undefined {
    const queue = this.held(name, epoch)
    if (queue === undefined || queue.rows === 0 || rows < 1) return queue && []
    // Most of the time all rows fit, and to take them at once costs less than one after the other.
    const fits =
      queue.bytes <= bytes || (this.get<{ sum: number }>(sumOfHead, queue.id, atMost(rows))?.sum ?? 0) <= bytes
    const { order, statement } = this.statement(head)
    // As arrays, since a row that is an object is a dictionary, which costs twice as much to make and to read.
    asArrays(statement)
    // The columns that `head` names.
    if (fits)
      return (statement.all(...inOrder([queue.id, atMost(rows)], order)) as unknown as ReadonlyArray<HeadRow>).map(
        stored
      )
    const some: Array<Stored> = []
    let sum = 0
    // Again the columns that `head` names: `node:sqlite` types a row as an object, and these come as arrays.
    for (const event of statement.iterate(
      ...inOrder([queue.id, atMost(rows)], order)
    ) as unknown as Iterable<HeadRow>) {
      sum += event[1].length
      if (some.length > 0 && sum > bytes) break
      some.push(stored(event))
    }
    return some
  }

  acknowledge(name: string, epoch: number, keys: ReadonlyArray<Key>): boolean | undefined {
    const queue = this.held(name, epoch)
    if (queue === undefined) return undefined
    let rows = 0
    let bytes = 0
    for (const [from, to] of runs(keys)) {
      const gone = this.get<{ rows: number; bytes: number }>(sumOfRun, queue.id, from, to)
      if (gone === undefined || gone.rows === 0) continue
      this.run(removeRun, queue.id, from, to)
      rows += gone.rows
      bytes += gone.bytes
    }
    this.change(queue, { rows: -rows, bytes: -bytes })
    return rows > 0
  }

  deadLetter(name: string, epoch: number, events: ReadonlyArray<DeadLettered>, now: number): boolean | undefined {
    const queue = this.held(name, epoch)
    if (queue === undefined) return undefined
    let rows = 0
    let bytes = 0
    for (const { attempts, cause, key, reason } of events) {
      const event = isKey(key) ? this.get<{ bytes: number }>(bytesOf, queue.id, key) : undefined
      if (event === undefined) continue
      this.run(deadLetter, queue.id, key, now, reason, attempts, cause)
      this.run(remove, queue.id, key)
      rows++
      bytes += event.bytes
    }
    this.change(queue, { rows: -rows, bytes: -bytes, deadLetters: rows })
    return rows > 0
  }

  list(name: string, { after, limit }: Page): ReadonlyArray<StoredDeadLetter> {
    const queue = this.queue(name)
    if (queue === undefined) return []
    const { key, deadLetteredAt } = after ?? { key: 0, deadLetteredAt: Number.MIN_SAFE_INTEGER }
    return this.all<StoredDeadLetter>(page, queue.id, deadLetteredAt, key, atMost(limit)).map((deadLetter) => ({
      ...deadLetter,
      // What `deadLetter` has put there.
      reason: deadLetter.reason as DeadLetterReason
    }))
  }

  replay(name: string, keys: ReadonlyArray<Key>): number {
    const queue = this.queue(name)
    if (queue === undefined) return 0
    let rows = 0
    let bytes = 0
    for (const key of keys) {
      const found = isKey(key) ? this.get<Omit<Stored, "key">>(deadLetterOf, queue.id, key) : undefined
      if (found === undefined) continue
      const { attempts, payload, writtenAt } = found
      this.run(one, queue.id, queue.last + ++rows, writtenAt, payload, attempts)
      this.run(purge, queue.id, key)
      bytes += payload.length
    }
    this.change(queue, { rows, bytes, deadLetters: -rows, last: queue.last + rows })
    return rows
  }

  purge(name: string, keys: ReadonlyArray<Key>): number {
    const queue = this.queue(name)
    if (queue === undefined) return 0
    const count = keys.filter((key) => isKey(key) && this.run(purge, queue.id, key) > 0).length
    this.change(queue, { deadLetters: -count })
    return count
  }

  size(name: string): Size {
    const queue = this.queue(name)
    if (queue === undefined) return { rows: 0, bytes: 0, deadLetters: 0, first: undefined, last: undefined }
    const { bytes, deadLetters, id, rows } = queue
    const end = (sql: string) => this.get<{ key: number }>(sql, id)?.key
    return { rows, bytes, deadLetters, first: end(firstKey), last: end(lastKey) }
  }

  acquire(name: string, ttl: number, now: number): Acquired {
    const queue = this.queueOrNew(name)
    const { epoch, expires, id } = queue
    if (expires !== null && now < expires && !isFromLater(queue, now)) return { _tag: "Held", remaining: expires - now }
    this.run(
      "UPDATE queues SET epoch = ?2, renewed = ?3, expires = ?4 WHERE id = ?1",
      id,
      epoch + 1,
      Math.floor(now),
      expiry(now, ttl)
    )
    return { _tag: "Acquired", lease: { queue: name, epoch: epoch + 1 } }
  }

  renew(name: string, epoch: number, ttl: number, now: number): true | undefined {
    const queue = this.held(name, epoch)
    if (queue === undefined) return undefined
    this.run("UPDATE queues SET renewed = ?2, expires = ?3 WHERE id = ?1", queue.id, Math.floor(now), expiry(now, ttl))
    return true
  }

  release(name: string, epoch: number): boolean {
    const queue = this.held(name, epoch)
    if (queue === undefined) return false
    this.run("UPDATE queues SET expires = NULL WHERE id = ?1", queue.id)
    return true
  }

  private queue(name: string): Queue | undefined {
    return this.get<Queue>(
      "SELECT id, rows, bytes, dead_letters AS deadLetters, last, epoch, renewed, expires FROM queues WHERE name = ?1",
      name
    )
  }

  private queueOrNew(name: string): Queue {
    const queue = this.queue(name)
    if (queue !== undefined) return queue
    this.run("INSERT INTO queues (name) VALUES (?1)", name)
    return this.queueOrNew(name)
  }

  /** The queue if the lease of this epoch is neither taken by another owner nor released; it may have expired. */
  private held(name: string, epoch: number): Queue | undefined {
    const queue = this.queue(name)
    return queue !== undefined && queue.epoch === epoch && queue.expires !== null ? queue : undefined
  }

  private change({ id, last: before }: Queue, { bytes = 0, deadLetters = 0, last = before, rows = 0 }: Change): void {
    if (rows !== 0 || deadLetters !== 0) this.run(change, id, rows, bytes, deadLetters, last)
  }

  private run(sql: string, ...values: ReadonlyArray<SQLInputValue>): number {
    const { order, statement } = this.statement(sql)
    return Number(statement.run(...inOrder(values, order)).changes)
  }

  // The columns of a statement are those that its caller names as its type.
  private get<A>(sql: string, ...values: ReadonlyArray<SQLInputValue>): A | undefined {
    const { order, statement } = this.statement(sql)
    return statement.get(...inOrder(values, order)) as A | undefined
  }

  private all<A>(sql: string, ...values: ReadonlyArray<SQLInputValue>): ReadonlyArray<A> {
    const { order, statement } = this.statement(sql)
    // `A` is the columns that the statement names, which `node:sqlite` cannot know.
    return statement.all(...inOrder(values, order)) as unknown as ReadonlyArray<A>
  }

  private statement(sql: string): Prepared {
    let prepared = this.prepared.get(sql)
    if (prepared === undefined) {
      const order = [...sql.matchAll(/\?(\d+)/g)].map(([, n]) => Number(n) - 1)
      const statement = this.db.prepare(sql.replaceAll(/\?\d+/g, "?"))
      this.prepared.set(sql, (prepared = { statement, order }))
    }
    return prepared
  }
}

/** The values of numbered parameters, for a statement in which they are not. */
const inOrder = (values: ReadonlyArray<SQLInputValue>, order: ReadonlyArray<number>): ReadonlyArray<SQLInputValue> =>
  // As many as the statement has numbers.
  order.map((i) => values[i] as SQLInputValue)

type HeadRow = readonly [key: Key, payload: Uint8Array, attempts: number, writtenAt: number]

const stored = ([key, payload, attempts, writtenAt]: HeadRow): Stored => ({ key, payload, attempts, writtenAt })

/** A method of Node 22.16 and 24 that the types do not have. */
const asArrays = (statement: StatementSync): void =>
  (statement as StatementSync & { readonly setReturnArrays: (are: boolean) => void }).setReturnArrays(true)

const many = `INSERT INTO events (id, attempts, written_at, payload) VALUES ${Array.from(
  { length: together },
  (_, i) => `(${row(`(?2 + ${i + 1})`)}, 0, ?3, ${blob(`?${i + 4}`)})`
).join(", ")}`
const one = `INSERT INTO events (id, attempts, written_at, payload) VALUES (${row("?2")}, ?5, ?3, ${blob("?4")})`
const change = `UPDATE queues SET rows = rows + ?2, bytes = bytes + ?3, dead_letters = dead_letters + ?4, last = ?5
  WHERE id = ?1`
const head = `SELECT ${key}, payload, attempts, written_at AS writtenAt FROM events WHERE ${inQueue} ORDER BY id LIMIT ?2`
const sumOfHead = `SELECT total(n) AS sum FROM
  (SELECT length(payload) AS n FROM events WHERE ${inQueue} ORDER BY id LIMIT ?2)`
const ofRun = `FROM events WHERE id BETWEEN ${row("?2")} AND ${row("?3")}`
const sumOfRun = `SELECT count(*) AS rows, total(length(payload)) AS bytes ${ofRun}`
const removeRun = `DELETE ${ofRun}`
const bytesOf = `SELECT length(payload) AS bytes FROM events WHERE id = ${row("?2")}`
const remove = `DELETE FROM events WHERE id = ${row("?2")}`
const deadLetter = `INSERT INTO dead_letters (id, queue, dead_lettered_at, reason, attempts, cause, written_at, payload)
  SELECT id, ?1, ?3, ?4, ?5, ?6, written_at, payload FROM events WHERE id = ${row("?2")}`
const page = `SELECT ${key}, payload, reason, cause, attempts, written_at AS writtenAt, dead_lettered_at AS deadLetteredAt
  FROM dead_letters WHERE queue = ?1 AND (dead_lettered_at, id) > (?2, ${row("?3")})
  ORDER BY dead_lettered_at, id LIMIT ?4`
const deadLetterOf = `SELECT payload, attempts, written_at AS writtenAt FROM dead_letters WHERE id = ${row("?2")}`
const purge = `DELETE FROM dead_letters WHERE id = ${row("?2")}`
const firstKey = `SELECT ${key} FROM events WHERE ${inQueue} ORDER BY id LIMIT 1`
const lastKey = `SELECT ${key} FROM events WHERE ${inQueue} ORDER BY id DESC LIMIT 1`
