/** Settles the deliveries of leases. */
import * as Effect from "effect/Effect"
import type { Attempt, Operations, Owner, Settled, Settlement, SubscriptionId } from "../../EventStore.ts"
import type { CountedCapacity } from "./countedCapacity.ts"
import type { Horizon } from "./horizon.ts"
import type { Parts } from "./parts.ts"
import { array, causeOf, milliseconds, type Numeric, textArray } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"
import { mostAttempts, settleStatements } from "./settleStatements.ts"

/** How many characters are kept of what an attempt tells. */
const mostDetail = 1_000

const whats = { Acknowledged: "ack", DeadLettered: "dead", Again: "again", Aside: "aside" } as const

const isRemoved = ({ _tag }: Settled) => _tag === "Acknowledged" || _tag === "DeadLettered"

const isDropped = (settled: Settled): boolean => settled._tag === "Acknowledged" && settled.isDropped === true

/** The parameters of a report, beside its subscription. */
const reportOf = (settled: Settled) => ({
  what: isDropped(settled) ? "drop" : whats[settled._tag],
  lane: settled.lane,
  delay: settled._tag === "Again" ? milliseconds(settled.delay) : undefined,
  attempts: "attempts" in settled ? settled.attempts : undefined,
  reason: settled._tag === "DeadLettered" ? settled.reason : "",
  cause: settled._tag === "DeadLettered" ? causeOf(settled.cause) : ""
})

/** The parameters of the last attempts of each delivery. */
const attemptsOf = (settlements: ReadonlyArray<Settlement>): ReadonlyArray<string> => {
  const all = new Map<string, Array<Attempt & { readonly subscription: SubscriptionId }>>()
  for (const { attempts = [], lease } of settlements) {
    for (const attempt of attempts) {
      const key = `${lease.subscription} ${attempt.position}`
      const before = all.get(key) ?? []
      all.set(key, [...before.slice(1 - mostAttempts), { ...attempt, subscription: lease.subscription }])
    }
  }
  const last = [...all.values()].flat()
  return [
    array(last.map(({ subscription }) => subscription)),
    array(last.map(({ position }) => position)),
    array(last.map(({ at }) => at)),
    array(last.map(({ took }) => took)),
    textArray(last.map(({ error }) => (error === undefined ? undefined : causeOf(error)))),
    textArray(last.map(({ detail }) => detail?.slice(0, mostDetail).replaceAll("\0", "\uFFFD")))
  ]
}

interface HeldRow {
  readonly keeps: boolean
  readonly same: boolean
  readonly subscription: Numeric
  readonly rows: Numeric | null
  readonly bytes: Numeric | null
}

export interface SettlingSettings {
  readonly horizon: Horizon
  readonly capacities: ReadonlyMap<string, CountedCapacity>
  /** A lease turned out to be lost. */
  readonly lost: (subscription: SubscriptionId) => void
  /** This process may have something to do that no other is notified of: what it set aside comes due. */
  readonly changed: Effect.Effect<void>
}

export const settling = (run: Runner, parts: Parts, settings: SettlingSettings): Operations["settle"] => {
  const texts = { plain: settleStatements(parts, false), keeping: settleStatements(parts, true) }
  /** The subscriptions of which outcomes are kept, by the answers to settlements. */
  const keeping = new Set<SubscriptionId>()
  const counted = (subscription: SubscriptionId) =>
    Array.from(settings.capacities.values()).filter((capacity) => capacity.has(subscription))

  const rowsOf = (owner: Owner, settlements: ReadonlyArray<Settlement>) => {
    // One after the other: what is removed is gone for those that come later.
    const given = new Map<string, { readonly subscription: SubscriptionId; readonly settled: Settled }>()
    for (const { lease, settled } of settlements) {
      for (const one of settled) {
        const key = `${lease.subscription} ${one.position}`
        const before = given.get(key)?.settled
        if (before === undefined || (!isRemoved(before) && one._tag !== "Aside")) {
          given.set(key, { subscription: lease.subscription, settled: one })
        }
      }
    }
    const all = [...given.values()]
    const keeps = settlements.some(({ lease }) => keeping.has(lease.subscription))
    const text = keeps ? texts.keeping : texts.plain
    const attempts = keeps ? attemptsOf(settlements) : []
    const waits = settlements.flatMap(({ lease, wait }) => (wait === undefined ? [] : [{ ...lease, ...wait }]))
    const params = [
      owner.id,
      array(settlements.map(({ lease }) => lease.subscription)),
      array(settlements.map(({ lease }) => lease.epoch)),
      array(all.map(({ subscription }) => subscription)),
      array(all.map(({ settled }) => settled.position)),
      settlements.some(({ lease }) => counted(lease.subscription).length > 0)
    ]
    const changed = (to: boolean) =>
      settlements.flatMap(({ isFailing, lease }) => (isFailing === to ? lease.subscription : []))
    const [failing, answering] = [changed(true), changed(false)]
    if (
      waits.length + failing.length + answering.length === 0 &&
      all.every(({ settled }) => settled._tag === "Acknowledged" && settled.lane === undefined)
    ) {
      const more = keeps ? [array(all.map(({ settled }) => isDropped(settled))), ...attempts] : []
      return run.prepared<HeldRow>("settle", text.acknowledge, [...params, ...more])
    }
    const each = all.map(({ settled }) => reportOf(settled))
    const rows = run.prepared<HeldRow>("settle", text.settle, [
      ...params,
      textArray(each.map(({ what }) => what)),
      array(each.map(({ lane }) => lane)),
      array(each.map(({ delay }) => delay)),
      array(each.map(({ attempts }) => attempts)),
      textArray(each.map(({ reason }) => reason)),
      textArray(each.map(({ cause }) => cause)),
      array(waits.map(({ subscription }) => subscription)),
      array(waits.map(({ delay }) => milliseconds(delay))),
      array(waits.map(({ attempts }) => attempts)),
      textArray(waits.map(({ reason }) => (reason === undefined ? undefined : causeOf(reason)))),
      array(waits.map(({ position }) => position)),
      array(failing),
      array(answering),
      ...attempts
    ])
    return Effect.tap(rows, settings.changed)
  }

  return Effect.fnUntraced(function* (owner, settlements) {
    const lost: Array<SubscriptionId> = []
    let rest: ReadonlyArray<Settlement> = joined(settlements)
    while (rest.length > 0) {
      const held = new Map<SubscriptionId, boolean>()
      for (const { bytes, keeps, rows, same, subscription } of yield* rowsOf(owner, rest)) {
        const sum = { rows: Number(rows ?? 0), bytes: Number(bytes ?? 0) }
        held.set(Number(subscription), same)
        if (keeps) keeping.add(Number(subscription))
        else keeping.delete(Number(subscription))
        settings.horizon.removed(sum.rows)
        for (const capacity of counted(Number(subscription))) capacity.removed(Number(subscription), sum)
      }
      for (const { lease } of rest) if (!held.has(lease.subscription)) lost.push(lease.subscription)
      rest = rest.filter(({ lease }) => held.get(lease.subscription) === false)
    }
    for (const subscription of lost) {
      keeping.delete(subscription)
      settings.lost(subscription)
    }
    return lost
  })
}

/** One settlement of each lease: a row can be changed once in a statement. */
const joined = (settlements: ReadonlyArray<Settlement>): ReadonlyArray<Settlement> => {
  const leases = new Map<string, Settlement>()
  for (const one of settlements) {
    const key = `${one.lease.subscription} ${one.lease.epoch}`
    const before = leases.get(key)
    const settled = [...(before?.settled ?? []), ...one.settled]
    const attempts = [...(before?.attempts ?? []), ...(one.attempts ?? [])]
    leases.set(key, {
      lease: one.lease,
      settled,
      wait: one.wait ?? before?.wait,
      isFailing: one.isFailing ?? before?.isFailing,
      attempts
    })
  }
  return [...leases.values()]
}
