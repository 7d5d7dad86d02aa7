import { beforeAll, describe, expect, it } from "vitest"
import { compile, type Diagnostic, isBroken } from "../types/compile.ts"

// What the compiler is to refuse of webhook endpoints, and what it is to infer: as in types.test.ts.

const header = `
import { Context, Effect, Redacted, Schema } from "effect"
import { WebhookEndpoints } from "effect-events/webhooks"
import { Refused, type Sink } from "../../test/types/prelude.ts"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
type Order = typeof Order.Type
class Webhooks extends Context.Service<Webhooks, WebhookEndpoints.WebhookEndpoints<Order>>()("app/Webhooks") {}
declare const webhooks: WebhookEndpoints.WebhookEndpoints<Order>
declare const endpoint: WebhookEndpoints.EndpointKey
declare const text: Sink<string>
declare const health: Sink<WebhookEndpoints.EndpointEvent, Refused>
const keys = { current: { id: "1", key: Redacted.make("k") } }
const event = { id: "a", total: 1 }
`

/** What must not be written, and what the compiler's message must contain. */
const mistakes: Readonly<Record<string, readonly [wrong: string, ...says: ReadonlyArray<string>]>> = {
  "endpoints without keys": [`WebhookEndpoints.make({ name: "a", schema: Order })`, "Property 'keys' is missing"],
  "a key in the clear": [
    `WebhookEndpoints.make({ name: "a", schema: Order, keys: { current: { id: "1", key: "k" } } })`,
    "Redacted"
  ],
  "a write without a tenant": [`webhooks.write({ topic: "t", event })`, "Property 'tenant' is missing"],
  "a write of another event": [`webhooks.write({ tenant: "a", topic: "t", event: { id: 1 } })`, "number"],
  "a test of another event": [`webhooks.sendTest(endpoint, { topic: "t", event: "a" })`, "string"],
  "a secret in the clear": [`webhooks.create({ tenant: "a", url: "https://a.test", secret: "whsec_" })`, "Redacted"],
  "an endpoint of no topics": [`webhooks.create({ tenant: "a", url: "https://a.test", topics: [] })`, "[]"],
  "an endpoint by its id alone": [`webhooks.get("ep_1")`, "EndpointKey"],
  "a sink of health that takes something else": [
    `WebhookEndpoints.make({ name: "a", schema: Order, keys, onHealth: text })`,
    "string"
  ],
  "a portal without authorize": [
    `WebhookEndpoints.layerHttpApi(Webhooks, { path: "/portal" })`,
    "Property 'authorize' is missing"
  ],
  "an authorize that answers no text": [
    `WebhookEndpoints.layerHttpApi(Webhooks, { path: "/portal", authorize: () => Effect.succeed(true) })`,
    "boolean"
  ],
  "a path without a slash": [
    `WebhookEndpoints.layerHttpApi(Webhooks, { path: "portal", authorize: () => Effect.succeed("acme") })`,
    "/"
  ],
  "a portal with another test event": [
    `WebhookEndpoints.layerHttpApi(Webhooks, { path: "/portal", authorize: () => Effect.succeed("acme"), testEvent: { topic: "t", event: 1 } })`,
    "number"
  ]
}

/** What must compile. */
const facts: Readonly<Record<string, string>> = {
  "a sink of health may fail": `
    WebhookEndpoints.make({ name: "a", schema: Order, keys, onHealth: health })`,
  "a writer has no key, and fails as a durable sink does": `
    const one = WebhookEndpoints.writer({ name: "a", schema: Order })
    Effect.flatMap(one, (writer) => writer.write({ tenant: "a", topic: "t", event }))`,
  "an authorize may fail": `
    WebhookEndpoints.layerHttpApi(Webhooks, { path: "/portal", authorize: () => Effect.fail("no") })`
}

const snippets = Object.fromEntries([
  ...Object.values(mistakes).map(([wrong], i) => [`wrong${i}`, `${header}${wrong}`] as const),
  ...Object.values(facts).map((code, i) => [`fact${i}`, `${header}${code}`] as const)
])

let found: ReadonlyMap<string, ReadonlyArray<Diagnostic>>
const diagnostics = (snippet: string): ReadonlyArray<Diagnostic> => found.get(snippet) ?? []
const textOf = (snippet: string): string =>
  diagnostics(snippet)
    .map(({ text }) => text)
    .join("\n")

describe("types of webhook endpoints", () => {
  beforeAll(() => {
    found = compile(snippets, "types-webhooks")
  }, 60_000)

  it.each(Object.keys(facts).map((title, i) => [title, `fact${i}`] as const))("%s", (_, fact) => {
    expect(textOf(fact)).toBe("")
  })

  it.each(Object.entries(mistakes).map(([title, [, ...says]], i) => [title, says, `wrong${i}`] as const))(
    "%s does not compile",
    (_, says, wrong) => {
      expect(diagnostics(wrong).length, "it compiles").toBeGreaterThan(0)
      // A property of an object that is refused is one of the mistakes.
      expect(diagnostics(wrong).filter((one) => isBroken(one) && one.code !== 2353)).toEqual([])
      for (const part of says) expect(textOf(wrong)).toContain(part)
    }
  )
})
