/**
 * The tables of the SQLite store, and how a file comes to have them.
 *
 * A delivery is one row of one B-tree, under the number of its subscription and its position in one integer: the head of a
 * subscription is where its numbers begin, whatever else is in the file, and no index has to be kept beside it. An event of
 * one subscription is in its delivery; any other is a row of its own, which leaves with the last of its uses.
 */
/// <reference types="node" />
import type { DatabaseSync } from "node:sqlite"
import type { StoreProblem } from "../../EventStore.ts"

/** How many bits of a row's number are its position: 4 million million positions, and 2 million subscriptions. */
export const positionBits = 42
export const maxPosition = 2 ** positionBits - 1

/** The number of a row. Parameters come as floating point, which an integer `|` is not: `<<` makes one of them. */
export const rowAt = (position: string, subscription = "?"): string =>
  `((${subscription} << ${positionBits}) | ${position})`
export const byId = `id = ${rowAt("?")}`
export const positionOf = `id & ${maxPosition}`
/** The rows of one subscription, which is given twice. */
export const ofSubscription = `id BETWEEN ${rowAt("0")} AND ${rowAt(String(maxPosition))}`

/** Whether a row has got a later position than its event: the condition of indexes, in the words of which it is to be asked. */
export const isMoved = `event IS NOT NULL AND event <> (${positionOf})`

/** Positions as runs of neighbours, without those that no delivery can have. */
export const runs = (positions: ReadonlyArray<number>): ReadonlyArray<readonly [from: number, to: number]> => {
  const found: Array<[number, number]> = []
  for (const one of positions.toSorted((a, b) => a - b)) {
    const last = found.at(-1)
    if (last !== undefined && (one === last[1] || one === last[1] + 1)) last[1] = one
    else if (isPosition(one)) found.push([one, one])
  }
  return found
}

export const isPosition = (one: number): boolean => Number.isInteger(one) && one > 0 && one <= maxPosition

export const lastPosition = "SELECT wakes FROM leases WHERE subscription = 0"
export const setPosition = "UPDATE leases SET wakes = ? WHERE subscription = 0"

/** Marks a file as one of this store: "EEvS". */
const applicationId = 0x45457653

/** The steps from one version to the next. One that has been released is never changed. */
const migrations: ReadonlyArray<string> = [
  `
  -- For how long an exchange keeps events, ids and outcomes.
  CREATE TABLE exchanges (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, retention INTEGER NOT NULL DEFAULT 0,
    deduplication INTEGER NOT NULL DEFAULT 0, outcomes INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  -- The id of one that was dropped is never used again: its rows are removed later.
  CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id < ${2 ** (63 - positionBits)}),
    exchange INTEGER NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, topics TEXT NOT NULL, data BLOB,
    state TEXT NOT NULL, reason TEXT, since INTEGER NOT NULL, UNIQUE (exchange, tenant, name)
  ) STRICT;
  CREATE TABLE dropped (subscription INTEGER PRIMARY KEY) STRICT;
  CREATE TABLE routes (
    exchange INTEGER NOT NULL, tenant TEXT NOT NULL, pattern TEXT NOT NULL, subscription INTEGER NOT NULL,
    PRIMARY KEY (exchange, tenant, pattern, subscription)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE owners (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, lock TEXT,
    renewed_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
  ) STRICT;
  -- A subscription's hot row. Nothing of it is due before due_at, which may lie in the past when nothing is. The wakes of
  -- row 0 are the last position: it is not in a table of its own, so that a publish changes a page less. The first of what
  -- is scheduled has the time scheduled_at. Outcomes are kept for the exchange keeps, if there is one. An owner has not seen
  -- that its subscription is redefined.
  CREATE TABLE leases (
    subscription INTEGER PRIMARY KEY, exchange INTEGER, active INTEGER NOT NULL DEFAULT 1, epoch INTEGER NOT NULL DEFAULT 0, owner INTEGER,
    due_at INTEGER, wakes INTEGER NOT NULL DEFAULT 0 CHECK (wakes <= ${maxPosition}),
    wait_until INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, first_failed_at INTEGER,
    failing_since INTEGER, wait_reason TEXT, wait_position INTEGER, scheduled_at INTEGER, keeps INTEGER,
    redefined INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, dead_letters INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  INSERT INTO leases (subscription) VALUES (0);
  CREATE INDEX leases_free ON leases (due_at) WHERE owner IS NULL AND active = 1 AND due_at IS NOT NULL;
  CREATE INDEX leases_of_exchange ON leases (exchange, due_at) WHERE owner IS NULL AND active = 1 AND due_at IS NOT NULL;
  CREATE INDEX leases_redefined ON leases (owner) WHERE redefined = 1;
  CREATE INDEX leases_held ON leases (owner, due_at) WHERE owner IS NOT NULL;
  CREATE INDEX leases_not_active ON leases (owner) WHERE active = 0;
  CREATE INDEX leases_scheduled ON leases (scheduled_at) WHERE scheduled_at IS NOT NULL;
  CREATE TABLE events (
    position INTEGER PRIMARY KEY, topic TEXT NOT NULL, content_type TEXT, trace TEXT, written_at INTEGER NOT NULL,
    payload BLOB NOT NULL
  ) STRICT;
  -- How many deliveries, scheduled ones and dead letters need an event, and the exchange that retains it.
  CREATE TABLE uses (
    event INTEGER PRIMARY KEY, count INTEGER NOT NULL, exchange INTEGER, tenant TEXT, written_at INTEGER
  ) STRICT;
  CREATE INDEX uses_retained ON uses (exchange, written_at) WHERE exchange IS NOT NULL;
  CREATE TRIGGER uses_ended AFTER UPDATE ON uses WHEN new.count = 0 AND new.exchange IS NULL BEGIN
    DELETE FROM events WHERE position = new.event;
    DELETE FROM uses WHERE event = new.event;
  END;
  -- Either with an event of its own, or with the number of one.
  CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY, event INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    topic TEXT, content_type TEXT, trace TEXT, written_at INTEGER, payload BLOB
  ) STRICT;
  -- Those at a later position than their event. The others are found by its own.
  CREATE INDEX deliveries_moved ON deliveries (event) WHERE ${isMoved};
  -- Those whose time is to come: each is at the position of its event.
  CREATE TABLE scheduled (
    id INTEGER PRIMARY KEY, subscription INTEGER NOT NULL, event INTEGER NOT NULL, due_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX scheduled_due ON scheduled (subscription, due_at);
  -- Only the first of a lane has a due_at.
  CREATE TABLE delayed (
    id INTEGER PRIMARY KEY, subscription INTEGER NOT NULL, lane INTEGER NOT NULL, event INTEGER NOT NULL,
    due_at INTEGER, attempts INTEGER NOT NULL, first_failed_at INTEGER
  ) STRICT;
  CREATE INDEX delayed_moved ON delayed (event) WHERE ${isMoved};
  CREATE INDEX delayed_lanes ON delayed (subscription, lane);
  CREATE INDEX delayed_due ON delayed (subscription, due_at, lane) WHERE due_at IS NOT NULL;
  CREATE INDEX delayed_firsts ON delayed (subscription, lane) WHERE due_at IS NOT NULL;
  CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY, subscription INTEGER NOT NULL, event INTEGER NOT NULL, dead_lettered_at INTEGER NOT NULL,
    reason TEXT NOT NULL, cause TEXT NOT NULL, attempts INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX dead_letters_moved ON dead_letters (event) WHERE ${isMoved};
  CREATE INDEX dead_letters_in_order ON dead_letters (subscription, dead_lettered_at);
  -- The events that were published with an id.
  CREATE TABLE ids (
    exchange INTEGER NOT NULL, tenant TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    PRIMARY KEY (exchange, tenant, id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX ids_expired ON ids (expires_at);
  -- What became of deliveries, and their attempts: by the positions of their events. An attempt has the number at which it
  -- was kept.
  CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY, exchange INTEGER NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
    topic TEXT NOT NULL, written_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX outcomes_kept ON outcomes (exchange, at);
  CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, subscription INTEGER NOT NULL, event INTEGER NOT NULL, exchange INTEGER NOT NULL,
    kept_at INTEGER NOT NULL, at REAL NOT NULL, took REAL NOT NULL, topic TEXT NOT NULL, error TEXT, detail TEXT
  ) STRICT;
  CREATE INDEX attempts_of_event ON attempts (event, subscription);
  CREATE INDEX attempts_in_order ON attempts (subscription, at, event);
  CREATE INDEX attempts_failed ON attempts (subscription, at, event) WHERE error IS NOT NULL;
  CREATE INDEX attempts_kept ON attempts (exchange, kept_at);
  -- Which log and which index the processes have open.
  CREATE TABLE generation (processes INTEGER NOT NULL, database TEXT, wal TEXT, shm TEXT) STRICT;
  INSERT INTO generation VALUES (0, NULL, NULL, NULL);
  `
]

/** The version of this code. */
const version = migrations.length

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
