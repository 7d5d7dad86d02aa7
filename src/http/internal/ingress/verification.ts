/** The authentication of requests, by their Standard Webhooks signature. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { Message } from "../../Envelope.ts"
import { type Secret, secret, verify } from "../../WebhookSignature.ts"
import { refuse } from "./refusal.ts"

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

/** Makes the function that answers the id of a genuine request, and refuses all others. */
export const makeVerify = ({ secrets, tolerance = "5 minutes" }: Verification) =>
  Effect.map(Effect.forEach(secrets, secret), (secrets) => {
    const options = { tolerance: Duration.fromInputUnsafe(tolerance) }
    return (message: Message) =>
      // Not empty, as the secrets of the options.
      verify(message, secrets as [Secret, ...Array<Secret>], options).pipe(
        Effect.map(({ id }) => id),
        Effect.catch(({ message }) => refuse(401, `The signature was refused: ${message}`, { headers: challenge }))
      )
  })

// internals

// RFC 9110, section 15.5.2, asks for a challenge; no scheme is registered for these signatures.
const challenge = { "www-authenticate": "StandardWebhooks" }
