/** The sink at the end of every pipeline: it posts one event, and knows nothing of retries, queues and filters. */
import { Data, Effect, Schema } from "effect"
import { EventSink } from "effect-events"
import { HttpClient, type HttpClientError, HttpClientRequest } from "effect/http"
import { EnvelopeJson, mediaType, type Notification } from "./Envelope.ts"
import { Ledger } from "./Ledger.ts"
import { type Name, Receivers } from "./Receivers.ts"

/** The receiver did not take the event: it refused it, or no answer came. */
export class DeliveryFailed extends Data.TaggedError("DeliveryFailed")<{
  readonly reason: string
  /** Whether the receiver may have taken it all the same. */
  readonly unsure: boolean
}> {
  override get message(): string {
    return this.reason
  }
}

const encode = Schema.encodeEffect(EnvelopeJson)

/**
 * Posts each event to the receiver `name`. Only an answer of 2xx is a commit. When none comes within a second the write
 * fails with `WriteTimeout`, and the receiver may have the event all the same: it will be written again, and that is why
 * delivery is at least once.
 */
export const make = Effect.fnUntraced(function* (name: Name) {
  const { [name]: receiver } = yield* Receivers
  const { [name]: entry } = yield* Ledger
  const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)

  const post = Effect.fnUntraced(
    function* (event: Notification) {
      entry.attempts++
      // What was decoded by this schema can be encoded by it.
      const body = yield* Effect.orDie(encode({ events: [event] }))
      const request = HttpClientRequest.post(receiver.url).pipe(HttpClientRequest.bodyText(body, mediaType))
      const response = yield* client.execute(request)
      // Reading the answer to its end lets the next request use the connection again.
      yield* response.arrayBuffer
    },
    Effect.mapError(failed),
    Effect.tapError(({ unsure }) => Effect.sync(() => void (unsure && entry.unsure++))),
    Effect.onInterrupt(() => Effect.sync(() => void entry.unsure++))
  )

  return EventSink.timeout(yield* EventSink.make(post, { name }), "1 second")
})

/** Says what went wrong in the shortest text there is, such as `status 503` or `ECONNREFUSED`. */
const failed = ({ reason }: HttpClientError.HttpClientError): DeliveryFailed => {
  if (reason._tag === "StatusCodeError") {
    return new DeliveryFailed({ reason: `status ${reason.response.status}`, unsure: false })
  }
  // The error of `fetch` only says that it failed; the error of the socket is its cause.
  let cause = reason.cause
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : reason.message
  return new DeliveryFailed({ reason: code, unsure: code !== "ECONNREFUSED" })
}
