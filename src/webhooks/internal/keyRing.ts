/**
 * Encrypts what endpoints keep secret, by AES-256-GCM under keys of the application's: the current one encrypts, and the others still
 * decrypt. What was encrypted is bound to its endpoint, so that a row copied to another endpoint or tenant does not decrypt.
 */
import * as Bytes from "effect/Bytes"
import * as Context from "effect/Context"
import * as Aead from "effect/crypto/Aead"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Utf8 from "../../internal/encoding/utf8.ts"
import { type EndpointKey, EndpointUnreadable } from "./model.ts"

/**
 * A key: 32 random bytes, or the base64 of them, such as `openssl rand -base64 32` prints.
 *
 * @category options
 * @since 0.1.0
 */
export interface SealingKey {
  /** What the rows say of the key that encrypted them: never used again for another key. */
  readonly id: string
  readonly key: Redacted.Redacted<string | Uint8Array>
}

/**
 * The keys that secrets are encrypted with in the store.
 *
 * @category options
 * @since 0.1.0
 */
export interface Keys {
  /** What encrypts from now on. */
  readonly current: SealingKey
  /**
   * What rows may still be encrypted with. A new key is first given here in every process, then made the current one, and the one
   * before stays here until `reencrypt` has run.
   */
  readonly old?: ReadonlyArray<SealingKey> | undefined
}

/**
 * A key cannot be used, and why; nothing of the key.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidKey extends Data.TaggedError("InvalidKey")<{
  readonly id: string
  readonly problem: string
}> {
  override get message(): string {
    return `the key ${JSON.stringify(this.id)} ${this.problem}`
  }
}

/** What a row has of its secrets. */
export interface Sealed {
  readonly key: string
  /** The nonce, the encrypted text and its tag, in base64. */
  readonly sealed: string
}

export interface KeyRing {
  readonly current: string
  readonly seal: (text: string, exchange: string, endpoint: EndpointKey) => Effect.Effect<Sealed>
  readonly open: (
    sealed: Sealed,
    exchange: string,
    endpoint: EndpointKey
  ) => Effect.Effect<Redacted.Redacted<string>, EndpointUnreadable>
}

export const makeKeyRing = Effect.fnUntraced(function* ({ current, old = [] }: Keys) {
  const services = yield* Layer.build(Aead.layerWebCrypto.pipe(Layer.provideMerge(SecureRandom.layerWebCrypto)))
  const aead = Context.get(services, Aead.Aead)
  const random = Context.get(services, SecureRandom.SecureRandom)
  const keys = new Map<string, Aead.Key>()
  for (const one of [current, ...old]) {
    if (keys.has(one.id)) return yield* new InvalidKey({ id: one.id, problem: "is there twice" })
    keys.set(one.id, yield* readKey(one))
  }
  const ring: KeyRing = {
    current: current.id,
    seal: Effect.fnUntraced(function* (text, exchange, endpoint) {
      const nonce = yield* random.randomBytes(Aead.aes256Gcm.nonceLength)
      const aad = boundTo(exchange, endpoint)
      // A key and a nonce of the right length encrypt any text.
      const encrypted = yield* Effect.orDie(aead.encrypt(keys.get(current.id)!, Utf8.encode(text), { nonce, aad }))
      return { key: current.id, sealed: Base64.encode(Bytes.concat([nonce, encrypted])) }
    }),
    open: Effect.fnUntraced(function* (sealed, exchange, endpoint) {
      const key = keys.get(sealed.key)
      if (key === undefined) {
        const detail = `this process does not have the key ${JSON.stringify(sealed.key)}`
        return yield* new EndpointUnreadable({ id: endpoint.id, reason: "UnknownKey", detail })
      }
      const undecryptable = () =>
        new EndpointUnreadable({
          id: endpoint.id,
          reason: "Undecryptable",
          detail: `its secrets do not decrypt with the key ${JSON.stringify(sealed.key)}`
        })
      const bytes = Result.getOrUndefined(Base64.decode(sealed.sealed)) ?? new Uint8Array()
      if (bytes.length < Aead.aes256Gcm.nonceLength) return yield* undecryptable()
      const nonce = bytes.slice(0, Aead.aes256Gcm.nonceLength)
      const options = { nonce, aad: boundTo(exchange, endpoint) }
      // The error of the decryption says nothing more, for good reason.
      const plain = yield* Effect.mapError(aead.decrypt(key, bytes.slice(nonce.length), options), undecryptable)
      return Redacted.make(Utf8.decodeLeniently(plain), { label: "webhook secrets" })
    })
  }
  return ring
})

// internals

const keyLength = Aead.aes256Gcm.keyLength

const readKey = ({ id, key }: SealingKey): Effect.Effect<Aead.Key, InvalidKey> => {
  const given = Redacted.value(key)
  // The error of the decoder quotes the key.
  const bytes = typeof given === "string" ? Result.getOrUndefined(Base64.decode(given.trim())) : given
  if (bytes?.length === keyLength) return Effect.orDie(Aead.key(Aead.aes256Gcm, bytes))
  const problem = bytes === undefined ? "is no base64" : `has ${bytes.length} bytes, in place of ${keyLength}`
  return Effect.fail(new InvalidKey({ id, problem }))
}

/** The additional data: as JSON, no two endpoints have the same. */
const boundTo = (exchange: string, { id, tenant }: EndpointKey): Uint8Array =>
  Utf8.encode(JSON.stringify(["effect-events/webhooks", exchange, tenant, id]))
