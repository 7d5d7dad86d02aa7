import type * as Cause from "effect/Cause"
import type { DeadLettered, Stored } from "../EventStore.ts"
import { describeCause } from "./describeCause.ts"

/** How long the text of a cause may be that is kept with an event. */
const maxCause = 8_192

/** What is reported of an event that is dead-lettered. */
export const toDeadLetter = (
  { attempts, key }: Stored,
  reason: DeadLettered["reason"],
  cause: Cause.Cause<unknown>
): DeadLettered => ({
  key,
  reason,
  cause: describeCause(cause).slice(0, maxCause),
  attempts: attempts + 1
})
