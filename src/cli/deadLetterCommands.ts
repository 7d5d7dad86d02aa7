/** The commands about dead letters. */
import * as Argument from "effect/cli/Argument"
import { InvalidValue } from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Administration from "../durable/Administration.ts"
import type { DeadLetterFilter, EventStoreError, Page, Position } from "../durable/EventStore.ts"
import { failure, misuse } from "./cliFailure.ts"
import { confirm, yes } from "./confirm.ts"
import { deadLetterTable, deadLetterText, deadLetterView } from "./deadLetterViews.ts"
import { progress } from "./progress.ts"
import { answer, withStore } from "./rootCommand.ts"
import { counted } from "./table.ts"
import { timeOf } from "./timeOf.ts"

const subscription = {
  exchange: Argument.String("exchange").pipe(Argument.withDescription("The name of a queue or of a broadcaster")),
  subscription: Argument.String("subscription").pipe(
    Argument.withDescription("The name of a subscription; that of the exchange by default, as a queue's is"),
    Argument.optional
  ),
  tenant: Flag.String("tenant").pipe(Flag.withDescription("The tenant of the subscription"), Flag.optional)
}

const time = (name: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("time"),
    Flag.withDescription(description),
    Flag.mapEffect((text) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const time = timeOf(text, now)
        const expected =
          "Expected: an age such as 30m, 2h or 7d, a day such as 2026-01-31, or a time of ISO 8601 with its zone"
        return time === undefined
          ? Effect.fail(new InvalidValue({ option: name, value: text, expected, kind: "flag" }))
          : Effect.succeed(time)
      })
    ),
    Flag.optional
  )

const positive = (name: string, description: string) =>
  Flag.Int(name).pipe(
    Flag.withDescription(description),
    Flag.filter(
      (value) => Number.isSafeInteger(value) && value > 0,
      () => "Expected: a number from 1 on"
    ),
    Flag.optional
  )

const filter = {
  position: positive("position", "The one at this position"),
  reason: Flag.Literals("reason", ["Failed", "Died", "Undecodable", "Exhausted", "Expired", "Disabled"]).pipe(
    Flag.withDescription("Only of this reason"),
    Flag.optional
  ),
  cause: Flag.String("cause").pipe(
    Flag.withDescription("Only those whose cause has this text"),
    // Every cause has it: a variable of a script that is not set would select all.
    Flag.filter(
      (text) => text !== "",
      () => "Expected: a text that is not empty"
    ),
    Flag.optional
  ),
  topic: Flag.String("topic").pipe(
    Flag.withDescription("Only of this topic, or with order/* of those that begin with it"),
    Flag.optional
  ),
  since: time("since", "Dead-lettered at this time or later: an age (2h), a day or a time"),
  before: time("before", "Dead-lettered before this time"),
  limit: positive("limit", "The first of them, and no more than this")
}

const all = Flag.Boolean("all").pipe(
  Flag.withDescription("All dead letters of the subscription"),
  Flag.withDefault(false)
)

const payload = Flag.Boolean("payload").pipe(Flag.withDescription("Shows payloads too"), Flag.withDefault(false))

const list = Command.make("dead-letters", { ...subscription, ...filter, payload }, ({ payload, ...asked }) =>
  withStore(
    Effect.gen(function* () {
      const { deadLetters, name } = yield* found(asked)
      const { filter, limit = 100 } = filterOf(asked)
      if (filter.position !== undefined) {
        const [one] = yield* deadLetters.list({ ...filter, limit: 1 })
        if (one === undefined) return yield* gone(filter.position, name)
        return yield* answer({ ...viewOf(asked), deadLetter: deadLetterView(one, payload) }, (style) =>
          deadLetterText(one, payload, style)
        )
      }
      const count = yield* deadLetters.count(filter)
      const page = yield* deadLetters.list({ ...filter, limit })
      const view = { ...viewOf(asked), count, deadLetters: page.map((one) => deadLetterView(one, payload)) }
      yield* answer(view, (style) => {
        const head = `${counted(count, "dead letter")} of ${name}`
        if (page.length === 0) return head
        const first = page.length < count ? `, the first ${page.length}` : ""
        return `${head}${first}\n${deadLetterTable(page, payload, style)}`
      })
    })
  )
).pipe(
  Command.withDescription(
    "How many dead letters there are, the first of them, and one with its whole cause by --position."
  ),
  Command.withShortDescription("Counts and shows dead letters")
)

const replay = Command.make("replay", { ...subscription, ...filter, all }, (asked) =>
  withStore(
    Effect.gen(function* () {
      const { deadLetters, name } = yield* found(asked)
      const selection = yield* selectionOf(deadLetters, asked)
      const show = yield* progress("replayed")
      const replayed = yield* deadLetters.replay(selection, {
        onProgress: ({ done, selected }) => show(done, selected)
      })
      const { position } = filterOf(asked).filter
      if (position !== undefined && replayed === 0) return yield* gone(position, name)
      yield* answer({ ...viewOf(asked), replayed }, () => `replayed ${counted(replayed, "dead letter")} of ${name}`)
    })
  )
).pipe(
  Command.withDescription("Delivers dead letters again, at the end of the queue. Takes a filter, or --all."),
  Command.withShortDescription("Delivers dead letters again")
)

const purge = Command.make(
  "purge-dead-letters",
  {
    ...subscription,
    ...filter,
    all,
    yes
  },
  ({ yes, ...asked }) =>
    withStore(
      Effect.gen(function* () {
        const { deadLetters, name } = yield* found(asked)
        const { filter, limit = Number.POSITIVE_INFINITY } = filterOf(asked)
        const selection = yield* selectionOf(deadLetters, asked)
        const count = Math.min(limit, yield* deadLetters.count(filter))
        if (count > 0) yield* confirm(`delete ${counted(count, "dead letter")} of ${name}`, yes)
        const show = yield* progress("deleted")
        // What has come since was not asked about.
        const deleted =
          count === 0
            ? 0
            : yield* deadLetters.purge(selection, { onProgress: ({ done, selected }) => show(done, selected) })
        if (filter.position !== undefined && deleted === 0) return yield* gone(filter.position, name)
        yield* answer({ ...viewOf(asked), deleted }, () => `deleted ${counted(deleted, "dead letter")} of ${name}`)
      })
    )
).pipe(
  Command.withDescription("Deletes dead letters for good. Takes a filter, or --all."),
  Command.withShortDescription("Deletes dead letters")
)

export const deadLetterCommands = [list, replay, purge] as const

// internals

interface Selected {
  readonly exchange: string
  readonly subscription: Option.Option<string>
  readonly tenant: Option.Option<string>
}

interface Asked extends Selected {
  readonly position: Option.Option<Position>
  readonly reason: Option.Option<NonNullable<DeadLetterFilter["reason"]>>
  readonly cause: Option.Option<string>
  readonly topic: Option.Option<string>
  readonly since: Option.Option<number>
  readonly before: Option.Option<number>
  readonly limit: Option.Option<number>
}

const viewOf = ({ exchange, subscription, tenant }: Selected) => ({
  exchange,
  subscription: Option.getOrElse(subscription, () => exchange),
  tenant: Option.getOrElse(tenant, () => "")
})

const found = (selected: Selected) => {
  const { exchange, subscription: name, tenant } = viewOf(selected)
  const label = name === exchange ? `"${exchange}"` : `"${name}" of "${exchange}"`
  return Administration.deadLetters({ exchange, name, tenant }).pipe(
    Effect.map((deadLetters) => ({ deadLetters, name: label })),
    Effect.catchTag("UnknownSubscription", (error) =>
      Effect.flatMap(Administration.subscriptions({ exchange }), (others) => {
        if (others.length === 0) return Effect.fail(failure(`the store has no subscription of "${exchange}"`))
        const names = others
          .slice(0, 20)
          .map(({ name, tenant }) => (tenant === "" ? name : `${name} (--tenant ${tenant})`))
        return Effect.fail(
          failure(`${error.message}, but ${names.join(", ")}${others.length > 20 ? " and others" : ""}`)
        )
      })
    )
  )
}

const gone = (position: Position, name: string) => failure(`there is no dead letter at position ${position} of ${name}`)

const filterOf = ({ before, cause, limit, position, reason, since, topic }: Asked) => ({
  filter: {
    position: Option.getOrUndefined(position),
    reason: Option.getOrUndefined(reason),
    cause: Option.getOrUndefined(cause),
    topic: Option.getOrUndefined(topic),
    from: Option.getOrUndefined(since),
    to: Option.getOrUndefined(before)
  } satisfies DeadLetterFilter,
  limit: Option.getOrUndefined(limit)
})

/** Nothing is selected by default: that would be all of them by a mistake. */
const selectionOf = Effect.fnUntraced(function* (
  deadLetters: Administration.StoredDeadLetters,
  { all, ...asked }: Asked & { readonly all: boolean }
) {
  const { filter, limit } = filterOf(asked)
  const isFiltered = limit !== undefined || Object.values(filter).some((value) => value !== undefined)
  if (all && isFiltered) return yield* misuse("give --all, or a filter")
  if (!all && !isFiltered) {
    return yield* misuse(
      "give --all, or a filter: --position, --reason, --cause, --topic, --since, --before or --limit"
    )
  }
  // A selection by its position has no other filter.
  const most = limit ?? (filter.position === undefined ? undefined : 1)
  return most === undefined ? filter : yield* firstOf(deadLetters, filter, most)
})

const firstOf = Effect.fnUntraced(function* (
  deadLetters: Administration.StoredDeadLetters,
  filter: DeadLetterFilter,
  limit: number
): Effect.fn.Return<ReadonlyArray<{ readonly position: Position }>, EventStoreError> {
  const found: Array<{ readonly position: Position }> = []
  let after: Page["after"]
  while (found.length < limit) {
    const page = yield* deadLetters.list({ ...filter, after, limit: Math.min(500, limit - found.length) })
    if (page.length === 0) break
    found.push(...page.map(({ position }) => ({ position })))
    after = page.at(-1)
  }
  return found
})
