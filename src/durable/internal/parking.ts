import * as Cause from "effect/Cause"
import type { Parked, Stored } from "../DurableQueueStore.ts"

/** As long as the text of a cause may be that is kept with an event. */
const maxCause = 8_192

/** What is told of an event that is parked. */
export const toPark = ({ attempts, key }: Stored, reason: Parked["reason"], cause: Cause.Cause<unknown>): Parked => ({
  key,
  reason,
  cause: Cause.pretty(cause).slice(0, maxCause),
  attempts: attempts + 1
})
