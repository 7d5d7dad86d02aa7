/** What of an endpoint a configuration says. */
import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { headerProblem } from "../sink/headerProblem.ts"
import { urlProblem } from "../sink/target.ts"
import { secretProblem } from "../signature/webhookSecret.ts"

/**
 * What of a registry's events an endpoint leaves out, as distribution's `ignore` does.
 *
 * @category options
 * @since 0.1.0
 */
export interface Ignored {
  readonly mediaTypes?: ReadonlyArray<string> | undefined
  readonly actions?: ReadonlyArray<string> | undefined
}

/**
 * Whether a registry's event has one of these media types or actions: the `ignore` of an endpoint.
 *
 * @category predicates
 * @since 0.1.0
 */
export const ignoring =
  ({ actions = [], mediaTypes = [] }: Ignored) =>
  ({
    action,
    target
  }: {
    readonly action?: string | undefined
    readonly target?: { readonly mediaType?: string | undefined } | null | undefined
  }): boolean =>
    (action !== undefined && actions.includes(action)) ||
    (target?.mediaType !== undefined && mediaTypes.includes(target.mediaType))

/**
 * What of an endpoint comes from a configuration. A setting that is left out is no key here, so that the options of a preset
 * in front of these stay.
 *
 * @category config
 * @since 0.1.0
 */
export interface Settings {
  readonly url: Redacted.Redacted<string>
  readonly headers?: Readonly<Record<string, Redacted.Redacted<string>>>
  readonly timeout?: Duration.Duration
  readonly threshold?: number
  readonly backoff?: Duration.Duration
  readonly capacity?: number
  readonly concurrency?: number
  readonly maxRetryAfter?: Duration.Duration
  readonly disableAfter?: Duration.Duration
  readonly drainTimeout?: Duration.Duration
  readonly maxEvents?: number
  readonly maxAge?: Duration.Duration
  readonly maxBytes?: number
  readonly signing?: { readonly secrets: Arr.NonEmptyReadonlyArray<Redacted.Redacted<string>> }
  /** For `ignoring`. */
  readonly ignored: Ignored
}

/** The entries of a record that have a value. */
const present = <R extends object>(record: R) =>
  // The compiler does not follow the filter.
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as {
    readonly [K in keyof R]?: Exclude<R[K], undefined>
  }

/** A secret text. The error has what is wrong with it and the name of the setting, and does not quote it. */
const secretText = (problem: (text: string) => string | undefined) =>
  Schema.Redacted(Schema.String.check(Schema.makeFilter((text) => problem(text) ?? true)))

const Url = secretText((text) => {
  const problem = urlProblem(text)
  return problem && `the url ${problem}`
})

const Secret = Schema.Trim.check(
  Schema.makeFilter((text) => {
    const problem = secretProblem(text)
    return problem === undefined || `a webhook secret ${problem}`
  })
).pipe(Schema.Redacted)

/** Lines as HTTP has them: any separator within a line could be part of a value, too. */
const linesOf = (text: string): ReadonlyArray<readonly [name: string, value: string] | undefined> =>
  text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, name, value] = /^\s*([^\s:]+):(.*)$/s.exec(line) ?? []
      return name === undefined || value === undefined ? undefined : [name, value.trim()]
    })

const HeaderLines = secretText((text) => {
  const names = new Set<string>()
  for (const header of linesOf(text)) {
    if (header === undefined) return "Expected lines of `name: value`"
    const [given, value] = header
    const name = given.toLowerCase()
    const problem = names.has(name) ? "is there twice" : headerProblem(name, value)
    if (problem !== undefined) return `the header ${JSON.stringify(given)} ${problem}`
    names.add(name)
  }
  return undefined
})

const headersOf = (lines: Redacted.Redacted<string>): Readonly<Record<string, Redacted.Redacted<string>>> =>
  Object.fromEntries(
    linesOf(Redacted.value(lines)).flatMap((header) => (header ? [[header[0], Redacted.make(header[1])]] : []))
  )

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))
const Time = Schema.DurationFromString.check(
  Schema.makeFilter((time) => Duration.toMillis(time) >= 0, { expected: "a duration of at least 0" })
)
const Timeout = Schema.DurationFromString.check(
  Schema.makeFilter((time) => Duration.toMillis(time) > 0, { expected: "a duration of more than 0" })
)

const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> => Config.withDefault(config, undefined)
const one = <A>(schema: Schema.ConstraintCodec<A, unknown>, name: string) => optional(Config.schema(schema, name))

/**
 * The settings of an endpoint: `URL`, and all else optional: `HEADERS` (`name: value`, one on a line; kept secret),
 * `SECRETS` (separated by commas), `TIMEOUT`, `BACKOFF`, `MAX_RETRY_AFTER`, `DISABLE_AFTER`, `DRAIN_TIMEOUT`, `MAX_AGE` (such as `5 seconds`),
 * `THRESHOLD`, `CAPACITY`, `CONCURRENCY`, `MAX_EVENTS`, `MAX_BYTES` (whole numbers from 1), `IGNORED_MEDIA_TYPES` and
 * `IGNORED_ACTIONS` (separated by commas). `Config.nested` puts a prefix before them.
 *
 * @category config
 * @since 0.1.0
 */
export const settings: Config.Config<Settings> = Config.map(
  Config.all({
    url: Config.schema(Url, "URL"),
    headers: optional(Config.map(Config.schema(HeaderLines, "HEADERS"), headersOf)),
    secrets: optional(Config.Array(Secret, "SECRETS")),
    timeout: one(Timeout, "TIMEOUT"),
    backoff: one(Time, "BACKOFF"),
    maxRetryAfter: one(Time, "MAX_RETRY_AFTER"),
    disableAfter: one(Time, "DISABLE_AFTER"),
    drainTimeout: one(Time, "DRAIN_TIMEOUT"),
    threshold: one(Count, "THRESHOLD"),
    capacity: one(Count, "CAPACITY"),
    concurrency: one(Count, "CONCURRENCY"),
    maxEvents: one(Count, "MAX_EVENTS"),
    maxAge: one(Time, "MAX_AGE"),
    maxBytes: one(Count, "MAX_BYTES"),
    mediaTypes: optional(Config.Array(Schema.Trim, "IGNORED_MEDIA_TYPES")),
    actions: optional(Config.Array(Schema.Trim, "IGNORED_ACTIONS"))
  }),
  ({ actions, mediaTypes, secrets, url, ...rest }) => ({
    ...present(rest),
    ...(secrets !== undefined && Arr.isReadonlyArrayNonEmpty(secrets) ? { signing: { secrets } } : {}),
    url,
    ignored: { mediaTypes, actions }
  })
)
