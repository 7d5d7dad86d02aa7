/** What becomes of deliveries, as the scenarios of the laws of stores say it. */
import * as Duration from "effect/Duration"
import type { Delivery, Settled, StoredDeadLetter } from "../../../durable/EventStore.ts"
import { ensure } from "./expectations.ts"

export type Place = Pick<Delivery, "position"> & Partial<Pick<Delivery, "lane">>

export const acknowledged = (one: Place | undefined): Settled => ({ _tag: "Acknowledged", ...placeOf(one) })
export const dead = (one: Place | undefined, report: Partial<StoredDeadLetter> = {}): Settled => {
  const { attempts = 1, cause = "no", reason = "Failed" } = report
  return { _tag: "DeadLettered", ...placeOf(one), reason, cause, attempts }
}
export const again = (one: Place | undefined, lane: number, delay = Duration.zero, attempts = 1): Settled => {
  return { _tag: "Again", ...placeOf(one), lane, delay, attempts }
}
export const aside = (one: Place | undefined, lane: number): Settled => {
  return { _tag: "Aside", ...placeOf(one), lane }
}

// internals

const placeOf = (one: Place | undefined) => {
  ensure(one !== undefined, () => "there is no such delivery")
  return one.lane === undefined ? { position: one.position } : { position: one.position, lane: one.lane }
}
