/**
 * The endpoints of a registry, as distribution's `notifications/endpoint.go` assembles them: ignored events left out, a queue, and
 * retries with a breaker. A broadcaster hands each event to all of them, so none of them holds up another or the registry.
 */
import { Context, Effect } from "effect"
import { Broadcaster } from "effect-events"
import { Endpoint, Envelope, RegistryEvent } from "effect-events/http"

/** An endpoint of the registry's configuration. */
export interface EndpointConfig extends Pick<
  Endpoint.Options<RegistryEvent.RegistryEvent>,
  "name" | "url" | "headers" | "timeout" | "threshold" | "backoff"
> {
  readonly ignore?: Endpoint.Ignored
}

const endpoint = ({ ignore = {}, ...config }: EndpointConfig) =>
  Endpoint.make({
    ...Endpoint.distribution,
    ...config,
    envelope: Envelope.registryWith({ mediaType: RegistryEvent.mediaTypeV2 }),
    ignore: Endpoint.ignoring(ignore),
    onDisabled: ({ id }) => Effect.logError(`${config.name} is gone, not sent: ${id}`)
  })

export class Notifications extends Context.Service<
  Notifications,
  Broadcaster.Broadcaster<RegistryEvent.RegistryEvent>
>()("registry/Notifications") {
  static readonly layer = (endpoints: ReadonlyArray<EndpointConfig>) =>
    Broadcaster.layer(Notifications, endpoints.map(endpoint))
}
