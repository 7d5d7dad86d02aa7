/** The requests of endpoints: one event each, signed by the secrets that are valid then, to the url that the row has. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpClient, transform } from "effect/http/HttpClient"
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { AttemptDetail } from "../../durable/internal/attemptDetail.ts"
import type { Classification } from "../../http/Classification.ts"
import type { Envelope } from "../../http/Envelope.ts"
import * as HttpSink from "../../http/HttpSink.ts"
import { ForbiddenAddress, HttpSinkError } from "../../http/HttpSinkError.ts"
import { makeSink, type SinkClosed } from "../../internal/sink.ts"
import { detailOf, readDetail } from "./answers.ts"
import type { Endpoint, Message } from "./model.ts"
import type { Definitive } from "./row.ts"

export interface Options<in out A> {
  readonly client: HttpClient
  readonly envelope: Envelope<Message<A>>
  readonly envelopes: Readonly<Record<string, Envelope<Message<A>>>>
  readonly classification: Classification | undefined
  readonly timeout: Duration.Duration
  readonly maxBytes: number | undefined
  readonly answerBytes: number
  readonly transformClient: ((endpoint: Endpoint) => HttpSink.TransformClient) | undefined
}

/** An endpoint asks for what the options do not have any more: an envelope, or a plan. */
export interface Missing {
  readonly message: string
}

/** Makes the sink of an endpoint: a write is one request. */
export const makeRequests = <A>(options: Options<A>) =>
  Effect.fnUntraced(function* (endpoint: Definitive, shown: Endpoint) {
    const { transformClient } = options
    // Waiting is not request time: neither for a permit, nor for the turn that a rate gives.
    const client = transform(options.client, begun)
    const envelope =
      endpoint.envelope === undefined
        ? options.envelope
        : Option.getOrUndefined(Record.get(options.envelopes, endpoint.envelope))
    if (envelope === undefined) return yield* missing("envelope", endpoint.envelope)
    const scope = yield* Effect.scope
    const headers = { ...endpoint.headers, ...endpoint.secretHeaderValues }

    const makeFor = (secrets: NonEmptyReadonlyArray<Redacted.Redacted<string>>) =>
      HttpSink.make<Message<A>>({
        name: endpoint.id,
        // Errors show its origin alone: a path may be as good as a password.
        url: Redacted.make(endpoint.url),
        headers,
        envelope,
        signing: { secrets, id: ({ id }) => id },
        classification: options.classification,
        timeout: endpoint.timeout ?? options.timeout,
        maxBytes: options.maxBytes,
        maxEvents: 1,
        answerBytes: options.answerBytes,
        transformClient: transformClient?.(shown),
        // The part above has waited for every write below it, or given it up.
        drainTimeout: Duration.zero,
        onAttempt: note
      }).pipe(Effect.provideService(HttpClient, client))

    /** The sink that signs with what is valid now, until the next of its secrets is not. */
    const current = Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const valid = endpoint.secrets.filter(({ until }) => until === undefined || until > now)
      const [first, ...others] = valid.map(({ secret }) => secret)
      if (first === undefined) return yield* missing("secret", undefined)
      const until = Math.min(...valid.map(({ until }) => until ?? Number.POSITIVE_INFINITY))
      return { until, sink: yield* makeFor([first, ...others]) }
    })
    let valid = yield* current
    const renewed = Effect.map(current, (now) => (valid = now).sink).pipe(
      Effect.provideService(Scope.Scope, scope),
      // It could be made before, of the same row.
      Effect.orDie
    )
    const write = (event: Message<A>): Effect.Effect<void, HttpSinkError | SinkClosed> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        noteEvent(event)
        return now < valid.until ? valid.sink.write(event) : Effect.flatMap(renewed, (sink) => sink.write(event))
      }).pipe(Effect.mapError(withoutAddress))
    return makeSink<Message<A>, HttpSinkError>({ node: valid.sink.node, write })
  })

// internals

const missing = (what: string, name: string | undefined) =>
  Effect.fail<Missing>({
    message:
      name === undefined ? `it has no valid ${what}` : `the ${what} ${JSON.stringify(name)} is none of the options'`
  })

/** These run in the fiber of the write, which has the cell of its delivery. */
const cellOfWrite = () => Fiber.getCurrent()?.getRef(AttemptDetail)

/** Comes first: an attempt that gets no answer has its event too. */
const noteEvent = ({ id }: Message<unknown>): void => {
  const cell = cellOfWrite()
  if (cell !== undefined) cell.detail = detailOf({ eventId: id, status: undefined })
}

/** Notes when a request begins; of one that is made again, the last time. */
const begun = <A, E, R>(request: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Clock.currentTimeMillis, (at) => {
    const cell = cellOfWrite()
    if (cell !== undefined) cell.beganAt = at
    return request
  })

const note = (attempt: HttpSink.Attempt): void => {
  const cell = cellOfWrite()
  if (cell !== undefined) cell.detail = detailOf({ ...attempt, eventId: readDetail(cell.detail).eventId })
}

/** What a name of a url is at, in a private network, is not for its customer to know. */
const withoutAddress = (error: HttpSinkError | SinkClosed): HttpSinkError | SinkClosed => {
  if (error._tag !== "HttpSinkError" || error.reason._tag !== "ForbiddenAddress" || error.reason.isLiteral) return error
  const { host, range } = error.reason
  const { sink, transient, url } = error
  return new HttpSinkError({
    sink,
    url,
    transient,
    reason: new ForbiddenAddress({ host, address: "an address", range })
  })
}
