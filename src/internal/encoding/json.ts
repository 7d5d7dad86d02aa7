/** Reads JSON, and says where a text is none without quoting it: the engine's own message has a piece of it. */
import * as Result from "effect/Result"

/** A JSON text as a value; `line` is the number of the text's first line. */
export const parse = (text: string, line = 1): Result.Result<unknown, string> => {
  try {
    return Result.succeed(JSON.parse(text))
  } catch {
    // A SyntaxError, whose message quotes the text.
    const at = fault(text)
    return Result.fail(`not JSON ${at >= text.length ? "since it ends too early, " : ""}at ${place(text, at, line)}`)
  }
}

/**
 * How deep a received text may be nested, which RFC 8259, section 9, leaves to its reader. `JSON.parse` reads any depth, and
 * nobody can write again what is some thousands deep: once accepted, it would be stuck in front of the first who has to.
 */
const deepest = 1000

/** A JSON text that somebody sent. */
export const received = (text: string, line = 1): Result.Result<unknown, string> =>
  Result.flatMap(parse(text, line), (value) => {
    const at = tooDeep(text)
    return at === undefined ? Result.succeed(value) : Result.fail(`nested too deeply at ${place(text, at, line)}`)
  })

const place = (text: string, at: number, line: number): string => {
  const before = text.slice(0, at).split("\n")
  return `line ${line + before.length - 1}, column ${(before.at(-1)?.length ?? 0) + 1}`
}

/** Where a JSON text becomes too deep. */
const tooDeep = (text: string): number | undefined => {
  if (text.length < 2 * deepest) return undefined
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x22) {
      while (text.charCodeAt(++i) !== 0x22) if (text.charCodeAt(i) === 0x5c) i++
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > deepest) return i
    } else if (code === 0x5d || code === 0x7d) depth--
  }
  return undefined
}

const space = /[ \t\n\r]*/y
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

/** Where a sticky expression that matches from `at` on stops, or nothing when it does not match. */
const after = (expression: RegExp, text: string, at: number): number | undefined => {
  expression.lastIndex = at
  return expression.test(text) ? expression.lastIndex : undefined
}

/** The end of the string that begins at `at`, or the negative of its fault, less one. */
const stringEnd = (text: string, at: number): number => {
  for (let i = at + 1; ;) {
    const code = text.charCodeAt(i)
    if (code === 0x22) return i + 1
    if (!(code >= 0x20)) return -i - 1
    const next = code === 0x5c ? after(escape, text, i) : i + 1
    if (next === undefined) return -i - 1
    i = next
  }
}

/** The offset of what makes a text no JSON (RFC 8259, section 2). No recursion: the text may be nested at will. */
const fault = (text: string): number => {
  const open: Array<"[" | "{"> = []
  let expects: "value" | "first value" | "key" | "first key" | "colon" | "more" = "value"
  let at = 0
  for (;;) {
    at = after(space, text, at) ?? at
    const char = text[at]
    const inside = open.at(-1)
    const closes = char === (inside === "{" ? "}" : "]") && inside !== undefined
    if (char === undefined) return text.length
    if (closes && (expects === "more" || expects.startsWith("first"))) {
      open.pop()
      expects = "more"
      at++
    } else if (expects === "more" || expects === "colon") {
      if (char !== (expects === "colon" ? ":" : ",") || inside === undefined) return at
      expects = expects === "more" && inside === "{" ? "key" : "value"
      at++
    } else if (char === '"') {
      const end = stringEnd(text, at)
      if (end < 0) return -end - 1
      expects = expects.endsWith("key") ? "colon" : "more"
      at = end
    } else if (expects.endsWith("key")) return at
    else if (char === "{" || char === "[") {
      open.push(char)
      expects = char === "{" ? "first key" : "first value"
      at++
    } else {
      const end = after(scalar, text, at)
      if (end === undefined) return at
      expects = "more"
      at = end
    }
  }
}
