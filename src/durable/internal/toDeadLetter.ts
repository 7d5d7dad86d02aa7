import type * as Cause from "effect/Cause"
import type { DeadLetterReason, Settled } from "../EventStore.ts"
import { describeCause } from "./describeCause.ts"
import type { Row } from "./rows.ts"

/** How long the text of a cause may be that is kept with an event. */
const maxCause = 8_192

export const textOf = (cause: Cause.Cause<unknown>): string => describeCause(cause).slice(0, maxCause)

/** The settlement of a delivery that goes to the dead letters. One that does not decode was not attempted. */
export const toDeadLetter = (
  reason: DeadLetterReason,
  { attempts, lane, position }: Pick<Row<unknown>, "attempts" | "lane" | "position">,
  cause: Cause.Cause<unknown>
): Extract<Settled, { readonly _tag: "DeadLettered" }> => ({
  _tag: "DeadLettered",
  position,
  lane,
  reason,
  cause: textOf(cause),
  attempts: reason === "Undecodable" ? attempts : attempts + 1
})
