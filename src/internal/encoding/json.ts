/** Reads JSON, and says where a text is not JSON without quoting it: the engine's own message quotes a piece of it. */
import * as Result from "effect/Result"

/** A JSON text as a value; `line` is the number of the text's first line. */
export const parse = (text: string, line = 1): Result.Result<unknown, string> => {
  try {
    return Result.succeed(JSON.parse(text))
  } catch {
    // It throws for nothing else.
    const at = fault(text)
    return Result.fail(`not JSON ${at >= text.length ? "since it ends too early, " : ""}at ${place(text, at, line)}`)
  }
}

/**
 * How deep a received text may be nested, which RFC 8259, section 9, leaves to its reader. `JSON.parse` reads any depth,
 * but `JSON.stringify` fails some thousands deep: such an event, once accepted, could never be sent on.
 */
const maxDepth = 1000

/** A received JSON text as a value, unless it is nested too deeply. */
export const received = (text: string, line = 1): Result.Result<unknown, string> =>
  Result.flatMap(parse(text, line), (value) =>
    text.length < 2 * maxDepth || !isDeeper(value, maxDepth)
      ? Result.succeed(value)
      : Result.fail(`nested too deeply at ${place(text, fault(text, maxDepth), line)}`)
  )

/**
 * The value of a received text again, in which each number that a double cannot hold is a `JSON.rawJSON`, which
 * `JSON.stringify` writes with the same digits; `value` itself when there is no such number.
 */
export const exactly = (text: string, value: unknown): unknown => {
  const { parse, rawJSON } = withSource
  if (rawJSON === undefined || !isLong.test(text)) return value
  return parse(text, (_, value, { source } = {}) =>
    typeof value === "number" && source !== undefined && isLong.test(source) && String(value) !== source
      ? rawJSON(source)
      : value
  )
}

/** Whether a value is such a number. */
export const isRaw = (value: unknown): boolean => withSource.isRawJSON?.(value) === true

// internals

// ECMAScript 2026, and so not yet in the types.
const withSource = JSON as unknown as {
  readonly parse: (
    text: string,
    reviver: (key: string, value: unknown, context?: { readonly source?: string }) => unknown
  ) => unknown
  readonly rawJSON?: (text: string) => unknown
  readonly isRawJSON?: (value: unknown) => boolean
}

/** A number of more than 15 digits, which a double may not hold, or one that it cannot reach. */
const isLong = /[\d.]{16}|\de[+-]?\d{3}/i

/** Whether a JSON value is nested more than `depth` deep. */
const isDeeper = (value: unknown, depth: number): boolean => {
  if (typeof value !== "object" || value === null) return false
  if (depth === 0) return true
  for (const item of Object.values(value)) if (isDeeper(item, depth - 1)) return true
  return false
}

const place = (text: string, at: number, line: number): string => {
  const before = text.slice(0, at).split("\n")
  return `line ${line + before.length - 1}, column ${(before.at(-1)?.length ?? 0) + 1}`
}

const space = /[ \t\n\r]*/y
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
// Bounded: the engine's stack would not hold the repetitions of a long string.
const characters = /(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4})){1,1000}/y

/** Where a sticky expression that matches from `at` on stops: at `at` itself when it does not match. */
const after = (expression: RegExp, text: string, at: number): number => {
  expression.lastIndex = at
  return expression.test(text) ? expression.lastIndex : at
}

/** The offset at which a text stops being JSON (RFC 8259, section 2) or is too deep. No recursion: any depth is read. */
const fault = (text: string, maxDepth = Number.POSITIVE_INFINITY): number => {
  const closers: Array<string> = []
  let expects: "value" | "key" | "colon" | "comma" = "value"
  let mayClose = false
  let at = 0
  for (;;) {
    at = after(space, text, at)
    const char = text[at]
    const closer = closers.at(-1)
    if (char === undefined) return at
    if (mayClose && char === closer) {
      closers.pop()
      expects = "comma"
      at++
    } else if (expects === "colon" || expects === "comma") {
      if (closer === undefined || char !== (expects === "colon" ? ":" : ",")) return at
      expects = expects === "comma" && closer === "}" ? "key" : "value"
      mayClose = false
      at++
    } else if (char === '"') {
      for (let end = at + 1; end > at; end = after(characters, text, at)) at = end
      if (text[at] !== '"') return at
      mayClose = expects === "value"
      expects = expects === "key" ? "colon" : "comma"
      at++
    } else if (expects === "value" && (char === "{" || char === "[")) {
      if (closers.push(char === "{" ? "}" : "]") > maxDepth) return at
      expects = char === "{" ? "key" : "value"
      mayClose = true
      at++
    } else {
      const end = after(scalar, text, at)
      if (expects === "key" || end === at) return at
      expects = "comma"
      mayClose = true
      at = end
    }
  }
}
