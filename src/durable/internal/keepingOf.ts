import * as Duration from "effect/Duration"
import type { Keeping } from "../EventStore.ts"

/** What an exchange is to keep, by the options of a part; nothing where none of them says so. */
export const keepingOf = (options: {
  readonly [What in keyof Keeping]?: Duration.Input | undefined
}): Keeping | undefined => {
  const of = (what: keyof Keeping) =>
    options[what] === undefined ? {} : { [what]: Duration.fromInputUnsafe(options[what]) }
  const keeping = { ...of("retention"), ...of("deduplication"), ...of("outcomes") }
  return Object.keys(keeping).length === 0 ? undefined : keeping
}

/** Whether outcomes are kept for any time. */
export const keepsOutcomes = (keeping: Keeping | undefined): boolean =>
  keeping?.outcomes !== undefined && Duration.isPositive(keeping.outcomes)

/**
 * What is set within the transaction of a write: what decides whether its events are stored. Outcomes would lock the leases of the
 * exchange until that transaction ends, and are set beside it.
 */
export const joinedKeeping = (keeping: Keeping | undefined): Keeping | undefined => {
  const { outcomes: _, ...rest } = keeping ?? {}
  return Object.keys(rest).length === 0 ? undefined : rest
}
