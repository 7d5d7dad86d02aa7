/** What all requests of one sink share: where they go and the headers that every one of them has. */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Url from "effect/http/Url"
import * as UrlParams from "effect/http/UrlParams"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { InvalidHeader, InvalidUrl } from "../../HttpSinkError.ts"

export interface Target {
  /** Where requests go: without credentials and fragment, and without what of the query is in `params`. */
  readonly href: string
  /** The query with its values hidden: an error of the client, which ends up in a span, shows `href`, but not this. */
  readonly params: UrlParams.UrlParams
  /** Its host, an IPv6 address without brackets. */
  readonly host: string
  /** What may be shown of that: without the query, and of a redacted url without the path. */
  readonly shown: string
  readonly headers: Readonly<Record<string, string>>
  /** The names of headers whose values may not be shown. */
  readonly hidden: ReadonlyArray<string>
}

export interface TargetOptions {
  readonly url: string | { readonly href: string } | Redacted.Redacted<string>
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
}

/** What is used of `URL`, whose type is the platform's. */
interface ParsedUrl {
  readonly protocol: string
  readonly origin: string
  readonly hostname: string
  readonly pathname: string
  readonly search: string
  readonly searchParams: Iterable<readonly [string, string]>
  readonly username: string
  readonly password: string
}

/** Headers that frame the message or belong to one connection (RFC 9110, sections 7.6.1 and 8.6), or to the envelope. */
const reserved = new Set([
  "connection",
  "content-length",
  "content-type",
  "expect",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

const token = /^[!#$%&'*+\-.^_`|~\w]+$/

/** Whether a header may have this value (RFC 9110, section 5.5): no line breaks, and no more than one byte a character. */
export const isFieldValue = (value: string): boolean => /^[\t\x20-\x7e\x80-\xff]*$/.test(value)

export const makeTarget = (options: TargetOptions): Effect.Effect<Target, InvalidUrl | InvalidHeader> =>
  Effect.suspend((): Effect.Effect<Target, InvalidUrl | InvalidHeader> => {
    const headers: Record<string, string> = {}
    const hidden: Array<string> = []
    for (const [given, value] of Object.entries(options.headers ?? {})) {
      const header = given.toLowerCase()
      const text = Redacted.isRedacted(value) ? Redacted.value(value) : value
      const problem = headerProblem(header, text)
      if (problem !== undefined) return Effect.fail(new InvalidHeader({ header: given, problem }))
      if (header in headers) return Effect.fail(new InvalidHeader({ header: given, problem: "is there twice" }))
      headers[header] = text
      if (Redacted.isRedacted(value)) hidden.push(header)
    }
    const url = parse(textOf(options.url))
    if (typeof url === "string") return Effect.fail(new InvalidUrl({ problem: url }))
    const credentials = basic(url)
    if (Result.isFailure(credentials)) return Effect.fail(credentials.failure)
    if (credentials.success !== undefined) {
      if ("authorization" in headers) {
        const problem = "stands against the credentials of the url: give one of them"
        return Effect.fail(new InvalidHeader({ header: "authorization", problem }))
      }
      headers["authorization"] = credentials.success
      hidden.push("authorization")
    }
    const target = url.origin + url.pathname
    const shown = Redacted.isRedacted(options.url) ? url.origin : target
    const pairs = [...url.searchParams]
    // Receivers may compare a query letter by letter: one that would not come out as it was written stays in the text.
    const isSame = `?${UrlParams.toString(UrlParams.make(pairs))}` === url.search
    const params = isSame ? UrlParams.make(pairs.map(([name, value]) => [name, Redacted.make(value)])) : UrlParams.empty
    const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
    return Effect.succeed({ href: isSame ? target : target + url.search, params, host, shown, headers, hidden })
  })

/** Why nothing can be posted to this url; nothing when something can. */
export const urlProblem = (text: string): string | undefined => {
  const url = parse(text)
  if (typeof url === "string") return url
  const credentials = basic(url)
  return Result.isFailure(credentials) ? credentials.failure.problem : undefined
}

const textOf = (url: TargetOptions["url"]): string => {
  if (Redacted.isRedacted(url)) return Redacted.value(url)
  return typeof url === "string" ? url : url.href
}

/** Why requests cannot have this header, its name in lower case; nothing when they can. */
export const headerProblem = (header: string, value: unknown): string | undefined => {
  if (!token.test(header)) return "has a name that is no token (RFC 9110, section 5.6.2)"
  if (header === "content-type") return "is the envelope's"
  if (reserved.has(header)) return "is the client's: it frames the request or the connection"
  if (typeof value !== "string") return "has a value that is no text"
  return isFieldValue(value) ? undefined : "has a value with a line break or another character that no header carries"
}

const parse = (text: string): ParsedUrl | string => {
  // In a browser a relative url would be taken for one of the page's.
  if (!/^\s*[a-z][a-z\d+.-]*:/i.test(text)) return "is not absolute"
  const result: Result.Result<ParsedUrl, unknown> = Url.fromString(text)
  if (Result.isFailure(result)) return "is no url"
  const url = result.success
  return url.protocol === "http:" || url.protocol === "https:" ? url : "is not http or https"
}

/** The credentials of a url as a header (RFC 7617), if it has any. */
const basic = ({ password, username }: ParsedUrl): Result.Result<string | undefined, InvalidUrl> => {
  if (username === "" && password === "") return Result.succeed(undefined)
  const invalid = (problem: string) => Result.fail(new InvalidUrl({ problem }))
  try {
    const [user, pass] = [decodeURIComponent(username), decodeURIComponent(password)]
    if (user.includes(":")) return invalid("has a user name with a colon, which basic authentication cannot carry")
    return Result.succeed(`Basic ${Base64.encode(`${user}:${pass}`)}`)
  } catch {
    // Its message quotes the password.
    return invalid("has credentials whose percent encoding is broken")
  }
}
