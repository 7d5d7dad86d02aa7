/**
 * An `HttpClient` for Node that connects to no address that its `AddressPolicy` refuses, whatever a url, a name or a
 * redirect says: a guard against server-side request forgery (SSRF), for urls that come from outside. A name is resolved
 * once for each connection, every address in the answer is judged, and only judged addresses are connected to: there is no
 * second answer that could differ.
 *
 * It needs `@effect/platform-node`, which this library does not install.
 *
 * @since 0.1.0
 */
import * as NodeDns from "@effect/platform-node/NodeDns"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { buildConnector } from "@effect/platform-node/Undici"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Dns from "effect/net/Dns"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { judgeLiteral, LookupFailed, markGuarded, resolve, type Resolved } from "./internal/guard.ts"
import * as AddressPolicy from "./AddressPolicy.ts"

/**
 * Options of TLS, all of them PEM. The receiver's certificate and its name are always verified.
 *
 * @category options
 * @since 0.1.0
 */
export interface Tls {
  /** The trusted authorities, in place of Node's. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The client's certificate, with its chain. */
  readonly cert?: string | undefined
  /** The key of `cert`. */
  readonly key?: Redacted.Redacted<string> | undefined
}

/**
 * Options of a guarded client.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends AddressPolicy.Options {
  readonly tls?: Tls | undefined
}

/**
 * The guarded client over a `Dns` of the application, such as a static one in a test.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoDns = (options: Options = {}): Layer.Layer<HttpClient, never, Dns.Dns> =>
  Layer.provide(
    // Layers are shared by identity: an unguarded client made elsewhere in the program would take the place of this one.
    Layer.tap(Layer.fresh(NodeHttpClient.layerUndiciNoDispatcher), (context) =>
      Effect.sync(() => markGuarded(Context.get(context, HttpClient), AddressPolicy.make(options)))
    ),
    Layer.effect(
      NodeHttpClient.Dispatcher,
      Effect.flatMap(makeConnector(options), (connect) => NodeHttpClient.makeDispatcherOptions({ connect }))
    )
  )

/**
 * The guarded client, over the system's own resolver: `NodeHttpClient.layerUndici` with a policy at every connection.
 *
 * **Details**
 *
 * A connection that is refused fails the request with a `TransportError` whose cause is a `ForbiddenAddress`. In an
 * `HttpSinkError` that is the reason itself.
 *
 * A name is refused if any of its addresses is. A redirect that is followed is a connection like any other. Variables of
 * the environment that name a proxy are ignored, and so is a dispatcher that is global to the process. Connections are
 * pooled, and judged when they are made.
 *
 * **Gotchas**
 *
 * Only requests through this client are guarded. A guard in the process does not replace a firewall around it: the guide
 * names its limits.
 *
 * **Example** (Refusing to post to a private network)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import * as Envelope from "effect-events/http/Envelope"
 * import * as GuardedHttpClient from "effect-events/http/GuardedHttpClient"
 * import * as HttpSink from "effect-events/http/HttpSink"
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* HttpSink.make({
 *     name: "customer-7",
 *     url: "http://[::ffff:7f00:1]:9200/_search",
 *     envelope: Envelope.json(Schema.String)
 *   })
 *   const error = yield* Effect.flip(sink.write("hello"))
 *   console.log(error._tag === "HttpSinkError" && error.reason.message)
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(GuardedHttpClient.layer())))
 * // prints: ::ffff:7f00:1 is not allowed: loopback (127.0.0.0/8, RFC 1122, section 3.2.1.3)
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<HttpClient> => Layer.provide(layerNoDns(options), NodeDns.layer)

// internals

/** The callback of Node's lookups: all addresses of a name, or the first. */
type Answered = (error: Error | null, addresses: string | Array<Resolved>, family?: number) => void

/** Makes connections for undici, and only to addresses that the policy allows. */
const makeConnector = Effect.fnUntraced(function* ({ tls = {}, ...options }: Options) {
  const policy = AddressPolicy.make(options)
  const dns = yield* Dns.Dns
  const run = yield* FiberSet.makeRuntime<never>()

  const lookup = (host: string, { all }: { readonly all?: boolean | undefined }, answered: Answered): void => {
    run(resolve(policy, dns, host)).addObserver((exit) => {
      if (Exit.isFailure(exit)) {
        const unanswered = (cause: unknown) => new LookupFailed({ host, code: "EAI_FAIL", cause })
        return answered(Result.getOrElse(Cause.findError(exit.cause), unanswered), [])
      }
      const [{ address, family }] = exit.value
      return all === true ? answered(null, [...exit.value]) : answered(null, address, family)
    })
  }

  const connect = buildConnector({
    lookup,
    // Or the environment could turn it off.
    rejectUnauthorized: true,
    ...(tls.ca !== undefined && { ca: typeof tls.ca === "string" ? tls.ca : [...tls.ca] }),
    ...(tls.cert !== undefined && { cert: tls.cert }),
    ...(tls.key !== undefined && { key: Redacted.value(tls.key) })
  })
  const guarded: buildConnector.connector = (to, callback) => {
    const unreachable = judgeLiteral(policy, to.hostname)
    if (unreachable === undefined) {
      // Without TLS undici connects to the server's name in place of a literal, and a caller may name an address.
      const { servername: _, ...unnamed } = to
      return connect(to.protocol === "https:" ? to : unnamed, callback)
    }
    // As undici's own connector, this calls back after it has returned.
    void Promise.resolve().then(() => callback(unreachable, null))
  }
  return guarded
})
