/** What the API of a customer's portal answers. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { DeadLetterReason, DeliveryStatus, EventStoreError } from "../../durable/EventStore.ts"
import { InvalidRequest, NotFound, Tenant, Unavailable } from "./api.ts"
import type { Administered } from "./contract.ts"
import type { Endpoint, EndpointAttempt, Message, NewEndpoint, WithSecret } from "./model.ts"
import { hidden } from "./row.ts"
import type { AttemptView, ChangeBody, EndpointView, EventView, NewEndpointBody } from "./views.ts"

interface One {
  readonly params: { readonly id: string }
}

interface Reasoned {
  readonly payload?: { readonly reason?: string } | undefined
}

export const endpointHandlers = <A>(self: Administered<A>, testEvent: Omit<Message<A>, "id"> | undefined) => ({
  list: ({ query }: { readonly query: { readonly after?: string; readonly limit?: number } }) =>
    forTenant((tenant) =>
      Effect.map(self.list(tenant, query), ({ endpoints, next, unreadable }) => ({
        endpoints: endpoints.map(viewOf),
        unreadable: unreadable.map(({ detail, id, reason }) => ({ id, reason, detail })),
        next: next ?? null
      }))
    ),
  create: ({ payload }: { readonly payload: typeof NewEndpointBody.Type }) =>
    forTenant((tenant) => {
      const { secret, ...rest } = payload
      // The body of a new endpoint has no `null`.
      const fields = fieldsOf(rest) as Partial<NewEndpoint>
      const given = { ...fields, tenant, url: rest.url }
      return Effect.map(self.create(secret === undefined ? given : { ...given, secret: hidden(secret) }), shownOnce)
    }),
  get: ({ params: { id } }: One) =>
    forTenant((tenant) =>
      Effect.map(self.get({ tenant, id }), (endpoint) => ({
        ...viewOf(endpoint),
        pending: endpoint.pending,
        deadLetters: endpoint.deadLetters,
        oldest: endpoint.oldest ?? null,
        failingSince: endpoint.failingSince ?? null,
        nextAttempt: endpoint.nextAttempt ?? null,
        lastError: failureOf(endpoint.lastError)
      }))
    ),
  update: ({ params: { id }, payload }: One & { readonly payload: typeof ChangeBody.Type }) =>
    forTenant((tenant) => Effect.map(self.update({ tenant, id }, fieldsOf(payload)), viewOf)),
  remove: ({ params: { id } }: One) =>
    forTenant((tenant) => Effect.map(self.remove({ tenant, id }), (events) => ({ events }))),
  rotateSecret: ({
    params: { id },
    payload: { keepFor, secret } = {}
  }: One & { readonly payload?: { readonly keepFor?: string; readonly secret?: string } | undefined }) =>
    forTenant((tenant) =>
      Effect.map(
        self.rotateSecret(
          { tenant, id },
          {
            ...(keepFor !== undefined && { keepFor: durationOf(keepFor) }),
            ...(secret !== undefined && { secret: hidden(secret) })
          }
        ),
        shownOnce
      )
    ),
  pause: ({ params: { id }, payload }: One & Reasoned) =>
    forTenant((tenant) => Effect.as(self.pause({ tenant, id }, payload?.reason), done)),
  resume: ({ params: { id } }: One) => forTenant((tenant) => Effect.as(self.resume({ tenant, id }), done)),
  disable: ({ params: { id }, payload }: One & Reasoned) =>
    forTenant((tenant) => Effect.as(self.disable({ tenant, id }, payload?.reason), done)),
  enable: ({ params: { id } }: One) => forTenant((tenant) => Effect.as(self.enable({ tenant, id }), done)),
  sendTest: ({ params: { id } }: One) =>
    forTenant((tenant) =>
      Effect.gen(function* () {
        if (testEvent === undefined) return yield* new NotFound({ message: "there is no test event" })
        const result = yield* self.sendTest({ tenant, id }, testEvent)
        return { eventId: result.eventId, ...outcomeOf(result) }
      })
    )
})

export const deliveryHandlers = <A>(self: Administered<A>) => ({
  attempts: ({
    params: { id },
    query: { beforeAt, beforePosition, failedOnly, limit = pageSize }
  }: One & {
    readonly query: {
      readonly beforeAt?: number
      readonly beforePosition?: number
      readonly failedOnly?: boolean
      readonly limit?: number
    }
  }) =>
    forTenant((tenant) =>
      Effect.gen(function* () {
        const before = yield* placeOf("before", beforeAt, beforePosition)
        const attempts = yield* self.attempts({ tenant, id }, { limit, failedOnly, before })
        return {
          attempts: attempts.map((attempt): typeof AttemptView.Type => ({
            eventId: attempt.eventId ?? null,
            position: attempt.position,
            topic: attempt.topic,
            ...outcomeOf(attempt)
          }))
        }
      })
    ),
  deadLetters: ({
    params: { id },
    query: { afterAt, afterPosition, limit = pageSize }
  }: One & {
    readonly query: { readonly afterAt?: number; readonly afterPosition?: number; readonly limit?: number }
  }) =>
    forTenant((tenant) =>
      Effect.gen(function* () {
        // One that is not there has no dead letters, and is to be told apart from one that has none.
        const { deadLetters: count } = yield* self.get({ tenant, id })
        const place = yield* placeOf("after", afterAt, afterPosition)
        const after = place && { deadLetteredAt: place.at, position: place.position }
        const all = yield* self.deadLetters({ tenant, id }).list({ after, limit })
        return {
          count,
          deadLetters: all.map((one) => ({
            eventId: Result.isSuccess(one.event) ? one.event.success.id : null,
            position: one.position,
            topic: one.topic,
            reason: one.reason,
            cause: one.reason === "Undecodable" ? problemIn(one.cause) : failureIn(one.cause),
            attempts: one.attempts,
            writtenAt: one.writtenAt,
            deadLetteredAt: one.deadLetteredAt
          }))
        }
      })
    ),
  resend: ({
    params: { id },
    payload: { events }
  }: One & { readonly payload: { readonly events: ReadonlyArray<string | number> } }) =>
    forTenant((tenant) => Effect.map(self.resend({ tenant, id }, events), counted)),
  replayFailed: ({
    params: { id },
    payload
  }: One & {
    readonly payload?:
      | { readonly from?: number; readonly to?: number; readonly topic?: string; readonly reason?: DeadLetterReason }
      | undefined
  }) => forTenant((tenant) => Effect.map(self.replayFailed({ tenant, id }, payload), counted)),
  status: ({ params: { id } }: One) =>
    forTenant((tenant) =>
      Effect.flatMap(self.status(tenant, id), (status) =>
        status === undefined
          ? Effect.fail(new NotFound({ message: `nothing is known of an event ${JSON.stringify(id)}` }))
          : Effect.succeed<typeof EventView.Type>({
              id,
              topic: status.topic,
              writtenAt: status.writtenAt,
              deliveries: status.deliveries.map(deliveryOf)
            })
      )
    )
})

// internals

const pageSize = 50
const done = { done: true } as const
const counted = (events: number) => ({ events })

/** The schema has judged it. */
const durationOf = (text: string) => Duration.fromInputUnsafe(text as Duration.Input)

const units = { days: 86_400_000, hours: 3_600_000, minutes: 60_000, seconds: 1000, millis: 1 }

/** In the largest unit that it is a whole number of, as the schema takes it. */
const durationText = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  const [unit, length] = Object.entries(units).find(([, length]) => millis % length === 0) ?? ["millis", 1]
  const count = millis / length
  // A number of more than 21 digits has an exponent as text, which no duration is read with.
  const digits = Number.isInteger(count) ? BigInt(count) : count
  return `${digits} ${count === 1 && unit !== "millis" ? unit.slice(0, -1) : unit}`
}

/** The place that a page begins at, of which a query has both parts or none. */
const placeOf = (
  side: "before" | "after",
  at: number | undefined,
  position: number | undefined
): Effect.Effect<{ readonly at: number; readonly position: number } | undefined, InvalidRequest> => {
  if (at !== undefined && position !== undefined) return Effect.succeed({ at, position })
  if (at === undefined && position === undefined) return Effect.undefined
  const field = `${side}${at === undefined ? "At" : "Position"}`
  return Effect.fail(new InvalidRequest({ problems: [{ in: "query", field, problem: "Missing key" }] }))
}

/** Runs for the tenant of the request. What the store's error says of the store is not for a customer. */
const forTenant = <B, E>(run: (tenant: string) => Effect.Effect<B, E | EventStoreError>) =>
  Effect.flatMap(Tenant, ({ tenant }) =>
    Effect.catchTag(run(tenant), "EventStoreError", () =>
      Effect.fail(new Unavailable({ message: "the store does not answer: try again" }))
    )
  )

const viewOf = (endpoint: Endpoint): typeof EndpointView.Type => ({
  id: endpoint.id,
  url: endpoint.url,
  topics: endpoint.topics,
  description: endpoint.description ?? null,
  headers: endpoint.headers,
  secretHeaders: endpoint.secretHeaders,
  // JSON has no infinity, which a secret has that an application keeps without end.
  secrets: endpoint.secrets.map(({ since, until = Number.POSITIVE_INFINITY }) => ({
    since,
    until: Number.isFinite(until) ? until : null
  })),
  envelope: endpoint.envelope ?? null,
  plan: endpoint.plan ?? null,
  rate: endpoint.rate === undefined ? null : { limit: endpoint.rate.limit, per: durationText(endpoint.rate.per) },
  ordered: endpoint.ordered,
  concurrency: endpoint.concurrency ?? null,
  timeout: endpoint.timeout === undefined ? null : durationText(endpoint.timeout),
  createdAt: endpoint.createdAt,
  state: endpoint.state,
  // No defect disables an endpoint.
  reason: endpoint.reason === undefined ? null : problemIn(endpoint.reason),
  since: endpoint.since
})

const shownOnce = ({ endpoint, secret }: WithSecret) => ({ endpoint: viewOf(endpoint), secret: Redacted.value(secret) })

/** What a body says of an endpoint, in the units of this library. */
const fieldsOf = ({
  headers,
  rate,
  secretHeaders,
  timeout,
  ...rest
}: Omit<typeof ChangeBody.Type, "url"> & { readonly url?: string }) => ({
  ...rest,
  ...((headers !== undefined || secretHeaders !== undefined) && { headers: joined(headers, secretHeaders) }),
  ...(rate !== undefined && { rate: rate && { limit: rate.limit, per: durationOf(rate.per) } }),
  ...(timeout !== undefined && { timeout: timeout === null ? null : durationOf(timeout) })
})

const joined = (
  headers: Readonly<Record<string, string>> = {},
  secretHeaders: Readonly<Record<string, string>> = {}
): NonNullable<NewEndpoint["headers"]> => ({
  ...headers,
  ...Object.fromEntries(Object.entries(secretHeaders).map(([name, value]) => [name, hidden(value)]))
})

const outcomeOf = ({ answer, at, error, status, took }: Omit<EndpointAttempt, "eventId" | "position" | "topic">) => ({
  at,
  took,
  status: status ?? null,
  answer: answer ?? null,
  error: failureOf(error)
})

/** What a customer reads of an error of a request: neither its class, nor the id of the endpoint that was asked for. */
const problemIn = (error: string): string => error.replace(/(^|: )(?:HttpSinkError: )?"ep_[\w-]{24}" /, "$1")
/** Any other error is a defect of this service, and what it says is not for a customer. */
const failureIn = (error: string): string =>
  /^(?:HttpSinkError: )?"ep_[\w-]{24}" /.test(error) ? problemIn(error) : ofService
const ofService = "the service failed, and the receiver is not at fault"

const failureOf = (error: string | undefined): string | null => (error === undefined ? null : failureIn(error))

const deliveryOf = ({ state, subscription }: DeliveryStatus): (typeof EventView.Type)["deliveries"][number] => ({
  endpoint: subscription,
  state: state._tag,
  failed: "failed" in state ? state.failed : null,
  at: "at" in state ? state.at : state._tag === "Pending" ? (state.nextAt ?? null) : null
})
