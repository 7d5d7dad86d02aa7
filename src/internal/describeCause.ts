import * as Cause from "effect/Cause"

/** The most errors of a chain of causes that are described. */
const deepest = 16

/**
 * What went wrong, as text for a dead letter: the tag and the message of each error, and of the errors that caused it, each on
 * a line. Stack traces are left out: their file paths are of no use to an operator, and say how the application is deployed.
 */
export const describeCause = (cause: Cause.Cause<unknown>): string =>
  cause.reasons
    .flatMap((reason) => {
      if (Cause.isFailReason(reason)) return chainOf(reason.error)
      if (Cause.isDieReason(reason)) return chainOf(reason.defect)
      return ["interrupted"]
    })
    .join("\n")

// internals

const chainOf = (error: unknown): ReadonlyArray<string> => {
  const lines: Array<string> = []
  const seen = new Set<unknown>()
  const add = (error: unknown): void => {
    if (lines.length === deepest || seen.has(error)) return
    seen.add(error)
    const line = describe(error)
    // A wrapper often repeats the message of what it wraps.
    if (!lines.some((earlier) => earlier.endsWith(messageOf(error) || line)))
      lines.push(lines.length === 0 ? line : `caused by ${line}`)
    for (const next of causesOf(error)) add(next)
  }
  add(error)
  return lines
}

const describe = (error: unknown): string => {
  const message = messageOf(error)
  const tag = tagOf(error)
  if (tag !== undefined) return message === "" ? tag : `${tag}: ${message}`
  if (message !== "") return message
  try {
    return typeof error === "object" ? JSON.stringify(error) : String(error)
  } catch {
    // A circle, a bigint in an object, a toString that throws: any value may be thrown.
    return "an error without a description"
  }
}

/** A property of an error; nothing where reading it throws, since any value may be thrown. */
const property = (error: unknown, key: string): unknown => {
  try {
    return typeof error === "object" && error !== null ? Reflect.get(error, key) : undefined
  } catch {
    return undefined
  }
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "")

const messageOf = (error: unknown): string => textOf(property(error, "message"))

const tagOf = (error: unknown): string | undefined =>
  textOf(property(error, "_tag")) || textOf(property(error, "name")) || undefined

const causesOf = (error: unknown): ReadonlyArray<unknown> => {
  const cause = property(error, "cause")
  const errors = property(error, "errors")
  const causes = cause === undefined || cause === null ? [] : Cause.isCause(cause) ? valuesOf(cause) : [cause]
  return Array.isArray(errors) ? [...causes, ...errors] : causes
}

const valuesOf = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> =>
  cause.reasons.flatMap((reason) =>
    Cause.isFailReason(reason) ? [reason.error] : Cause.isDieReason(reason) ? [reason.defect] : []
  )
