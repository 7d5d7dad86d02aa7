/**
 * What happens to endpoints, as events: those that this process has seen or done. Each happens in one process, that of the attempt or of
 * the call. An event that its sink does not take is logged, and a process that ends at once may not have written its last.
 */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import * as EventQueue from "../../EventQueue.ts"
import { acknowledgeFromMemory, type EventSink } from "../../EventSink.ts"
import { logLine } from "../../internal/failureLog.ts"
import { withoutConstruction } from "../../internal/context.ts"
import type { EndpointEvent } from "./model.ts"
import type { makeWebhookLog } from "./webhookLog.ts"

export interface Health {
  readonly report: (event: EndpointEvent) => void
  readonly events: Stream.Stream<EndpointEvent>
}

export const makeHealth = Effect.fnUntraced(function* (
  name: string,
  log: ReturnType<typeof makeWebhookLog>,
  onHealth: EventSink<EndpointEvent, unknown> | undefined
) {
  const pubsub = yield* PubSub.unbounded<EndpointEvent>()
  yield* Effect.addFinalizer(() => PubSub.shutdown(pubsub))
  const context = withoutConstruction(yield* Effect.context<never>())
  const part = { kind: "WebhookEndpoints", name }
  // A delivery does not wait for what is said of its endpoint.
  const queue =
    onHealth &&
    (yield* acknowledgeFromMemory(onHealth).pipe(
      EventQueue.make({
        name: `${name}/health`,
        onDropped: ({ event, reason }) =>
          logLine(part, "Error", `has an event of health that was not taken (${event.type}, ${reason._tag})`)
      })
    ))
  const health: Health = {
    report: (event) => {
      Effect.runForkWith(context)(log.happened(event))
      PubSub.publishUnsafe(pubsub, event)
      queue?.offerUnsafe(event)
    },
    events: Stream.fromPubSub(pubsub)
  }
  return health
})
