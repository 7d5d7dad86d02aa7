/** Webhooks for many customers: endpoints as rows of a store, and an API for the portal of their owners. */
export * as WebhookApi from "./WebhookApi.ts"
export * as WebhookEndpoints from "./WebhookEndpoints.ts"
