/** What of an endpoint a configuration says. */
import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

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
  (event: { readonly action: string; readonly target: { readonly mediaType?: string | undefined } }): boolean =>
    actions.includes(event.action) ||
    (event.target.mediaType !== undefined && mediaTypes.includes(event.target.mediaType))

/**
 * What of an endpoint comes from a configuration.
 *
 * @category config
 * @since 0.1.0
 */
export interface Settings {
  readonly url: string
  readonly headers: Readonly<Record<string, Redacted.Redacted<string>>> | undefined
  readonly timeout: Duration.Duration | undefined
  readonly threshold: number | undefined
  readonly backoff: Duration.Duration | undefined
  readonly capacity: number | undefined
  readonly concurrency: number | undefined
  readonly maxRetryAfter: Duration.Duration | undefined
  readonly disableAfter: Duration.Duration | undefined
  readonly drainTimeout: Duration.Duration | undefined
  readonly maxEvents: number | undefined
  readonly maxBytes: number | undefined
  readonly signing: { readonly secrets: Arr.NonEmptyReadonlyArray<Redacted.Redacted<string>> } | undefined
  /** For `ignoring`. */
  readonly ignored: Ignored
}

/** Lines as HTTP has them: no separator within a line that a value could not have, too. */
const HeaderLines = Schema.Redacted(
  Schema.String.check(
    Schema.isPattern(/^\s*[^\s:]+:[^\n]*(\n\s*[^\s:]+:[^\n]*)*\s*$/, { expected: "lines of `name: value`" })
  )
)

const headersOf = (lines: Redacted.Redacted<string>): Readonly<Record<string, Redacted.Redacted<string>>> =>
  Object.fromEntries(
    Redacted.value(lines)
      .trim()
      .split("\n")
      .map((line) => {
        const colon = line.indexOf(":")
        return [line.slice(0, colon).trim(), Redacted.make(line.slice(colon + 1).trim())]
      })
  )

const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> => Config.withDefault(config, undefined)

/**
 * The settings of an endpoint: `URL`, and all else optional: `HEADERS` (`name: value`, one on a line; kept secret),
 * `SECRETS` (separated by commas), `TIMEOUT`, `BACKOFF`, `MAX_RETRY_AFTER`, `DISABLE_AFTER`, `DRAIN_TIMEOUT` (such as `5 seconds`),
 * `THRESHOLD`, `CAPACITY`, `CONCURRENCY`, `MAX_EVENTS`, `MAX_BYTES` (whole numbers), `IGNORED_MEDIA_TYPES` and
 * `IGNORED_ACTIONS` (separated by commas). `Config.nested` puts a prefix before them.
 *
 * @category config
 * @since 0.1.0
 */
export const settings: Config.Config<Settings> = Config.map(
  Config.all({
    url: Config.map(Config.Redacted("URL"), Redacted.value),
    headers: optional(Config.map(Config.schema(HeaderLines, "HEADERS"), headersOf)),
    secrets: optional(Config.Array(Schema.Redacted(Schema.String), "SECRETS")),
    timeout: optional(Config.Duration("TIMEOUT")),
    backoff: optional(Config.Duration("BACKOFF")),
    maxRetryAfter: optional(Config.Duration("MAX_RETRY_AFTER")),
    disableAfter: optional(Config.Duration("DISABLE_AFTER")),
    drainTimeout: optional(Config.Duration("DRAIN_TIMEOUT")),
    threshold: optional(Config.Int("THRESHOLD")),
    capacity: optional(Config.Int("CAPACITY")),
    concurrency: optional(Config.Int("CONCURRENCY")),
    maxEvents: optional(Config.Int("MAX_EVENTS")),
    maxBytes: optional(Config.Int("MAX_BYTES")),
    mediaTypes: optional(Config.Array(Schema.String, "IGNORED_MEDIA_TYPES")),
    actions: optional(Config.Array(Schema.String, "IGNORED_ACTIONS"))
  }),
  ({ actions, mediaTypes, secrets, ...rest }) => ({
    ...rest,
    signing: secrets !== undefined && Arr.isReadonlyArrayNonEmpty(secrets) ? { secrets } : undefined,
    ignored: { mediaTypes, actions }
  })
)
