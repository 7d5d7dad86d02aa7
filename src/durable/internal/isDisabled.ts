import * as Cause from "effect/Cause"
import { hasProperty } from "effect/Predicate"

/**
 * Whether a delivery failed because its receiver is disabled: the error has a `disabled` that is `true`, or it is that of a
 * retrier whose last error has.
 */
export const isDisabled = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => Cause.isFailReason(reason) && hasDisabled(reason.error))

// internals

const hasDisabled = (error: unknown): boolean =>
  (hasProperty(error, "disabled") && error.disabled === true) ||
  (hasProperty(error, "_tag") &&
    error._tag === "RetriesExhausted" &&
    hasProperty(error, "error") &&
    hasDisabled(error.error))
