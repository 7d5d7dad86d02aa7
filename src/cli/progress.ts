/** The progress of a command that takes many steps. */
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"

/** Shows on the standard error how much is done, where that is a terminal: in one row, which the last step ends. */
export const progress = (done: string) =>
  Effect.gen(function* () {
    const stdio = yield* Stdio.Stdio
    if (!(yield* stdio.stderrIsTerminal)) return () => Effect.void
    return (count: number, of: number): Effect.Effect<void> => {
      const text = `\r${done} ${count} of ${of}${count >= of ? "\n" : ""}`
      return Effect.ignore(Stream.run(Stream.make(text), stdio.stderr()))
    }
  })
