import type { NonEmptyReadonlyArray } from "effect/Array"
import { Clock, Context, Duration, Effect, Layer, Stream } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"
import * as StoreLaws from "effect-events/testing/StoreLaws"

type Operations = EventStore.Operations

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

/** Appends within a transaction wait for its end. */
const transactional = (store: Operations): Operations => ({
  ...store,
  inTransaction: Effect.map(Transaction, (appends) => appends !== undefined),
  append: (queue, payloads, limits) =>
    Effect.flatMap(Transaction, (appends) => {
      if (appends === undefined) return store.append(queue, payloads, limits)
      return Effect.map(Effect.orDie(store.size(queue)), (size) => {
        const fits = limits === undefined || size.rows === 0 || size.rows + payloads.length <= limits.rows
        if (fits) appends.push(Effect.orDie(store.append(queue, payloads, undefined)))
        return fits
      })
    })
})

const transaction = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    const appends: Array<Effect.Effect<unknown>> = []
    return Effect.tap(Effect.provideService(effect, Transaction, appends), () =>
      Effect.forEach(appends, (append) => append, { discard: true })
    )
  })

const everything = { rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }
const same = (queue: string): string => queue.toLowerCase()
const some = <A>(list: ReadonlyArray<A>): NonEmptyReadonlyArray<A> | undefined => {
  const [first, ...others] = list
  return first === undefined ? undefined : [first, ...others]
}
/** For a call with one part of a list, if that part is not empty. */
const withSome = <A, E>(
  list: ReadonlyArray<A>,
  call: (part: NonEmptyReadonlyArray<A>) => Effect.Effect<void, E>
): Effect.Effect<void, E> => {
  const part = some(list)
  return part === undefined ? Effect.void : call(part)
}
const mapAll = <A, B>(list: NonEmptyReadonlyArray<A>, f: (one: A) => B): NonEmptyReadonlyArray<B> => [
  f(list[0]),
  ...list.slice(1).map(f)
]
const idOf = (payload: Uint8Array): string => Buffer.from(payload).toString("latin1")

/** Notes the epoch of the lease that is given. */
const noting =
  (store: Operations, map: Map<string, number>): Operations["acquire"] =>
  (queue, ttl) =>
    Effect.tap(store.acquire(queue, ttl), (answer) =>
      Effect.sync(() => {
        if (answer._tag === "Acquired") map.set(queue, answer.lease.epoch)
      })
    )

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
      append: (queue, payloads, limits) =>
        Effect.as(
          Effect.forEach(payloads, (payload) =>
            Effect.andThen(Effect.yieldNow, store.append(queue, [payload], limits))
          ),
          true
        )
    })
  },
  {
    name: "bytes are kept as text",
    law: 1,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        store.append(
          queue,
          mapAll(payloads, (payload) => new TextEncoder().encode(new TextDecoder().decode(payload))),
          limits
        )
    })
  },
  {
    name: "the whole buffer of a payload is kept",
    law: 1,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        store.append(
          queue,
          mapAll(payloads, (one) => (one.length === 10 && one.byteOffset > 0 ? new Uint8Array(one.buffer) : one)),
          limits
        )
    })
  },
  {
    name: "an event without bytes is none",
    law: 1,
    flaw: (store) => ({
      append: (queue, payloads, limits) => {
        const part = some(payloads.filter((payload) => payload.length > 0))
        return part === undefined ? Effect.succeed(true) : store.append(queue, part, limits)
      }
    })
  },
  {
    name: "a batch has its own order",
    law: 1,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        store.append(queue, [...payloads].toReversed() as unknown as NonEmptyReadonlyArray<Uint8Array>, limits)
    })
  },
  {
    name: "the bytes that next gives have no bound",
    law: 2,
    flaw: (store) => ({ next: (lease, { rows }) => store.next(lease, { rows, bytes: Number.POSITIVE_INFINITY }) })
  },
  {
    name: "an event that is larger than the bound is never given",
    law: 2,
    flaw: (store) => ({
      next: (lease, limits) =>
        Effect.map(store.next(lease, limits), (events) =>
          events.filter(({ payload }) => payload.length <= limits.bytes)
        )
    })
  },
  {
    name: "next goes by a cursor",
    law: 2,
    flaw: (store, { map }) => ({
      next: (lease, limits) =>
        Effect.map(store.next(lease, everything), (events) => {
          const after = events.filter(({ key }) => key > (map.get(lease.queue) ?? 0)).slice(0, limits.rows)
          map.set(lease.queue, after.at(-1)?.key ?? map.get(lease.queue) ?? 0)
          return after
        })
    })
  },
  {
    name: "all up to the greatest key are acknowledged",
    law: 3,
    flaw: (store) => ({
      acknowledge: (lease, keys) =>
        Effect.flatMap(store.next(lease, everything), (events) =>
          withSome(
            events.map(({ key }) => key).filter((key) => key <= Math.max(...keys)),
            (all) => store.acknowledge(lease, all)
          )
        )
    })
  },
  {
    name: "nothing is acknowledged when one is gone",
    law: 3,
    flaw: (store) => ({
      acknowledge: (lease, keys) =>
        Effect.flatMap(store.next(lease, everything), (events) =>
          keys.every((key) => events.some((event) => event.key === key)) ? store.acknowledge(lease, keys) : Effect.void
        )
    })
  },
  {
    name: "only so many are acknowledged at once",
    law: 3,
    flaw: (store) => ({
      acknowledge: (lease, keys) => withSome(keys.slice(0, 999), (part) => store.acknowledge(lease, part))
    })
  },
  {
    name: "names are the same in upper and lower case",
    law: 4,
    flaw: (store) => ({
      append: (queue, payloads, limits) => store.append(same(queue), payloads, limits),
      acquire: (queue, ttl) =>
        Effect.map(store.acquire(same(queue), ttl), (answer) =>
          answer._tag === "Acquired" ? { ...answer, lease: { ...answer.lease, queue } } : answer
        ),
      next: (lease, limits) => store.next({ ...lease, queue: same(lease.queue) }, limits),
      acknowledge: (lease, keys) => store.acknowledge({ ...lease, queue: same(lease.queue) }, keys),
      size: (queue) => store.size(same(queue))
    })
  },
  {
    name: "a batch passes the limits",
    law: 5,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        Effect.flatMap(store.append(queue, [payloads[0]], limits), (admitted) =>
          admitted && payloads.length > 1
            ? store.append(queue, payloads.slice(1) as unknown as NonEmptyReadonlyArray<Uint8Array>, undefined)
            : Effect.succeed(admitted)
        )
    })
  },
  {
    name: "a batch that is larger than the limits never enters",
    law: 5,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        limits !== undefined && payloads.length > limits.rows
          ? Effect.succeed(false)
          : store.append(queue, payloads, limits)
    })
  },
  {
    name: "dead letters take room",
    law: 5,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        Effect.flatMap(store.size(queue), ({ deadLetters }) =>
          limits !== undefined && deadLetters > 0 ? Effect.succeed(false) : store.append(queue, payloads, limits)
        )
    })
  },
  {
    name: "the limits are read before the append",
    law: 5,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        Effect.gen(function* () {
          const { rows, bytes } = yield* store.size(queue)
          yield* Effect.yieldNow
          const more = payloads.reduce((sum, { length }) => sum + length, 0)
          if (limits !== undefined && rows > 0 && (rows + payloads.length > limits.rows || bytes + more > limits.bytes))
            return false
          return yield* store.append(queue, payloads, undefined)
        })
    })
  },
  {
    name: "the size counts what was appended",
    law: 6,
    flaw: (store, { map }) => ({
      append: (queue, payloads, limits) =>
        Effect.tap(store.append(queue, payloads, limits), (admitted) =>
          Effect.sync(() => {
            const bytes = payloads.reduce((sum, { length }) => sum + length, 0)
            if (admitted) map.set(queue, (map.get(queue) ?? 0) + bytes)
          })
        ),
      size: (queue) => Effect.map(store.size(queue), (size) => ({ ...size, bytes: map.get(queue) ?? 0 }))
    })
  },
  {
    name: "the size counts no dead letters",
    law: 6,
    flaw: (store) => ({ size: (queue) => Effect.map(store.size(queue), (size) => ({ ...size, deadLetters: 0 })) })
  },
  {
    name: "a long cause is cut",
    law: 7,
    flaw: (store) => ({
      deadLetter: (lease, events) =>
        store.deadLetter(
          lease,
          mapAll(events, (one) => ({ ...one, cause: one.cause.slice(0, 1000) }))
        )
    })
  },
  {
    name: "a cause with a zero in it cannot be kept",
    law: 7,
    flaw: (store) => ({
      deadLetter: (lease, events) =>
        events.some(({ cause }) => cause.includes("\0"))
          ? Effect.fail(
              new EventStore.EventStoreError({
                store: "broken",
                operation: "deadLetter",
                problem: "Other",
                detail: "invalid byte sequence",
                maybeCommitted: false
              })
            )
          : store.deadLetter(lease, events)
    })
  },
  {
    name: "an event that is dead-lettered stays in the queue as well",
    law: 7,
    flaw: (store) => ({
      deadLetter: (lease, events) =>
        Effect.flatMap(store.next(lease, everything), (waiting) =>
          Effect.andThen(
            store.deadLetter(lease, events),
            withSome(
              waiting.filter(({ key }) => events.some((event) => event.key === key)).map(({ payload }) => payload),
              (again) => Effect.asVoid(store.append(lease.queue, again, undefined))
            )
          )
        )
    })
  },
  {
    name: "dead letters are listed by their keys",
    law: 8,
    flaw: (store) => ({
      list: (queue, { after, limit }) =>
        Effect.map(store.list(queue, { limit: 1_000_000 }), (letters) =>
          letters
            .toSorted((a, b) => a.key - b.key)
            .filter(({ key }) => key > (after?.key ?? 0))
            .slice(0, limit)
        )
    })
  },
  {
    name: "pages are numbered",
    law: 8,
    flaw: (store, { map }) => ({
      list: (queue, { after, limit }) =>
        Effect.map(store.list(queue, { limit: 1_000_000 }), (letters) => {
          const from = after === undefined ? 0 : (map.get(queue) ?? 0)
          map.set(queue, from + limit)
          return letters.slice(from, from + limit)
        })
    })
  },
  {
    name: "a page that begins after a dead letter that is gone is empty",
    law: 8,
    flaw: (store) => ({
      list: (queue, { after, limit }) =>
        Effect.map(store.list(queue, { limit: 1_000_000 }), (letters) => {
          const at = letters.findIndex(({ key }) => key === after?.key)
          return after !== undefined && at < 0 ? [] : letters.slice(at + 1, at + 1 + limit)
        })
    })
  },
  {
    name: "dead letters are replayed in the order of their keys",
    law: 9,
    flaw: (store) => ({
      replay: (queue, [...keys]) =>
        store.replay(queue, keys.toSorted((a, b) => a - b) as unknown as NonEmptyReadonlyArray<number>)
    })
  },
  {
    name: "replay answers how many it was asked for",
    law: 9,
    flaw: (store) => ({ replay: (queue, keys) => Effect.as(store.replay(queue, keys), keys.length) })
  },
  {
    name: "a replayed event begins again",
    law: 9,
    flaw: (store) => ({
      next: (lease, limits) =>
        Effect.map(store.next(lease, limits), (events) => events.map((event) => ({ ...event, attempts: 0 })))
    })
  },
  {
    name: "purge removes all",
    law: 10,
    flaw: (store) => ({
      purge: (queue, keys) =>
        Effect.flatMap(store.list(queue, { limit: 1_000_000 }), (letters) => {
          const all = some(letters.map(({ key }) => key))
          return all === undefined ? Effect.succeed(0) : Effect.as(store.purge(queue, all), new Set(keys).size - 2)
        })
    })
  },
  {
    name: "two have the lease",
    law: 11,
    flaw: (store, { map }) => ({
      acquire: (queue, ttl) =>
        Effect.map(store.acquire(queue, ttl), (answer) => {
          if (answer._tag === "Acquired") map.set(queue, answer.lease.epoch)
          return { _tag: "Acquired", lease: { queue, epoch: map.get(queue) ?? 0 } }
        })
    })
  },
  {
    name: "the lease is read before it is taken",
    law: 11,
    flaw: (store, { map }) => ({
      acquire: (queue, ttl) =>
        Effect.gen(function* () {
          const last = map.get(queue)
          yield* Effect.yieldNow
          const answer = yield* store.acquire(queue, ttl)
          if (answer._tag === "Held" && map.get(queue) !== last)
            return { _tag: "Acquired", lease: { queue, epoch: map.get(queue) ?? 0 } } as const
          if (answer._tag === "Acquired") map.set(queue, answer.lease.epoch)
          return answer
        })
    })
  },
  {
    name: "a held lease has all of its time",
    law: 11,
    flaw: (store) => ({
      acquire: (queue, ttl) =>
        Effect.map(store.acquire(queue, ttl), (answer) =>
          answer._tag === "Held" ? { ...answer, remaining: 3_600_000 } : answer
        )
    })
  },
  {
    name: "a lease never runs out",
    law: 12,
    flaw: (store) => ({ acquire: (queue) => store.acquire(queue, Duration.days(1)) })
  },
  {
    name: "renewing does not make it longer",
    law: 12,
    flaw: (store) => ({ renew: (lease) => Effect.asVoid(store.next(lease, { rows: 1, bytes: 1 })) })
  },
  {
    name: "a lease that has run out is lost",
    law: 12,
    flaw: (store, { map }) => {
      const note = (queue: string, ttl: Duration.Duration) =>
        Effect.map(Clock.currentTimeMillis, (now) => map.set(queue, now + Duration.toMillis(ttl)))
      return {
        acquire: (queue, ttl) =>
          Effect.tap(store.acquire(queue, ttl), ({ _tag }) => (_tag === "Acquired" ? note(queue, ttl) : Effect.void)),
        renew: (lease, ttl) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) =>
            now > (map.get(lease.queue) ?? 0)
              ? Effect.fail(new EventStore.LeaseLost(lease))
              : Effect.andThen(store.renew(lease, ttl), Effect.asVoid(note(lease.queue, ttl)))
          )
      }
    }
  },
  {
    name: "a lost lease may acknowledge",
    law: 13,
    flaw: (store, { map }) => ({
      acquire: noting(store, map),
      acknowledge: (lease, keys) => store.acknowledge({ ...lease, epoch: map.get(lease.queue) ?? 0 }, keys)
    })
  },
  {
    name: "a lost lease is given events",
    law: 13,
    flaw: (store, { map }) => ({
      acquire: noting(store, map),
      next: (lease, limits) => store.next({ ...lease, epoch: map.get(lease.queue) ?? 0 }, limits)
    })
  },
  {
    name: "a lost lease may dead-letter",
    law: 13,
    flaw: (store, { map }) => ({
      acquire: noting(store, map),
      deadLetter: (lease, events) => store.deadLetter({ ...lease, epoch: map.get(lease.queue) ?? 0 }, events)
    })
  },
  {
    name: "a lost lease releases that of the next owner",
    law: 13,
    flaw: (store, { map }) => ({
      acquire: noting(store, map),
      release: (lease) => store.release({ ...lease, epoch: map.get(lease.queue) ?? 0 })
    })
  },
  {
    name: "changes has no element before there is one",
    law: 14,
    flaw: (store) => ({ changes: (queue) => Stream.drop(store.changes(queue), 1) })
  },
  {
    name: "changes has the first element only",
    law: 14,
    flaw: (store) => ({
      changes: (queue) => Stream.concat(Stream.take(store.changes(queue), 1), Stream.never)
    })
  },
  {
    name: "changes has nothing of other handles",
    law: 14,
    flaw: (store, { map }) => {
      const mine = `${map.size}`
      map.set(mine, 0)
      const counting = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.suspend(() => {
          map.set("last", Number(mine))
          return effect
        })
      return {
        append: (queue, payloads, limits) => counting(store.append(queue, payloads, limits)),
        acknowledge: (lease, keys) => counting(store.acknowledge(lease, keys)),
        release: (lease) => counting(store.release(lease)),
        changes: (queue) =>
          Stream.filter(store.changes(queue), () => map.get("last") === undefined || map.get("last") === Number(mine))
      }
    }
  },
  {
    name: "a lease that is released has no change",
    law: 14,
    flaw: (store, { map }) => ({
      release: (lease) => {
        map.set(lease.queue, 1)
        return store.release(lease)
      },
      changes: (queue) =>
        Stream.filter(store.changes(queue), () => {
          const released = map.get(queue) === 1
          map.delete(queue)
          return !released
        })
    })
  },
  {
    name: "epochs begin again when the data is opened again",
    law: 15,
    flaw: (store, shared) => {
      const opened = ++shared.opened
      return {
        acquire: (queue, ttl) =>
          Effect.map(store.acquire(queue, ttl), (answer) =>
            answer._tag === "Acquired" && opened > 2 ? { ...answer, lease: { ...answer.lease, epoch: 1 } } : answer
          )
      }
    }
  },
  {
    name: "dead letters are gone when the data is opened again",
    law: 15,
    flaw: (store, shared) => {
      const opened = ++shared.opened
      return { list: (queue, page) => (opened > 1 ? Effect.succeed([]) : store.list(queue, page)) }
    }
  },
  {
    name: "appends overtake each other",
    law: 16,
    flaw: (store, { map }) => {
      const held: Array<Effect.Effect<unknown>> = []
      return {
        append: (queue, payloads, limits) =>
          Effect.suspend(() => {
            const n = (map.get(queue) ?? 0) + 1
            map.set(queue, n)
            // It is answered before it is committed, and the next one comes in between.
            if (payloads.length === 2 && n % 5 === 0 && idOf(payloads[0]).includes(":")) {
              held.push(Effect.orDie(store.append(queue, payloads, limits)))
              return Effect.succeed(true)
            }
            return Effect.tap(store.append(queue, payloads, limits), () =>
              Effect.forEach(held.splice(0), (append) => append, { discard: true })
            )
          })
      }
    }
  },
  {
    name: "of two appends at once one is lost",
    law: 16,
    flaw: (store, { map }) => ({
      append: (queue, payloads, limits) =>
        Effect.suspend(() => {
          const n = (map.get(queue) ?? 0) + 1
          map.set(queue, n)
          return Effect.andThen(
            Effect.yieldNow,
            Effect.suspend(() => {
              const alone = map.get(queue) === n
              return alone ? store.append(queue, payloads, limits) : Effect.succeed(true)
            })
          )
        })
    })
  },
  {
    name: "an append that is rolled back stays",
    law: 17,
    flaw: (store) => ({
      append: (queue, payloads, limits) =>
        Effect.provideService(store.append(queue, payloads, limits), Transaction, undefined)
    })
  },
  {
    name: "what commits late is skipped",
    law: 17,
    flaw: (store, { map }) => ({
      append: (queue, payloads, limits) =>
        Effect.suspend(() => {
          for (const payload of payloads) map.set(idOf(payload), map.size)
          return store.append(queue, payloads, limits)
        }),
      next: (lease, limits) =>
        Effect.map(store.next(lease, limits), (events) =>
          events.filter(({ payload }) => (map.get(idOf(payload)) ?? 0) >= (map.get("\ncursor") ?? 0))
        ),
      acknowledge: (lease, keys) =>
        Effect.flatMap(store.next(lease, everything), (events) => {
          const acknowledged = events.filter(({ key }) => keys.includes(key))
          if (acknowledged.some(({ payload }) => idOf(payload) === "early")) map.set("\ncursor", map.get("early") ?? 0)
          return store.acknowledge(lease, keys)
        })
    })
  },
  {
    name: "no append is in a transaction",
    law: 17,
    flaw: () => ({ inTransaction: Effect.succeed(false) })
  }
]
