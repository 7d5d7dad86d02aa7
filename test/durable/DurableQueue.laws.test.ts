import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import { deadLettersOf, eventsOf } from "./support/store.ts"
import { checksOf } from "../support/runs.ts"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import { recorder } from "../support/recorder.ts"

/** The log must not have the content. */
interface Event {
  readonly id: string
  readonly content: string
}
const Event = Schema.Struct({ id: Schema.String, content: Schema.String })

type Options = Omit<DurableQueue.Options<Event>, "name" | "schema">

interface Config extends Options {
  readonly title: string
  readonly over?: "batch" | "sync"
}

/** Where several are delivered at once: every other event has the same key. */
const half = ({ id }: Event): unknown => Number(id.slice(3)) % 2

/** What the memory holds, past the queue and its store, and without its lease. */
const remaining = (memory: MemoryStore.Memory) =>
  Effect.sync(() => ({
    // What the memory holds are events of this test's own.
    waiting: eventsOf(memory) as ReadonlyArray<Event>,
    deadLetters: deadLettersOf(memory) as ReadonlyArray<Event>
  }))

const subjects = (
  [
    { title: "plain" },
    { title: "over a batch sink", over: "batch" },
    { title: "over a synchronous sink", over: "sync" },
    { title: "in batches of 3", batchSize: 3 },
    { title: "in batches of 3, over a batch sink", batchSize: 3, over: "batch" },
    { title: "with a lease of 200 ms", leaseTtl: "200 millis" },
    { title: "with a drain timeout of a second", drainTimeout: "1 second" },
    ...([undefined, half] as const).flatMap((partitionBy) => {
      const title = `3 at a time, ${partitionBy === undefined ? "without keys" : "by keys"}`
      const several = { concurrency: 3, partitionBy }
      return [
        { title, ...several },
        { title: `${title}, over a batch sink`, ...several, over: "batch" as const },
        { title: `${title}, over a synchronous sink`, ...several, over: "sync" as const },
        { title: `${title}, in batches of 3`, ...several, batchSize: 3 },
        { title: `${title}, of 3, "drop-oldest"`, ...several, capacity: 3, overflow: "drop-oldest" as const }
      ]
    }),
    ...(["suspend", "reject", "drop-newest", "drop-oldest"] as const).flatMap((overflow) => [
      { title: `of 2, "${overflow}"`, capacity: 2, overflow },
      { title: `of 3, "${overflow}", over a batch sink`, capacity: 3, overflow, over: "batch" as const },
      { title: `of 3, "${overflow}", over a synchronous sink`, capacity: 3, overflow, over: "sync" as const }
    ])
  ] satisfies ReadonlyArray<Config>
).map(({ over, title, ...options }: Config) =>
  SinkLaws.subject({
    name: `DurableQueue ${title}`,
    queued: true,
    synchronous: over === "sync",
    ...(options.concurrency === undefined ? {} : { order: options.partitionBy ?? ("none" as const) }),
    ...(options.capacity === undefined ? {} : { capacity: options.capacity }),
    ...(options.drainTimeout === undefined ? {} : { deadline: options.drainTimeout }),
    event: (n): Event => ({ id: `id-${n}`, content: `secret-${n}` }),
    read: (event: Event) => Number(event.id.slice(3)),
    make: (receiver: SinkLaws.Receiver<Event>, onDropped) =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const dst: EventSink.EventSink<Event, unknown> =
          over === "sync" ? yield* EventSink.sync(receiver.record) : over === "batch" ? receiver.batch : receiver
        const make = DurableQueue.make({
          name: "events",
          schema: Event,
          redelivery: Redelivery.none,
          ...options,
          onDropped
        })
        const queue = yield* Effect.provide(make(dst), MemoryStore.layerOver(memory))
        return Object.assign(queue, { memory })
      }),
    shutdown: (queue) =>
      Effect.map(queue.shutdown, ({ inFlight }) => inFlight.map((event) => ({ event, inFlight: true }))),
    remaining: ({ memory }) => remaining(memory)
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

describe.each(checks.slice(0, 3))("$0.name, under a tracer", (subject, laws) => {
  it.live.each(laws)("law $number: $title", (law) =>
    Effect.gen(function* () {
      const violations = yield* SinkLaws.check(subject, { laws: [law.number] })
      assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
    }).pipe(recorder().provide)
  )
})
