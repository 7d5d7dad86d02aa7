/** The flags of all commands, the store that they name, and the answer in the form that they ask for. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { EventStore, type EventStoreError, type Operations } from "../durable/EventStore.ts"
import { type CliFailure, misuse } from "./cliFailure.ts"
import { type StoreUrl, storeUrlOf } from "./storeUrl.ts"
import type { Style } from "./table.ts"

/** Where the tables are in a database of Postgres. */
export interface Tables {
  readonly schema: string | undefined
  readonly prefix: string | undefined
}

/** Opens a store that is there already: it makes none, and migrates none. */
export class StoreOpener extends Context.Service<
  StoreOpener,
  {
    readonly open: (
      url: StoreUrl,
      tables: Tables
    ) => Effect.Effect<Operations, CliFailure | EventStoreError, Scope.Scope>
  }
>()("effect-events/cli/rootCommand/StoreOpener") {}

/** Names the store where no flag does: a password is then not among the arguments that other users of the machine see. */
export const storeVariable = Config.option(Config.String("EFFECT_EVENTS_STORE")).pipe(
  Effect.orElseSucceed(() => Option.none<string>()),
  Effect.map(Option.getOrUndefined)
)

export const rootCommand = Command.make("effect-events").pipe(
  Command.withSharedFlags({
    store: Flag.String("store").pipe(
      Flag.withDescription("sqlite:FILE or postgres:URL; by default the variable EFFECT_EVENTS_STORE"),
      Flag.optional
    ),
    schema: Flag.String("schema").pipe(
      Flag.withDescription("The schema of the tables in Postgres; by default that of the connection"),
      Flag.optional
    ),
    prefix: Flag.String("prefix").pipe(
      Flag.withDescription('What the names of the tables in Postgres begin with; by default "effect_events_"'),
      Flag.optional
    ),
    json: Flag.Boolean("json").pipe(Flag.withDescription("One JSON document, for programs"), Flag.withDefault(false))
  }),
  Command.withDescription(
    "Looks after the queues and broadcasters of a store: pause, purge, replay and what has become of events."
  )
)

/** The program of a command, on the store that is asked for. */
export const withStore = <A, E, R>(command: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { prefix, schema, store } = yield* rootCommand
    const url = Option.getOrUndefined(store) ?? (yield* storeVariable)
    if (url === undefined || url === "") {
      return yield* misuse("no store: give --store sqlite:FILE or postgres:URL, or set EFFECT_EVENTS_STORE")
    }
    const { open } = yield* StoreOpener
    const tables = { schema: Option.getOrUndefined(schema), prefix: Option.getOrUndefined(prefix) }
    const operations = yield* open(yield* Effect.fromResult(storeUrlOf(url)), tables)
    return yield* Effect.provideService(command, EventStore, operations)
  }).pipe(Effect.scoped)

/** A value of JSON, with `undefined` for what is not there. */
export type Json =
  string | number | boolean | null | undefined | ReadonlyArray<Json> | { readonly [name: string]: Json }

/** Prints the answer of a command: the only thing that it writes to the standard output. */
export const answer = Effect.fnUntraced(function* (view: Json, text: (style: Style) => string) {
  const { json } = yield* rootCommand
  const { canColor } = yield* TerminalCapabilities
  const now = yield* Clock.currentTimeMillis
  yield* Console.log(json ? documentOf(view) : text({ canColor, now }))
})

// internals

/** What is not there is `null`: names are always there. A terminal obeys some control characters that JSON allows. */
const documentOf = (view: Json): string =>
  JSON.stringify(view, (_, value: unknown) => (value === undefined ? null : value), 2).replaceAll(
    /[\u007f-\u009f]/g,
    (character) => `\\u00${character.charCodeAt(0).toString(16)}`
  )
