/** The ids of events, by which a publish recognises duplicates within its transaction. */
import type { Millis, Position } from "../../EventStore.ts"
import type { Sql } from "./prepared.ts"

/** The position of the event that has an id, while that is kept. */
export const positionOfId = (
  sql: Sql,
  exchange: number,
  tenant: string,
  id: string,
  now: Millis
): Position | undefined => sql.row<[Position]>(find, exchange, tenant, id, now)?.[0]

/** Keeps an id until a time. One that is there is kept no longer, and not swept yet. */
export const keepId = (
  sql: Sql,
  exchange: number,
  tenant: string,
  id: string,
  position: Position,
  until: Millis
): void => void sql.run("INSERT OR REPLACE INTO ids VALUES (?, ?, ?, ?, ?)", exchange, tenant, id, position, until)

// internals

const find = "SELECT position FROM ids WHERE exchange = ? AND tenant = ? AND id = ? AND expires_at > ?"
