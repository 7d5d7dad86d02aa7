/** The parts of a durable queue: an exchange with one subscription, the writers in front and the drainers behind. */
import * as Effect from "effect/Effect"
import { withoutConstruction } from "../../internal/context.ts"
import { drop } from "../../internal/node.ts"
import { makeProcessSpan } from "../../internal/processSpan.ts"
import { makeReport } from "../../internal/report.ts"
import { makeSendSpan } from "../../internal/sendSpan.ts"
import { type EventSink, makeSink } from "../../internal/sink.ts"
import { EventStore, EventStoreError, type Operations } from "../EventStore.ts"
import { addressOf } from "./addressOf.ts"
import { closeTogether } from "./closeTogether.ts"
import { defineOne } from "./defineOne.ts"
import { makeDeadLetters } from "./deadLetters.ts"
import { makeCodec } from "./eventCodec.ts"
import { joinedKeeping, keepsOutcomes } from "./keepingOf.ts"
import { gone } from "./makeControls.ts"
import { makeServed, type Served } from "./served.ts"
import { purgePending } from "./purgePending.ts"
import { serverOf } from "./servers.ts"
import type { Settings } from "./settings.ts"
import { type EventId, eventKeyOf } from "./sending.ts"
import { trim } from "./trim.ts"
import { makeWrites } from "./writes.ts"
import { makeWriting, whenDefined, type WriteError } from "./writing.ts"
import type * as Schema from "effect/Schema"

/** The subscription of a queue: what is written to the exchange is for it. */
export const definitionOf = (name: string) => ({ name, topics: ["*"] }) as const

export const makeDurableQueue = Effect.fnUntraced(function* <A, E>(
  sink: EventSink<A, E>,
  schema: Schema.ConstraintCodec<A, unknown>,
  settings: Settings<A>
) {
  const { limits, name, overflow } = settings
  const context = withoutConstruction(yield* Effect.context<never>())
  const server = serverOf(yield* EventStore, context)
  const { store } = server
  const codec = makeCodec(schema)
  const itself = { exchange: name, name }

  const dropped = (events: ReadonlyArray<A>, unreadable: number) => {
    drop(counts, "Overflow", events.length + unreadable)
    account.removed(events.length + unreadable)
    // The reports are under way after this, and the close waits for them.
    void report.aside(events, { _tag: "Overflow" })
    return log.unreadable(unreadable)
  }
  const served: Served<A> = makeServed<A, E>({
    ...settings,
    kind: "DurableQueue",
    taps: ["accepted", "delivered", "dropped", "deadLettered"],
    drops: ["Overflow"],
    keepsOutcomes: keepsOutcomes(settings.keeping),
    processSpan: makeProcessSpan({ destination: () => name, mode: settings.trace }, context),
    server,
    exchange: name,
    definition: definitionOf(name),
    sink,
    codec,
    context,
    // Without limits no writer waits for room.
    changed: limits && (() => writing.wake()),
    before:
      overflow !== "drop-oldest" || limits === undefined
        ? undefined
        : (serving, take) => trim(serving, limits, store, codec, settings.batchBytes, take, dropped),
    beside: Effect.suspend(() => writing.close)
  })
  const { account, begin, log, node, shutdown } = served
  const { counts } = account
  const report = makeReport<A, never>(node, settings.onDropped, context)
  const writing = makeWriting<A>({
    ...settings,
    exchange: name,
    store: storing(store),
    codec,
    addressOf: addressOf({ id: settings.id }),
    check: settings.partitionBy,
    node,
    account: counts,
    report,
    ready: whenDefined({
      store,
      isDefined: () => served.serving() !== undefined,
      define: served.id,
      join: defineOne(store, name, definitionOf(name), joinedKeeping(settings.keeping), true)
    }),
    appending: account.appending,
    context
  })

  const setState = (state: "active" | "paused", reason?: string) =>
    Effect.map(Effect.andThen(served.id, store.setState(itself, state, reason)), () => served.noted(state))
  yield* closeTogether(begin, report.finish(shutdown))
  const sendSpan = makeSendSpan(() => name, context)
  const { send, write, writeSome } = makeWrites(node, writing, sendSpan)
  return Object.assign(makeSink<A, WriteError>({ node, write, writeSome }), {
    send,
    status: (event: EventId | string) => store.status(name, eventKeyOf(event)),
    pending: Effect.flatMap(served.id, (id) => Effect.map(store.figures(id), (figures) => figures?.pending ?? 0)),
    flush: served.flush,
    shutdown,
    purge: Effect.flatMap(served.id, (id) => purgePending(store, id)),
    deadLetters: makeDeadLetters(served.id, store, codec),
    pause: (reason?: string) => setState("paused", reason),
    resume: setState("active"),
    state: Effect.andThen(
      served.id,
      Effect.map(store.list(itself), ([found]) => found ?? gone)
    )
  })
}, Effect.uninterruptible)

/**
 * A store whose `publish` fails where an event would be stored for no subscription: that of the queue was dropped, or a
 * transaction whose snapshot is of its first statement does not see it.
 */
export const storing = (store: Operations): Operations => ({
  ...store,
  publish: (exchange, events, limits) =>
    Effect.flatMapEager(store.publish(exchange, events, limits), (published) =>
      published?.some(({ isDuplicate, matched }) => matched === 0 && isDuplicate !== true) === true
        ? Effect.fail(
            new EventStoreError({
              store: "unknown",
              operation: "publish",
              problem: "Other",
              detail: `the queue "${exchange}" was dropped, or is newer than the snapshot of the transaction`,
              maybeCommitted: false
            })
          )
        : Effect.succeed(published)
    )
})
