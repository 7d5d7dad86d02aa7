/** Webhook endpoints: a sink that stores, the endpoints as rows, and what serves them in this process. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { HttpClient } from "effect/http/HttpClient"
import { AttemptDetail, type Said } from "../../durable/internal/attemptDetail.ts"
import { makeExchangeHost, type Options as HostOptions } from "../../durable/internal/exchangeHost.ts"
import { keepingOf, keepsOutcomes } from "../../durable/internal/keepingOf.ts"
import type { DurableWriteError } from "../../durable/internal/error.ts"
import { makeWriter } from "../../durable/internal/makeWriter.ts"
import { serverOf } from "../../durable/internal/servers.ts"
import type { ReceiverState } from "../../durable/internal/redelivering.ts"
import { leaseTtlOf } from "../../durable/internal/settings.ts"
import { EventStore, type EventStoreError, type Operations, type Subscription } from "../../durable/EventStore.ts"
import * as Redelivery from "../../durable/Redelivery.ts"
import type { Receipt, SendOptions } from "../../durable/internal/sending.ts"
import { type AcknowledgingSink, mapError, mapInput, type SinkClosed } from "../../EventSink.ts"
import * as AddressPolicy from "../../http/AddressPolicy.ts"
import * as Envelope from "../../http/Envelope.ts"
import { policyOf } from "../../http/internal/guard.ts"
import { withoutConstruction } from "../../internal/context.ts"
import { defaultDrainTimeout } from "../../internal/deadline.ts"
import { edgeTo, type SinkEdge } from "../../internal/node.ts"
import { count } from "../../internal/options.ts"
import { makeProcessSpan } from "../../internal/processSpan.ts"
import { readDetail } from "./answers.ts"
import type { Administered } from "./contract.ts"
import { makeEndpoints } from "./endpoints.ts"
import { makeHealth } from "./health.ts"
import { makeKeyRing } from "./keyRing.ts"
import { errorOfWrite, type Identified, identified, messageCodec, newId, writtenCodec } from "./messages.ts"
import type { Addressed, InvalidEvent, Message } from "./model.ts"
import type { Options, WriterOptions } from "./options.ts"
import { makeReceiverOf } from "./receiver.ts"
import { makeRequests } from "./requests.ts"
import { makeRows, shownOf } from "./row.ts"
import { aboutOf, loggedOf, makeWebhookLog } from "./webhookLog.ts"

/**
 * A sink that stores events for the endpoints of their tenants, and the endpoints.
 *
 * @category models
 * @since 0.1.0
 */
export interface WebhookEndpoints<in out A> extends WebhookWriter<A>, Administered<A> {}

/**
 * A sink that stores events for the endpoints of their tenants, and delivers none.
 *
 * @category models
 * @since 0.1.0
 */
export interface WebhookWriter<in out A> extends AcknowledgingSink<
  Addressed<A>,
  DurableWriteError | InvalidEvent,
  "store"
> {
  /** Writes an event, to be delivered at a time of its own if one is given, and answers what the store has of it. */
  readonly send: (
    event: Addressed<A>,
    options?: SendOptions | undefined
  ) => Effect.Effect<Receipt, DurableWriteError | InvalidEvent | SinkClosed>
}

export const makeWebhookEndpoints = Effect.fnUntraced(function* <A>(options: Options<A>) {
  const { name, outcomes = "3 days", retention = "3 days" } = options
  const { deduplication = "1 day", drainTimeout, envelope, schema } = options
  const context = withoutConstruction(yield* Effect.context<never>())
  const client = yield* HttpClient
  const policy = policyOf(client)
  if (options.allowUnguarded !== true && policy === undefined) {
    throw new Error(
      `WebhookEndpoints.make: the urls of "${name}" come from outside, and its HttpClient is not that of a GuardedHttpClient. Provide that, or set allowUnguarded where something else guards the network`
    )
  }
  const keeping = keepingOf({ retention, outcomes, deduplication })
  const server = serverOf(yield* EventStore, context)
  const { store } = server
  const disableAfter = Duration.toMillis(Duration.fromInputUnsafe(options.disableAfter ?? "2 days"))
  const slots = count("WebhookEndpoints.make", "slots", options.slots ?? 256, 0)
  const codec = messageCodec(schema)
  const rows = makeRows(name, yield* makeKeyRing(options.keys))
  const log = makeWebhookLog(name)
  const health = yield* makeHealth(name, log, options.onHealth)
  const { envelopes = {}, plans = {} } = options
  const requests = makeRequests<A>({
    client,
    // What customers get is the event, whatever is stored beside it.
    envelope: envelope ?? ofEvent(Envelope.json(schema)),
    envelopes,
    classification: options.classification,
    timeout: Duration.fromInputUnsafe(options.timeout ?? "15 seconds"),
    maxBytes: options.maxBytes,
    answerBytes: Math.min(maxAnswerBytes, count("WebhookEndpoints.make", "answerBytes", options.answerBytes ?? 0, 0)),
    transformClient: options.transformClient
  })
  const { find, setState, ...administered } = makeEndpoints<A>({
    exchange: name,
    store,
    rows,
    codec,
    report: health.report,
    rules: {
      limits: options.limits ?? {},
      allowHttp: options.allowHttp ?? false,
      // What the client would refuse, or allows, is known before an event waits for it.
      addresses:
        options.allow === undefined && policy !== undefined ? policy : AddressPolicy.make({ allow: options.allow }),
      envelopes: Object.keys(envelopes),
      plans: Object.keys(plans)
    }
  })
  yield* store.open(name, keeping)

  const keyOf = ({ name, tenant }: Subscription) => ({ tenant, id: name })
  const disable = (subscription: Subscription, reason: string) =>
    setState(keyOf(subscription), "disabled", reason, ["active", "paused"])
  const clock = Context.get(context, Clock.Clock)
  const state = (subscription: Subscription, state: ReceiverState) => {
    const at = clock.currentTimeMillisUnsafe()
    const { name, tenant } = subscription
    if (state._tag === "Answering") return health.report({ type: "recovered", tenant, endpoint: name, at })
    const { isDefect, isFirst, reason, since } = state
    if (isFirst) health.report({ type: "failing", tenant, endpoint: name, at, reason })
    // A defect of this service takes no customer's endpoint away.
    if (isDefect || at - since < disableAfter) return
    const lasted = Duration.format(Duration.seconds(Math.floor((at - since) / 1000)))
    // Where the store fails, the next attempt that does comes here again.
    Effect.runForkWith(context)(Effect.exit(disable(subscription, `all attempts have failed for ${lasted}: ${reason}`)))
  }
  const deliveries: Array<SinkEdge> = []
  if (slots > 0) {
    const settings: HostOptions<Message<A>> = {
      server,
      exchange: name,
      kind: "WebhookEndpoints",
      codec,
      leaseTtl: leaseTtlOf("WebhookEndpoints.make", options.leaseTtl),
      batchSize: 100,
      batchBytes: 1024 * 1024,
      keepsOutcomes: keepsOutcomes(keeping),
      context,
      processSpan: (subscription) =>
        makeProcessSpan({ destination: () => name, subscription: () => subscription.name, mode: undefined }, context),
      state,
      disable,
      slots,
      nodeKind: "WebhookDeliveries",
      slice: Duration.fromInputUnsafe(options.slice ?? "5 seconds"),
      drainTimeout: Duration.fromInputUnsafe(drainTimeout ?? defaultDrainTimeout),
      receiver: makeReceiverOf<A>({ requests, rows, redelivery: options.redelivery ?? Redelivery.webhooks, plans }),
      unready: (subscription, cause) => void Effect.runForkWith(context)(log.unready(keyOf(subscription), cause)),
      aboutOf: (subscription) => aboutOf(keyOf(subscription)),
      loggedOf
    }
    const making = Effect.sync(() => makeExchangeHost(settings))
    const host = yield* Effect.acquireRelease(making, ({ close }) => close)
    deliveries.push(edgeTo(host, false))
  }
  const writer = yield* makeAddressedWriter<A>(options, {
    kind: "WebhookEndpoints",
    store,
    ready: () => Effect.void,
    downstream: () => deliveries
  })
  const self: WebhookEndpoints<A> = {
    ...writer,
    ...administered,
    sendTest: (key, test) =>
      Effect.scoped(
        Effect.gen(function* () {
          const found = yield* find(key)
          const endpoint = yield* rows.opened(found)
          const cell: Said = { detail: undefined }
          const asked = yield* Clock.currentTimeMillis
          const id = newId()
          const sent = yield* requests(endpoint, shownOf(found, endpoint)).pipe(
            Effect.flatMap((sink) => Effect.provideService(sink.write({ ...test, id }), AttemptDetail, cell)),
            Effect.result
          )
          const at = cell.beganAt ?? asked
          const took = (yield* Clock.currentTimeMillis) - at
          const error = sent._tag === "Failure" ? sent.failure.message : undefined
          return { at, took, status: undefined, answer: undefined, error, ...readDetail(cell.detail), eventId: id }
        })
      ),
    health: health.events
  }
  return self
})

/** A sink that stores for endpoints, and delivers to none. */
export const makeAddressedWriter = Effect.fnUntraced(function* <A>(
  options: WriterOptions<A>,
  from: {
    readonly kind: string
    readonly store: Operations
    readonly ready: () => Effect.Effect<unknown, EventStoreError>
    readonly downstream?: () => ReadonlyArray<SinkEdge>
  }
) {
  const context = withoutConstruction(yield* Effect.context<never>())
  const settings = {
    downstream: () => [],
    ...from,
    name: options.name,
    codec: writtenCodec(messageCodec(options.schema), options.name),
    addressOf: ({ id, tenant, topic }: Identified<A>) => ({ id, tenant, topic }),
    batchSize: count("WebhookEndpoints.make", "batchSize", options.batchSize ?? 500, 1),
    batchBytes: 4 * 1024 * 1024,
    drainTimeout: Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout),
    context
  }
  const made = Effect.sync(() => makeWriter<Identified<A>>(settings))
  const { sink } = yield* Effect.acquireRelease(made, ({ close }) => close)
  const mapped = yield* mapInput(mapError(sink, errorOfWrite), identified<A>)
  const writer: WebhookWriter<A> = {
    ...mapped,
    send: (write, sending = {}) =>
      Effect.suspend(() => {
        // An id of the options is that of the event, and so of its requests.
        const { id = write.id, ...rest } = sending
        const one = identified({ ...write, id })
        return Effect.mapError(sink.send(one, rest), (error) =>
          error._tag === "SinkClosed" ? error : errorOfWrite(error)
        )
      })
  }
  return writer
})

// internals

/** What a store keeps of an attempt has room for the status beside. */
const maxAnswerBytes = 900

/** The envelope of messages whose requests have the event alone. */
const ofEvent = <A>({ contentType, encode, join }: Envelope.Envelope<A>): Envelope.Envelope<Message<A>> => ({
  contentType,
  join,
  id: ({ id }) => id,
  encode: ({ event }) => encode(event),
  // No request is read by it.
  decode: () => Effect.succeed([])
})
