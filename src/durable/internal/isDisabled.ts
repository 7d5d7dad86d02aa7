import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"

/**
 * Whether a delivery failed because its receiver is disabled: the error has a `disabled` that is `true`, or it is that of a
 * retrier whose last error has.
 */
export const isDisabled = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => Cause.isFailReason(reason) && hasDisabled(reason.error))

/** Has the store disable a subscription, however long that takes: until then the event cannot be left. */
export const disabled = <E>(
  {
    disable,
    log
  }: {
    readonly disable: (reason: string) => Effect.Effect<unknown, E>
    readonly log: {
      readonly troubled: (error: E) => Effect.Effect<void>
      readonly disabled: (reason: string) => Effect.Effect<void>
    }
  },
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
