/** A program for an environment that names a proxy: gets urls, over `fetch` and over a guarded client, and says how it went. */
import { Effect } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import * as GuardedHttpClient from "effect-events/http/GuardedHttpClient"

const [, , port] = process.argv

const get = (host: string) =>
  HttpClient.get(`http://${host}:${port}/`).pipe(
    Effect.flatMap((response) => Effect.as(response.text, String(response.status))),
    Effect.catch(({ reason }) => Effect.succeed(String("cause" in reason ? reason.cause : reason)))
  )

const program = Effect.all([
  get("127.0.0.2").pipe(Effect.provide(FetchHttpClient.layer)),
  Effect.all([get("127.0.0.2"), get("127.0.0.1")]).pipe(
    Effect.provide(GuardedHttpClient.layer({ allow: ["127.0.0.2/32"] }))
  )
])

console.log(JSON.stringify(await Effect.runPromise(program)))
