/** An endpoint over a receiver that misbehaves, the events written to it, and what must hold of the two. */
import { Effect, Exit, Option, Scope } from "effect"
import { type EventSink, SinkGraph } from "effect-events"
import * as Classification from "../../../src/http/Classification.ts"
import * as Endpoint from "../../../src/http/Endpoint.ts"
import type { HttpSinkError } from "../../../src/http/HttpSinkError.ts"
import { type Note, one } from "./envelopes.ts"
import type { Unreliable } from "./unreliable.ts"

export interface Report {
  readonly id: string
  readonly inFlight: boolean
  readonly reason: string
}

/** What the events of one key have in common: `2b` of `2b-17`. */
export const keyOf = (id: string): string => id.split("-")[0]!
const nth = (id: string): number => Number(id.split("-")[1])

const firsts = (ids: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(ids)]

/** Keys whose events are not in the order of their writer. */
export const disordered = (ids: ReadonlyArray<string>): ReadonlyArray<string> => {
  const last = new Map<string, number>()
  return ids.filter((id) => {
    const before = last.get(keyOf(id)) ?? -1
    last.set(keyOf(id), nth(id))
    return nth(id) < before
  })
}

/** Waits until something holds, in real time, and answers whether it came to hold. */
export const until = (holds: () => boolean, within = 30_000): Effect.Effect<boolean> =>
  Effect.promise(async () => {
    const end = performance.now() + within
    while (!holds() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 2))
    return holds()
  })

export const open = Effect.fnUntraced(function* (
  receiver: Unreliable,
  concurrency: number,
  more: Partial<Endpoint.Options<Note>> = {}
) {
  const attempts: Array<HttpSinkError | undefined> = []
  const reports: Array<Report> = []
  const diverted: Array<string> = []
  const scope = yield* Scope.make()
  const endpoint = yield* Endpoint.make<Note>({
    name: "unreliable",
    url: receiver.url,
    envelope: one,
    timeout: "1 minute",
    delays: Endpoint.distribution.delays,
    threshold: 5,
    backoff: "20 millis",
    concurrency,
    partitionBy: ({ id }) => keyOf(id),
    classification: Classification.standardWebhooks,
    onAttempt: ({ error }) => void attempts.push(error),
    onDisabled: ({ id }) => Effect.sync(() => void diverted.push(id)),
    onDropped: ({ event: { id }, reason }) =>
      Effect.sync(
        () => void reports.push({ id, reason: reason._tag, inFlight: "inFlight" in reason && reason.inFlight })
      ),
    ...more
  }).pipe(Scope.provide(scope))
  return new Delivery(endpoint, receiver, concurrency, { attempts, reports, diverted }, Scope.close(scope, Exit.void))
})

interface Books {
  readonly attempts: ReadonlyArray<HttpSinkError | undefined>
  readonly reports: ReadonlyArray<Report>
  readonly diverted: ReadonlyArray<string>
}

export class Delivery {
  /** The ids of the events whose writes succeeded. */
  readonly accepted: Array<string> = []
  private readonly written = new Map<string, string>()
  readonly endpoint: Endpoint.Endpoint<Note>
  readonly receiver: Unreliable
  readonly concurrency: number
  readonly books: Books
  readonly close: Effect.Effect<void>

  constructor(
    endpoint: Endpoint.Endpoint<Note>,
    receiver: Unreliable,
    concurrency: number,
    books: Books,
    close: Effect.Effect<void>
  ) {
    this.endpoint = endpoint
    this.receiver = receiver
    this.concurrency = concurrency
    this.books = books
    this.close = close
  }

  get failures(): ReadonlyArray<HttpSinkError> {
    return this.books.attempts.filter((error) => error !== undefined)
  }

  /** One writer, which writes events of its two keys, in turns, and rests now and then. */
  writer(name: number, events: number, bytes = 0): Effect.Effect<void, EventSink.SinkClosed> {
    const write = (i: number) => {
      const id = `${name}${i % 2 === 0 ? "a" : "b"}-${i}`
      const text = `${id} `.padEnd(bytes, ".")
      this.written.set(text, id)
      const written = Effect.map(this.endpoint.write({ id, text }), () => void this.accepted.push(id))
      return i % 10 === 9 ? Effect.delay(written, "1 millis") : written
    }
    return Effect.forEach(
      Array.from({ length: events }, (_, i) => i),
      write,
      { discard: true }
    )
  }

  /** Three writers at once. */
  writers(each: number, bytes?: number): Effect.Effect<void, EventSink.SinkClosed> {
    return Effect.forEach([1, 2, 3], (name) => this.writer(name, each, bytes), {
      concurrency: "unbounded",
      discard: true
    })
  }

  private idsOf(bodies: ReadonlyArray<string>): ReadonlyArray<string> {
    return bodies.map((body) => this.written.get(body) ?? `never written: ${JSON.stringify(body.slice(0, 50))}`)
  }

  get taken(): ReadonlyArray<string> {
    return this.idsOf(this.receiver.taken)
  }

  get seen(): ReadonlyArray<string> {
    return this.idsOf(this.receiver.seen)
  }

  readonly flushed: Effect.Effect<boolean> = Effect.suspend(() =>
    Effect.map(Effect.timeoutOption(this.endpoint.flush, "40 seconds"), Option.isSome)
  )

  readonly counts: Effect.Effect<EventSink.SinkCounts & { readonly pending: number }> = Effect.suspend(() =>
    Effect.map(SinkGraph.health(this.endpoint), ([queue]) => ({ ...queue!.counts, pending: queue!.pending }))
  )

  /** What does not hold, at any time when nothing is under way. */
  readonly violations: Effect.Effect<ReadonlyArray<string>> = Effect.gen({ self: this }, function* () {
    const found: Array<string> = []
    const check = (holds: boolean, what: string) => void (holds || found.push(what))
    const { accepted, books, seen, taken } = this
    const all = new Set(accepted)
    const { accepted: counted, delivered, dropped, filtered, pending, undelivered } = yield* this.counts

    // Conservation, by its own counts and event by event.
    check(
      counted === delivered + filtered + dropped + undelivered + pending,
      `the counts do not balance: ${JSON.stringify(yield* this.counts)}`
    )
    check(counted === accepted.length, `counts ${counted} accepted of ${accepted.length} written`)
    const reported = books.reports.map(({ id }) => id)
    check(
      reported.length === dropped + undelivered,
      `reports ${reported.length} of ${dropped + undelivered} dropped or undelivered`
    )
    const elsewhere = [...reported, ...books.diverted]
    check(new Set(elsewhere).size === elsewhere.length, `reported or handed on twice: ${elsewhere}`)
    check(
      elsewhere.every((id) => all.has(id)),
      `reported or diverted what it had not accepted: ${elsewhere}`
    )
    const known = new Set([...taken, ...elsewhere])
    const missing = accepted.filter((id) => !known.has(id))
    check(pending > 0 || missing.length === 0, `neither taken by the receiver nor reported: ${missing}`)
    check(missing.length <= pending, `${pending} are pending, and there is no trace of ${missing}`)
    check(this.receiver.stray.length === 0, `strayed: ${this.receiver.stray}`)
    const foreign = seen.filter((id) => !all.has(id))
    check(foreign.length === 0, `received and not written: ${foreign}`)

    // Order, without redeliveries.
    check(disordered(firsts(taken)).length === 0, `taken out of order: ${disordered(firsts(taken))}`)
    check(disordered(firsts(seen)).length === 0, `received out of order: ${disordered(firsts(seen))}`)
    check(disordered(books.diverted).length === 0, `handed on out of order: ${disordered(books.diverted)}`)
    check(disordered(reported).length === 0, `reported out of order: ${disordered(reported)}`)

    // Each is acknowledged once, and delivered again only for a reason.
    const successes = books.attempts.length - this.failures.length
    check(
      successes === delivered - books.diverted.length,
      `${successes} requests succeeded, for ${delivered} delivered and ${books.diverted.length} handed on`
    )
    const { inFlight } = this
    check(
      seen.length <= books.attempts.length + inFlight.length,
      `received ${seen.length} requests of ${books.attempts.length}`
    )

    // A reported event that may be with the receiver is marked, and at most as many are as there were requests at once.
    const sent = new Set(seen)
    const unmarked = books.reports.filter(({ id, inFlight }) => !inFlight && sent.has(id))
    check(unmarked.length === 0, `with the receiver, and not marked in flight: ${unmarked.map(({ id }) => id)}`)
    check(inFlight.length <= this.concurrency, `in flight: ${inFlight}`)
    return found
  })

  get inFlight(): ReadonlyArray<string> {
    return this.books.reports.filter(({ inFlight }) => inFlight).map(({ id }) => id)
  }
}
