import * as Context from "effect/Context"

/** What a sink says of an attempt: such as the status of an answer, and when it began, where it had to wait before. */
export interface Said {
  detail: string | undefined
  beganAt?: number | undefined
}

/**
 * What is said is kept with the attempt where its exchange keeps outcomes. A delivery has a cell of its own; there is none outside of a
 * delivery that is kept.
 */
export const AttemptDetail = Context.Reference<Said | undefined>(
  "effect-events/durable/internal/attemptDetail/AttemptDetail",
  { defaultValue: () => undefined }
)
