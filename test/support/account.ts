/**
 * The account of a part that holds events: a queue, one subscription of a broadcaster, a channel. `violations` compares
 * what the probes saw with what the part reported, event by event, and with what the part counted.
 */
import type { Dropped, EventSink } from "effect-events"
import type { Edge, Event } from "./ledger.ts"

export interface Report {
  readonly dropped: Dropped.Dropped<Event, unknown>
  /** When the report was begun. */
  readonly at: number
}

/** A call of `shutdown` or `remove`: its list is there when it returned one. */
export interface Call {
  readonly begin: number
  end: number
  left: ReadonlyArray<Dropped.Undelivered<Event>> | undefined
}

/** A line that the part wrote to the log. */
export interface Line {
  /** Kind and name of the part. */
  readonly by: string
  readonly text: string
}

export class Account {
  readonly reports: Array<Report> = []
  readonly calls: Array<Call> = []
  readonly flushes: Array<Call> = []
  /** From when on and until when a write is surely, and possibly, on this account. */
  since: readonly [possibly: number, surely: number] = [0, 0]
  until: readonly [surely: number, possibly: number] = [Infinity, Infinity]
  /** It may be evicted at any write. */
  evictable = false
  /** How many writes may be under way, and how many keys there are: one write of a key at a time. */
  partitions: { readonly concurrency: number; readonly keys: number } | undefined = undefined
  timeOf: (tick: number) => number = () => 0
  /** What a channel's reader got; other parts deliver over an edge. */
  reads: Array<{ readonly event: Event; readonly at: number }> | undefined = undefined

  readonly by: string
  readonly label: string
  readonly node: EventSink.SinkNode
  readonly inbound: ReadonlyArray<Edge>
  readonly below: Edge | undefined
  /** There is an `onDropped`. */
  readonly taker: boolean

  constructor(
    node: EventSink.SinkNode,
    label: string,
    inbound: ReadonlyArray<Edge>,
    below: Edge | undefined,
    taker: boolean
  ) {
    this.node = node
    this.by = `${node.kind} ${node.name}`
    this.label = label
    this.inbound = inbound
    this.below = below
    this.taker = taker
  }

  /** What a call returned, if one did. */
  get returned(): ReadonlyArray<Dropped.Undelivered<Event>> | undefined {
    return this.calls.find(({ left }) => left !== undefined)?.left
  }

  /** Every event that was reported or returned as dropped or undelivered. */
  get notDelivered(): ReadonlySet<number> {
    return new Set([
      ...this.reports.map(({ dropped }) => dropped.event.n),
      ...(this.returned ?? []).map(({ event }) => event.n)
    ])
  }

  /** Events that a receiver may have got although they were reported or returned. */
  get inFlight(): ReadonlyArray<number> {
    const reported = this.reports.flatMap(({ dropped: { event, reason } }) =>
      "inFlight" in reason && reason.inFlight ? [event.n] : []
    )
    return [...reported, ...(this.returned ?? []).filter(({ inFlight }) => inFlight).map(({ event }) => event.n)]
  }

  /** The events that were surely accepted, those that possibly were, and the batches that were so whole or not at all. */
  accepted() {
    const surely = new Set<number>()
    const possibly = new Set<number>()
    const batches: Array<ReadonlyArray<number>> = []
    const attempts = this.inbound.flatMap((edge) => edge.attempts)
    const closed = this.below?.attempts.find(({ begin, outcome }) => outcome === "closed" && begin > this.since[1])
    let until = Math.min(this.until[0], closed?.end ?? Infinity)
    if (this.evictable) {
      // What was accepted is a leading part: up to the last event that there is any trace of.
      const traced = new Set([...this.notDelivered, ...(this.below?.committed ?? []).map(({ event }) => event.n)])
      const last = attempts.filter(
        ({ begin, events }) => begin < this.until[1] && events.some(({ n }) => traced.has(n))
      )
      until = Math.min(until, Math.max(0, ...last.map(({ begin }) => begin)))
    }
    for (const { begin, committed, end, events, outcome } of attempts) {
      if (end < this.since[0] || begin > this.until[1]) continue
      const sure = outcome === "committed" && begin > this.since[1] && end < until
      const some = outcome === "committed" ? events.slice(0, committed) : events
      if (outcome !== "committed" && outcome !== "interrupted" && outcome !== "running") continue
      for (const { n } of some) {
        possibly.add(n)
        if (sure) surely.add(n)
      }
      if (!sure) batches.push(some.map(({ n }) => n))
    }
    return { surely, possibly, batches }
  }

  /** How many events it counts as dropped or undelivered that it neither reported nor returned. */
  get anonymous(): number {
    const { dropped, undelivered } = this.counts
    return dropped + undelivered - this.notDelivered.size
  }

  get counts(): EventSink.SinkCounts {
    return this.node.health(0).counts
  }

  violations(): ReadonlyArray<string> {
    const found: Array<string> = []
    const check = (holds: boolean, what: string) => {
      if (!holds) found.push(`${this.label}: ${what}`)
    }
    const { accepted, delivered, dropped, undelivered } = this.counts
    const { batches, possibly, surely } = this.accepted()
    const { anonymous, notDelivered } = this
    const inFlight = new Set(this.inFlight)
    const window = ({ event }: { readonly event: Event }) => possibly.has(event.n)

    // By its own counts.
    check(accepted === delivered + dropped + undelivered, `counts do not balance: ${JSON.stringify(this.counts)}`)
    check(accepted >= surely.size, `counts ${accepted} accepted of ${surely.size} writes that succeeded`)
    check(accepted <= possibly.size, `counts ${accepted} accepted of ${possibly.size} that were written`)

    // No event twice.
    const committed = (this.reads ?? this.below?.committed ?? []).filter(
      (one) => this.reads !== undefined || window(one)
    )
    const repeated = twice(committed.map(({ event }) => event.n))
    check(repeated.length === 0, `delivered again after it was acknowledged: ${repeated}`)
    const dropReports = this.reports.filter(({ dropped }) => !isLeft(dropped))
    const leftReports = this.reports.filter(({ dropped }) => isLeft(dropped))
    const reportedTwice = twice(this.reports.map(({ dropped }) => dropped.event.n))
    check(reportedTwice.length === 0, `reported twice: ${reportedTwice}`)

    // One list, and one way for it.
    const { returned } = this
    for (const { left } of this.calls) {
      if (left === undefined || returned === undefined) continue
      check(
        same(numbers(left), numbers(returned)),
        `one close returned two lists: ${numbers(left)} and ${numbers(returned)}`
      )
    }
    if (returned !== undefined) {
      const dropped = dropReports.map(({ dropped }) => dropped.event.n)
      check(
        numbers(returned).every((n) => !dropped.includes(n)),
        `returned what it had reported as dropped: ${dropped}`
      )
      check(twice(numbers(returned)).length === 0, `returned twice: ${twice(numbers(returned))}`)
      const first = Math.min(...this.calls.filter(({ left }) => left !== undefined).map(({ end }) => end))
      const late = leftReports.length > 0 && leftReports.every(({ at }) => at > first)
      check(
        this.closedFromBelow || !late,
        `reported what a call had returned: ${leftReports.map(({ dropped }) => dropped.event.n)}`
      )
      check(returned.length >= undelivered, `returned ${returned.length} of ${undelivered} undelivered events`)
    }

    // Each accepted event in exactly one place.
    const arrived = new Set(committed.map(({ event }) => event.n))
    const both = [...arrived].filter((n) => notDelivered.has(n) && !inFlight.has(n))
    check(both.length === 0, `delivered and reported, and not marked in flight: ${both}`)
    const unknown = [...notDelivered].filter((n) => !possibly.has(n))
    check(unknown.length === 0, `reported what it had not accepted: ${unknown}`)
    const missing = [...surely].filter((n) => !arrived.has(n) && !notDelivered.has(n))
    check(
      missing.length <= Math.max(0, anonymous),
      `neither delivered nor reported: ${missing}, ${anonymous} of them counted`
    )
    check(anonymous >= 0, `reported ${notDelivered.size} events and counts ${dropped} + ${undelivered}`)
    const deliveries = [...arrived].filter((n) => !inFlight.has(n)).length
    check(
      this.reads !== undefined || (deliveries >= delivered && deliveries <= delivered + Math.max(0, anonymous)),
      `counts ${delivered} delivered of ${deliveries}`
    )

    // A batch is accepted whole or not at all.
    for (const batch of batches) {
      const traces = batch.filter((n) => arrived.has(n) || notDelivered.has(n)).length
      check(traces === 0 || traces + anonymous >= batch.length, `accepted a part of the batch ${batch}`)
    }

    // What is marked in flight had been handed on, and what had been handed on and not answered is marked.
    const attempts = this.below?.attempts ?? []
    for (const { event, inFlight } of [
      ...(returned ?? []),
      ...leftReports.map(({ dropped }) => ({ event: dropped.event, inFlight: isInFlight(dropped) }))
    ]) {
      const last = attempts.findLast(({ events }) => events.some(({ n }) => n === event.n))
      if (inFlight) check(last !== undefined, `marked in flight and never handed on: ${event.n}`)
      else check(last?.outcome !== "running", `with the receiver, and not marked in flight: ${event.n}`)
    }

    // A drop's reason is what happened.
    for (const {
      dropped: { event, reason }
    } of dropReports) {
      const last = attempts.findLast(({ events }) => events.some(({ n }) => n === event.n))
      const expected =
        reason._tag === "Overflow"
          ? undefined
          : reason._tag === "Failed"
            ? "failed"
            : last?.outcome === "interrupted"
              ? "interrupted"
              : "died"
      check(last?.outcome === expected, `dropped ${event.n} as ${reason._tag}, and its write had ${last?.outcome}`)
    }

    // Nothing is accepted once it closes.
    const closing = Math.min(...this.calls.map(({ begin }) => begin), this.until[1])
    const afterwards = this.inbound.flatMap((edge) =>
      edge.attempts.filter(({ begin, outcome }) => begin > closing && outcome === "committed")
    )
    check(
      this.node.kind === "Subscription" || afterwards.length === 0,
      `accepted after its close began: ${afterwards.flatMap(({ events }) => events.map(({ n }) => n))}`
    )

    for (const { begin, end, left } of this.flushes) {
      if (left === undefined) continue
      for (const write of this.inbound.flatMap((edge) => edge.attempts)) {
        if (write.outcome !== "committed" || write.end > begin) continue
        for (const { n } of write.events.slice(0, write.committed)) {
          const report = this.reports.find(({ dropped }) => dropped.event.n === n)
          if (report?.dropped.reason._tag === "Overflow" || (report !== undefined && isLeft(report.dropped))) continue
          if (returned?.some(({ event }) => event.n === n)) continue
          const last = attempts.findLast(({ events }) => events.some((event) => event.n === n))
          check(anonymous > 0 || (last !== undefined && last.end < end), `flush returned before ${n} was settled`)
        }
      }
      const due = this.timeOf(Math.max(begin, this.settledBy(begin)))
      check(this.timeOf(end) <= due, `flush returned at ${this.timeOf(end)}, and all was settled at ${due}`)
    }
    for (const what of this.crowded()) check(false, what)
    return found
  }

  /** When all was settled that may have been accepted before; never, where some of it was not just delivered. */
  private settledBy(before: number): number {
    let last = 0
    for (const { begin, events, outcome } of this.inbound.flatMap((edge) => edge.attempts)) {
      if (begin > before || outcome === "failed" || outcome === "closed" || outcome === "died") continue
      for (const { n } of events) last = Math.max(last, this.below?.committedAt(n) ?? Infinity)
    }
    return last
  }

  /** Where more writes were under way than there should be, or two of a key. */
  private crowded(): ReadonlyArray<string> {
    const { below, partitions } = this
    if (below === undefined || partitions === undefined) return []
    const found: Array<string> = []
    const keyOf = ({ n }: Event) => (partitions.keys === 0 ? n : n % partitions.keys)
    for (const { begin, events } of below.attempts) {
      const others = below.attempts.filter((other) => other.begin < begin && other.end > begin)
      if (others.length >= partitions.concurrency) found.push(`${others.length + 1} writes under way`)
      if (partitions.keys === 0) continue
      const keys = new Set(events.map(keyOf))
      if (keys.size > 1) found.push(`a batch of ${keys.size} keys: ${events.map(({ n }) => n)}`)
      const same = others.flatMap(({ events }) => events).filter((event) => keys.has(keyOf(event)))
      if (same.length > 0) found.push(`${events.map(({ n }) => n)} beside ${same.map(({ n }) => n)} of its key`)
    }
    return found
  }

  /** Its downstream answered `SinkClosed`: it closes by itself, and reports for itself. */
  private get closedFromBelow(): boolean {
    return this.below?.attempts.some(({ begin, outcome }) => outcome === "closed" && begin > this.since[1]) ?? false
  }
}

/**
 * What parts counted as dropped without an `onDropped` that took it is in the log, as a count. Parts of one name share
 * their lines.
 */
export const unlogged = (accounts: ReadonlyArray<Account>, lines: ReadonlyArray<Line>): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (const by of new Set(accounts.map((account) => account.by))) {
    const own = accounts.filter((account) => account.by === by)
    const text = lines.filter((line) => line.by === by).map((line) => line.text)
    const sum = (pattern: RegExp) =>
      text.reduce((n, line) => {
        const match = pattern.exec(line)
        return match === null ? n : n + Number(match[1] ?? 1)
      }, 0)
    const takers = own.filter(({ taker }) => taker)
    const anonymous = takers.reduce((n, account) => n + account.anonymous, 0)
    const failed = sum(/could not report an event/) + sum(/had no time to report (\d+)/)
    // A call that came after the report returned the list all the same.
    const told = own.some(({ returned }) => returned !== undefined)
    if (told ? failed < anonymous : failed !== anonymous)
      found.push(`${by}: ${anonymous} events were not taken by onDropped, and ${failed} of them logged`)
    // What was left at the close, as far as no call returned it and no `onDropped` took it.
    const left = own
      .filter(({ returned, taker }) => returned === undefined && !taker)
      .reduce((n, { counts }) => n + counts.undelivered, 0)
    const logged = sum(/closed with (\d+) undelivered/)
    if (logged < left) found.push(`${by}: ${left} events were left at the close, and ${logged} of them logged`)
    const dropped = own.filter(({ taker }) => !taker).reduce((n, { counts }) => n + counts.dropped, 0)
    if (dropped > 0 && sum(/\bdropped (?:an event|\d+ events)/) === 0)
      found.push(`${by}: ${dropped} events were dropped, and no line says so`)
  }
  return found
}

const isLeft = ({ reason }: Dropped.Dropped<Event, unknown>) =>
  reason._tag === "Undelivered" || reason._tag === "Lagged"
const isInFlight = ({ reason }: Dropped.Dropped<Event, unknown>) => "inFlight" in reason && reason.inFlight
const numbers = (left: ReadonlyArray<{ readonly event: Event }>) => left.map(({ event }) => event.n)
const same = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) =>
  a.length === b.length && a.every((n, i) => n === b[i])
export const twice = (ns: ReadonlyArray<number>) => [...new Set(ns.filter((n, i) => ns.indexOf(n) !== i))]
