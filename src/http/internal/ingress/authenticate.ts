import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { Message } from "../../Envelope.ts"
import { type InvalidSecret, type Secret, secret, verify } from "../../WebhookSignature.ts"
import type { IngressLog } from "./ingressLog.ts"
import { type Refused, refused } from "./refused.ts"

/**
 * Which requests are genuine: those with a Standard Webhooks signature, see `WebhookSignature.verify`. All others are
 * answered with 401, before anything is decoded.
 *
 * @category options
 * @since 0.1.0
 */
export interface Verification {
  /** Any of them may have signed: while a secret is being replaced, the old one and the new. */
  readonly secrets: NonEmptyReadonlyArray<Redacted.Redacted<string>>
  /** How far the timestamp may be from now, back and ahead: 5 minutes by default. */
  readonly tolerance?: Duration.Input | undefined
}

export const toleranceOf = ({ tolerance = "5 minutes" }: Verification): Duration.Duration =>
  Duration.fromInputUnsafe(tolerance)

// RFC 9110, section 15.5.2, asks for a challenge; no scheme is registered for these signatures.
const challenge = { "www-authenticate": "StandardWebhooks" }

/** Answers the id of a genuine request, and refuses all others. */
export const makeAuthenticate = (
  verification: Verification,
  log: IngressLog
): Effect.Effect<(message: Message) => Effect.Effect<string, Refused>, InvalidSecret> =>
  Effect.map(Effect.forEach(verification.secrets, secret), (secrets) => {
    const tolerance = toleranceOf(verification)
    return (message) =>
      // Not empty, as those that were given.
      verify(message, secrets as [Secret, ...Array<Secret>], { tolerance }).pipe(
        Effect.map(({ id }) => id),
        Effect.catch((error) =>
          Effect.andThen(
            log.refused(error.reason._tag),
            Effect.fail(refused(401, `The signature was refused: ${error.message}`, challenge))
          )
        )
      )
  })
