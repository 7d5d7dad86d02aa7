/** The options of the relay's command line, checked before anything is opened. */
import { Effect } from "effect"
import { RegistryEvent } from "effect-events/http"
import { Problem } from "./Problem.ts"

/** Where to listen. Port 0 means any port that is free. */
export interface Listen {
  readonly host: string
  readonly port: number
}

/** `PORT` or `HOST:PORT`. Without a host only this machine can connect, since senders are not authenticated. */
export const parseListen = (text: string): Effect.Effect<Listen, Problem> => {
  const [, host, port = ""] = /^(?:(.+):)?(\d+)$/.exec(text) ?? []
  return port === "" || Number(port) > 65_535
    ? Effect.fail(new Problem({ message: `--listen takes PORT or HOST:PORT, with a port up to 65535, not "${text}"` }))
    : Effect.succeed({ host: host?.replace(/^\[(.*)\]$/, "$1") ?? "127.0.0.1", port: Number(port) })
}

/** Where to send. */
export interface Target {
  /** The url without what may be secret in it. The events wait under this name: it must be the same at the next start. */
  readonly name: string
  readonly url: URL
  /** What its requests are posted under, by the version of notifications that it takes. */
  readonly mediaType: string
}

/** `URL`, or `v2=URL` with the version of notifications that the receiver takes. */
const parseEndpoint = (text: string): Effect.Effect<Target, Problem> => {
  const [, version = "v1", address = ""] = /^(?:(v\d+)=)?(.*)$/s.exec(text) ?? []
  if (version !== "v1" && version !== "v2")
    return Effect.fail(new Problem({ message: `--endpoint takes v1= or v2= in front of its url, not ${version}=` }))
  const mediaType = version === "v1" ? RegistryEvent.mediaType : RegistryEvent.mediaTypeV2
  const url = URL.parse(address)
  // Not shown: a mistyped url may have a password in it all the same.
  if (url === null)
    return Effect.fail(new Problem({ message: "--endpoint takes a url, such as http://host:port/path" }))
  const name = url.origin + url.pathname
  return url.protocol === "http:" || url.protocol === "https:"
    ? Effect.succeed({ name, url, mediaType })
    : Effect.fail(new Problem({ message: `--endpoint takes an http or https url, and not one of ${url.protocol}` }))
}

/** The urls of all endpoints. No two of them share a name, since they would share their events. */
export const parseEndpoints = Effect.fnUntraced(function* (texts: ReadonlyArray<string>) {
  const targets = yield* Effect.forEach(texts, parseEndpoint)
  const twice = targets.find(({ name }, i) => targets.findIndex((other) => other.name === name) < i)
  if (twice === undefined) return targets
  return yield* new Problem({
    message: `--endpoint ${twice.name} is given twice (what follows a ? tells none apart)`
  })
})

/**
 * How many bytes a notification may have: 32 MiB. A registry takes manifests of up to 4 MiB, and with
 * `includereferences` puts what they refer to into the event, annotations included, where Go writes one `&`, `<` or `>` as
 * six characters, and indents. What is larger is refused, and a registry never goes on behind it.
 */
export const defaultMaxBytes = 32 * 1024 * 1024

export const parseMaxBytes = (bytes: number): Effect.Effect<number, Problem> =>
  Number.isSafeInteger(bytes) && bytes > 0
    ? Effect.succeed(bytes)
    : Effect.fail(new Problem({ message: `--max-bytes takes a number of bytes from 1 on, not ${bytes}` }))
