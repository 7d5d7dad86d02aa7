/** The row of an endpoint: what a store keeps with its subscription. Secrets are encrypted, all together, and the rest is plain JSON. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Definition, Subscription } from "../../durable/EventStore.ts"
import { makeCodec } from "../../durable/internal/eventCodec.ts"
import type { KeyRing } from "./keyRing.ts"
import { type Endpoint, type EndpointKey, EndpointUnreadable } from "./model.ts"

const Plain = Schema.Struct({
  version: Schema.Literal(1),
  url: Schema.String,
  description: Schema.optionalKey(Schema.String),
  headers: Schema.Record(Schema.String, Schema.String),
  secretHeaders: Schema.Array(Schema.String),
  secrets: Schema.Array(Schema.Struct({ since: Schema.Number, until: Schema.optionalKey(Schema.Number) })),
  envelope: Schema.optionalKey(Schema.String),
  plan: Schema.optionalKey(Schema.String),
  rate: Schema.optionalKey(Schema.Struct({ limit: Schema.Number, millis: Schema.Number })),
  ordered: Schema.Boolean,
  concurrency: Schema.optionalKey(Schema.Number),
  timeout: Schema.optionalKey(Schema.Number),
  createdAt: Schema.Number,
  key: Schema.String,
  sealed: Schema.String
})

const Secrets = Schema.fromJsonString(
  Schema.Struct({ secrets: Schema.Array(Schema.String), headers: Schema.Record(Schema.String, Schema.String) })
)

/** What an endpoint is, by its row: what can be changed of it, with its secrets in the clear. */
export interface Definitive extends Omit<Endpoint, "state" | "reason" | "since" | "secrets"> {
  readonly secrets: ReadonlyArray<Endpoint["secrets"][number] & { readonly secret: Redacted.Redacted<string> }>
  readonly secretHeaderValues: Readonly<Record<string, Redacted.Redacted<string>>>
}

export interface Rows {
  /** What the store is to keep. */
  readonly definition: (endpoint: Definitive) => Effect.Effect<Definition>
  /** What may be shown of a row. */
  readonly shown: (subscription: Subscription) => Effect.Effect<Endpoint, EndpointUnreadable>
  /** All of a row. */
  readonly opened: (subscription: Subscription) => Effect.Effect<Definitive, EndpointUnreadable>
  /** Whether a row is encrypted with the current key. */
  readonly isCurrent: (subscription: Subscription) => Effect.Effect<boolean, EndpointUnreadable>
}

/** A secret of an endpoint, or the value of a secret header. */
export const hidden = (value: string) => Redacted.make(value, { label: "webhook secret" })

export const makeRows = (exchange: string, keys: KeyRing): Rows => {
  const read = ({ data, name }: Subscription) =>
    data === undefined
      ? Effect.fail(new EndpointUnreadable({ id: name, reason: "Undecodable", detail: "it is empty" }))
      : Effect.mapError(
          codec.decode(data),
          ({ message }) => new EndpointUnreadable({ id: name, reason: "Undecodable", detail: message })
        )
  return {
    definition: Effect.fnUntraced(function* (endpoint) {
      const { concurrency, createdAt, description, envelope, headers, ordered, plan, rate, timeout, url } = endpoint
      const values = Object.entries(endpoint.secretHeaderValues).map(([name, value]) => [name, Redacted.value(value)])
      const text = yield* Effect.orDie(
        encodeSecrets({
          secrets: endpoint.secrets.map(({ secret }) => Redacted.value(secret)),
          headers: Object.fromEntries(values)
        })
      )
      const sealed = yield* keys.seal(text, exchange, endpoint)
      // The fields were validated: they encode.
      const data = yield* Effect.orDie(
        codec.encode({
          version: 1,
          url,
          ...present({ description, envelope, plan, concurrency }),
          ...(rate && { rate: { limit: rate.limit, millis: Duration.toMillis(rate.per) } }),
          ...(timeout && { timeout: Duration.toMillis(timeout) }),
          headers,
          secretHeaders: Object.keys(endpoint.secretHeaderValues),
          secrets: endpoint.secrets.map(({ since, until }) => ({ since, ...present({ until }) })),
          ordered,
          createdAt,
          ...sealed
        })
      )
      return { ...definitionOf(endpoint), data }
    }),
    shown: (subscription) =>
      Effect.map(read(subscription), (row) => ({ ...plainOf(subscription, row), ...stateOf(subscription) })),
    opened: Effect.fnUntraced(function* (subscription) {
      const row = yield* read(subscription)
      const plain = plainOf(subscription, row)
      const text = yield* keys.open(row, exchange, plain)
      const { headers, secrets } = yield* Effect.mapError(
        decodeSecrets(Redacted.value(text)),
        // The error of the schema quotes what it was given.
        () => new EndpointUnreadable({ id: plain.id, reason: "Undecodable", detail: "its secrets do not decode" })
      )
      return {
        ...plain,
        secrets: plain.secrets.map((one, at) => ({ ...one, secret: hidden(secrets[at] ?? "") })),
        secretHeaderValues: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, hidden(value)]))
      }
    }),
    isCurrent: (subscription) => Effect.map(read(subscription), ({ key }) => key === keys.current)
  }
}

/** What may be shown of an endpoint whose row was opened. */
export const shownOf = (subscription: Subscription, { secretHeaderValues: _, ...endpoint }: Definitive): Endpoint => ({
  ...endpoint,
  secrets: endpoint.secrets.map(({ since, until }) => ({ since, until })),
  ...stateOf(subscription)
})

// internals

const codec = makeCodec(Plain)
const encodeSecrets = Schema.encodeEffect(Secrets)
const decodeSecrets = Schema.decodeEffect(Secrets)

/** The entries of a record that have a value. */
const present = <R extends object>(record: R) =>
  // The compiler does not follow the filter.
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as {
    readonly [K in keyof R]?: Exclude<R[K], undefined>
  }

const definitionOf = ({ id, tenant, topics }: EndpointKey & Pick<Endpoint, "topics">) => ({
  tenant,
  name: id,
  // No store has a subscription without topics.
  topics: topics as NonEmptyReadonlyArray<string>
})

const stateOf = ({ reason, since, state }: Subscription) => ({ state, reason, since })

const plainOf = (
  { name, tenant, topics }: Subscription,
  row: typeof Plain.Type
): Omit<Endpoint, "state" | "reason" | "since"> => ({
  tenant,
  id: name,
  url: row.url,
  topics,
  description: row.description,
  headers: row.headers,
  secretHeaders: row.secretHeaders,
  secrets: row.secrets.map(({ since, until }) => ({ since, until })),
  envelope: row.envelope,
  plan: row.plan,
  rate: row.rate && { limit: row.rate.limit, per: Duration.millis(row.rate.millis) },
  ordered: row.ordered,
  concurrency: row.concurrency,
  timeout: row.timeout === undefined ? undefined : Duration.millis(row.timeout),
  createdAt: row.createdAt
})
