/** One subscription of a store, for the tests of what a store does with its file: published to, taken from and settled. */
import { type Array, Duration, Effect } from "effect"
import type { EventStore } from "effect-events/durable"

type Operations = EventStore.Operations

const exchange = "queue"
const everything = { rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }
const defined = new WeakMap<Operations, EventStore.SubscriptionId>()

/** The subscription, which is defined by the first use of each store. */
const subscriptionOf = (store: Operations) =>
  Effect.suspend(() => {
    const id = defined.get(store)
    if (id !== undefined) return Effect.succeed(id)
    return Effect.map(store.define(exchange, [{ name: "subscription", topics: ["*"] }]), ([subscription]) => {
      const id = subscription?.id ?? 0
      defined.set(store, id)
      return id
    })
  })

export const publishTexts = (store: Operations, [first, ...others]: Array.NonEmptyReadonlyArray<string>) =>
  Effect.andThen(
    subscriptionOf(store),
    store.publish(exchange, [
      { payload: Buffer.from(first) },
      ...others.map((text) => ({ payload: Buffer.from(text) }))
    ])
  )

export const publishEvents = (store: Operations, events: Array.NonEmptyReadonlyArray<EventStore.NewEvent>) =>
  Effect.andThen(subscriptionOf(store), store.publish(exchange, events))

/** How many deliveries there are: what reads, and writes nothing. */
export const pendingOf = (store: Operations) =>
  Effect.flatMap(store.list({ exchange }), ([subscription]) =>
    subscription === undefined
      ? Effect.succeed(0)
      : Effect.map(store.figures(subscription.id), (figures) => figures?.pending ?? 0)
  )

export const textsOf = (events: ReadonlyArray<{ readonly payload: Uint8Array }>): ReadonlyArray<string> =>
  events.map(({ payload }) => Buffer.from(payload).toString().trim())

/** An owner, which has the lease as soon as there is something to deliver. */
export const makeReader = Effect.fnUntraced(function* (store: Operations, ttl: Duration.Input = "1 hour") {
  const id = yield* subscriptionOf(store)
  const owner = yield* store.renew({ name: "reader" }, Duration.fromInputUnsafe(ttl))
  let lease: EventStore.Lease | undefined
  const held = Effect.suspend(() =>
    lease === undefined
      ? Effect.map(store.claim(owner, [id], 1), ({ acquired: [one] }) => (lease = one))
      : Effect.succeed(lease)
  )
  return {
    id,
    owner,
    held,
    take: (limits: Partial<EventStore.Limits> = {}) =>
      Effect.flatMap(held, (lease) => {
        if (lease === undefined) return Effect.succeed([])
        const wanted = { ...lease, limits: { ...everything, ...limits }, except: [], busy: [], perLane: 16 }
        return Effect.map(store.take(owner, [wanted]), ([taken]) => taken?.deliveries ?? [])
      }),
    settle: (...settled: ReadonlyArray<EventStore.Settled>) =>
      Effect.suspend(() => (lease === undefined ? Effect.succeed([]) : store.settle(owner, [{ lease, settled }])))
  }
})

export const acknowledged = ({ position }: { readonly position: number }): EventStore.Settled => ({
  _tag: "Acknowledged",
  position
})
