/**
 * containerd's filter expressions: selectors of a field path, each with a value to be equal to (`==`), not equal to (`!=`) or
 * matched by (`~=`), or alone, for a field that is there. All selectors of a filter must hold, and one of the filters.
 *
 * Left out of containerd's grammar: escapes in quoted text other than `\"` and `\\`, and single quotes. Expressions of `~=` are
 * JavaScript's, which backtrack, and not RE2: take filters from trusted callers only.
 */
import { Data, Result } from "effect"

export class InvalidFilter extends Data.TaggedError("InvalidFilter")<{
  readonly filter: string
  /** Where in the text. */
  readonly at: number
  readonly expected: string
}> {
  override get message(): string {
    return `${this.filter}: expected ${this.expected} at ${this.at}`
  }
}

/** The text at a path; nothing where there is none. */
export type Field = (path: ReadonlyArray<string>) => string | undefined
type Matcher = (field: Field) => boolean

/** A filter that holds where any of these does; without one it always holds. */
export const parseAll = (filters: ReadonlyArray<string>): Result.Result<Matcher, InvalidFilter> =>
  Result.map(
    Result.all(filters.map(parse)),
    (parsed) => (field) => parsed.length === 0 || parsed.some((matches) => matches(field))
  )

const quoted = String.raw`"(?:[^"\\]|\\["\\])*"`
const part = new RegExp(String.raw`[A-Za-z]\w*|${quoted}`, "y")
const value = new RegExp(String.raw`${quoted}|[^\s,"/|]+`, "y")
/** A quoted expression may also stand between slashes or bars. */
const expression = new RegExp(String.raw`${value.source}|/(?:[^/\\]|\\.)*/|\|(?:[^|\\]|\\.)*\|`, "y")

const textOf = (token: string) => (token.startsWith('"') ? token.slice(1, -1).replaceAll(/\\(.)/g, "$1") : token)

export const parse = (filter: string): Result.Result<Matcher, InvalidFilter> =>
  Result.gen(function* () {
    if (filter === "") return (_: Field) => true
    let at = 0
    const take = (pattern: RegExp): string | undefined => {
      pattern.lastIndex = at
      const [token] = pattern.exec(filter) ?? []
      at += token?.length ?? 0
      return token
    }
    const need = (pattern: RegExp, expected: string) => {
      const token = take(pattern)
      return token === undefined ? Result.fail(new InvalidFilter({ filter, at, expected })) : Result.succeed(token)
    }
    const matchers: Array<Matcher> = []
    do {
      const path: Array<string> = []
      do path.push(textOf(yield* need(part, "a field or quoted text")))
      while (take(/\./y) !== undefined)
      const operator = take(/[=!~]=/y)
      if (operator === "~=") {
        const start = at
        const token = yield* need(expression, "a regular expression")
        const pattern = yield* Result.try({
          try: () => new RegExp(/^[/|]/.test(token) ? token.slice(1, -1) : textOf(token)),
          catch: () => new InvalidFilter({ filter, at: start, expected: "a regular expression" })
        })
        matchers.push((field) => pattern.test(field(path) ?? ""))
      } else if (operator !== undefined) {
        const text = textOf(yield* need(value, "a value or quoted text"))
        matchers.push((field) => (field(path) === text) === (operator === "=="))
      } else matchers.push((field) => field(path) !== undefined)
    } while (take(/,/y) !== undefined)
    if (at < filter.length) return yield* Result.fail(new InvalidFilter({ filter, at, expected: "a comma or the end" }))
    return (field: Field) => matchers.every((matches) => matches(field))
  })
