/** The statements of one connection, each prepared once. Parameters have no numbers: Node 22 binds none that have. */
/// <reference types="node" />
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

export type Value = SQLInputValue

/**
 * What a transaction works with. Rows are arrays: one that is an object is a dictionary, which costs twice as much to make
 * and to read. `A` is the columns that the statement names, which `node:sqlite` cannot know.
 */
export interface Sql {
  /** Answers how many rows were changed. */
  readonly run: (statement: string, ...values: ReadonlyArray<Value>) => number
  readonly row: <A extends ReadonlyArray<unknown>>(statement: string, ...values: ReadonlyArray<Value>) => A | undefined
  readonly rows: <A extends ReadonlyArray<unknown>>(
    statement: string,
    ...values: ReadonlyArray<Value>
  ) => ReadonlyArray<A>
  /** The rows one by one: nothing may be written before the last. */
  readonly each: <A extends ReadonlyArray<unknown>>(statement: string, ...values: ReadonlyArray<Value>) => Iterable<A>
}

export const makeSql = (db: DatabaseSync): Sql => {
  const statements = new Map<string, StatementSync>()
  const prepare = (text: string): StatementSync => {
    const statement = db.prepare(text)
    asArrays(statement)
    statements.set(text, statement)
    return statement
  }
  return {
    run: (text, ...values) => Number((statements.get(text) ?? prepare(text)).run(...values).changes),
    // The columns that the caller names, here and below.
    row: <A>(text: string, ...values: ReadonlyArray<Value>) =>
      (statements.get(text) ?? prepare(text)).get(...values) as A | undefined,
    rows: <A>(text: string, ...values: ReadonlyArray<Value>) =>
      (statements.get(text) ?? prepare(text)).all(...values) as unknown as ReadonlyArray<A>,
    each: <A>(text: string, ...values: ReadonlyArray<Value>) =>
      (statements.get(text) ?? prepare(text)).iterate(...values) as unknown as Iterable<A>
  }
}

/** A method of Node 22.16 and 24 that the types do not have. */
const asArrays = (statement: StatementSync): void =>
  (statement as StatementSync & { readonly setReturnArrays: (are: boolean) => void }).setReturnArrays(true)

/** SQLite binds bytes of length 0 as NULL. */
export const blob = "ifnull(?, x'')"

/** `LIMIT` knows no infinity. It stands before `+?`: with a bare parameter SQLite plans the statement anew for each value. */
export const atMost = (n: number): number => (n === Number.POSITIVE_INFINITY ? -1 : n)

/** The time after a delay, as an integer column can hold it. */
export const after = (now: number, delay: number): number => Math.min(Math.ceil(now + delay), Number.MAX_SAFE_INTEGER)
