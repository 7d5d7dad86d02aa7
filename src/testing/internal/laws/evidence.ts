/** What the scenarios of laws hold to be true, and the words in which they say that it is not. */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Exit from "effect/Exit"
import * as Formatter from "effect/Formatter"

/** Ends the scenario with its evidence unless something holds. */
export function ensure(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Broken({ what })
}

/** What is wrong with a scenario that ended so. */
export const evidence = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  const defects = exit.cause.reasons.filter(Cause.isDieReason).map(({ defect }) => defect)
  const broken = defects.find((defect) => defect instanceof Broken)
  return broken?.what ?? `it broke off: ${Cause.pretty(exit.cause)}`
}

/** How a value looks in evidence. */
export const show = (value: unknown): string => (typeof value === "symbol" ? String(value) : Formatter.format(value))

/** What became of a call, in words. */
export const outcome = ({ exit }: { readonly exit: Exit.Exit<unknown, unknown> | undefined }): string => {
  if (exit === undefined) return "has not ended"
  return Exit.isSuccess(exit) ? "succeeded" : `failed (${Cause.pretty(exit.cause).split("\n")[0]})`
}

/** The numbers from `from` to `to`. */
export const range = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)

// internals

class Broken extends Data.Error<{ readonly what: string }> {}
