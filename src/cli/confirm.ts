/** The question before something is deleted. */
import * as Flag from "effect/cli/Flag"
import * as Prompt from "effect/cli/Prompt"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import { failure, misuse } from "./cliFailure.ts"
import { rootCommand } from "./rootCommand.ts"

export const yes = Flag.Boolean("yes").pipe(
  Flag.withAlias("y"),
  Flag.withDescription("Deletes without a question"),
  Flag.withDefault(false)
)

/** Goes on with `--yes`, or when the answer on the terminal is yes. `deletion` is what the question is about. */
export const confirm = Effect.fnUntraced(function* (deletion: string, isConfirmed: boolean) {
  if (isConfirmed) return
  const { json } = yield* rootCommand
  const { canPrompt } = yield* TerminalCapabilities
  // The question is written to the standard output, which has one document.
  if (json || !canPrompt) return yield* misuse(`this would ${deletion}: confirm with --yes`)
  if (!(yield* Prompt.run(Prompt.Confirm({ message: `${deletion}?` })))) return yield* failure("nothing is deleted")
})
