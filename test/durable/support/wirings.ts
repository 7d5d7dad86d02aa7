/** The wirings of a durable part that a reader of the README and the guides would try, as texts that are compiled. */

/** What must become of a wiring: it does not compile, dies when it is made, or loses nothing unless it is marked. */
export type Fate = "does not compile" | "dies at construction" | "loses nothing" | "is marked"

export interface Wiring {
  readonly title: string
  readonly code: string
  readonly fate: Fate
  /** What the refusal must say. */
  readonly says: ReadonlyArray<string>
}

const header = `
import { Effect } from "effect"
import { Broadcaster, EventChannel, EventFilter, EventQueue, EventSink, RetryingSink } from "effect-events"
import * as DurableBroadcaster from "effect-events/durable/DurableBroadcaster"
import * as DurableQueue from "effect-events/durable/DurableQueue"
import { Endpoint } from "effect-events/http"
import { backoff, endpoint, Event, receiver, reliable, short } from "../../test/durable/support/wiringPrelude.ts"
`

const parts: Readonly<Record<string, (below: string, name?: string, schema?: string) => string>> = {
  DurableQueue: (below, name = "name", schema = "Event") =>
    `Effect.flatMap(${below}, DurableQueue.make({ name: ${name}, schema: ${schema}, ...short }))`,
  DurableBroadcaster: (below, name = "name", schema = "Event") => `Effect.gen(function* () {
    const made = yield* DurableBroadcaster.make({ name: ${name}, schema: ${schema} })
    yield* DurableBroadcaster.subscribe(made, ${below}, { name: "audit", ...short })
    return made
  })`
}

const receiving = "receiver(name)"
const buffered = `reliable(name).pipe(EventQueue.make({ name: "buffer", capacity: 100, overflow: "reject" }))`
/** A sink that has lost its mark, as a tag of a plain sink does. */
const forgetful = (sink: string) => `Effect.map(${sink}, (sink): EventSink.EventSink<Event, unknown> => sink)`

const sure = (sink: string) => `Effect.map(${sink}, (sink): EventSink.EventSink<Event> => sink)`

/** Wrappers, which neither keep events nor acknowledge them. */
const wrappers: Readonly<Record<string, (sink: string) => string>> = {
  "a retrier": (sink) => `${sink}.pipe(RetryingSink.make(backoff, { name: "again" }))`,
  "a filter": (sink) => `${sink}.pipe(EventFilter.make(({ n }: Event) => n >= 0))`,
  "a map": (sink) => `${sink}.pipe(EventSink.mapInput((event: Event) => event))`,
  "a tap": (sink) => `${sink}.pipe(EventSink.tap(() => Effect.void))`,
  "a timeout": (sink) => `${sink}.pipe(EventSink.timeout("5 seconds"))`,
  "mapped errors": (sink) => `${sink}.pipe(EventSink.mapError(() => "no" as const))`
}
const stamped = (sink: string) => `${sink}.pipe(EventSink.mapInput(({ event }: EventSink.Stamped<Event>) => event))`

const below: Readonly<Record<string, string>> = {
  "a receiver": receiving,
  ...Object.fromEntries(Object.entries(wrappers).map(([title, wrap]) => [title, wrap(receiving)])),
  "an endpoint without a queue": "Endpoint.unqueued(endpoint(name))",
  "a stamp": `${stamped(receiving)}.pipe(EventSink.stamp())`,
  "a durable queue": parts["DurableQueue"]!(receiving, '"inner " + name'),
  "a durable broadcaster": parts["DurableBroadcaster"]!(receiving, '"inner " + name')
}
const memory: Readonly<Record<string, string>> = {
  "a queue": buffered,
  "a broadcaster": `Broadcaster.make([reliable(name)])`,
  "a channel": "EventChannel.make<Event>()",
  "an endpoint with a queue": "Endpoint.make({ ...endpoint(name), onDisabled: () => Effect.void })",
  ...Object.fromEntries(Object.entries(wrappers).map(([title, wrap]) => [`a queue behind ${title}`, wrap(buffered)]))
}
const front: Readonly<Record<string, (sink: string) => string>> = {
  "a queue": (sink) => `${sink}.pipe(EventQueue.make({ name: "buffer" }))`,
  "a queue that drops": (sink) => `${sink}.pipe(EventQueue.make({ name: "buffer", onDropped: () => Effect.void }))`,
  "a broadcaster": (sink) => `Broadcaster.make([${sink}], { name: "all" })`
}

const each = (
  part: string,
  fate: Fate,
  says: ReadonlyArray<string>,
  codes: Readonly<Record<string, string>>
): ReadonlyArray<Wiring> =>
  Object.entries(codes).map(([title, code]) => ({
    title: `${part}: ${title}`,
    code: `${header}export const wiring = (name: string) => ${code}\n`,
    fate,
    says
  }))
const mapped = (
  codes: Readonly<Record<string, string>>,
  f: (code: string, title: string) => readonly [string, string]
) => Object.fromEntries(Object.entries(codes).map(([title, code]) => f(code, title)))

export const wirings: ReadonlyArray<Wiring> = Object.entries(parts).flatMap(([part, make]) => [
  ...each(
    part,
    "loses nothing",
    [],
    mapped(below, (code, title) => [`over ${title}`, make(code)])
  ),
  ...each(
    part,
    "loses nothing",
    [],
    Object.fromEntries(Object.entries(wrappers).map(([title, wrap]) => [`below ${title}`, wrap(make(receiving))]))
  ),
  ...each(part, "loses nothing", [], {
    "below a stamp": `${make(stamped(receiving), "name", "DurableQueue.stamped(Event)")}.pipe(EventSink.stamp())`
  }),
  ...each(part, "is marked", [], {
    "over a queue that is marked": make(`EventSink.acknowledgeFromMemory(${buffered})`)
  }),
  ...each(
    part,
    "does not compile",
    ["acknowledgeFromMemory"],
    mapped(memory, (code, title) => [`over ${title}`, make(code)])
  ),
  ...each(
    part,
    "dies at construction",
    ["would delete events that are in memory only", 'EventQueue "buffer"', "EventSink.acknowledgeFromMemory"],
    {
      "over a queue that is typed as a sink": make(forgetful(buffered)),
      ...Object.fromEntries(
        Object.entries(wrappers).map(([title, wrap]) => [
          `over ${title} over a queue that is typed as a sink`,
          make(wrap(forgetful(buffered)))
        ])
      )
    }
  ),
  ...Object.entries(front).flatMap(([title, inFront]) => [
    ...each(part, "does not compile", ["memory-in-front-of-a-store"], { [`below ${title}`]: inFront(make(receiving)) }),
    ...each(part, "does not compile", ["fix: this sink stores the event before its write succeeds"], {
      [`below ${title} over a retrier`]: inFront(wrappers["a retrier"]!(make(receiving)))
    }),
    ...each(part, "dies at construction", ["would acknowledge events before", part, "RetryingSink"], {
      [`below ${title} over a retrier that is typed as a sink`]: inFront(sure(wrappers["a retrier"]!(make(receiving))))
    })
  ])
])
