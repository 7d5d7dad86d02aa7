/** The deliveries of a process to an exchange that it serves whole, as one node: those of its slots, and of the slots before them. */
import { endAccount, type LastError, makeAccount, makeNode } from "../../internal/node.ts"
import type { DurableAccount } from "./durableAccount.ts"

/** A subscription that the process serves, from its claim on. */
interface Served {
  readonly account: DurableAccount
  readonly oldestAge: (now: number) => number | undefined
}

export const makeDeliveries = (
  { exchange, nodeKind }: { readonly exchange: string; readonly nodeKind: string },
  slots: ReadonlyMap<unknown, Served>
) => {
  const account = makeAccount()
  const before = { ...none }
  let newest: LastError | undefined
  const add = (to: typeof before, { account }: Served) => {
    const { counts } = account
    for (const key of keys) to[key] += counts[key]
    to.attempts += account.attempts()
    const { lastError } = counts
    if (lastError === undefined) return
    to.errors += lastError.count
    if (newest === undefined || lastError.at >= newest.at) newest = lastError
  }
  const sumOf = () => {
    const sum = { ...before }
    for (const slot of slots.values()) add(sum, slot)
    return sum
  }
  const node = makeNode({
    kind: nodeKind,
    name: exchange,
    account,
    filters: true,
    hasDeadLetters: true,
    isTimed: true,
    attempts: () => sumOf().attempts,
    oldestAge: (now) => {
      let oldest: number | undefined
      for (const slot of slots.values()) oldest = Math.max(oldest ?? 0, slot.oldestAge(now) ?? 0)
      return oldest
    },
    update: () => {
      const { attempts: _, errors, ...sum } = sumOf()
      let stored = 0
      account.inFlight = 0
      for (const { account: of } of slots.values()) {
        of.update()
        stored += of.stored()
        account.inFlight += of.counts.inFlight
      }
      Object.assign(account, sum)
      account.accepted = stored + sum.delivered + sum.filtered + sum.dropped + sum.deadLettered
      account.lastError = newest && { ...newest, count: errors }
    }
  })
  return {
    node,
    watch: account.watch,
    /** Its slot is over, and what it has delivered stays counted. */
    ended: (slot: Served) => add(before, slot),
    close: () => endAccount(account)
  }
}

// internals

const counted = { delivered: 0, filtered: 0, dropped: 0, deadLettered: 0 }
const none = { ...counted, attempts: 0, errors: 0 }
// The keys are those of the literal above.
const keys = Object.keys(counted) as ReadonlyArray<keyof typeof counted>
