/** Reads JSON, and says where a text is not JSON without quoting it: the engine's own message quotes a piece of it. */
import * as Result from "effect/Result"

/** A JSON text as a value; `line` is the number of the text's first line. */
export const parse = (text: string, line = 1): Result.Result<unknown, string> =>
  Result.try({
    try: (): unknown => JSON.parse(text),
    catch: () => {
      const at = fault(text)
      return `not JSON ${at >= text.length ? "since it ends too early, " : ""}at ${place(text, at, line)}`
    }
  })

/**
 * How deep a received text may be nested, which RFC 8259, section 9, leaves to its reader. `JSON.parse` reads any depth,
 * but `JSON.stringify` fails some thousands deep: such an event, once accepted, could never be sent on.
 */
const maxDepth = 1000

/** A received JSON text as a value, unless it is nested too deeply. */
export const received = (text: string, line = 1): Result.Result<unknown, string> =>
  Result.flatMap(parse(text, line), (value) => {
    const at = tooDeep(text)
    return at === undefined ? Result.succeed(value) : Result.fail(`nested too deeply at ${place(text, at, line)}`)
  })

// internals

const place = (text: string, at: number, line: number): string => {
  const before = text.slice(0, at).split("\n")
  return `line ${line + before.length - 1}, column ${(before.at(-1)?.length ?? 0) + 1}`
}

/** Where a JSON text becomes too deep. */
const tooDeep = (text: string): number | undefined => {
  if (text.length < 2 * maxDepth) return undefined
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x22) {
      while (text.charCodeAt(++i) !== 0x22) if (text.charCodeAt(i) === 0x5c) i++
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > maxDepth) return i
    } else if (code === 0x5d || code === 0x7d) depth--
  }
  return undefined
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

/** The offset at which a text stops being the beginning of JSON (RFC 8259, section 2). No recursion: any depth is read. */
const fault = (text: string): number => {
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
      closers.push(char === "{" ? "}" : "]")
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
