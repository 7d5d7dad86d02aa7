import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type { SubscriberOptions } from "./serving.ts"

/**
 * Whether a delivery failed because its receiver is disabled: the error has a `disabled` that is `true`, or it is that of a
 * retrier whose last error has.
 */
export const isDisabled = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => Cause.isFailReason(reason) && hasDisabled(reason.error))

/** Has the store disable a subscription, however long that takes: until then the event cannot be left. */
export const disabled = (
  { disable, log }: Pick<SubscriberOptions<never, unknown>, "disable" | "log">,
  reason: string
) =>
  disable(reason).pipe(
    Effect.tapError((error) => Effect.andThen(log.troubled(error), Effect.sleep("1 second"))),
    Effect.eventually,
    Effect.andThen(log.disabled(reason))
  )

// internals

const hasDisabled = (error: unknown): boolean =>
  (hasProperty(error, "disabled") && error.disabled === true) ||
  (hasProperty(error, "_tag") &&
    error._tag === "RetriesExhausted" &&
    hasProperty(error, "error") &&
    hasDisabled(error.error))
