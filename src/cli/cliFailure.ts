/** The failure of the program, as the sentence that it prints. */
import * as Data from "effect/Data"

export class CliFailure extends Data.TaggedError("CliFailure")<{
  readonly message: string
  /** 1: what was asked for is not done; 2: it was asked for in a wrong way. */
  readonly exitCode: 1 | 2
}> {}

export const failure = (message: string): CliFailure => new CliFailure({ message, exitCode: 1 })

export const misuse = (message: string): CliFailure => new CliFailure({ message, exitCode: 2 })
