/**
 * The tables of the SQLite store, and how a file comes to have them.
 *
 * An event is one row of one B-tree, under the number of its queue and its key in one integer: the head of a queue is
 * where its numbers begin, whatever else is in the file, and no index has to be kept beside it. Keys are counted for
 * each queue and never used again.
 */
/// <reference types="node" />
import type { DatabaseSync } from "node:sqlite"
import type { StoreProblem } from "../../EventStore.ts"

/** How many bits of a row's number are its key: 17 million million keys in each of half a million queues. */
export const keyBits = 44
export const maxKey = 2 ** keyBits - 1

export const isKey = (key: number): boolean => Number.isInteger(key) && key > 0 && key <= maxKey

/** Keys as runs of neighbours, without those that no event can have. */
export const runs = (keys: ReadonlyArray<number>): ReadonlyArray<readonly [from: number, to: number]> => {
  const found: Array<[number, number]> = []
  for (const key of keys.toSorted((a, b) => a - b)) {
    const last = found.at(-1)
    if (last !== undefined && (key === last[1] || key === last[1] + 1)) last[1] = key
    else if (Number.isInteger(key) && key > 0 && key <= maxKey) found.push([key, key])
  }
  return found
}

/** Marks a file as one of this store: "EEvQ". */
export const applicationId = 0x45457651

/** The steps from one version to the next. One that has been released is never changed. */
const migrations: ReadonlyArray<string> = [
  `
  CREATE TABLE queues (
    id INTEGER PRIMARY KEY CHECK (id < ${2 ** (63 - keyBits)}),
    name TEXT NOT NULL UNIQUE,
    rows INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    dead_letters INTEGER NOT NULL DEFAULT 0,
    last INTEGER NOT NULL DEFAULT 0 CHECK (last <= ${maxKey}),
    epoch INTEGER NOT NULL DEFAULT 0,
    renewed INTEGER,
    expires INTEGER
  ) STRICT;
  CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    attempts INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    payload BLOB NOT NULL
  ) STRICT;
  CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    dead_lettered_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    cause TEXT NOT NULL,
    payload BLOB NOT NULL
  ) STRICT;
  CREATE INDEX dead_letters_in_order ON dead_letters (queue, dead_lettered_at, id);
  `,
  // Which log and which index the processes have open.
  `
  CREATE TABLE generation (
    processes INTEGER NOT NULL,
    database TEXT,
    wal TEXT,
    shm TEXT
  ) STRICT;
  INSERT INTO generation VALUES (0, NULL, NULL, NULL);
  `
]

/** The version of this code. */
export const version = migrations.length

/** Why a file cannot be used. */
export interface Refusal {
  readonly problem: StoreProblem
  readonly detail: string
}

/**
 * The state of a file before anything in it is changed: `false` when it is of this version, `true` when it has to be
 * migrated, or why it is not to be touched.
 */
export const examine = (db: DatabaseSync): boolean | Refusal => {
  const found = numberOf(db, "application_id")
  const at = numberOf(db, "user_version")
  if (found !== applicationId) {
    const isEmpty = found === 0 && at === 0 && numberOf(db, "schema_version") === 0
    return isEmpty ? true : { problem: "Corrupt", detail: "the file is the database of another program" }
  }
  if (at <= version) return at < version
  return { problem: "NewerSchema", detail: `the file has version ${at} of the schema, and this code knows ${version}` }
}

/** Brings a file up to date, in the transaction that is open. Another process may have done it in the meantime. */
export const migrate = (db: DatabaseSync): Refusal | undefined => {
  const found = examine(db)
  if (typeof found !== "boolean") return found
  for (const step of migrations.slice(numberOf(db, "user_version"))) db.exec(step)
  db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${version}`)
  return undefined
}

const numberOf = (db: DatabaseSync, pragma: string): number => Number(db.prepare(`PRAGMA ${pragma}`).get()?.[pragma])
