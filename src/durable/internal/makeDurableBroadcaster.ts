/** The parts of a durable broadcaster: a writer, and the subscriptions of the exchange that this process serves. */
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import { withoutConstruction } from "../../internal/context.ts"
import { edgeTo } from "../../internal/node.ts"
import { makeProcessSpan } from "../../internal/processSpan.ts"
import type { EventSink } from "../../internal/sink.ts"
import {
  type Definition,
  EventStore,
  type EventStatus,
  type EventStoreError,
  type Keeping,
  type State,
  type Subscription
} from "../EventStore.ts"
import { addressOf } from "./addressOf.ts"
import type { DeadLetters } from "./deadLetters.ts"
import { makeDeadLetters } from "./deadLetters.ts"
import type { NotDelivering } from "./error.ts"
import { makeCodec } from "./eventCodec.ts"
import { flush } from "./flush.ts"
import { keepsOutcomes } from "./keepingOf.ts"
import { makeWriter } from "./makeWriter.ts"
import { makeServed, type Served } from "./served.ts"
import { type EventId, eventKeyOf } from "./sending.ts"
import { purgePending } from "./purgePending.ts"
import { serverOf } from "./servers.ts"
import type { DeliverySettings } from "./settings.ts"
import { makeUnserved } from "./unserved.ts"

export interface Settings<in out A> {
  readonly name: string
  readonly schema: Schema.ConstraintCodec<A, unknown>
  readonly topic: ((event: A) => string) | undefined
  readonly id: ((event: A) => string) | undefined
  readonly keeping: Keeping | undefined
  readonly drainTimeout: Duration.Duration
  readonly batchSize: number
  readonly batchBytes: number
}

/** What the functions of the module do to a broadcaster. */
export interface Exchange<in out A> {
  readonly name: string
  readonly hasTopics: boolean
  readonly serve: <E>(
    sink: EventSink<A, E>,
    definition: Definition,
    delivery: DeliverySettings<A>,
    drainTimeout: Duration.Duration | undefined
  ) => Effect.Effect<Served<A>, EventStoreError>
  readonly list: Effect.Effect<ReadonlyArray<Subscription>, EventStoreError>
  readonly status: (event: EventId | string) => Effect.Effect<EventStatus | undefined, EventStoreError>
  readonly pending: (name: string) => Effect.Effect<number, EventStoreError>
  readonly setState: (name: string, state: State, reason: string | undefined) => Effect.Effect<boolean, EventStoreError>
  readonly purge: (name: string) => Effect.Effect<number, EventStoreError>
  readonly drop: (name: string) => Effect.Effect<number, EventStoreError>
  readonly deadLetters: (name: string) => DeadLetters<A>
  readonly flush: Effect.Effect<void, EventStoreError | NotDelivering>
}

/** How often a broadcaster looks for subscriptions that no process serves. */
const unservedInterval = "30 seconds"

export const makeDurableBroadcaster = Effect.fnUntraced(function* <A>(settings: Settings<A>) {
  const { keeping, name } = settings
  const context = withoutConstruction(yield* Effect.context<never>())
  const server = serverOf(yield* EventStore, context)
  const { store } = server
  const codec = makeCodec(settings.schema)
  const { topic } = settings
  const members = new Set<Served<A>>()
  const progress = Latch.makeUnsafe()
  // What it does not say stays as others say it. A store that cannot be used fails the broadcaster all the same.
  yield* keeping === undefined ? store.list({ exchange: name }) : store.open(name, keeping)
  const serves = (subscription: string) =>
    Array.from(members).some((member) => member.node.name === subscription && member.serves())
  const writer = makeWriter<A>({
    ...settings,
    kind: "DurableBroadcaster",
    store,
    codec,
    addressOf: addressOf(settings),
    ready: () => Effect.void,
    downstream: () => [...Array.from(members, (member) => edgeTo(member, false)), ...unserved.edges()],
    context
  })

  const unserved = makeUnserved({ store, node: writer.node, serves })

  const list = store.list({ exchange: name })
  const idOf = (subscription: string) =>
    Effect.map(store.list({ exchange: name, name: subscription }), ([found]) => found?.id)
  const pending = (subscription: string) =>
    Effect.flatMap(idOf(subscription), (id) =>
      id === undefined ? Effect.succeed(0) : Effect.map(store.figures(id), (figures) => figures?.pending ?? 0)
    )

  const looking = Effect.runForkWith(context)(
    // A store that fails is logged where events are written or delivered.
    Effect.repeat(Effect.exit(unserved.look), Schedule.spaced(unservedInterval))
  )

  const flushing = flush(
    { store, which: { exchange: name }, progress, serves },
    Effect.map(list, (all) => all.map(({ id }) => id))
  )

  const exchange: Exchange<A> = {
    name,
    hasTopics: topic !== undefined,
    serve: (sink, definition, delivery, drainTimeout = settings.drainTimeout) =>
      Effect.suspend(() => {
        const spans = { destination: () => name, subscription: () => definition.name, mode: delivery.trace }
        const member: Served<A> = makeServed({
          ...delivery,
          kind: "Subscription",
          taps: ["delivered", "deadLettered"],
          keepsOutcomes: keepsOutcomes(keeping),
          processSpan: makeProcessSpan(spans, context),
          drainTimeout,
          server,
          exchange: name,
          definition,
          sink,
          codec,
          context,
          settled: () => progress.openUnsafe(),
          closed: () => {
            members.delete(member)
            writer.node.figures.changed()
          }
        })
        members.add(member)
        writer.node.figures.changed(member.node)
        // It stands when the store has it: what is written from then on is for it.
        return Effect.as(
          Effect.onError(member.id, () => member.shutdown),
          member
        )
      }),
    list,
    status: (event) => store.status(name, eventKeyOf(event)),
    pending,
    setState: (subscription, state, reason) =>
      Effect.map(store.setState({ exchange: name, name: subscription }, state, reason), (n) => {
        for (const { node, noted } of members) if (node.name === subscription) noted(state)
        return n > 0
      }),
    purge: (subscription) =>
      Effect.flatMap(idOf(subscription), (id) => (id === undefined ? Effect.succeed(0) : purgePending(store, id))),
    drop: (subscription) => store.drop({ exchange: name, name: subscription }),
    deadLetters: (subscription) => makeDeadLetters(idOf(subscription), store, codec),
    flush: flushing
  }
  const close = Effect.gen(function* () {
    looking.interruptUnsafe()
    const closing = yield* Effect.forkDetach(writer.close, { startImmediately: true })
    // All of them side by side: receivers that hang take one `drainTimeout` together.
    yield* Effect.forEach(members, ({ shutdown }) => shutdown, { concurrency: "unbounded", discard: true })
    const exit = yield* Fiber.await(closing)
    if (Exit.isFailure(exit)) return yield* Effect.failCause(exit.cause)
  })
  return { sink: writer.sink, exchange, close }
})
