/** The operations of a memory store over its data. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type {
  Claimed,
  Lease,
  Millis,
  NewEvent,
  Operations,
  Owner,
  Position,
  Subscription,
  SubscriptionId,
  Which
} from "../../EventStore.ts"
import type { Event } from "./chain.ts"
import * as Entry from "./entry.ts"
import { statusOf } from "./statusOf.ts"

export interface Memory {
  /** A lease that is given back goes to the end, so that a claim begins with those that have waited for longest. */
  readonly entries: Map<SubscriptionId, Entry.Entry>
  readonly exchanges: Map<string, Exchange>
  readonly owners: Map<number, Life>
  readonly changed: PubSub.PubSub<void>
  position: Position
  /** The last id of a subscription or an owner. */
  id: number
}

interface Exchange {
  readonly retention: Millis
  readonly deduplication: Millis
  readonly outcomes: Millis
  /** The events that are retained. */
  readonly kept: Array<Retained>
  /** The ids of each tenant that are kept. */
  readonly ids: Map<string, Identified>
}

interface Identified {
  readonly position: Position
  readonly expiresAt: Millis
}

interface Retained {
  readonly position: Position
  readonly tenant: string
  readonly event: Event
}

interface Life {
  readonly name: string
  readonly renewedAt: Millis
  readonly expiresAt: Millis
}

export const makeMemory: Effect.Effect<Memory> = Effect.gen(function* () {
  // Listening begins with an element, and several changes are one.
  const changed = yield* PubSub.sliding<void>({ capacity: 1, replay: 1 })
  yield* PubSub.publish(changed, undefined)
  return { entries: new Map(), exchanges: new Map(), owners: new Map(), changed, position: 0, id: 0 }
})

export const operations = (memory: Memory): Operations => {
  const { changed, entries, exchanges, owners } = memory

  const at = <A>(f: (now: Millis) => A): Effect.Effect<A> => Effect.map(Clock.currentTimeMillis, f)
  /** Notifies the listeners after a change. */
  const changing = <A>(f: (now: Millis) => A): Effect.Effect<A> =>
    Effect.tap(at(f), () => Effect.sync(() => PubSub.publishUnsafe(changed, undefined)))
  const on = <A>(subscription: SubscriptionId, none: A, f: (entry: Entry.Entry) => A): A => {
    const entry = entries.get(subscription)
    return entry === undefined ? none : f(entry)
  }

  const exchangeOf = (name: string): Exchange => exchanges.get(name) ?? nothingKept()
  const find = ({ exchange, ids, name, tenant }: Partial<Which>): ReadonlyArray<Entry.Entry> =>
    [...entries.values()].filter(
      ({ subscription }) =>
        (ids === undefined || ids.includes(subscription.id)) &&
        (exchange === undefined || subscription.exchange === exchange) &&
        (tenant === undefined || subscription.tenant === tenant) &&
        (name === undefined || subscription.name === name)
    )
  /** The name of an owner, while it lives. */
  const nameOf = (owner: number | undefined, now: Millis) => {
    const life = owner === undefined ? undefined : owners.get(owner)
    return life === undefined || isOver(life, now) ? undefined : life.name
  }
  const keepsOutcomes = ({ subscription }: Entry.Entry) => exchangeOf(subscription.exchange).outcomes > 0
  const isHeld = ({ epoch, owner }: Entry.Entry, by: Owner, lease: Lease) => owner === by.id && epoch === lease.epoch

  const free = (entry: Entry.Entry): void => {
    Entry.free(entry)
    entries.delete(entry.subscription.id)
    entries.set(entry.subscription.id, entry)
  }
  const end = (owner: number): void => {
    owners.delete(owner)
    for (const entry of entries.values()) if (entry.owner === owner) free(entry)
  }

  return {
    open: (name, keeping = {}) =>
      Effect.sync(() => {
        const before = exchangeOf(name)
        const of = (what: "retention" | "deduplication" | "outcomes") =>
          keeping[what] === undefined ? before[what] : Duration.toMillis(keeping[what])
        const times = { retention: of("retention"), deduplication: of("deduplication"), outcomes: of("outcomes") }
        exchanges.set(name, { ...before, ...times })
      }),

    define: (exchange, definitions) =>
      changing((now) =>
        definitions.flatMap(({ data: given, name, replaces, start, tenant = "", topics: [...topics] }) => {
          const data = given === undefined ? undefined : Entry.copy(given)
          const [found] = find({ exchange, tenant, name })
          if (replaces !== undefined && !Entry.isOfData(found, replaces)) return []
          if (found !== undefined) {
            Entry.redefine(found, { ...found.subscription, topics, data })
            return [found.subscription]
          }
          const id = ++memory.id
          const state = { state: "active", reason: undefined, since: now } as const
          const entry = Entry.makeEntry({ id, exchange, tenant, name, topics, data, ...state })
          entries.set(id, entry)
          for (const { event, position, tenant } of start === "oldest" ? keptAt(exchangeOf(exchange), now) : [])
            if (Entry.isMatch(entry.subscription, { tenant, topic: event.topic }))
              Entry.deliver(entry, { position, of: position, event, attempts: 0, firstFailedAt: undefined })
          return [entry.subscription]
        })
      ),

    publish: (exchange, events, limits) =>
      Effect.tap(
        at((now) => {
          const all = find({ exchange })
          const { deduplication, ids, kept, retention } = exchangeOf(exchange)
          /** The ids of this publish. */
          const given = new Set<string>()
          const stored = events.map((one) => {
            const { contentType, payload, tenant = "", topic = "", trace } = one
            const dueAt = dueAtOf(one, now)
            const matching = all.filter(({ subscription }) => Entry.isMatch(subscription, { tenant, topic }))
            const isRetained = retention > 0 && dueAt === undefined
            const key = one.id === undefined || deduplication === 0 ? undefined : keyOf(tenant, one.id)
            const isDuplicate = key !== undefined && (given.has(key) || (ids.get(key)?.expiresAt ?? now) > now)
            // The id of an event that is stored nowhere is not kept.
            if (key !== undefined && (matching.length > 0 || isRetained)) given.add(key)
            const event = { payload: Entry.copy(payload), topic, contentType, trace, writtenAt: now }
            return { tenant, key, dueAt, isRetained, isDuplicate, matching, event }
          })
          const isFull = (entry: Entry.Entry): boolean => {
            if (limits === undefined || entry.pending === 0) return false
            const more = stored.filter(({ isDuplicate, matching }) => !isDuplicate && matching.includes(entry))
            const bytes = more.reduce((sum, { event }) => sum + event.payload.length, entry.bytes)
            return more.length > 0 && (entry.pending + more.length > limits.rows || bytes > limits.bytes)
          }
          if (all.some(isFull)) return undefined
          return stored.map(({ dueAt, event, isDuplicate, isRetained, key, matching, tenant }) => {
            const before = key === undefined ? undefined : ids.get(key)
            if (isDuplicate && before !== undefined) return { position: before.position, matched: 0, isDuplicate }
            const position = ++memory.position
            if (key !== undefined && given.has(key)) ids.set(key, { position, expiresAt: now + deduplication })
            for (const entry of matching)
              Entry.deliver(entry, { position, of: position, event, attempts: 0, firstFailedAt: undefined }, dueAt)
            if (isRetained) kept.push({ position, tenant, event })
            return { position, matched: matching.length, isDuplicate: false }
          })
        }),
        // A writer that is refused waits for a change of another.
        (published) => Effect.sync(() => published !== undefined && PubSub.publishUnsafe(changed, undefined))
      ),

    inTransaction: Effect.succeed(false),

    setState: (which, state, reason, from) =>
      changing((now) => {
        const found = find(which).filter(({ subscription }) => from === undefined || from.includes(subscription.state))
        for (const entry of found) {
          const since = entry.subscription.state === state ? entry.subscription.since : now
          entry.subscription = { ...entry.subscription, state, reason, since }
          entry.wait = undefined
          entry.failingSince = undefined
          if (entry.owner === undefined) Entry.free(entry)
          else Entry.wake(entry)
        }
        return found.length
      }),

    drop: (which) =>
      changing(() => {
        const found = find(which)
        for (const { subscription } of found) entries.delete(subscription.id)
        return found.reduce((sum, { pending }) => sum + pending, 0)
      }),

    list: ({ after, limit, ...which }) =>
      Effect.sync(() =>
        find(which)
          .map(({ subscription }) => subscription)
          .filter((one) => after === undefined || inOrder(one, after) > 0)
          .toSorted(inOrder)
          .slice(0, limit)
      ),

    figures: (subscription) =>
      at((now) =>
        on(subscription, undefined, ({ bytes, deadLetters, owner, pending }) => ({
          pending,
          bytes,
          deadLetters: deadLetters.length,
          owner: nameOf(owner, now)
        }))
      ),

    overview: (which) =>
      at((now) =>
        find(which)
          .map((entry) => Entry.overview(entry, nameOf(entry.owner, now), now))
          .toSorted((one, other) => compare(one.exchange, other.exchange) || inOrder(one, other))
      ),

    status: (exchange, event) =>
      at((now) => {
        const { ids } = exchangeOf(exchange)
        const found = typeof event === "number" ? undefined : ids.get(keyOf(event.tenant ?? "", event.id))
        const position = typeof event === "number" ? event : found && found.expiresAt > now ? found.position : undefined
        return position === undefined ? undefined : statusOf(find({ exchange }), position, now)
      }),

    discard: (subscription, limit) =>
      changing((now) => on(subscription, 0, (entry) => Entry.discard(entry, limit, now, keepsOutcomes(entry)))),

    bounds: (subscriptions) =>
      at((now) => subscriptions.flatMap((subscription) => on(subscription, [], (entry) => Entry.bounds(entry, now)))),

    renew: (owner, ttl) =>
      at((now) => {
        const id = "id" in owner && owners.has(owner.id) ? owner.id : ++memory.id
        const life = { name: owner.name, renewedAt: now, expiresAt: now + Duration.toMillis(ttl) }
        owners.set(id, life)
        return { id, name: owner.name }
      }),

    claim: (owner, which, limit) =>
      at((now) => {
        for (const [id, life] of owners) if (id !== owner.id && isOver(life, now)) end(id)
        const ids = "exchange" in which ? find(which).map(({ subscription }) => subscription.id) : which
        const given = new Set(owners.has(owner.id) ? ids : [])
        const acquired: Array<Claimed> = []
        const woken: Array<SubscriptionId> = []
        const inactive: Array<SubscriptionId> = []
        let next = Number.POSITIVE_INFINITY
        for (const entry of entries.values()) {
          Entry.bringDue(entry, now, () => ++memory.position)
          const { id: subscription, state } = entry.subscription
          next = Math.min(next, (entry.scheduled[0]?.dueAt ?? Number.POSITIVE_INFINITY) - now)
          const isOwn = entry.owner === owner.id
          if (isOwn && state !== "active") inactive.push(subscription)
          if (state !== "active" || !(isOwn || given.has(subscription))) continue
          if (!isOwn && entry.owner !== undefined) {
            next = Math.min(next, (owners.get(entry.owner)?.expiresAt ?? now) - now)
            continue
          }
          if (isOwn ? Entry.isNew(entry, now) : Entry.dueAt(entry) <= now) {
            if (isOwn) woken.push(subscription)
            else if (acquired.length >= limit) continue
            else acquired.push(Entry.acquire(entry, owner.id))
            Entry.mark(entry, now)
          }
          next = Math.min(next, Entry.dueAt(entry) - now)
        }
        return { acquired, woken, inactive, wait: Number.isFinite(next) ? next : undefined }
      }),

    take: (owner, wanted) =>
      at((now) =>
        wanted.flatMap((one) =>
          on(one.subscription, [], (entry) =>
            isHeld(entry, owner, one) && entry.subscription.state === "active"
              ? [{ subscription: one.subscription, ...Entry.take(entry, one, now) }]
              : []
          )
        )
      ),

    settle: (owner, settlements) =>
      changing((now) =>
        settlements.flatMap(({ lease, ...settlement }) =>
          on(lease.subscription, [lease.subscription], (entry) => {
            if (!isHeld(entry, owner, lease)) return [lease.subscription]
            Entry.settle(entry, settlement, now, keepsOutcomes(entry))
            return []
          })
        )
      ),

    release: (owner, leases) =>
      changing(() => {
        if (leases === "all") return end(owner.id)
        for (const lease of leases)
          on(lease.subscription, undefined, (entry) => (isHeld(entry, owner, lease) ? free(entry) : undefined))
      }),

    countDeadLetters: (subscription, filter) =>
      Effect.sync(() =>
        on(subscription, 0, ({ deadLetters }) =>
          deadLetters.reduce((count, { letter }) => (Entry.isSelected(letter, filter) ? count + 1 : count), 0)
        )
      ),

    deadLetters: (subscription, page) => Effect.sync(() => on(subscription, [], (entry) => Entry.page(entry, page))),

    replay: (subscription, positions) =>
      changing(() =>
        on(subscription, 0, (entry) => {
          const replayed = Entry.removeDeadLetters(entry, positions)
          for (const one of replayed) Entry.deliverAgain(entry, one, ++memory.position)
          return replayed.length
        })
      ),

    resend: (subscription, positions) =>
      changing((now) =>
        on(subscription, 0, (entry) => {
          const { exchange, tenant } = entry.subscription
          let count = 0
          for (const of of new Set(positions)) {
            const dead = Entry.removeDeadLettersOf(entry, of)
            for (const one of dead) Entry.deliverAgain(entry, one, ++memory.position)
            const kept = keptAt(exchangeOf(exchange), now).find((one) => one.position === of && one.tenant === tenant)
            count += dead.length
            if (dead.length > 0 || kept === undefined) continue
            count++
            const position = ++memory.position
            Entry.deliver(entry, { position, of, event: kept.event, attempts: 0, firstFailedAt: undefined })
          }
          return count
        })
      ),

    attempts: (subscription, page) => Effect.sync(() => on(subscription, [], ({ outcomes }) => outcomes.page(page))),

    purge: (subscription, positions) =>
      at((now) =>
        on(subscription, 0, (entry) => {
          const purged = Entry.removeDeadLetters(entry, positions)
          if (keepsOutcomes(entry))
            for (const { letter, of } of purged) entry.outcomes.ended(of, { _tag: "Purged", at: now }, letter)
          return purged.length
        })
      ),

    sweep: at((now) => {
      for (const [name, exchange] of exchanges) {
        exchanges.set(name, { ...exchange, kept: keptAt(exchange, now) })
        for (const [id, { expiresAt }] of exchange.ids) if (expiresAt <= now) exchange.ids.delete(id)
        for (const { outcomes } of find({ exchange: name })) outcomes.sweep(now - exchange.outcomes)
      }
      return false
    }),

    changes: Stream.fromPubSub(changed)
  }
}

// internals

const nothingKept = (): Exchange => ({ retention: 0, deduplication: 0, outcomes: 0, kept: [], ids: new Map() })

const keyOf = (tenant: string, id: string): string => JSON.stringify([tenant, id])

/** Nothing for what is due at once. */
const dueAtOf = ({ due }: NewEvent, now: Millis): Millis | undefined => {
  const dueAt = due === undefined ? now : "at" in due ? due.at : now + Duration.toMillis(due.after)
  return dueAt > now ? dueAt : undefined
}

const keptAt = ({ kept, retention }: Exchange, now: Millis): Array<Retained> =>
  kept.filter(({ event }) => event.writtenAt + retention > now)

/** Whether an owner's time is over, also when the clock was set back by more than that since its last renewal. */
const isOver = ({ expiresAt, renewedAt }: Life, now: Millis): boolean =>
  now >= expiresAt || renewedAt - now > expiresAt - renewedAt

const compare = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0)

type Named = Pick<Subscription, "tenant" | "name">
const inOrder = (one: Named, other: Named): number => compare(one.tenant, other.tenant) || compare(one.name, other.name)
