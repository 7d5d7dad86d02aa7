/**
 * The graph of the relay, wired with layers only: a server, an ingress that takes the registry's notifications, a sink
 * that commits them for every endpoint, and for each endpoint, read from the receiver up: http, tried again until the
 * receiver takes the event, behind a queue in a SQLite file.
 *
 * The ingress answers 202 when the events are in the file for every endpoint. From then on nothing loses them: not a
 * receiver that is down, not the end of this process, not `kill -9`. A request that it cannot take it keeps, too.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Context, Effect, Layer, type Scope } from "effect"
import { EventSink } from "effect-events"
import type { DurableQueue } from "effect-events/durable"
import { Envelope, EventIngress, type RegistryEvent } from "effect-events/http"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import * as FanOut from "./FanOut.ts"
import * as Pipeline from "./Pipeline.ts"
import { Problem } from "./Problem.ts"
import { Quarantine } from "./Quarantine.ts"
import type { Listen, Target } from "./RelayOptions.ts"
import * as Screen from "./Screen.ts"

type Notification = RegistryEvent.RegistryEvent

/** Where a registry posts to. */
export const path = "/events"

/**
 * How the relay ends in time: requests under way are answered within the first, and what is then with a receiver may end
 * within the second. The rest is in the file. Both together are less than what supervisors grant, such as Docker's 10
 * seconds.
 */
const answerWithin = "3 seconds"
const drainTimeout = "2 seconds"

/** One endpoint: its name in the file, and its queue. */
export interface Line {
  readonly name: string
  readonly queue: DurableQueue.DurableQueue<Notification>
}

/** The times and the verdict on answers are distribution's. */
const line = Effect.fnUntraced(function* ({ mediaType, name, url }: Target, maxBytes: number) {
  // A process that was killed keeps its lease for so long: then the next one goes on.
  const queue = yield* Pipeline.make({ name, url, mediaType, maxBytes, leaseTtl: "5 seconds", drainTimeout }).pipe(
    Effect.mapError(({ message }) => new Problem({ message: `--endpoint ${name}: ${message}` }))
  )
  return { name, queue } satisfies Line
})

/** The endpoints, in the order in which they were given. */
export class Endpoints extends Context.Service<Endpoints, ReadonlyArray<Line>>()("registry-notifications/Endpoints") {
  static readonly layer = (targets: ReadonlyArray<Target>, maxBytes: number) =>
    Layer.effect(
      Endpoints,
      Effect.gen(function* () {
        const lines = yield* Effect.forEach(targets, (target) => line(target, maxBytes))
        // The scope closes them one after another. Their closes begin together here, so that their times do not add up.
        yield* Effect.addFinalizer(() =>
          Effect.forEach(lines, ({ queue }) => queue.shutdown, { concurrency: "unbounded", discard: true })
        )
        return lines
      })
    )
}

/** What the ingress has answered, in events, and in requests that it refused, with the last of these answers. */
export class Taken extends Context.Service<
  Taken,
  { events: number; duplicates: number; refused: number; refusal?: EventIngress.Answer }
>()("registry-notifications/Taken") {
  static readonly layer = Layer.sync(Taken, () => ({ events: 0, duplicates: 0, refused: 0 }))
}

/** Where the ingress writes to. */
export class Inbox extends Context.Service<Inbox, EventSink.EventSink<Notification, DurableQueue.DurableWriteError>>()(
  "registry-notifications/Inbox"
) {}

/** Every endpoint; and where there is none, the screen. */
const inbox = Effect.flatMap(
  Endpoints,
  (lines): Effect.Effect<EventSink.EventSink<Notification, DurableQueue.DurableWriteError>, never, Scope.Scope> =>
    lines.length > 0
      ? FanOut.make(lines.map(({ queue }) => queue))
      : EventSink.make(({ action, id, target }: Notification) =>
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
    Layer.provide(EventSink.layer(Inbox, inbox)),
    Layer.provideMerge([
      Endpoints.layer(targets, maxBytes),
      Taken.layer,
      Layer.effect(HttpServer.HttpServer, server(listen))
    ])
  )
