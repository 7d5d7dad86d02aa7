/** The commands about subscriptions and what is pending of them. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Administration from "../durable/Administration.ts"
import type { Overview } from "../durable/EventStore.ts"
import { failure, misuse } from "./cliFailure.ts"
import { confirm, yes } from "./confirm.ts"
import { progress } from "./progress.ts"
import { answer, withStore } from "./rootCommand.ts"
import { statusText, statusView, subscriptionTable, subscriptionView } from "./subscriptionViews.ts"
import { counted } from "./table.ts"

const exchange = Argument.String("exchange").pipe(Argument.withDescription("The name of a queue or of a broadcaster"))

const subscription = Argument.String("subscription").pipe(
  Argument.withDescription("The name of a subscription; all of the exchange by default"),
  Argument.optional
)

const tenant = Flag.String("tenant").pipe(Flag.withDescription("Only of this tenant"), Flag.optional)

const queues = Command.make("queues", { exchange: Argument.optional(exchange), tenant }, ({ exchange, tenant }) =>
  withStore(
    Effect.gen(function* () {
      const name = Option.getOrUndefined(exchange)
      const which = { ...(name === undefined ? {} : { exchange: name }), tenant: Option.getOrUndefined(tenant) }
      const found = yield* Administration.subscriptions(which)
      if (found.length === 0 && name !== undefined) return yield* none(name, which)
      const now = yield* Clock.currentTimeMillis
      yield* answer({ subscriptions: found.map((one) => subscriptionView(one, now)) }, (style) =>
        found.length === 0 ? "the store has no subscriptions" : subscriptionTable(found, style)
      )
    })
  )
).pipe(
  Command.withDescription(
    "All subscriptions, or those of one exchange: what is pending, since when, and what each waits for."
  ),
  Command.withShortDescription("What is pending, and what it waits for")
)

const status = Command.make(
  "status",
  {
    exchange,
    event: Argument.String("event").pipe(Argument.withDescription("The number of its receipt, or its id with --id")),
    id: Flag.Boolean("id").pipe(
      Flag.withDescription("EVENT is the id that the application gave it"),
      Flag.withDefault(false)
    ),
    tenant: Flag.String("tenant").pipe(Flag.withDescription("The tenant of the id"), Flag.optional)
  },
  ({ event, exchange, id, tenant }) =>
    withStore(
      Effect.gen(function* () {
        const key = id ? { id: event, tenant: Option.getOrUndefined(tenant) } : Number(event)
        if (typeof key === "number" && !(Number.isSafeInteger(key) && key > 0)) {
          return yield* misuse("an event is the number of its receipt: for an id of the application give --id")
        }
        const found = yield* Administration.status(exchange, key)
        if (found === undefined) return yield* failure(`the store has nothing of the event "${event}" of "${exchange}"`)
        yield* answer(statusView(exchange, found), (style) => statusText(exchange, found, style))
      })
    )
).pipe(
  Command.withDescription(
    "What has become of an event, for each subscription, with the last attempts where the exchange keeps outcomes."
  ),
  Command.withShortDescription("What has become of an event")
)

const pause = Command.make(
  "pause",
  {
    exchange,
    subscription,
    tenant,
    reason: Flag.String("reason").pipe(Flag.withDescription("Why, for those that look at it later"), Flag.optional)
  },
  ({ reason, ...selected }) =>
    withStore(
      Effect.gen(function* () {
        const which = whichOf(selected)
        const why = Option.getOrUndefined(reason)
        const count = yield* Administration.pause(which, why)
        if (count === 0) return yield* none(which.exchange, which)
        yield* answer({ ...viewOf(which), reason: why, subscriptions: count }, () => `paused ${named(count, which)}`)
      })
    )
).pipe(
  Command.withDescription("Pauses delivery for all processes, until it is resumed: events are stored as before."),
  Command.withShortDescription("Pauses delivery")
)

const resume = Command.make("resume", { exchange, subscription, tenant }, (selected) =>
  withStore(
    Effect.gen(function* () {
      const which = whichOf(selected)
      const count = yield* Administration.resume(which)
      if (count === 0) return yield* none(which.exchange, which)
      yield* answer({ ...viewOf(which), subscriptions: count }, () => `resumed ${named(count, which)}`)
    })
  )
).pipe(
  Command.withDescription("Delivers again what was paused or disabled, and tries a receiver that is down at once."),
  Command.withShortDescription("Delivers again")
)

const purge = Command.make("purge", { exchange, subscription, tenant, yes }, ({ yes, ...selected }) =>
  withStore(
    Effect.gen(function* () {
      const which = whichOf(selected)
      const found = yield* foundOf(which)
      const pending = sumOf(found, "pending")
      const what = `${counted(pending, "pending delivery", "pending deliveries")} of ${named(found.length, which)}`
      if (pending > 0) yield* confirm(`delete ${what}`, yes)
      const show = yield* progress("purged")
      // What has come since was not asked about.
      const deleted =
        pending === 0
          ? 0
          : yield* Administration.purge(which, { onProgress: ({ done, pending }) => show(done, pending) })
      yield* answer(
        { ...viewOf(which), subscriptions: found.length, deleted },
        () => `deleted ${counted(deleted, "pending delivery", "pending deliveries")} of ${named(found.length, which)}`
      )
    })
  )
).pipe(
  Command.withDescription("Deletes what is pending for good. The dead letters stay."),
  Command.withShortDescription("Deletes what is pending")
)

const drop = Command.make("drop", { exchange, subscription, tenant, yes }, ({ yes, ...selected }) =>
  withStore(
    Effect.gen(function* () {
      const which = whichOf(selected)
      const found = yield* foundOf(which)
      const deadLetters = sumOf(found, "deadLetters")
      const what = (pending: number) =>
        `${named(found.length, which)} with ${counted(pending, "pending delivery", "pending deliveries")} and ${counted(deadLetters, "dead letter")}`
      yield* confirm(`drop ${what(sumOf(found, "pending"))}`, yes)
      const deleted = yield* Administration.drop(which)
      yield* answer(
        { ...viewOf(which), subscriptions: found.length, deleted, deadLetters },
        () => `dropped ${what(deleted)}`
      )
    })
  )
).pipe(
  Command.withDescription("Drops subscriptions for good, with their pending deliveries and dead letters."),
  Command.withShortDescription("Drops subscriptions with all that is stored for them")
)

export const subscriptionCommands = [queues, status, pause, resume, purge, drop] as const

// internals

interface Selected {
  readonly exchange: string
  readonly subscription: Option.Option<string>
  readonly tenant: Option.Option<string>
}

interface Which {
  readonly exchange: string
  readonly name: string | undefined
  readonly tenant: string | undefined
}

const whichOf = ({ exchange, subscription, tenant }: Selected): Which => ({
  exchange,
  name: Option.getOrUndefined(subscription),
  tenant: Option.getOrUndefined(tenant)
})

const viewOf = ({ exchange, name, tenant }: Which) => ({ exchange, subscription: name, tenant })

const foundOf = (which: Which) =>
  Effect.filterOrFail(
    Administration.subscriptions(which),
    (found) => found.length > 0,
    () => none(which.exchange, which)
  )

const none = (
  exchange: string,
  { name, tenant }: { readonly name?: string | undefined; readonly tenant: string | undefined }
) => {
  const subscription = name === undefined ? "subscription" : `subscription "${name}"`
  return failure(
    `the store has no ${subscription} of "${exchange}"${tenant === undefined ? "" : ` and tenant "${tenant}"`}`
  )
}

/** `2 subscriptions of "orders"`, or its name where it is one by its name. */
const named = (count: number, { exchange, name, tenant }: Which): string => {
  const what = name === undefined || count !== 1 ? counted(count, "subscription") : `subscription "${name}"`
  return `${what} of "${exchange}"${tenant === undefined ? "" : ` and tenant "${tenant}"`}`
}

const sumOf = (found: ReadonlyArray<Overview>, what: "pending" | "deadLetters"): number =>
  found.reduce((sum, one) => sum + one[what], 0)
