/** Webhook endpoints over a store in memory, and receivers in this process in place of a network. */
import { Effect, Layer, Redacted, Schema } from "effect"
import { WebCrypto } from "effect/crypto"
import { HttpClient, HttpClientResponse } from "effect/http"
import { EventStore, MemoryStore } from "effect-events/durable"
import { WebhookSignature } from "effect-events/http"
import { WebhookEndpoints } from "effect-events/webhooks"
import { file, open } from "../../durable/support/sqliteFile.ts"
import { operationsOver } from "../../durable/support/store.ts"
import { pass } from "../../support/virtual.ts"
import { promptCrypto } from "./promptCrypto.ts"

export const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
export type Order = typeof Order.Type

export const key = (id: string) => ({ id, key: Redacted.make(new Uint8Array(32).fill(id.length + id.charCodeAt(0))) })

export interface Got {
  readonly url: string
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/** Receivers that note each request, and answer as `answer` says: 200 at once by default. */
export const makeReceivers = (
  answer: (got: Got, n: number) => Response | Effect.Effect<Response> = () => new Response("fine")
) => {
  const got: Array<Got> = []
  const client = HttpClient.make((request) =>
    Effect.suspend(() => {
      const { body, headers, url } = request
      const one = { url, headers, body: body._tag === "Uint8Array" ? new TextDecoder().decode(body.body) : "" }
      got.push(one)
      const answered = answer(one, got.length)
      return Effect.map(Effect.isEffect(answered) ? answered : Effect.succeed(answered), (response) =>
        HttpClientResponse.fromWeb(request, response)
      )
    })
  )
  return {
    got,
    client,
    bodies: () => got.map(({ body }) => body),
    urls: () => got.map(({ url }) => url)
  }
}

export const defaults = {
  name: "orders",
  schema: Order,
  keys: { current: key("a") },
  allowUnguarded: true
} satisfies WebhookEndpoints.Options<Order>

/** Makes webhook endpoints of a process over a store. */
export const startedOver = (
  store: EventStore.Operations,
  receivers: ReturnType<typeof makeReceivers>,
  options: Partial<WebhookEndpoints.Options<Order>> = {}
) =>
  WebhookEndpoints.make<Order>({ ...defaults, ...options }).pipe(
    Effect.provideService(WebCrypto.WebCrypto, promptCrypto),
    Effect.provide(
      Layer.merge(Layer.succeed(EventStore.EventStore, store), Layer.succeed(HttpClient.HttpClient, receivers.client))
    )
  )

/** The same over a memory, which processes may share. */
export const started = Effect.fnUntraced(function* (
  receivers: ReturnType<typeof makeReceivers>,
  options: Partial<WebhookEndpoints.Options<Order>> = {},
  memory?: MemoryStore.Memory
) {
  const kept = memory ?? (yield* MemoryStore.makeMemory)
  const store = yield* operationsOver(kept)
  return { webhooks: yield* startedOver(store, receivers, options), store, memory: kept }
})

export const order = (n: number): Order => ({ id: `a${n}`, total: n })

/** The write of an order of a tenant. */
export const write = (
  webhooks: WebhookEndpoints.WebhookEndpoints<Order>,
  n: number,
  tenant = "acme",
  topic = "order/placed"
) => webhooks.write({ tenant, topic, id: `a${n}`, event: order(n) })

/** Lets what is due be delivered. */
export const deliver = pass(2)

/** Stores of a test: over a file of its own, and in memory. */
export const stores = {
  memory: Effect.flatMap(MemoryStore.makeMemory, operationsOver),
  SQLite: Effect.flatMap(file, open)
}
export const storeNames = ["memory", "SQLite"] as const

/** Verifies a request as its receiver does. */
export const verified = (got: Got, secrets: ReadonlyArray<Redacted.Redacted<string>>) =>
  Effect.gen(function* () {
    const [first, ...others] = yield* Effect.forEach(secrets, WebhookSignature.secret)
    return yield* WebhookSignature.verify({ headers: got.headers, body: new TextEncoder().encode(got.body) }, [
      first!,
      ...others
    ])
  })
