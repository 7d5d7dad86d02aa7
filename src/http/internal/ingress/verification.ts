/** The authentication of requests, by their Standard Webhooks signature. */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Message } from "../../Envelope.ts"
import { verify } from "../../WebhookSignature.ts"
import { InvalidSecret, type SecretInput, secretsOf, signatures } from "../signature/webhookSecret.ts"
import { type Refused, refuse } from "./refusal.ts"

/**
 * A sender of signed requests, by its secrets.
 *
 * @category options
 * @since 0.1.0
 */
export interface Sender {
  /** Any of them may have signed: while a secret is being replaced, the old one and the new. */
  readonly secrets: Arr.NonEmptyReadonlyArray<SecretInput>
}

/**
 * Which requests are genuine: those with a Standard Webhooks signature, see `WebhookSignature.verify`. All others are
 * answered with 401, before anything is decoded.
 *
 * **Details**
 *
 * `secrets` are those of one sender. `senders` are several that share the route, by name: ids are known per sender, so that no
 * sender can suppress or evict an event of another, and `Message.sender` and `Answer.sender` have the name. A secret of two
 * senders is an `InvalidSecret`. The secrets of all senders judge each request: with many senders, give each a route.
 *
 * **Gotchas**
 *
 * Only the id, the time and the body are signed, and no other header. Signed CloudEvents belong in structured mode: the
 * attributes of binary mode are headers, which a signature does not protect.
 *
 * @category options
 * @since 0.1.0
 */
export type Verification = {
  /** How far the timestamp may be from now, back and ahead: 5 minutes by default. */
  readonly tolerance?: Duration.Input | undefined
} & (
  | (Sender & { readonly senders?: undefined })
  | { readonly senders: Readonly<Record<string, Sender>>; readonly secrets?: undefined }
)

/** A genuine request: its id, and its sender, which has no name where there is only one. */
export interface Genuine {
  readonly id: string
  readonly sender: string | undefined
}

/** Makes the function that answers the id and the sender of a genuine request, and refuses all others. */
export const makeVerify = Effect.fnUntraced(function* (verification: Verification) {
  const options = { tolerance: Duration.fromInputUnsafe(verification.tolerance ?? "5 minutes") }
  const senders =
    verification.senders === undefined
      ? [yield* readSender(undefined, "verify", verification)]
      : yield* Effect.forEach(Object.entries(verification.senders), ([name, sender]) =>
          readSender(name, `verify.senders.${name}`, sender)
        )
  if (senders.length === 0) throw new Error("EventIngress: verify.senders needs at least one sender")
  yield* refuseShared(senders)

  return (message: Message): Effect.Effect<Genuine, Refused> => {
    // The secrets of all senders sign, whichever it is: an answer takes no longer for one than for another.
    const judging = Effect.forEach(senders, ({ name, secrets }) =>
      Effect.result(Effect.map(verify(message, secrets, options), ({ id }) => ({ id, sender: name })))
    )
    return Effect.flatMap(judging, (results) => {
      const [[genuine], refusals] = Arr.separate(results)
      if (genuine !== undefined) return Effect.succeed(genuine)
      return refuse(401, `The signature was refused: ${refusals[0]?.message}`, { headers: challenge })
    })
  }
})

// internals

// RFC 9110, section 15.5.2, asks for a challenge; no scheme is registered for these signatures.
const challenge = { "www-authenticate": "StandardWebhooks" }

const readSender = (name: string | undefined, option: string, sender: Sender) =>
  Effect.map(secretsOf(`${option}.secrets`, sender.secrets), (secrets) => ({ name, option, secrets }))

/** Refuses a secret of two senders. Secrets are equal when they sign alike: zeros at the end of a key mean nothing to HMAC. */
const refuseShared = Effect.fnUntraced(function* (
  senders: ReadonlyArray<Effect.Success<ReturnType<typeof readSender>>>
) {
  const owners = new Map<string, string | undefined>()
  for (const { name, option, secrets } of senders) {
    for (const [i, signature] of (yield* signatures(secrets, new Uint8Array())).entries()) {
      const owner = owners.get(signature) ?? name
      if (owner !== name) {
        const detail = `is a secret of the sender ${JSON.stringify(owner)}, too`
        return yield* new InvalidSecret({ problem: "shared", detail, option: `${option}.secrets[${i}]` })
      }
      owners.set(signature, name)
    }
  }
})
