import type { NonEmptyReadonlyArray } from "effect/Array"
import { Context, Duration, Effect, Layer, Stream } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"
import * as StoreLaws from "effect-events/testing/StoreLaws"

type Operations = EventStore.Operations
type Subscription = EventStore.SubscriptionId

/** What the handles to the same data share beside the data. */
interface Shared {
  readonly map: Map<string, number>
  /** How many handles were opened. */
  opened: number
}

/** How a store in memory that is honest becomes one with a defect. */
export interface Broken {
  readonly name: string
  /** The law that it breaks; what it does to others is no matter. */
  readonly law: number
  readonly flaw: (store: Operations, shared: Shared) => Partial<Operations>
}

const Transaction = Context.Reference<Array<Effect.Effect<unknown>> | undefined>("test/broken/Transaction", {
  defaultValue: () => undefined
})

/** What is published within a transaction, or defined and joins it, waits for its end. */
const transactional = (store: Operations): Operations => ({
  ...store,
  inTransaction: Effect.map(Transaction, (waiting) => waiting !== undefined),
  define: (exchange, definitions, options) =>
    Effect.gen(function* () {
      const waiting = yield* Transaction
      if (waiting === undefined || options?.joins !== true) return yield* store.define(exchange, definitions)
      waiting.push(Effect.orDie(store.define(exchange, definitions)))
      return definitions.map(({ data, name, tenant = "", topics }) => {
        const state = { state: "active", reason: undefined, since: 0 } as const
        return { id: 0, exchange, tenant, name, topics, data, ...state }
      })
    }),
  publish: (exchange, events, limits) =>
    Effect.gen(function* () {
      const waiting = yield* Transaction
      if (waiting === undefined) return yield* store.publish(exchange, events, limits)
      for (const { id } of yield* store.list({ exchange })) {
        const { pending = 0 } = (yield* store.figures(id)) ?? {}
        if (limits !== undefined && pending > 0 && pending + events.length > limits.rows) return undefined
      }
      waiting.push(Effect.orDie(store.publish(exchange, events)))
      return events.map(() => ({ position: 0, matched: 0 }))
    })
})

const transaction = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    const waiting: Array<Effect.Effect<unknown>> = []
    return Effect.tap(Effect.provideService(effect, Transaction, waiting), () =>
      Effect.forEach(waiting, (publish) => publish, { discard: true })
    )
  })

const everything = { rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }
const all = 1_000_000
const some = <A>(list: ReadonlyArray<A>): NonEmptyReadonlyArray<A> | undefined => {
  const [first, ...others] = list
  return first === undefined ? undefined : [first, ...others]
}
const mapAll = <A, B>(list: NonEmptyReadonlyArray<A>, f: (one: A) => B): NonEmptyReadonlyArray<B> => [
  f(list[0]),
  ...list.slice(1).map(f)
]
const idOf = (payload: Uint8Array): string => Buffer.from(payload).toString("latin1")

const publishing = (
  store: Operations,
  f: (event: EventStore.NewEvent) => EventStore.NewEvent
): Partial<Operations> => ({
  publish: (exchange, events, limits) => store.publish(exchange, mapAll(events, f), limits)
})
const defining = (
  store: Operations,
  f: (one: EventStore.Definition) => EventStore.Definition
): Partial<Operations> => ({
  define: (exchange, definitions) => store.define(exchange, mapAll(definitions, f))
})
/** Takes another thing than what is wanted, or makes another thing of what is taken. */
const taking = (
  store: Operations,
  change: (wanted: EventStore.Wanted) => Partial<EventStore.Wanted>,
  then: (given: ReadonlyArray<EventStore.Delivery>, wanted: EventStore.Wanted) => ReadonlyArray<EventStore.Delivery> = (
    given
  ) => given
): Partial<Operations> => ({
  take: (owner, wanted) =>
    Effect.map(
      store.take(
        owner,
        mapAll(wanted, (one) => ({ ...one, ...change(one) }))
      ),
      (taken) =>
        taken.map(({ deliveries, more, subscription }) => ({
          subscription,
          more,
          deliveries: then(
            deliveries,
            wanted.find((one) => one.subscription === subscription)!
          )
        }))
    )
})
const settling = (
  store: Operations,
  f: (settlement: EventStore.Settlement, owner: EventStore.Owner) => Effect.Effect<EventStore.Settlement, unknown>
): Partial<Operations> => ({
  settle: (owner, settlements) =>
    Effect.flatMap(
      Effect.orDie(Effect.forEach(settlements, (one) => f(one, owner))),
      // As many as there were.
      (changed) => store.settle(owner, changed as unknown as typeof settlements)
    )
})
const eachSettled = (store: Operations, f: (settled: EventStore.Settled) => EventStore.Settled | undefined) =>
  settling(store, (one) => Effect.succeed({ ...one, settled: one.settled.flatMap((settled) => f(settled) ?? []) }))
const deadLettered = (
  store: Operations,
  f: (settled: Extract<EventStore.Settled, { _tag: "DeadLettered" }>) => EventStore.Settled | undefined
) => eachSettled(store, (settled) => (settled._tag === "DeadLettered" ? f(settled) : settled))

/** Uses the lease that a subscription has now, whichever is given. */
const lateLeases = (store: Operations) => {
  const current = new Map<Subscription, { readonly owner: EventStore.Owner; readonly lease: EventStore.Lease }>()
  return {
    claim: (owner, subscriptions, limit) =>
      Effect.tap(store.claim(owner, subscriptions, limit), ({ acquired }) =>
        Effect.sync(() => {
          for (const lease of acquired) current.set(lease.subscription, { owner, lease })
        })
      ),
    of: (lease: EventStore.Lease) => current.get(lease.subscription)
  } satisfies Partial<Operations> & { readonly of: unknown }
}

/** The store in memory with transactions, and with a defect. */
export const subject = ({ flaw, name }: Pick<Broken, "flaw" | "name">): StoreLaws.Subject =>
  StoreLaws.subject({
    name,
    time: "virtual",
    limit: "5 seconds",
    make: Effect.map(MemoryStore.makeMemory, (memory) => {
      const shared: Shared = { map: new Map(), opened: 0 }
      const layer = Layer.effect(
        EventStore.EventStore,
        Effect.map(EventStore.EventStore, (honest) => {
          const store = transactional(honest)
          return { ...store, ...flaw(store, shared) }
        })
      )
      return { layer: Layer.provide(layer, MemoryStore.layerOver(memory)), transaction }
    })
  })

export const broken: ReadonlyArray<Broken> = [
  {
    name: "a batch enters one by one",
    law: 1,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        Effect.map(
          Effect.forEach(events, (one) => Effect.andThen(Effect.yieldNow, store.publish(exchange, [one], limits))),
          (answers) => answers.flatMap((answer) => answer ?? [])
        )
    })
  },
  {
    name: "bytes are kept as text",
    law: 1,
    flaw: (store) =>
      publishing(store, (event) => ({
        ...event,
        payload: new TextEncoder().encode(new TextDecoder().decode(event.payload))
      }))
  },
  {
    name: "the whole buffer of a payload is kept",
    law: 1,
    flaw: (store) =>
      publishing(store, ({ payload: one, ...event }) => ({
        ...event,
        payload: one.length === 10 && one.byteOffset > 0 ? new Uint8Array(one.buffer) : one
      }))
  },
  {
    name: "an event without bytes is none",
    law: 1,
    flaw: (store) => ({
      publish: (exchange, events, limits) => {
        const part = some(events.filter(({ payload }) => payload.length > 0))
        return part === undefined ? Effect.succeed([]) : store.publish(exchange, part, limits)
      }
    })
  },
  {
    name: "a batch has its own order",
    law: 1,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        // As many as there were.
        store.publish(exchange, [...events].toReversed() as unknown as typeof events, limits)
    })
  },
  {
    name: "the content type is JSON",
    law: 1,
    flaw: (store) => publishing(store, (event) => ({ ...event, contentType: "application/json" }))
  },
  {
    name: "tenants are the same in upper and lower case",
    law: 2,
    flaw: (store) => ({
      ...publishing(store, (event) => ({ ...event, tenant: event.tenant?.toLowerCase() })),
      ...defining(store, (one) => ({ ...one, tenant: one.tenant?.toLowerCase() }))
    })
  },
  {
    name: "a topic is a beginning",
    law: 2,
    flaw: (store) => defining(store, (one) => ({ ...one, topics: [...one.topics, `${one.topics[0]}/*`] }))
  },
  {
    name: "an event that none matches is not answered",
    law: 2,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        Effect.map(store.publish(exchange, events, limits), (published) =>
          published?.map((one) => ({ ...one, matched: Math.max(1, one.matched) }))
        )
    })
  },
  {
    name: "a subscription that is defined again is active",
    law: 3,
    flaw: (store) => ({
      define: (exchange, definitions) =>
        Effect.flatMap(store.define(exchange, definitions), (found) =>
          Effect.as(
            store.setState({ exchange }, "active", undefined),
            found.map((one) => ({ ...one, state: "active" as const }))
          )
        )
    })
  },
  {
    name: "subscriptions are listed as they were made",
    law: 3,
    flaw: (store) => ({
      list: (which) => Effect.map(store.list(which), (found) => found.toSorted((one, other) => one.id - other.id))
    })
  },
  {
    name: "define answers before it is done",
    law: 3,
    flaw: (store) => ({
      define: (exchange, definitions) =>
        Effect.gen(function* () {
          const known = yield* store.list({ exchange })
          const found = yield* store.define(exchange, definitions)
          const fresh = found.filter(({ id }) => known.length > 0 && !known.some((one) => one.id === id))
          const late = Effect.forEach(fresh, ({ id, name }) =>
            Effect.gen(function* () {
              for (let n = 0; n < 20; n++) yield* Effect.yieldNow
              if (((yield* store.figures(id))?.pending ?? 0) === 0) return
              yield* store.drop({ exchange, name })
              yield* store.define(exchange, definitions)
            })
          )
          yield* Effect.forkDetach(Effect.orDie(late))
          return found
        })
    })
  },
  {
    name: "a batch passes the limits",
    law: 4,
    flaw: (store) => ({
      publish: (exchange, [first, ...others], limits) =>
        Effect.flatMap(store.publish(exchange, [first], limits), (admitted) => {
          const part = some(others)
          return admitted === undefined || part === undefined
            ? Effect.succeed(admitted)
            : Effect.map(store.publish(exchange, part), (answer) => [...admitted, ...(answer ?? [])])
        })
    })
  },
  {
    name: "a batch that is larger than the limits never enters",
    law: 4,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        limits !== undefined && events.length > limits.rows ? Effect.undefined : store.publish(exchange, events, limits)
    })
  },
  {
    name: "the limits are read before the publish",
    law: 4,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        Effect.gen(function* () {
          for (const { id } of yield* store.list({ exchange })) {
            const { bytes = 0, pending = 0 } = (yield* store.figures(id)) ?? {}
            const more = events.reduce((sum, { payload }) => sum + payload.length, bytes)
            if (limits !== undefined && pending > 0)
              if (pending + events.length > limits.rows || more > limits.bytes) return undefined
          }
          yield* Effect.yieldNow
          return yield* store.publish(exchange, events)
        })
    })
  },
  {
    name: "one that is full is left out",
    law: 4,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        Effect.flatMap(store.publish(exchange, events, limits), (published) =>
          published === undefined && events[0].topic === "a"
            ? Effect.succeed<ReadonlyArray<EventStore.Published>>([{ position: 1, matched: 1 }])
            : Effect.succeed(published)
        )
    })
  },
  {
    name: "a publish that is rolled back stays",
    law: 5,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        Effect.provideService(store.publish(exchange, events, limits), Transaction, undefined)
    })
  },
  {
    name: "what commits late is skipped",
    law: 5,
    flaw: (store, { map }) => ({
      publish: (exchange, events, limits) =>
        Effect.suspend(() => {
          for (const { payload } of events) map.set(idOf(payload), map.size)
          return store.publish(exchange, events, limits)
        }),
      ...taking(
        store,
        () => ({}),
        (given) => {
          const next = given.filter(({ payload }) => map.get(idOf(payload))! >= (map.get("\ncursor") ?? 0))
          if (next.some(({ payload }) => idOf(payload) === "early")) map.set("\ncursor", map.get("early") ?? 0)
          return next
        }
      )
    })
  },
  {
    name: "a definition does not join a transaction",
    law: 5,
    flaw: (store) => ({ define: (exchange, definitions) => store.define(exchange, definitions) })
  },
  { name: "no publish is in a transaction", law: 5, flaw: () => ({ inTransaction: Effect.succeed(false) }) },
  { name: "nothing is retained", law: 6, flaw: (store) => ({ open: (exchange) => store.open(exchange) }) },
  {
    name: "a retention ends with another one only",
    law: 6,
    flaw: (store) => ({
      open: (exchange, keeping) =>
        keeping?.retention !== undefined && Duration.isZero(keeping.retention)
          ? Effect.void
          : store.open(exchange, keeping)
    })
  },
  {
    name: "what is retained is never swept",
    law: 6,
    flaw: (store) => ({ open: (exchange) => store.open(exchange, { retention: Duration.days(1) }) })
  },
  {
    name: "there is always more to sweep",
    law: 6,
    flaw: (store) => ({ sweep: Effect.as(store.sweep, true) })
  },
  {
    name: "the bytes that take gives have no bound",
    law: 7,
    flaw: (store) => taking(store, ({ limits: { rows } }) => ({ limits: { ...everything, rows } }))
  },
  {
    name: "an event that is larger than the bound is never given",
    law: 7,
    flaw: (store) =>
      taking(
        store,
        () => ({}),
        (given, { limits }) => given.filter(({ payload }) => payload.length <= limits.bytes)
      )
  },
  {
    name: "take does not say that there are more",
    law: 7,
    flaw: (store) => ({
      take: (owner, wanted) =>
        Effect.map(store.take(owner, wanted), (taken) => taken.map((one) => ({ ...one, more: false })))
    })
  },
  {
    name: "what is excepted is taken from the limit",
    law: 7,
    flaw: (store) =>
      taking(
        store,
        () => ({ except: [] }),
        (given, { except }) => given.filter(({ position }) => !except.includes(position))
      )
  },
  {
    name: "take goes by a cursor",
    law: 7,
    flaw: (store, { map }) =>
      taking(
        store,
        () => ({ limits: everything }),
        (given, { limits }) => {
          const after = given.filter(({ position }) => position > (map.get("cursor") ?? 0)).slice(0, limits.rows)
          map.set("cursor", after.at(-1)?.position ?? map.get("cursor") ?? 0)
          return after
        }
      )
  },
  {
    name: "only so many are settled at once",
    law: 8,
    flaw: (store) => settling(store, (one) => Effect.succeed({ ...one, settled: one.settled.slice(0, 999) }))
  },
  {
    name: "all up to the last position are acknowledged",
    law: 8,
    flaw: (store) =>
      settling(store, (one, owner) =>
        Effect.map(store.take(owner, [{ ...wantAll, ...one.lease }]), ([taken]) => ({
          ...one,
          settled: [
            ...one.settled,
            ...(taken?.deliveries ?? [])
              .filter((given) =>
                one.settled.some(({ _tag, position }) => _tag === "Acknowledged" && position > given.position)
              )
              .map(({ lane, position }): EventStore.Settled => ({ _tag: "Acknowledged", position, lane }))
          ]
        }))
      )
  },
  {
    name: "nothing is settled when one is gone",
    law: 8,
    flaw: (store) =>
      settling(store, (one, owner) =>
        Effect.map(store.take(owner, [{ ...wantAll, ...one.lease }]), ([taken]) => {
          const isThere = (position: number) => (taken?.deliveries ?? []).some((given) => given.position === position)
          return one.settled.every(({ position }) => isThere(position)) ? one : { ...one, settled: [] }
        })
      )
  },
  {
    name: "a lane is due at once",
    law: 9,
    flaw: (store) => eachSettled(store, (one) => (one._tag === "Again" ? { ...one, delay: Duration.zero } : one))
  },
  {
    name: "lanes come last",
    law: 9,
    flaw: (store) =>
      taking(
        store,
        () => ({}),
        (given) =>
          [...given].toSorted((one, other) => Number(one.lane !== undefined) - Number(other.lane !== undefined))
      )
  },
  {
    name: "lanes that are busy are given",
    law: 9,
    flaw: (store) => taking(store, () => ({ busy: [] }))
  },
  {
    name: "one that steps aside is due when it comes",
    law: 9,
    flaw: (store) =>
      eachSettled(store, (one) =>
        one._tag === "Aside" ? { ...one, _tag: "Again", delay: Duration.zero, attempts: 0 } : one
      )
  },
  {
    name: "attempts begin again",
    law: 9,
    flaw: (store) => eachSettled(store, (one) => (one._tag === "Again" ? { ...one, attempts: 1 } : one))
  },
  {
    name: "a subscription does not wait",
    law: 10,
    flaw: (store) => settling(store, ({ lease, settled }) => Effect.succeed({ lease, settled }))
  },
  {
    name: "a wait never ends early",
    law: 10,
    flaw: (store) =>
      settling(store, ({ lease, settled, wait }) =>
        Effect.succeed({ lease, settled, ...(wait !== undefined && wait.attempts > 0 ? { wait } : {}) })
      )
  },
  {
    name: "a wait is for its owner only",
    law: 10,
    flaw: (store) => ({
      release: (owner, leases) =>
        Effect.andThen(
          Effect.forEach(leases === "all" ? [] : leases, (lease) =>
            store.settle(owner, [{ lease, settled: [], wait: { delay: Duration.zero, attempts: 0 } }])
          ),
          store.release(owner, leases)
        )
    })
  },
  {
    name: "the figures count no dead letters",
    law: 11,
    flaw: (store) => ({
      figures: (subscription) =>
        Effect.map(store.figures(subscription), (figures) => figures && { ...figures, deadLetters: 0 })
    })
  },
  {
    name: "the figures count what was published",
    law: 11,
    flaw: (store, { map }) => ({
      publish: (exchange, events, limits) =>
        Effect.tap(store.publish(exchange, events, limits), () =>
          Effect.sync(() => {
            map.set(
              "bytes",
              events.reduce((sum, { payload }) => sum + payload.length, map.get("bytes") ?? -5)
            )
          })
        ),
      figures: (subscription) =>
        Effect.map(store.figures(subscription), (figures) => figures && { ...figures, bytes: map.get("bytes") ?? 0 })
    })
  },
  {
    name: "the bounds are those of the order",
    law: 11,
    flaw: (store) => ({
      bounds: (subscriptions) =>
        Effect.map(store.bounds(subscriptions), (found) => found.map((one) => ({ ...one, last: one.first })))
    })
  },
  {
    name: "a long cause is cut",
    law: 12,
    flaw: (store) => deadLettered(store, (one) => ({ ...one, cause: one.cause.slice(0, 1000) }))
  },
  {
    name: "a cause with a zero in it cannot be kept",
    law: 12,
    flaw: (store) => deadLettered(store, (one) => (one.cause.includes("\0") ? undefined : one))
  },
  {
    name: "a newer reason is not known",
    law: 12,
    flaw: (store) => deadLettered(store, (one) => (one.reason === "Expired" ? { ...one, reason: "Failed" } : one))
  },
  {
    name: "dead letters are listed by their positions",
    law: 13,
    flaw: (store) => ({
      deadLetters: (subscription, { after, limit }) =>
        Effect.map(store.deadLetters(subscription, { limit: all }), (letters) =>
          letters
            .toSorted((one, other) => one.position - other.position)
            .filter(({ position }) => position > (after?.position ?? 0))
            .slice(0, limit)
        )
    })
  },
  {
    name: "pages are numbered",
    law: 13,
    flaw: (store, { map }) => ({
      deadLetters: (subscription, { after, limit }) =>
        Effect.map(store.deadLetters(subscription, { limit: all }), (letters) => {
          const from = after === undefined ? 0 : (map.get("page") ?? 0)
          map.set("page", from + limit)
          return letters.slice(from, from + limit)
        })
    })
  },
  {
    name: "a page that begins after a dead letter that is gone is empty",
    law: 13,
    flaw: (store) => ({
      deadLetters: (subscription, { after, limit }) =>
        Effect.map(store.deadLetters(subscription, { limit: all }), (letters) => {
          const at = letters.findIndex(({ position }) => position === after?.position)
          return after !== undefined && at < 0 ? [] : letters.slice(at + 1, at + 1 + limit)
        })
    })
  },
  {
    name: "dead letters are replayed in the order of their positions",
    law: 14,
    flaw: (store) => ({
      replay: (subscription, [...positions]) =>
        store.replay(subscription, some(positions.toSorted((one, other) => one - other))!)
    })
  },
  {
    name: "replay answers how many it was asked for",
    law: 14,
    flaw: (store) => ({
      replay: (subscription, positions) => Effect.as(store.replay(subscription, positions), positions.length)
    })
  },
  {
    name: "a replayed event begins again",
    law: 14,
    flaw: (store) =>
      taking(
        store,
        () => ({}),
        (given) => given.map((one) => (one.lane === undefined ? { ...one, attempts: 0 } : one))
      )
  },
  {
    name: "purge removes all",
    law: 15,
    flaw: (store) => ({
      purge: (subscription, positions) =>
        Effect.flatMap(store.deadLetters(subscription, { limit: all }), (letters) => {
          const every = some(letters.map(({ position }) => position))
          const count = letters.filter(({ position }) => positions.includes(position)).length
          return every === undefined ? Effect.succeed(0) : Effect.as(store.purge(subscription, every), count)
        })
    })
  },
  {
    name: "nothing is ever paused",
    law: 16,
    flaw: (store) => ({
      setState: (which, _, reason, from) => store.setState(which, "active", reason, from)
    })
  },
  {
    name: "a paused one is not woken again",
    law: 16,
    flaw: (store) => {
      const paused = new Set<Subscription>()
      return {
        setState: (which, state, reason) =>
          Effect.andThen(
            Effect.map(store.list(which), (found) => {
              if (state === "paused") for (const { id } of found) paused.add(id)
            }),
            store.setState(which, state, reason)
          ),
        claim: (owner, subscriptions, limit) =>
          Effect.map(store.claim(owner, subscriptions, limit), (claims) => ({
            ...claims,
            woken: claims.woken.filter((id) => !paused.has(id))
          }))
      }
    }
  },
  {
    name: "a reason is for ever",
    law: 16,
    flaw: (store, { map }) => ({
      setState: (which, state, reason) => {
        if (reason !== undefined) map.set(reason, 1)
        return store.setState(which, state, reason ?? [...map.keys()][0])
      }
    })
  },
  {
    name: "what is dropped is disabled",
    law: 17,
    flaw: (store) => ({ drop: (which) => store.setState(which, "disabled", "dropped") })
  },
  {
    name: "a drop takes all of its exchange",
    law: 17,
    flaw: (store) => ({ drop: ({ exchange }) => store.drop({ exchange }) })
  },
  {
    name: "epochs begin again",
    law: 18,
    flaw: (store) => ({
      claim: (owner, subscriptions, limit) =>
        Effect.map(store.claim(owner, subscriptions, limit), (claims) => ({
          ...claims,
          acquired: claims.acquired.map((one) => ({ ...one, epoch: 1 }))
        }))
    })
  },
  {
    name: "two have the lease",
    law: 18,
    flaw: (store) => {
      const leases = lateLeases(store)
      return {
        claim: (owner, subscriptions, limit) =>
          Effect.map(leases.claim(owner, subscriptions, limit), ({ acquired, ...claims }) => {
            const ids = "exchange" in subscriptions ? [] : subscriptions
            const held = ids.flatMap((subscription) => leases.of({ subscription, epoch: 0 })?.lease ?? [])
            const others = held.filter((one) => acquired.every(({ subscription }) => subscription !== one.subscription))
            const two = others.map((one) => ({
              ...one,
              attempts: 0,
              firstFailedAt: undefined,
              failingSince: undefined,
              lanes: []
            }))
            return { ...claims, acquired: [...acquired, ...two] }
          })
      }
    }
  },
  {
    name: "a claim has no limit",
    law: 18,
    flaw: (store) => ({ claim: (owner, subscriptions) => store.claim(owner, subscriptions, all) })
  },
  {
    name: "a claim is for one more",
    law: 18,
    flaw: (store) => ({
      claim: (owner, subscriptions, limit) => store.claim(owner, subscriptions, limit > 0 ? limit + 1 : 0)
    })
  },
  {
    name: "an owner lives for ever",
    law: 19,
    flaw: (store) => ({ renew: (owner) => store.renew(owner, Duration.infinity) })
  },
  {
    name: "an owner is another one each time",
    law: 19,
    flaw: (store) => ({ renew: ({ name }, ttl) => store.renew({ name }, ttl) })
  },
  {
    name: "an owner that is gone keeps its id",
    law: 19,
    flaw: (store) => ({
      renew: (owner, ttl) =>
        Effect.map(store.renew(owner, ttl), (renewed) => ("id" in owner ? { ...renewed, id: owner.id } : renewed))
    })
  },
  {
    name: "a lease that is given back ends its owner",
    law: 19,
    flaw: (store) => ({ release: (owner) => store.release(owner, "all") })
  },
  {
    name: "a lost lease may settle",
    law: 20,
    flaw: (store) => {
      const leases = lateLeases(store)
      return {
        claim: leases.claim,
        settle: (_, settlements) =>
          Effect.map(
            Effect.forEach(settlements, (one) => {
              const { lease, owner } = leases.of(one.lease)!
              return store.settle(owner, [{ ...one, lease }])
            }),
            (lost) => lost.flat()
          )
      }
    }
  },
  {
    name: "a lost lease is given events",
    law: 20,
    flaw: (store) => {
      const leases = lateLeases(store)
      return {
        claim: leases.claim,
        take: (_, wanted) =>
          Effect.map(
            Effect.forEach(wanted, (one) => {
              const { lease, owner } = leases.of(one)!
              return store.take(owner, [{ ...one, epoch: lease.epoch }])
            }),
            (taken) => taken.flat()
          )
      }
    }
  },
  {
    name: "nothing is settled when one lease of several is lost",
    law: 20,
    flaw: (store) => ({
      settle: (owner, settlements) =>
        Effect.flatMap(
          store.settle(
            owner,
            mapAll(settlements, ({ lease }) => ({ lease, settled: [] }))
          ),
          (lost) => (lost.length > 0 ? Effect.succeed(lost) : store.settle(owner, settlements))
        )
    })
  },
  {
    name: "a lease is woken once",
    law: 21,
    flaw: (store) => {
      const woken = new Set<Subscription>()
      return {
        claim: (owner, subscriptions, limit) =>
          Effect.map(store.claim(owner, subscriptions, limit), (claims) => {
            const first = claims.woken.filter((id) => !woken.has(id))
            for (const id of first) woken.add(id)
            return { ...claims, woken: first }
          })
      }
    }
  },
  {
    name: "all leases are woken by each claim",
    law: 21,
    flaw: (store) => {
      const leases = new Map<number, Array<Subscription>>()
      return {
        claim: (owner, subscriptions, limit) =>
          Effect.map(store.claim(owner, subscriptions, limit), (claims) => {
            const woken = leases.get(owner.id) ?? []
            leases.set(owner.id, [...woken, ...claims.acquired.map(({ subscription }) => subscription)])
            return { ...claims, woken }
          })
      }
    }
  },
  {
    name: "a claim does not answer how long it takes until the next",
    law: 21,
    flaw: (store) => ({
      claim: (owner, subscriptions, limit) =>
        Effect.map(store.claim(owner, subscriptions, limit), (claims) => ({ ...claims, wait: undefined }))
    })
  },
  {
    name: "changes has no element before there is one",
    law: 22,
    flaw: (store) => ({ changes: Stream.drop(store.changes, 1) })
  },
  {
    name: "changes has the first element only",
    law: 22,
    flaw: (store) => ({ changes: Stream.concat(Stream.take(store.changes, 1), Stream.never) })
  },
  {
    name: "changes says that all there was are settlements",
    law: 22,
    flaw: (store) => ({ changes: Stream.map(store.changes, () => "settled" as const) })
  },
  {
    name: "changes has nothing of other handles",
    law: 22,
    flaw: (store, { map }) => {
      const mine = map.size
      map.set(`${mine}`, mine)
      const counting = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.suspend(() => {
          map.set("last", mine)
          return effect
        })
      return {
        publish: (exchange, events, limits) => counting(store.publish(exchange, events, limits)),
        settle: (owner, settlements) => counting(store.settle(owner, settlements)),
        changes: Stream.filter(store.changes, () => (map.get("last") ?? mine) === mine)
      }
    }
  },
  {
    name: "a lease that is released has no change",
    law: 22,
    flaw: (store, { map }) => ({
      release: (owner, leases) => {
        map.set("released", 1)
        return store.release(owner, leases)
      },
      changes: Stream.filter(store.changes, () => !map.delete("released"))
    })
  },
  {
    name: "epochs begin again when the data is opened again",
    law: 23,
    flaw: (store, shared) => {
      const opened = ++shared.opened
      return {
        claim: (owner, subscriptions, limit) =>
          Effect.map(store.claim(owner, subscriptions, limit), (claims) => ({
            ...claims,
            acquired: opened > 2 ? claims.acquired.map((one) => ({ ...one, epoch: 1 })) : claims.acquired
          }))
      }
    }
  },
  {
    name: "dead letters are gone when the data is opened again",
    law: 23,
    flaw: (store, shared) => {
      const opened = ++shared.opened
      return {
        deadLetters: (subscription, page) => (opened > 1 ? Effect.succeed([]) : store.deadLetters(subscription, page))
      }
    }
  },
  {
    name: "events overtake each other",
    law: 24,
    flaw: (store, { map }) => {
      const held: Array<Effect.Effect<unknown>> = []
      return {
        publish: (exchange, events, limits) =>
          Effect.suspend(() => {
            const n = (map.get("n") ?? 0) + 1
            map.set("n", n)
            // It is answered before it is committed, and the next one comes in between.
            if (events.length === 2 && n % 5 === 0 && idOf(events[0].payload).includes(":")) {
              held.push(Effect.orDie(store.publish(exchange, events, limits)))
              return Effect.succeed(events.map((): EventStore.Published => ({ position: 1, matched: 1 })))
            }
            return Effect.tap(store.publish(exchange, events, limits), () =>
              Effect.forEach(held.splice(0), (publish) => publish, { discard: true })
            )
          })
      }
    }
  },
  {
    name: "of two that publish at once one is lost",
    law: 24,
    flaw: (store, { map }) => ({
      publish: (exchange, events, limits) =>
        Effect.suspend(() => {
          const n = (map.get("n") ?? 0) + 1
          map.set("n", n)
          return Effect.andThen(
            Effect.yieldNow,
            Effect.suspend(() =>
              map.get("n") === n
                ? store.publish(exchange, events, limits)
                : Effect.succeed(events.map((): EventStore.Published => ({ position: 1, matched: 1 })))
            )
          )
        })
    })
  },
  {
    name: "an event with a time is delivered at once",
    law: 25,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        store.publish(
          exchange,
          mapped(events, ({ due: _, ...rest }) => rest),
          limits
        )
    })
  },
  {
    name: "a time is a second late, and no claim says when",
    law: 25,
    flaw: (store) => ({
      claim: (owner, subscriptions, limit) =>
        Effect.map(store.claim(owner, subscriptions, limit), (claims) => ({ ...claims, wait: undefined }))
    })
  },
  {
    name: "what is coming is not seen",
    law: 25,
    flaw: (store) => ({
      bounds: (subscriptions) =>
        Effect.map(store.bounds(subscriptions), (all) => all.map(({ isComing: _, ...rest }) => rest))
    })
  },
  {
    name: "ids mean nothing",
    law: 26,
    flaw: (store) => ({
      publish: (exchange, events, limits) =>
        store.publish(
          exchange,
          mapped(events, ({ id: _, ...rest }) => rest),
          limits
        )
    })
  },
  {
    name: "an id is that of all tenants",
    law: 26,
    flaw: (store, { map }) => ({
      publish: (exchange, events, limits) =>
        Effect.suspend(() => {
          const isSeen = events.some(({ id }) => id !== undefined && map.has(id))
          for (const { id } of events) if (id !== undefined) map.set(id, 1)
          return isSeen && events.some(({ tenant }) => tenant !== undefined)
            ? Effect.succeed(events.map((): EventStore.Published => ({ position: 1, matched: 0, isDuplicate: true })))
            : store.publish(exchange, events, limits)
        })
    })
  },
  {
    name: "ids are kept for ever",
    law: 26,
    flaw: (store) => ({
      open: (exchange, keeping) =>
        store.open(
          exchange,
          keeping?.deduplication && Duration.isPositive(keeping.deduplication)
            ? { ...keeping, deduplication: Duration.days(1) }
            : keeping
        )
    })
  },
  {
    name: "what is pending is unknown",
    law: 27,
    flaw: (store) => ({
      status: (exchange, event) =>
        Effect.map(store.status(exchange, event), (status) => withStates(status, "Pending", { _tag: "Unknown" }))
    })
  },
  {
    name: "a drop is a delivery",
    law: 27,
    flaw: (store) => ({
      settle: (owner, settlements) =>
        store.settle(
          owner,
          mapped(settlements, (one) => ({
            ...one,
            settled: one.settled.map((settled) =>
              settled._tag === "Acknowledged" ? { ...settled, isDropped: false } : settled
            )
          }))
        )
    })
  },
  {
    name: "outcomes are kept for ever",
    law: 27,
    flaw: (store) => ({
      open: (exchange, keeping) =>
        store.open(
          exchange,
          keeping?.outcomes && Duration.isPositive(keeping.outcomes)
            ? { ...keeping, outcomes: Duration.days(1) }
            : keeping
        )
    })
  },
  {
    name: "attempts are not kept",
    law: 27,
    flaw: (store) => ({
      settle: (owner, settlements) =>
        store.settle(
          owner,
          mapped(settlements, ({ attempts: _, ...rest }) => rest)
        )
    })
  },
  {
    name: "why a subscription waits is not kept",
    law: 28,
    flaw: (store) => ({
      settle: (owner, settlements) =>
        store.settle(
          owner,
          mapped(settlements, ({ wait, ...rest }) => ({
            ...rest,
            wait: wait && { delay: wait.delay, attempts: wait.attempts }
          }))
        )
    })
  },
  {
    name: "an owner is one for ever",
    law: 28,
    flaw: (store, { map }) => ({
      figures: (subscription) =>
        Effect.map(store.figures(subscription), (figures) => {
          if (figures?.owner !== undefined) map.set(figures.owner, 1)
          return figures && { ...figures, owner: figures.owner ?? [...map.keys()][0] }
        })
    })
  },
  {
    name: "an overview is of one exchange",
    law: 28,
    flaw: (store) => ({ overview: (which) => store.overview({ exchange: "events", ...which }) })
  },
  {
    name: "discard deletes all",
    law: 29,
    flaw: (store) => ({ discard: (subscription) => store.discard(subscription, all) })
  },
  {
    name: "discard leaves the wait",
    law: 29,
    flaw: (store) => ({
      discard: (subscription, limit) => (limit === 2 ? Effect.succeed(2) : store.discard(subscription, limit))
    })
  },
  {
    name: "a filter's cause is a pattern",
    law: 30,
    flaw: (store) => ({
      deadLetters: (subscription, { cause, ...page }) =>
        store.deadLetters(subscription, { ...page, ...(cause === "_" ? {} : { cause }) })
    })
  },
  {
    name: "a filter's end is part of it",
    law: 30,
    flaw: (store) => ({
      countDeadLetters: (subscription, { to, ...filter }) =>
        store.countDeadLetters(subscription, { ...filter, ...(to === undefined ? {} : { to: to + 1 }) })
    })
  },
  {
    name: "a claim of an exchange is of all exchanges",
    law: 31,
    flaw: (store) => ({
      claim: (owner, which, limit) =>
        "exchange" in which
          ? Effect.flatMap(store.overview({}), (found) => store.claim(owner, idsOf(found), limit))
          : store.claim(owner, which, limit)
    })
  },
  {
    name: "a claim of an exchange has no limit",
    law: 31,
    flaw: (store) => ({
      claim: (owner, which, limit) => store.claim(owner, which, "exchange" in which && limit > 0 ? all : limit)
    })
  },
  {
    name: "a claim of an exchange is of its first tenant",
    law: 31,
    flaw: (store) => ({
      claim: (owner, which, limit) =>
        "exchange" in which
          ? Effect.flatMap(store.list({ ...which, tenant: "" }), (found) => store.claim(owner, idsOf(found), limit))
          : store.claim(owner, which, limit)
    })
  },
  {
    name: "a claim of an exchange does not say when to claim again",
    law: 31,
    flaw: (store) => ({
      claim: (owner, which, limit) =>
        Effect.map(store.claim(owner, which, limit), ({ wait, ...claims }) => ({
          ...claims,
          wait: "exchange" in which ? undefined : wait
        }))
    })
  },
  {
    name: "a list by ids is of all exchanges",
    law: 32,
    flaw: (store) => ({
      list: ({ ids, ...which }) =>
        ids === undefined
          ? store.list(which)
          : Effect.map(store.overview({ ids }), (found) =>
              found.filter(({ tenant }) => (which.tenant ?? tenant) === tenant)
            )
    })
  },
  {
    name: "a list by no ids is of all",
    law: 32,
    flaw: (store) => ({
      list: ({ ids, ...which }) => store.list({ ...which, ids: ids?.length === 0 ? undefined : ids })
    })
  },
  {
    name: "a state is set whatever the ids",
    law: 32,
    flaw: (store) => ({
      setState: ({ ids: _, ...which }, state, reason) => store.setState(which, state, reason)
    })
  },
  {
    name: "a page of subscriptions goes by names only",
    law: 32,
    flaw: (store) => ({
      list: ({ after, limit, ...which }) =>
        Effect.map(store.list(which), (found) =>
          found.filter(({ name }) => after === undefined || name > after.name).slice(0, limit)
        )
    })
  },
  {
    name: "a definition wakes no owner",
    law: 33,
    flaw: (store) => withoutWakes(store, () => true)
  },
  {
    name: "a definition wakes as the same too",
    law: 33,
    flaw: (store) => ({
      define: (exchange, definitions) =>
        Effect.gen(function* () {
          const touched = mapAll(definitions, (one) => ({ ...one, data: new TextEncoder().encode(`${Math.random()}`) }))
          yield* store.define(exchange, touched)
          return yield* store.define(exchange, definitions)
        })
    })
  },
  {
    name: "other topics wake no owner",
    law: 33,
    flaw: (store) => withoutWakes(store, (hasOtherTopics) => hasOtherTopics)
  },
  {
    name: "a definition wakes when the wait is over",
    law: 33,
    flaw: (store) => ({
      claim: (owner, which, limit) =>
        Effect.gen(function* () {
          const claims = yield* store.claim(owner, which, limit)
          const found = yield* store.overview({ ids: claims.woken })
          const waiting = found.filter(({ wait }) => (wait?.until ?? 0) > 0).map(({ id }) => id)
          return { ...claims, woken: claims.woken.filter((one) => !waiting.includes(one)) }
        })
    })
  },
  {
    name: "an attempt has no detail",
    law: 34,
    flaw: (store) => withAttempts(store, ({ detail: _, ...one }) => one)
  },
  {
    name: "a detail is kept of what failed only",
    law: 34,
    flaw: (store) =>
      withAttempts(store, ({ detail, ...one }) => ({ ...one, detail: one.error === undefined ? undefined : detail }))
  },
  {
    name: "attempts are listed as they were settled",
    law: 34,
    flaw: (store) => ({
      attempts: (subscription, page) =>
        Effect.map(store.attempts(subscription, page), (found) => found.toSorted((a, b) => b.position - a.position))
    })
  },
  {
    name: "a page of attempts is searched for failures",
    law: 34,
    flaw: (store) => ({
      attempts: (subscription, { failedOnly = false, ...page }) =>
        Effect.map(store.attempts(subscription, page), (found) =>
          found.filter(({ error }) => !failedOnly || error !== undefined)
        )
    })
  },
  {
    name: "a page of attempts begins after a time",
    law: 34,
    flaw: (store) => ({
      attempts: (subscription, { before, ...page }) =>
        store.attempts(subscription, { ...page, before: before && { ...before, position: 0 } })
    })
  },
  {
    name: "attempts are kept for ever",
    law: 34,
    flaw: (store, { map }) => ({
      open: (exchange, keeping, options) => {
        if (keeping?.outcomes !== undefined) map.set("", 1)
        return store.open(exchange, { ...keeping, outcomes: map.has("") ? Duration.days(1) : undefined }, options)
      }
    })
  },
  {
    name: "dead letters are not resent",
    law: 35,
    flaw: (store) => ({
      resend: (subscription, positions) =>
        Effect.flatMap(store.deadLetters(subscription, { limit: all }), (letters) => {
          const dead = letters.map(({ position }) => position)
          const rest = some(positions.filter((one) => !dead.includes(one)))
          return rest === undefined ? Effect.succeed(0) : store.resend(subscription, rest)
        })
    })
  },
  {
    name: "only dead letters are resent",
    law: 35,
    flaw: (store) => ({ resend: (subscription, positions) => store.replay(subscription, positions) })
  },
  {
    name: "what is resent has the order of its positions",
    law: 35,
    flaw: (store) => ({
      resend: (subscription, positions) =>
        store.resend(subscription, some([...positions].toSorted((a, b) => a - b)) ?? positions)
    })
  },
  {
    name: "resend answers how many it was asked for",
    law: 35,
    flaw: (store) => ({
      resend: (subscription, positions) => Effect.as(store.resend(subscription, positions), positions.length)
    })
  },
  {
    name: "an event is resent as often as it is given",
    law: 35,
    flaw: (store) => ({
      resend: (subscription, positions) =>
        Effect.map(
          Effect.forEach(positions, (one) => store.resend(subscription, [one])),
          (counts) => counts.reduce((sum, count) => sum + count, 0)
        )
    })
  },
  {
    name: "a definition replaces whatever there is",
    law: 36,
    flaw: (store) => ({
      define: (exchange, definitions) =>
        store.define(
          exchange,
          mapAll(definitions, (one) => ({ ...one, replaces: undefined }))
        )
    })
  },
  {
    name: "a definition makes anew what was dropped",
    law: 36,
    flaw: (store) => ({
      define: (exchange, definitions) =>
        Effect.flatMap(store.list({ exchange, name: definitions[0].name }), (found) =>
          store.define(
            exchange,
            found.length > 0 ? definitions : mapAll(definitions, (one) => ({ ...one, replaces: undefined }))
          )
        )
    })
  },
  {
    name: "a definition compares first, and changes later",
    law: 36,
    flaw: (store) => ({
      define: (exchange, definitions) =>
        Effect.gen(function* () {
          const [one] = definitions
          if (one.replaces === undefined) return yield* store.define(exchange, definitions)
          const [found] = yield* store.list({ exchange, name: one.name })
          if (found?.data === undefined || found.data.join() !== one.replaces.join()) return []
          yield* Effect.yieldNow
          return yield* store.define(exchange, [{ ...one, replaces: undefined }])
        })
    })
  },
  {
    name: "each settlement of a failing receiver begins anew",
    law: 37,
    flaw: (store) =>
      settling(store, (one, owner) =>
        one.isFailing === true
          ? Effect.as(store.settle(owner, [{ lease: one.lease, settled: [], isFailing: false }]), one)
          : Effect.succeed(one)
      )
  },
  {
    name: "another process is not given since when a receiver is failing",
    law: 37,
    flaw: (store) => ({
      claim: (owner, which, limit) =>
        Effect.map(store.claim(owner, which, limit), (claims) => ({
          ...claims,
          acquired: claims.acquired.map((one) => ({ ...one, failingSince: undefined }))
        }))
    })
  },
  {
    name: "the end of a wait is that of a failing receiver",
    law: 37,
    flaw: (store) =>
      settling(store, (one) => Effect.succeed(one.wait?.attempts === 0 ? { ...one, isFailing: false } : one))
  },
  {
    name: "a failing receiver is failing for ever",
    law: 37,
    flaw: (store) =>
      settling(store, (one) => Effect.succeed(one.isFailing === false ? { ...one, isFailing: undefined } : one))
  },
  {
    name: "a state is set from any",
    law: 38,
    flaw: (store) => ({ setState: (which, state, reason) => store.setState(which, state, reason) })
  },
  {
    name: "a state is looked at first, and set later",
    law: 38,
    flaw: (store) => ({
      setState: (which, state, reason, from) =>
        Effect.gen(function* () {
          const found = yield* store.list(which)
          if (from !== undefined && !found.some((one) => from.includes(one.state))) return 0
          yield* Effect.yieldNow
          return yield* store.setState(which, state, reason)
        })
    })
  }
]

const idsOf = (found: ReadonlyArray<EventStore.Subscription>) => found.map(({ id }) => id)

/** What `isLeftOut` selects is answered as it is given, and stays as it is. */
const withoutWakes = (store: Operations, isLeftOut: (hasOtherTopics: boolean) => boolean): Partial<Operations> => ({
  define: (exchange, definitions) =>
    Effect.gen(function* () {
      const defined: Array<EventStore.Subscription> = []
      for (const one of definitions) {
        const { data, name, tenant = "", topics } = one
        const [before] = yield* store.list({ exchange, tenant, name })
        const hasOtherTopics = JSON.stringify(before?.topics) !== JSON.stringify(topics)
        if (before !== undefined && isLeftOut(hasOtherTopics)) defined.push({ ...before, topics, data })
        else defined.push(...(yield* store.define(exchange, [one])))
      }
      return defined
    })
})

const withAttempts = (store: Operations, f: (attempt: EventStore.Attempt) => EventStore.Attempt): Partial<Operations> =>
  settling(store, (one) => Effect.succeed({ ...one, attempts: one.attempts?.map(f) }))

/** The same number of elements. */
const mapped = <A, B>(all: NonEmptyReadonlyArray<A>, f: (one: A) => B) =>
  all.map(f) as unknown as readonly [B, ...Array<B>]

const withStates = (
  status: EventStore.EventStatus | undefined,
  tag: EventStore.DeliveryState["_tag"],
  state: EventStore.DeliveryState
): EventStore.EventStatus | undefined =>
  status && {
    ...status,
    deliveries: status.deliveries.map((one) => (one.state._tag === tag ? { ...one, state } : one))
  }

/** Defects that no law has a scenario for: a random life finds them. */
export const brokenInLife: ReadonlyArray<Omit<Broken, "law">> = [
  {
    name: "what is replayed while its subscription is paused is purged",
    flaw: (store) => ({
      replay: (subscription, positions) =>
        Effect.flatMap(store.list({ exchange: "events" }), (found) =>
          found.some(({ id, state }) => id === subscription && state === "paused")
            ? store.purge(subscription, positions)
            : store.replay(subscription, positions)
        )
    })
  },
  {
    name: "an event in a lane is acknowledged when its owner leaves",
    flaw: (store) => {
      const leases = lateLeases(store)
      return {
        claim: leases.claim,
        release: (owner, released) =>
          Effect.gen(function* () {
            for (const lease of released === "all" ? [] : released) {
              const [taken] = yield* store.take(owner, [{ ...wantAll, ...lease }])
              const [one, other] = taken?.deliveries ?? []
              if (one?.lane !== undefined && one.lane === other?.lane)
                yield* store.settle(owner, [{ lease, settled: [{ _tag: "Acknowledged", ...one }] }])
            }
            yield* store.release(owner, released)
          })
      }
    }
  }
]

const wantAll = { limits: everything, except: [], busy: [], perLane: all }
