/** What all requests of one sink share: where they go, and the headers that each of them has. */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Url from "effect/http/Url"
import * as UrlParams from "effect/http/UrlParams"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { InvalidHeader, InvalidUrl } from "../../HttpSinkError.ts"
import { headerProblem } from "./headerProblem.ts"

export interface Target {
  /** Where requests go: without credentials and fragment, and without the part of the query that is in `params`. */
  readonly href: string
  /** The query with its values hidden: an error of the client, which ends up in a span, shows `href`, but not this. */
  readonly params: UrlParams.UrlParams
  /** Its host, an IPv6 address without brackets. */
  readonly host: string
  /** What may be shown of it: without the query, and of a redacted url without the path. */
  readonly shown: string
  readonly headers: Readonly<Record<string, string>>
  /** The names of headers whose values may not be shown. */
  readonly hidden: ReadonlyArray<string>
  /** The host of a redacted url, of which spans show that alone. */
  readonly hiddenHost: string | undefined
}

/**
 * Where requests go, and the headers that each of them has.
 *
 * @category options
 * @since 0.1.0
 */
export interface TargetOptions {
  /**
   * Where to post to: absolute, http or https. Credentials in it become a header, a fragment is left out. Errors show its
   * origin and path, and spans the names in its query too; a span may show all of a query with other escapes than those of
   * a form, so a secret belongs into a header. Of a `Redacted` one, such as that of a service that has a secret in the path,
   * errors show the origin alone.
   */
  readonly url: string | { readonly href: string } | Redacted.Redacted<string>
  /** Headers of every request. An envelope's header takes the place of one with the same name. */
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
}

export const makeTarget = Effect.fnUntraced(function* ({ headers: given = {}, url }: TargetOptions) {
  const headers: Record<string, string> = {}
  const hidden: Array<string> = []
  for (const [name, value] of Object.entries(given)) {
    const header = name.toLowerCase()
    const text = valueOf(value)
    const problem = Object.hasOwn(headers, header) ? "is there twice" : headerProblem(header, text)
    if (problem !== undefined) return yield* new InvalidHeader({ header: name, problem })
    headers[header] = text
    if (Redacted.isRedacted(value)) hidden.push(header)
  }
  const parsed = parse(typeof url === "object" && "href" in url ? url.href : valueOf(url))
  if (Result.isFailure(parsed)) return yield* new InvalidUrl({ problem: parsed.failure })
  const { authorization, hostname, origin, pathname, search, searchParams } = parsed.success
  if (authorization !== undefined) {
    if (Object.hasOwn(headers, "authorization")) {
      const problem = "stands against the credentials of the url: give one of them"
      return yield* new InvalidHeader({ header: "authorization", problem })
    }
    headers["authorization"] = authorization
    hidden.push("authorization")
  }
  const pairs = [...searchParams]
  // Receivers may compare a query letter by letter: one that would not come out as it was written stays in the text.
  const isSame = `?${UrlParams.toString(UrlParams.make(pairs))}` === search
  const target: Target = {
    href: origin + pathname + (isSame ? "" : search),
    params: isSame ? UrlParams.make(pairs.map(([name, value]) => [name, Redacted.make(value)])) : UrlParams.empty,
    host: hostname.replace(/^\[(.*)\]$/, "$1"),
    shown: Redacted.isRedacted(url) ? origin : origin + pathname,
    headers,
    hidden,
    hiddenHost: Redacted.isRedacted(url) ? hostname : undefined
  }
  return target
})

/** Why no event can be posted to this url. */
export const urlProblem = (text: string): string | undefined =>
  Result.match(parse(text), { onFailure: (problem) => problem, onSuccess: () => undefined })

// internals

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

const valueOf = (text: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(text) ? Redacted.value(text) : text

/** A url that events can be posted to, and its credentials as a header (RFC 7617); or what is wrong with it. */
const parse = (text: string) =>
  Result.gen(function* () {
    // In a browser a relative url would be taken for one of the page's.
    if (!/^\s*[a-z][a-z\d+.-]*:/i.test(text)) return yield* Result.fail("is not absolute")
    const url: ParsedUrl = yield* Result.mapError(Url.fromString(text), () => "is no url")
    const { hostname, origin, password, pathname, protocol, search, searchParams, username } = url
    if (protocol !== "http:" && protocol !== "https:") return yield* Result.fail("is not http or https")
    // The error quotes the password.
    const [user, pass] = yield* Result.try({
      try: () => [decodeURIComponent(username), decodeURIComponent(password)] as const,
      catch: () => "has credentials whose percent encoding is broken"
    })
    if (user.includes(":")) {
      return yield* Result.fail("has a user name with a colon, which basic authentication cannot carry")
    }
    const authorization = username + password === "" ? undefined : `Basic ${Base64.encode(`${user}:${pass}`)}`
    return { authorization, hostname, origin, pathname, search, searchParams }
  })
