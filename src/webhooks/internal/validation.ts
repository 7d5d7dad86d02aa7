/** Whether an endpoint can be as it is asked for: urls are data, and what is wrong with one is found before an event waits for it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Url from "effect/http/Url"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { AddressPolicy } from "../../http/AddressPolicy.ts"
import { judgeLiteral } from "../../http/internal/guard.ts"
import { headerProblem } from "../../http/internal/sink/headerProblem.ts"
import { urlProblem } from "../../http/internal/sink/target.ts"
import { strongSecretProblem } from "../../http/internal/signature/webhookSecret.ts"
import { type EndpointChange, InvalidEndpoint, type NewEndpoint } from "./model.ts"

/**
 * What an endpoint may have at most, and a tenant.
 *
 * @category options
 * @since 0.1.0
 */
export interface Limits {
  /** Endpoints of a tenant: 100 by default. Creations side by side may pass it by as many. */
  readonly endpoints?: number | undefined
  /** Characters of a url: 2,048 by default. */
  readonly urlLength?: number | undefined
  /** Topics of an endpoint, 100 by default, and the characters of one, 200 by default. */
  readonly topics?: number | undefined
  readonly topicLength?: number | undefined
  /** Headers of an endpoint, 20 by default, and the characters of their names and values together, 4,096 by default. */
  readonly headers?: number | undefined
  readonly headerLength?: number | undefined
  /** Requests under way to one endpoint: 16 by default. */
  readonly concurrency?: number | undefined
  /** The longest time that an endpoint may ask for its requests: 30 seconds by default. */
  readonly timeout?: Duration.Input | undefined
}

export interface Rules {
  readonly limits: Limits
  readonly allowHttp: boolean
  readonly addresses: AddressPolicy
  readonly envelopes: ReadonlyArray<string>
  readonly plans: ReadonlyArray<string>
}

/** The limits, with their defaults in place. */
export const limitsOf = (limits: Limits) => ({
  endpoints: limits.endpoints ?? 100,
  urlLength: limits.urlLength ?? 2048,
  topics: limits.topics ?? 100,
  topicLength: limits.topicLength ?? 200,
  headers: limits.headers ?? 20,
  headerLength: limits.headerLength ?? 4096,
  concurrency: limits.concurrency ?? 16,
  timeout: Duration.fromInputUnsafe(limits.timeout ?? "30 seconds")
})

/** A header as it is given: its name in lower case, and whether its value is secret. */
export interface Header {
  readonly name: string
  readonly value: string
  readonly isSecret: boolean
}

export const headersOf = (headers: NonNullable<NewEndpoint["headers"]>): ReadonlyArray<Header> =>
  Object.entries(headers).map(([name, value]) =>
    Redacted.isRedacted(value)
      ? { name: name.toLowerCase(), value: Redacted.value(value), isSecret: true }
      : { name: name.toLowerCase(), value, isSecret: false }
  )

export const makeValidation = (rules: Rules) => {
  const limits = limitsOf(rules.limits)
  const problems: { readonly [Field in keyof NewEndpoint]-?: (value: NonNullable<NewEndpoint[Field]>) => Problem } = {
    tenant: (tenant) => textProblem(tenant, limits.topicLength),
    url: (url) => {
      if (url.length > limits.urlLength) return `is longer than ${limits.urlLength} characters`
      const problem = urlProblem(url)
      if (problem !== undefined) return problem
      return Result.match(Url.fromString(url), {
        onFailure: () => "is no url",
        onSuccess: ({ hostname, password, protocol, username }) => {
          if (protocol !== "https:" && !rules.allowHttp) return "is not https"
          if (username !== "" || password !== "") return "has credentials: a secret header is the place for them"
          return judgeLiteral(rules.addresses, hostname.replace(/^\[(.*)\]$/, "$1"))?.message
        }
      })
    },
    topics: (topics) => {
      // JSON has it as any array.
      if (topics.length < 1) return "are none"
      if (topics.length > limits.topics) return `are more than ${limits.topics}`
      for (const topic of topics) {
        const problem = textProblem(topic, limits.topicLength)
        if (problem !== undefined) return `have one that ${problem}`
        if (/\*/.test(topic.replace(/(^|\/)\*$/, "")))
          return 'have a "*" that is neither all of a pattern nor its end, as in "order/*"'
      }
      return undefined
    },
    description: (description) => textProblem(description, 500),
    headers: (given) => {
      const headers = headersOf(given)
      if (headers.length > limits.headers) return `are more than ${limits.headers}`
      const length = headers.reduce((sum, { name, value }) => sum + name.length + value.length, 0)
      if (length > limits.headerLength) return `have more than ${limits.headerLength} characters`
      for (const { name, value } of headers) {
        const isTwice = headers.filter((other) => other.name === name).length > 1
        const problem = isTwice
          ? "is there twice"
          : isReserved.test(name)
            ? "is the sender's"
            : headerProblem(name, value)
        if (problem !== undefined) return `have ${JSON.stringify(name)}, which ${problem}`
      }
      return undefined
    },
    secret: (secret) => strongSecretProblem(Redacted.value(secret)),
    envelope: (name) => (rules.envelopes.includes(name) ? undefined : "is none of the names that there are"),
    plan: (name) => (rules.plans.includes(name) ? undefined : "is none of the names that there are"),
    rate: ({ limit, per }) => {
      const time = Duration.fromInput(per)
      if (!(Number.isInteger(limit) && limit >= 1)) return "has a limit that is no whole number from 1 on"
      if (time._tag === "None" || !Duration.isPositive(time.value)) return "has no time"
      return Duration.toMillis(time.value) / limit > longestSpacing ? "is less than one request in a day" : undefined
    },
    ordered: () => undefined,
    concurrency: (n) =>
      Number.isInteger(n) && n >= 1 && n <= limits.concurrency
        ? undefined
        : `is no whole number from 1 to ${limits.concurrency}`,
    timeout: (input) => {
      const time = Duration.fromInput(input)
      if (time._tag === "None" || !Duration.isPositive(time.value)) return "is no time"
      return Duration.isGreaterThan(time.value, limits.timeout)
        ? `is longer than ${Duration.format(limits.timeout)}`
        : undefined
    }
  }
  return (given: Partial<NewEndpoint> | EndpointChange): Effect.Effect<void, InvalidEndpoint> => {
    const values: { readonly [field: string]: unknown } = { ...given }
    for (const field of Object.keys(problems)) {
      const value = values[field]
      if (value === undefined || value === null) continue
      // The types say so of each field; a mapped type does not follow a name that is only known at run time.
      const problem = (problems[field as keyof NewEndpoint] as (value: unknown) => Problem)(value)
      if (problem !== undefined) return Effect.fail(new InvalidEndpoint({ field, problem }))
    }
    return Effect.void
  }
}

// internals

type Problem = string | undefined

/** Headers of signatures, and what decides where a request goes. */
const isReserved = /^(?:host|webhook-.*|svix-.*|content-type|content-encoding)$/

const longestSpacing = 24 * 60 * 60 * 1000

const textProblem = (text: string, most: number): Problem => {
  if (text === "") return "is empty"
  if (text.length > most) return `is longer than ${most} characters`
  // Some stores hold no NUL, and no log should hold a line break of a customer's.
  return /\p{Cc}/u.test(text) ? "has a control character" : undefined
}
