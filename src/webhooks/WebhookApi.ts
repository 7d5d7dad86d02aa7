/**
 * The API of a customer's portal, for what calls it: its endpoints and its errors. `WebhookEndpoints.layerHttpApi` serves it.
 *
 * No path or body of it names a tenant, and no answer has a secret but the one that made it.
 *
 * @since 0.1.0
 */
import { webhookApi } from "./internal/api.ts"

export { InvalidRequest, NotFound, Refused, Unavailable } from "./internal/api.ts"

/**
 * The API, for a client of it: `HttpApiClient.make(WebhookApi.api, { baseUrl })`, where `baseUrl` ends with the path of
 * `WebhookEndpoints.layerHttpApi`.
 *
 * @category api
 * @since 0.1.0
 */
export const api: typeof webhookApi = webhookApi
