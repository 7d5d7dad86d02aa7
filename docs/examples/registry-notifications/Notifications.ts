/**
 * The broadcaster: where the notifications are committed, once for all endpoints, and from where each endpoint's
 * subscription gets them.
 */
import { Context } from "effect"
import { DurableBroadcaster } from "effect-events/durable"
import { RegistryEvent } from "effect-events/http"

type Notification = RegistryEvent.RegistryEvent

/** Its name in the file. */
export const exchange = "notifications"

/** By the media type of the target, since that is what an endpoint of distribution ignores events by. */
const topic = ({ action, target }: Notification): string =>
  `${target?.mediaType === "application/octet-stream" ? "blob" : "manifest"}/${action ?? ""}`

/** A write succeeds when the event is in the file for every endpoint, and fails when the file does not take it. */
export class Notifications extends Context.Service<
  Notifications,
  DurableBroadcaster.DurableBroadcaster<Notification>
>()("registry-notifications/Notifications") {
  static readonly layer = DurableBroadcaster.layer(Notifications, {
    name: exchange,
    schema: RegistryEvent.RegistryEvent,
    topic,
    // How long the close waits for what is with the receivers. The rest is in the file.
    drainTimeout: "2 seconds"
  })
}
