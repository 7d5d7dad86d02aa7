/** A store in memory with subscriptions in all their states, at a time of its own. */
import { Duration, Effect } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"

export const start = Date.UTC(2026, 0, 31, 12)
export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
export const everything = { rows: 1_000, bytes: 1_000_000 }

export const makeStore = Effect.gen(function* () {
  yield* TestClock.setTime(start)
  const memory = yield* MemoryStore.makeMemory
  return yield* EventStore.EventStore.pipe(Effect.provide(MemoryStore.layerOver(memory)))
})

/** A subscription whose lease a process has. */
export const lease = Effect.fnUntraced(function* (
  store: EventStore.Operations,
  exchange: string,
  owner = "host-1",
  name = exchange
) {
  const [subscription] = yield* store.list({ exchange, name })
  const process = yield* store.renew({ name: owner }, Duration.days(1))
  const { acquired } = yield* store.claim(process, [subscription?.id ?? 0], 1)
  const [lease] = acquired
  if (lease === undefined) return yield* Effect.die(`no lease of ${exchange}`)
  return {
    lease,
    settle: (settled: EventStore.Settlement["settled"], rest: Partial<EventStore.Settlement> = {}) =>
      store.settle(process, [{ lease, settled, ...rest }])
  }
})

/** A queue of some events, and what is written as its dead letters. */
export const queueOf = Effect.fnUntraced(function* (
  store: EventStore.Operations,
  name: string,
  texts: readonly [string, ...ReadonlyArray<string>]
) {
  yield* store.define(name, [{ name, topics: ["*"] }])
  const [first, ...others] = texts.map((text) => ({ payload: bytes(`payload ${text}`), topic: `topic/${text}` }))
  return (yield* store.publish(name, [first!, ...others])) ?? []
})

export type DeadLetter = Omit<Extract<EventStore.Settled, { readonly _tag: "DeadLettered" }>, "_tag" | "position">

/** Dead-letters the events of a queue, a minute after each other. */
export const deadLettersOf = Effect.fnUntraced(function* (
  store: EventStore.Operations,
  name: string,
  given: ReadonlyArray<DeadLetter>
) {
  const [first = "a", ...others] = given.map((_, at) => String.fromCharCode(97 + at))
  const published = yield* queueOf(store, name, [first, ...others])
  const { settle } = yield* lease(store, name)
  for (const [at, one] of given.entries()) {
    yield* settle([{ _tag: "DeadLettered", position: published[at]?.position ?? 0, ...one }])
    yield* TestClock.adjust("1 minute")
  }
  return published.map(({ position }) => position)
})
