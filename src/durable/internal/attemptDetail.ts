import * as Context from "effect/Context"

/**
 * What a sink says of an attempt, such as the status of an answer: kept with the attempt where its exchange keeps outcomes. A
 * delivery has a cell of its own; there is none outside of a delivery that is kept.
 */
export const AttemptDetail = Context.Reference<AttemptCell | undefined>(
  "effect-events/durable/internal/attemptDetail/AttemptDetail",
  { defaultValue: () => undefined }
)

/** The cell of an attempt. */
export interface AttemptCell {
  detail: string | undefined
  /** When it began, by the `Clock`: after what it has waited for a rate. */
  beganAt: number
}
