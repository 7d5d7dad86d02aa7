import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Scope } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster, EventStore, MemoryStore, Redelivery } from "effect-events/durable"
import { checksOf } from "../support/runs.ts"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import { deadLettersOf, eventsOf, operationsOver } from "./support/store.ts"

/** The log must not have the content. */
interface Event {
  readonly id: string
  readonly content: string
}
const Event = Schema.Struct({ id: Schema.String, content: Schema.String })

type Options = Omit<DurableBroadcaster.SubscriptionOptions<Event>, "name">

interface Config extends Options {
  readonly title: string
  readonly over?: "batch" | "sync"
  /** Whether there is a subscription of a second receiver. */
  readonly two?: boolean
}

/** Where several are delivered at once: every other event has the same key. */
const half = ({ id }: Event): unknown => Number(id.slice(3)) % 2

const configs: ReadonlyArray<Config> = [
  { title: "plain" },
  { title: "over a batch sink", over: "batch" },
  { title: "over a synchronous sink", over: "sync" },
  { title: "in batches of 3", batchSize: 3 },
  { title: "in batches of 3, over a batch sink", batchSize: 3, over: "batch" },
  { title: "with a lease of 200 ms", leaseTtl: "200 millis" },
  { title: "with a drain timeout of a second", drainTimeout: "1 second" },
  { title: "3 at a time, without keys", concurrency: 3 },
  { title: "3 at a time, by keys", concurrency: 3, partitionBy: half },
  { title: "3 at a time, by keys, over a batch sink", concurrency: 3, partitionBy: half, over: "batch" },
  { title: "3 at a time, by keys, in batches of 3", concurrency: 3, partitionBy: half, batchSize: 3 }
]

const pairs = configs.filter(({ batchSize, drainTimeout, leaseTtl }) => !(batchSize ?? drainTimeout ?? leaseTtl))

const subjects = [...configs, ...pairs.map((config): Config => ({ ...config, two: true }))].map(
  ({ over, title, two = false, ...options }: Config) =>
    SinkLaws.subject({
      name: `DurableBroadcaster, ${two ? "two subscriptions" : "one subscription"} ${title}`,
      queued: true,
      synchronous: over === "sync",
      ...(two ? { targets: "both" as const } : {}),
      ...(options.concurrency === undefined ? {} : { order: options.partitionBy ?? ("none" as const) }),
      ...(options.drainTimeout === undefined ? {} : { deadline: options.drainTimeout }),
      event: (n): Event => ({ id: `id-${n}`, content: `secret-${n}` }),
      read: (event: Event) => Number(event.id.slice(3)),
      make: (first: SinkLaws.Receiver<Event>, _, second) =>
        Effect.gen(function* () {
          const memory = yield* MemoryStore.makeMemory
          const store = yield* operationsOver(memory)
          const provide = Effect.provideService(EventStore.EventStore, store)
          // Their scope stays open: the close of the broadcaster closes its subscriptions.
          const scope = yield* Scope.make()
          const broadcaster = yield* provide(DurableBroadcaster.make({ name: "events", schema: Event }))
          for (const [name, receiver] of Object.entries(two ? { first, second } : { first })) {
            const dst: EventSink.EventSink<Event, unknown> =
              over === "sync" ? yield* EventSink.sync(receiver.record) : over === "batch" ? receiver.batch : receiver
            const subscribe = DurableBroadcaster.subscribe(broadcaster, dst, {
              redelivery: Redelivery.none,
              ...options,
              name
            })
            yield* Scope.provide(provide(subscribe), scope)
          }
          return Object.assign(broadcaster, { memory })
        }),
      remaining: ({ memory }) =>
        Effect.sync(() => ({
          // What the memory holds are events of this test's own.
          waiting: eventsOf(memory) as ReadonlyArray<Event>,
          deadLetters: deadLettersOf(memory) as ReadonlyArray<Event>
        }))
    })
)

const checks = checksOf(subjects, (subject) => SinkLaws.laws.filter((law) => law.concerns(subject)))

describe.each(checks)("$0.name", (subject, laws) => {
  it.live.each(laws)("law $number: $title", (law) =>
    Effect.gen(function* () {
      const violations = yield* SinkLaws.check(subject, { laws: [law.number] })
      assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
    })
  )
})
