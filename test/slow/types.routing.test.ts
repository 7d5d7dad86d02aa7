import { beforeAll, describe, expect, it } from "vitest"
import { compile, type Diagnostic, isBroken } from "../types/compile.ts"

// What the compiler is to refuse of routers and fallbacks, and what it is to infer: as in types.test.ts.

const header = `
import { Context, Effect, type Schema, type Scope } from "effect"
import { EventQueue, EventRouter, EventSink, ExponentialBackoff, FallbackSink, RetryingSink } from "effect-events"
import { DurableQueue } from "effect-events/durable"
import { check, Refused, type Same, type Sink, Timeout } from "../../test/types/prelude.ts"

type Order =
  | { readonly _tag: "Placed"; readonly total: number }
  | { readonly _tag: "Paid"; readonly by: string }
  | { readonly _tag: "Shipped"; readonly to: string }
type Case<K> = Extract<Order, { readonly _tag: K }>
class Audit extends Context.Service<Audit, Sink<Order>>()("app/Audit") {}

declare const placed: Effect.Effect<Sink<Case<"Placed">, Refused>, "not built", Scope.Scope>
declare const paid: Effect.Effect<Sink<Case<"Paid">>>
declare const shipped: Sink<Case<"Shipped">, Timeout>
declare const all: Sink<unknown>
declare const batches: Effect.Effect<EventSink.BatchSink<unknown>>
declare const queue: Effect.Effect<EventQueue.EventQueue<unknown>>
declare const first: Effect.Effect<Sink<Order, Refused>, "not built">
declare const second: Sink<Order, Timeout>
declare const rows: EventSink.BatchSink<Order, Refused>
declare const region: (order: Order) => string
declare const schema: Schema.Codec<Order, unknown>
const after = "1 second"
const stored = DurableQueue.make({ name: "orders", schema })
const byTag = EventRouter.byTag<Order>()
`

/** What must not be written, and what the compiler's message must contain. */
const mistakes: Readonly<Record<string, readonly [wrong: string, ...says: ReadonlyArray<string>]>> = {
  "a tag without a sink": [`byTag({ Placed: placed, Paid: paid })`, "Property 'Shipped' is missing"],
  "a case that is no tag": [
    `byTag({ Placed: placed, Paid: paid, Shipped: shipped, Lost: all })`,
    "there is no such case among the events"
  ],
  "a case that is no tag, beside orElse": [`byTag({ Paid: paid, Lost: all }, { orElse: all })`, "'Lost'"],
  "the sink of another case": [
    `byTag({ Placed: placed, Paid: placed, Shipped: shipped })`,
    "Property 'total' is missing",
    `_tag: "Paid"`
  ],
  "an orElse that does not take the rest": [`byTag({ Paid: paid }, { orElse: placed })`, "No overload", "Shipped"],
  "a key without a place for the rest": [`EventRouter.byKey(region, { eu: all }, {})`, "Property 'orElse' is missing"],
  "a case that is none of the keys": [
    `EventRouter.byKey((order: Order) => order._tag, { eu: all }, { orElse: "ignore" })`,
    "'eu'"
  ],
  "a case of a key that takes one tag only": [
    `EventRouter.byKey(region, { eu: placed }, { orElse: "ignore" })`,
    "Property 'total' is missing"
  ],
  "topics without a place for the rest": [`EventRouter.byTopic({ topic: region })`, "Property 'orElse' is missing"],
  "a subscription that fails with more than its router": [
    `Effect.gen(function* () {
      const router = yield* EventRouter.byTopic({ topic: region, orElse: "ignore" })
      yield* EventRouter.subscribe(router, "*", yield* first)
    })`,
    "Type 'Refused' is not assignable to type 'never'"
  ],
  "a store over a router over memory": [
    `byTag({ Placed: batches, Paid: queue, Shipped: batches }).pipe(stored)`,
    "succeeds when the event is in memory"
  ],
  "a store over a router over memory and a sink that takes no batches": [
    `byTag({ Placed: all, Paid: queue, Shipped: all }).pipe(EventSink.tap(() => Effect.void), stored)`,
    "succeeds when the event is in memory"
  ],
  "memory over a router over a store": [
    `declare const stores: Effect.Effect<EventSink.AcknowledgingSink<Order, Refused, "store">>
    byTag({ Placed: stores }, { orElse: all }).pipe(RetryingSink.make(ExponentialBackoff.make()), EventQueue.make())`,
    "stores the event before its write succeeds"
  ],
  "a fallback of a sink that cannot fail": [
    `FallbackSink.make(all, second, { after })`,
    "there is nothing to fall back from"
  ],
  "a fallback of a queue": [
    `first.pipe(RetryingSink.make(ExponentialBackoff.make()), EventQueue.make(), FallbackSink.make(second, { after }))`,
    "the fallback belongs below that queue"
  ],
  "a list with a sink before its last that cannot fail": [
    `FallbackSink.make(first, [all, second], { after })`,
    "there is nothing to fall back from"
  ],
  "a fallback without a time": [`first.pipe(FallbackSink.make(second, {}))`, "Property 'after' is missing"],
  "a fallback that takes other events": [
    `first.pipe(FallbackSink.make(null! as Sink<number>, { after }))`,
    "Type 'number' is not assignable"
  ],
  "a second that expects other reasons": [
    `first.pipe(FallbackSink.makeWith(null! as Sink<FallbackSink.FellBack<Order, Timeout>>, { after }))`,
    "'Refused' is not assignable"
  ],
  "a store over a fallback to memory": [
    `first.pipe(FallbackSink.make(EventQueue.make(all, { capacity: 10 }), { after }), stored)`,
    "succeeds when the event is in memory"
  ]
}

const facts: Readonly<Record<string, string>> = {
  "a router fails with, is built with and needs what its cases do": `
    const one = byTag({ Placed: placed, Paid: paid, Shipped: shipped })
    check<Same<typeof one, Effect.Effect<Sink<Order, Refused | Timeout>, "not built", Scope.Scope>>>()
    const two = byTag({ Placed: placed }, { orElse: Audit, name: "orders" })
    check<Same<typeof two, Effect.Effect<Sink<Order, Refused>, "not built", Scope.Scope | Audit>>>()
    const three = EventRouter.byKey(region, { eu: first, us: all }, { orElse: second })
    check<Same<typeof three, Effect.Effect<Sink<Order, Refused | Timeout>, "not built">>>()`,
  "a callback of a case gets its events, and one of orElse the rest": `
    const one = byTag(
      { Placed: EventSink.make((order) => Effect.log(order.total satisfies number)) },
      { orElse: EventSink.make((order) => Effect.log(order._tag satisfies "Paid" | "Shipped")) }
    )
    check<Same<typeof one, Effect.Effect<Sink<Order>, never, Scope.Scope>>>()
    const two = EventRouter.byKey(
      region,
      { eu: EventSink.make((order) => Effect.log(order._tag)) },
      { orElse: EventSink.make((order) => Effect.log(order._tag)) }
    )
    check<Same<typeof two, Effect.Effect<Sink<Order>, never, Scope.Scope>>>()`,
  "a pipeline that is written in place needs what it needs": `
    const one = byTag({ Placed: EventQueue.make(all, { capacity: 1 }) }, { orElse: EventSink.tap(all, () => Effect.void) })
    check<Same<Effect.Services<typeof one>, Scope.Scope>>()
    const two = EventRouter.byKey(region, { eu: EventQueue.make(all, { capacity: 1 }) }, { orElse: "ignore" })
    check<Same<Effect.Services<typeof two>, Scope.Scope>>()
    const three = first.pipe(FallbackSink.make(EventQueue.make(all, { capacity: 1 }), { after }))
    check<Same<Effect.Services<typeof three>, Scope.Scope>>()`,
  "over batch sinks a router is one, marked where one of them is": `
    const one = byTag({ Placed: batches, Paid: batches, Shipped: batches })
    check<Same<typeof one, Effect.Effect<EventSink.BatchSink<Order>>>>()
    const two = byTag({ Placed: batches, Paid: queue, Shipped: batches })
    check<Same<typeof two, Effect.Effect<EventSink.AcknowledgingSink<Order, never, "memory">>>>()
    const three = EventRouter.byKey(region, { eu: batches }, { orElse: all })
    check<Same<typeof three, Effect.Effect<Sink<Order>>>>()
    one.pipe(stored)`,
  "the errors of a router by topic come from orElse, or are given": `
    const one = EventRouter.byTopic({ topic: region, orElse: "ignore" })
    check<Same<typeof one, Effect.Effect<EventRouter.TopicRouter<Order>, never, Scope.Scope>>>()
    const two = EventRouter.byTopic({ topic: region, orElse: first })
    check<Same<typeof two, Effect.Effect<EventRouter.TopicRouter<Order, Refused>, "not built", Scope.Scope>>>()
    const three = EventRouter.byTopic<Order, Refused>({ topic: (order) => order._tag, orElse: "ignore" })
    Effect.flatMap(three, (router) =>
      EventRouter.subscribeScoped(router, "*", EventSink.make((order) => Effect.log(order._tag)))
    )`,
  "a fallback fails with what its last sink fails with": `
    const one = first.pipe(FallbackSink.make(second, { after }))
    check<Same<typeof one, Effect.Effect<Sink<Order, Timeout>, "not built", Scope.Scope>>>()
    const two = FallbackSink.make(first, [second, Audit], { after })
    check<Same<typeof two, Effect.Effect<Sink<Order>, "not built", Scope.Scope | Audit>>>()
    const three = first.pipe(FallbackSink.make(second, { after }), FallbackSink.make(Audit, { after }), EventQueue.make())
    const four = FallbackSink.make(first, EventSink.make((order) => Effect.log(order._tag)), { after })
    check<Same<typeof four, Effect.Effect<Sink<Order>, "not built", Scope.Scope>>>()`,
  "a second learns the reasons": `
    const one = FallbackSink.makeWith(
      first,
      EventSink.make(({ event, failure }) => {
        check<Same<typeof failure, Refused | FallbackSink.Blocked | FallbackSink.Died | EventSink.SinkClosed>>()
        return Effect.log(event._tag)
      }),
      { after }
    )
    check<Same<typeof one, Effect.Effect<Sink<Order>, "not built", Scope.Scope>>>()`,
  "over batch sinks a fallback is one": `
    const one = FallbackSink.make(rows, batches, { after })
    check<Same<typeof one, Effect.Effect<EventSink.BatchSink<Order>, never, Scope.Scope>>>()
    const two = FallbackSink.make(rows, second, { after })
    check<Same<typeof two, Effect.Effect<Sink<Order, Timeout>, never, Scope.Scope>>>()`
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

describe("types of routers and fallbacks", () => {
  beforeAll(() => {
    found = compile(snippets, "types-routing")
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
