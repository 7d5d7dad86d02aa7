/** The program: from its arguments to its exit code. */
import * as CliConfig from "effect/cli/CliConfig"
import { type CliError, isCliError } from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import type { UnknownSubscription } from "../durable/Administration.ts"
import type { EventStoreError } from "../durable/EventStore.ts"
import type { CliFailure } from "./cliFailure.ts"
import { deadLetterCommands } from "./deadLetterCommands.ts"
import { rootCommand, type StoreOpener, storeVariable } from "./rootCommand.ts"
import { subscriptionCommands } from "./subscriptionCommands.ts"
import { printableLines } from "./table.ts"
import { type Scrubber, withoutSecrets } from "./withoutSecrets.ts"

const program = rootCommand.pipe(Command.withSubcommands([...subscriptionCommands, ...deadLetterCommands]))

/** Runs a command and answers its exit code: 0 when it is done, 1 when it failed, 2 when it was asked for in a wrong way. */
export const run = (
  args: ReadonlyArray<string>,
  version: string
): Effect.Effect<number, never, Command.Environment | StoreOpener> =>
  Effect.gen(function* () {
    const scrubber = withoutSecrets(args, yield* storeVariable)
    const layers = Layer.mergeAll(
      CliOutput.layerPresenter(presenter(scrubber)),
      // The wizard would show what it was given.
      CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] })
    )
    return yield* Command.runWith(program, { version })(args).pipe(
      Effect.as(0),
      Effect.catch((error) => reported(error, scrubber)),
      Effect.catchDefect((defect) => {
        const text = defect instanceof Error ? `${defect.name}: ${defect.message}` : "an unknown defect"
        return Effect.as(complain(scrubber.passwords(text)), 1)
      }),
      Effect.provide(layers),
      Effect.provideService(References.MinimumLogLevel, "None")
    )
  }).pipe(Effect.provide(TerminalCapabilities.layer))

// internals

const complain = (text: string): Effect.Effect<void> => Console.error(`effect-events: ${printableLines(text)}`)

type Failed = CliError | CliFailure | EventStoreError | UnknownSubscription

const reported = (error: Failed, scrubber: Scrubber): Effect.Effect<number> => {
  // The presenter has shown it.
  if (isCliError(error) && error._tag === "ShowHelp") return Effect.succeed(2)
  // It may quote an argument, or a server.
  return Effect.as(complain(scrubber.passwords(error.message)), error._tag === "CliFailure" ? error.exitCode : 1)
}

/** Help that was asked for is an answer, and all else goes to the standard error. */
const presenter = ({ args }: Scrubber): CliOutput.Presenter => ({
  present: (event) =>
    Effect.gen(function* () {
      const { formatErrors, formatHelpDoc, formatVersion } = yield* CliOutput.Formatter
      if (event._tag === "Version") return yield* Console.log(formatVersion(event.name, event.version))
      if (event._tag === "Help") {
        const print = event.reason === "Requested" ? Console.log : Console.error
        return yield* print(formatHelpDoc(event.helpDoc))
      }
      yield* Console.error(args(formatErrors(event.errors)).trimStart())
      yield* Console.error(`\nUSAGE\n  ${event.helpDoc.usage}\n  ${event.commandPath.join(" ")} --help says more`)
    })
})
