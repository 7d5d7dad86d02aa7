/**
 * A process of a fleet: it delivers where it has slots, writes and changes endpoints as it is asked to on lines of its input,
 * and answers each on a line. It closes when its input ends.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Logger, Redacted, Schedule, Schema } from "effect"
import { EventSink } from "effect-events"
import { Redelivery } from "effect-events/durable"
import * as GuardedHttpClient from "effect-events/http/GuardedHttpClient"
import { WebhookEndpoints } from "effect-events/webhooks"
import { createInterface } from "node:readline"
import { type Answer, type Command, idOf, type Orders, type Written } from "./world.ts"

const orders: Orders = JSON.parse(process.argv[2] ?? "")

const layerOf = async ({ store }: Orders) => {
  if ("sqlite" in store) {
    const SqliteStore = await import("effect-events/durable/SqliteStore")
    return SqliteStore.layer({ filename: store.sqlite })
  }
  const PostgresStore = await import("effect-events/durable/PostgresStore")
  return Layer.provide(
    PostgresStore.layer(),
    PgClient.layer({ host: "127.0.0.1", port: store.postgres, username: "postgres", database: "postgres" })
  )
}

// A pipe takes a line at once: it is out when this returns.
const say = (what: object) => void process.stdout.write(`${JSON.stringify(what)}\n`)

const EventSchema = Schema.Struct({ tenant: Schema.String, n: Schema.Int, topic: Schema.String })

const program = Effect.gen(function* () {
  const webhooks = yield* WebhookEndpoints.make<Written>({
    name: "fleet",
    schema: EventSchema,
    keys: { current: { id: "a", key: Redacted.make(new Uint8Array(32).fill(7)) } },
    allowHttp: true,
    allow: ["127.0.0.0/8"],
    redelivery: Redelivery.make(Schedule.min([Schedule.exponential("250 millis"), Schedule.spaced("3 seconds")]), {
      jitter: 0.2
    }),
    timeout: "10 seconds",
    drainTimeout: "5 seconds",
    limits: { endpoints: 10_000 },
    leaseTtl: `${orders.leaseTtl} millis`,
    slots: orders.slots,
    slice: "1 second"
  })
  const obey = (command: Command): Effect.Effect<string | void, unknown> => {
    if ("create" in command) {
      const { secret, ...rest } = command.create
      const created = webhooks.create({ ...rest, secret: Redacted.make(secret) })
      return Effect.map(created, ({ endpoint }) => endpoint.id)
    }
    if ("write" in command) {
      const { count, from, tenant, topic } = command.write
      const events = Array.from({ length: count }, (_, k) => {
        const event = { tenant, topic, n: from + k }
        return { tenant, topic, id: idOf(event), event }
      })
      // Its ids are the same again, so that what was committed is not stored twice.
      return Effect.retry(EventSink.writeAll(webhooks, events), Schedule.spaced("50 millis"))
    }
    if ("rotate" in command) {
      const { keepFor, key, secret } = command.rotate
      return Effect.asVoid(webhooks.rotateSecret(key, { keepFor: `${keepFor} millis`, secret: Redacted.make(secret) }))
    }
    if ("move" in command) return Effect.asVoid(webhooks.update(command.move.key, { url: command.move.url }))
    return Effect.asVoid(webhooks.remove(command.remove.key))
  }
  const context = yield* Effect.context<never>()
  yield* Effect.callback<void>((resume) => {
    const lines = createInterface({ input: process.stdin })
    lines.on("line", (line) => {
      const { asked, ...command }: Command & { readonly asked: number } = JSON.parse(line)
      const began = Date.now()
      const answered = (rest: Partial<Answer>) => say({ asked, began, ended: Date.now(), ...rest } satisfies Answer)
      const obeyed = Effect.match(obey(command), {
        onSuccess: (id) => answered(typeof id === "string" ? { id } : {}),
        onFailure: (error) => answered({ error: String(error) })
      })
      Effect.runForkWith(context)(
        Effect.catchDefect(obeyed, (defect) => Effect.sync(() => answered({ error: String(defect) })))
      )
    })
    lines.on("close", () => resume(Effect.void))
    say({ ready: true })
  })
})

// What is wrong with receivers is meant to be.
const quiet = Effect.provideService(Logger.CurrentLoggers, new Set<Logger.Logger<unknown, unknown>>())
await Effect.runPromise(
  program.pipe(
    Effect.scoped,
    Effect.provide([await layerOf(orders), GuardedHttpClient.layer({ allow: ["127.0.0.0/8"] })]),
    quiet
  )
)
process.exit(0)
