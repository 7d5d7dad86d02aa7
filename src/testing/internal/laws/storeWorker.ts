/** What the scenarios of the laws of stores do with a store: publish, claim, take and settle, as a process does. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Store from "../../../durable/EventStore.ts"
import { decodeExactly, encode } from "../../../internal/encoding/utf8.ts"
import { ensure, expectSame, nonEmpty, show } from "./expectations.ts"
import { acknowledged, again, aside, dead, type Place } from "./settled.ts"
import { exchange, type Scenario, type Steps, withStore, type World } from "./storeWorld.ts"

/** A position and an id that nothing has. */
export const foreign = 1_000_000_000
export const infinite = Number.POSITIVE_INFINITY
export const hour = Duration.hours(1)
export const short = Duration.millis(40)
export const pastShort = 80
/** Within this there is time for a few calls, also on a busy machine. */
export const longer = Duration.millis(400)
export const pastLonger = 800

/** Of a take: all that may be given. */
export const everything = { limits: { rows: infinite, bytes: infinite }, except: [], busy: [], perLane: 100_000 }

/** The payload of an event as text. */
export const text = ({ payload }: { readonly payload: Uint8Array }): string =>
  Result.getOrElse(decodeExactly(payload), (why) => `bytes that are ${why}`)

/** The texts of events, those of deliveries that are set aside with their lanes. */
export const texts = (all: ReadonlyArray<Pick<Store.Delivery, "payload"> & Partial<Pick<Store.Delivery, "lane">>>) =>
  all.map((one) => (one.lane === undefined ? text(one) : `${text(one)}@${one.lane}`))

export const positions = (all: ReadonlyArray<Pick<Store.Delivery, "position">>) => all.map(({ position }) => position)

/** Events that differ by their texts. */
export const events = (all: ReadonlyArray<string>, options: Partial<Store.NewEvent> = {}) =>
  nonEmpty(all.map((one): Store.NewEvent => ({ payload: encode(one), ...options })))

/** Publishes texts without limits. */
export const publish = (store: Store.Operations, all: ReadonlyArray<string>, options: Partial<Store.NewEvent> = {}) =>
  Effect.map(store.publish(exchange, events(all, options)), (published) => {
    ensure(published?.length === all.length, () => `${all.length} events without limits: ${show(published)}`)
    return published
  })

/** Makes a subscription to every topic, and answers its id. */
export const define = (store: Store.Operations, options: Partial<Store.Definition> = {}, at = exchange) =>
  Effect.map(store.define(at, [{ name: "s", topics: ["*"], ...options }]), ([subscription]) => {
    ensure(subscription !== undefined, () => "define answered no subscription")
    return subscription.id
  })

/** Brings the subscriptions to a state. */
export const setState = (store: Store.Operations, state: "active" | "paused" | "disabled") =>
  store.setState({ exchange }, state, state === "active" ? undefined : "for a while")

export type Worker = Effect.Success<ReturnType<typeof makeWorker>>
export type Held = ReturnType<typeof makeHeld>

/** A process over a handle: an owner, and what it does with its leases. */
export const makeWorker = Effect.fnUntraced(function* (store: Store.Operations, name = "one") {
  const owner = yield* store.renew({ name }, hour)
  const claim = (which: Store.Claimable, limit = 100_000) => store.claim(owner, which, limit)
  /** Has its life end soon. */
  const die = store.renew(owner, short)
  const worker = { store, owner, claim, die, leave: store.release(owner, "all") }
  return {
    ...worker,
    /** The lease of a subscription, which must be free and due, with an epoch after that of another. */
    acquire: (subscription: Store.SubscriptionId, { epoch }: Pick<Store.Lease, "epoch"> = { epoch: 0 }) =>
      Effect.map(claim([subscription]), ({ acquired }) => {
        const [lease] = acquired
        const isOne = acquired.length === 1 && lease?.subscription === subscription
        ensure(isOne, () => `a claim of what is due acquired ${show(acquired)}`)
        ensure(lease.epoch > epoch, () => `after the epoch ${epoch} came ${lease.epoch}`)
        return makeHeld(worker, lease)
      }),
    /** Expects a claim to acquire nothing. */
    expectNone: (subscription: Store.SubscriptionId, when: string) =>
      Effect.map(claim([subscription]), ({ acquired }) => expectSame(acquired, [], `${when}: acquired`)),
    /** Expects a claim to wake these, and answers how long it is until the next. */
    expectWoken: (expected: ReadonlyArray<Store.SubscriptionId>, when: string) =>
      Effect.map(claim([]), ({ wait, woken }) => (expectSame(woken, expected, `${when}: woken`), wait))
  }
})

/** A lease that was acquired, and all that its owner can do with it. */
const makeHeld = (worker: Pick<Worker, "owner" | "store" | "claim">, claimed: Store.Claimed) => {
  const { owner, store } = worker
  const { epoch, subscription: id } = claimed
  const lease = { subscription: id, epoch }
  const tryTake = (wanted: Partial<Store.Wanted> = {}) =>
    Effect.map(store.take(owner, [{ ...everything, ...wanted, ...lease }]), ([taken]) => taken)
  const take = (wanted?: Partial<Store.Wanted>) =>
    Effect.map(tryTake(wanted), (taken) => {
      ensure(taken !== undefined, () => "a lease that is held is not in the answer to a take")
      return taken.deliveries
    })
  const trySettle = (settled: ReadonlyArray<Store.Settled>, wait?: Store.Settlement["wait"]) =>
    store.settle(owner, [{ lease, settled, wait }])
  return {
    ...worker,
    id,
    claimed,
    lease,
    /** What it is given, if it is in the answer. */
    tryTake,
    take,
    /** Expects what is given to be this. */
    expect: (expected: ReadonlyArray<string>, when: string, wanted?: Partial<Store.Wanted>) =>
      Effect.map(take(wanted), (deliveries) => {
        expectSame(texts(deliveries), expected, when)
        return deliveries
      }),
    settle: (...settled: ReadonlyArray<Store.Settled>) =>
      Effect.map(trySettle(settled), (lost) => expectSame(lost, [], "leases that are lost")),
    wait: (delay: Duration.Duration, attempts: number) =>
      Effect.map(trySettle([], { delay, attempts }), (lost) => expectSame(lost, [], "leases that are lost")),
    /** Expects that nothing is given to the lease any more, and that it settles nothing. */
    expectLost: Effect.fnUntraced(function* (all: ReadonlyArray<Place>, when: string) {
      expectSame(yield* tryTake(), undefined, `${when}: what a lost lease is given`)
      const [one = { position: foreign }] = all
      for (const settled of [acknowledged(one), dead(one), again(one, 1, hour), aside(one, 1)])
        expectSame(yield* trySettle([settled]), [id], `${when}: leases that are lost, ${settled._tag}`)
      expectSame(yield* trySettle([], { delay: hour, attempts: 1 }), [id], `${when}: leases that are lost, a wait`)
    }),
    release: store.release(owner, [lease]),
    send: (...all: ReadonlyArray<string>) => publish(store, all),
    figures: Effect.map(store.figures(id), (figures) => {
      ensure(figures !== undefined, () => "a subscription has no figures")
      return figures
    }),
    deadLetters: store.deadLetters(id, { limit: 100_000 }),
    replay: (...all: ReadonlyArray<Store.Position>) => store.replay(id, nonEmpty(all)),
    purge: (...all: ReadonlyArray<Store.Position>) => store.purge(id, nonEmpty(all))
  }
}

/** What is to be given to a subscription whose lease is free, as another process takes it. */
export const contents = Effect.fnUntraced(function* (store: Store.Operations, subscription: Store.SubscriptionId) {
  const worker = yield* makeWorker(store, "reader")
  const due = Effect.map(store.bounds([subscription]), (bounds) => bounds.length > 0)
  const given = (yield* due) ? yield* Effect.flatMap(worker.acquire(subscription), ({ take }) => take()) : []
  yield* worker.leave
  return given
})

/** A subscription with these events, whose lease is acquired and has seen nothing of them. */
export const hold = Effect.fnUntraced(function* (store: Store.Operations, all: ReadonlyArray<string> = []) {
  const id = yield* define(store)
  const worker = yield* makeWorker(store)
  // A lease is acquired when there is something to deliver.
  yield* publish(store, ["first"])
  const held = yield* worker.acquire(id)
  yield* held.settle(acknowledged((yield* held.take())[0]))
  yield* worker.claim([id])
  if (all.length > 0) yield* publish(store, all)
  return { ...held, expectWoken: (isWoken: boolean, when: string) => worker.expectWoken(isWoken ? [id] : [], when) }
})

/** A scenario of one subscription with these events, whose lease is acquired. */
export const withHeld = (
  all: ReadonlyArray<string>,
  play: (held: Effect.Success<ReturnType<typeof hold>>, world: World) => Steps
): Scenario =>
  withStore(function* (store, world) {
    const held = yield* hold(store, all)
    yield* Effect.gen(() => play(held, world))
  })

/** A subscription with an event that one of two processes has, as long as it lives. */
export const two = Effect.fnUntraced(function* (one: Store.Operations, other: Store.Operations) {
  const id = yield* define(one)
  yield* publish(one, ["e"])
  const worker = yield* makeWorker(one)
  const held = yield* worker.acquire(id)
  return { id, worker, held, next: yield* makeWorker(other, "next") }
})
