/**
 * The graph of the relay, wired with layers only: a server, an ingress that takes the registry's notifications, a
 * broadcaster that commits them, and for each endpoint a subscription to it, read from the receiver up: http, tried again
 * until the receiver takes the event.
 *
 * The ingress answers 202 when the events are in the file for every endpoint. From then on nothing loses them: not a
 * receiver that is down, not the end of this process, not `kill -9`. A request that it cannot take it keeps, too.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Context, Effect, Layer } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster } from "effect-events/durable"
import { Envelope, EventIngress, type RegistryEvent } from "effect-events/http"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import { Notifications } from "./Notifications.ts"
import * as Pipeline from "./Pipeline.ts"
import { Problem } from "./Problem.ts"
import { Quarantine } from "./Quarantine.ts"
import type { Listen, Target } from "./RelayOptions.ts"
import * as Screen from "./Screen.ts"

type Notification = RegistryEvent.RegistryEvent

/** Where a registry posts to. */
export const path = "/events"

/**
 * How the relay ends in time: requests under way are answered within so long, and what is then with a receiver may end
 * within the `drainTimeout` of the broadcaster, 2 seconds. The rest is in the file. Both together are less than what
 * supervisors grant, such as Docker's 10 seconds.
 */
const answerWithin = "3 seconds"

/** The endpoints. The times and the verdict on answers are distribution's. */
const endpoints = (targets: ReadonlyArray<Target>, maxBytes: number) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const notifications = yield* Notifications
      yield* Effect.forEach(targets, (target) => {
        const { name } = target
        const pipeline = Effect.mapError(
          Pipeline.make({ ...target, maxBytes }),
          ({ message }) => new Problem({ message: `--endpoint ${name}: ${message}` })
        )
        return DurableBroadcaster.subscribe(notifications, pipeline, { name })
      })
    })
  )

/** What the ingress has answered, in events, and in requests that it refused, with the last of these answers. */
export class Taken extends Context.Service<
  Taken,
  { events: number; duplicates: number; refused: number; refusal?: EventIngress.Answer }
>()("registry-notifications/Taken") {
  static readonly layer = Layer.sync(Taken, () => ({ events: 0, duplicates: 0, refused: 0 }))
}

/** Where the ingress writes to. */
export class Inbox extends Context.Service<
  Inbox,
  EventSink.EventSink<Notification, DurableBroadcaster.DurableWriteError>
>()("registry-notifications/Inbox") {}

/** Every endpoint; and where there is none, the screen. */
const inbox = (targets: ReadonlyArray<Target>) =>
  targets.length > 0
    ? Layer.effect(Inbox, Notifications)
    : EventSink.layer(
        Inbox,
        EventSink.make(({ action, id, target }: Notification) =>
          Screen.print(
            [id, action, target?.repository, target?.tag ?? target?.digest].map((text) => text ?? "-").join("  ")
          )
        )
      )

const route = (maxBytes: number) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const taken = yield* Taken
      const quarantine = yield* Quarantine
      return EventIngress.layer(Inbox, {
        path,
        envelopes: [Envelope.registry],
        maxBytes,
        // A registry waits a second by default, and comes again: with the same ids, which are known by then.
        writeTimeout: "2 seconds",
        // The largest body over a slow link: a sender that gives up earlier ends the request itself.
        bodyTimeout: "30 seconds",
        retryAfter: "1 second",
        onRefused: (message, problem) =>
          quarantine.keep(message, problem).pipe(
            Effect.tap((isNew) =>
              isNew ? Screen.print(`quarantined a request: ${problem.status}: ${problem.detail}`) : Effect.void
            ),
            Effect.as({ status: 202 }),
            Effect.catch(({ message }) => Effect.succeed({ status: 503, detail: message }))
          ),
        onAnswer: (answer) => {
          taken.events += answer.events
          taken.duplicates += answer.duplicates
          if (answer.status === 202) return
          taken.refused++
          taken.refusal = answer
        }
      })
    })
  )

const server = (listen: Listen) =>
  Effect.mapError(
    NodeHttpServer.make(createServer, { ...listen, gracefulShutdownTimeout: answerWithin }),
    ({ cause }) => {
      const why = cause instanceof Error ? cause.message : String(cause)
      return new Problem({ message: `cannot listen at ${listen.host}, port ${listen.port}: ${why}`, cause })
    }
  )

export interface Options {
  readonly listen: Listen
  readonly targets: ReadonlyArray<Target>
  /** How many bytes a request may have, and an event that is posted. */
  readonly maxBytes: number
}

/** The whole graph. It still needs the store, the quarantine and a client. */
export const layer = ({ listen, maxBytes, targets }: Options) =>
  HttpRouter.serve(route(maxBytes), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(inbox(targets)),
    // It listens when the subscriptions stand: a request that came earlier would have no answer.
    Layer.provideMerge(Layer.effect(HttpServer.HttpServer, server(listen))),
    Layer.provideMerge([endpoints(targets, maxBytes), Taken.layer]),
    Layer.provideMerge(Notifications.layer)
  )
