import type * as Cause from "effect/Cause"
import type { DeadLetterReason, Settled } from "./port/records.ts"
import { describeCause } from "../../internal/describeCause.ts"
import type { Row } from "./rows.ts"

/** How long the text of a cause may be that is kept with an event. */
const maxCause = 8_192

/** The same of an attempt, of which there may be many. */
const maxReason = 500

export const textOf = (cause: Cause.Cause<unknown>): string => describeCause(cause).slice(0, maxCause)

export const reasonOf = (cause: Cause.Cause<unknown>): string => describeCause(cause).slice(0, maxReason)

/** The settlement of a delivery that goes to the dead letters after so many attempts. */
export const toDeadLetter = (
  reason: DeadLetterReason,
  { lane, position }: Pick<Row<unknown>, "lane" | "position">,
  cause: Cause.Cause<unknown>,
  attempts: number
): Extract<Settled, { readonly _tag: "DeadLettered" }> => ({
  _tag: "DeadLettered",
  position,
  lane,
  reason,
  cause: textOf(cause),
  attempts
})
