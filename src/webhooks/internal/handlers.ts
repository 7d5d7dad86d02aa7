/** What the API of a customer's portal answers. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { DeadLetterReason, DeliveryStatus, EventStoreError } from "../../durable/EventStore.ts"
import {
  type AttemptView,
  type ChangeBody,
  type EndpointView,
  type EventView,
  type NewEndpointBody,
  NotFound,
  Tenant,
  Unavailable
} from "./api.ts"
import type { Administered } from "./contract.ts"
import type { Endpoint, EndpointAttempt, Message, NewEndpoint, WithSecret } from "./model.ts"

interface One {
  readonly params: { readonly id: string }
}

export const endpointHandlers = <A>(self: Administered<A>, testEvent: Omit<Message<A>, "id"> | undefined) => ({
  list: ({ query }: { readonly query: { readonly after?: string; readonly limit?: number } }) =>
    forTenant((tenant) =>
      Effect.map(self.list(tenant, query), ({ endpoints, next, unreadable }) => ({
        endpoints: endpoints.map(viewOf),
        unreadable: unreadable.map(({ detail, id }) => ({ id, problem: detail })),
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
        lastError: endpoint.lastError ?? null
      }))
    ),
  update: ({ params: { id }, payload }: One & { readonly payload: typeof ChangeBody.Type }) =>
    forTenant((tenant) => Effect.map(self.update({ tenant, id }, fieldsOf(payload)), viewOf)),
  remove: ({ params: { id } }: One) =>
    forTenant((tenant) => Effect.map(self.remove({ tenant, id }), (events) => ({ events }))),
  rotateSecret: ({
    params: { id },
    payload: { keepSeconds, secret }
  }: One & { readonly payload: { readonly keepSeconds?: number; readonly secret?: string } }) =>
    forTenant((tenant) =>
      Effect.map(
        self.rotateSecret(
          { tenant, id },
          {
            ...(keepSeconds !== undefined && { keepFor: Duration.seconds(keepSeconds) }),
            ...(secret !== undefined && { secret: hidden(secret) })
          }
        ),
        shownOnce
      )
    ),
  pause: ({ params: { id }, payload: { reason } }: One & { readonly payload: { readonly reason?: string } }) =>
    forTenant((tenant) => Effect.as(self.pause({ tenant, id }, reason), done)),
  resume: ({ params: { id } }: One) => forTenant((tenant) => Effect.as(self.resume({ tenant, id }), done)),
  enable: ({ params: { id } }: One) => forTenant((tenant) => Effect.as(self.enable({ tenant, id }), done)),
  test: ({ params: { id } }: One) =>
    forTenant((tenant) =>
      Effect.gen(function* () {
        if (testEvent === undefined) return yield* new NotFound({ message: "there is no test event" })
        const result = yield* self.sendTest({ tenant, id }, testEvent)
        return { id: result.id, ...outcomeOf(result) }
      })
    )
})

export const deliveryHandlers = <A>(self: Administered<A>) => ({
  attempts: ({
    params: { id },
    query: { beforeAt, beforePosition, failed, limit = pageSize }
  }: One & {
    readonly query: {
      readonly beforeAt?: number
      readonly beforePosition?: number
      readonly failed?: "true" | "false"
      readonly limit?: number
    }
  }) =>
    forTenant((tenant) =>
      Effect.map(
        self.attempts(
          { tenant, id },
          {
            limit,
            failedOnly: failed === "true",
            ...(beforeAt !== undefined &&
              beforePosition !== undefined && { before: { at: beforeAt, position: beforePosition } })
          }
        ),
        (attempts) => ({
          attempts: attempts.map((attempt): typeof AttemptView.Type => ({
            position: attempt.position,
            topic: attempt.topic,
            ...outcomeOf(attempt)
          }))
        })
      )
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
        const after =
          afterAt === undefined || afterPosition === undefined
            ? undefined
            : { deadLetteredAt: afterAt, position: afterPosition }
        const all = yield* self.deadLetters({ tenant, id }).list({ after, limit })
        return {
          count,
          deadLetters: all.map((one) => ({
            position: one.position,
            id: Result.isSuccess(one.event) ? one.event.success.id : null,
            topic: one.topic,
            reason: one.reason,
            cause: one.cause,
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
    payload: { since, ...filter }
  }: One & {
    readonly payload: { readonly since?: number; readonly topic?: string; readonly reason?: DeadLetterReason }
  }) =>
    forTenant((tenant) =>
      Effect.map(self.replayFailed({ tenant, id }, { ...filter, ...(since !== undefined && { from: since }) }), counted)
    ),
  event: ({ params: { id } }: One) =>
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
const hidden = (secret: string) => Redacted.make(secret, { label: "webhook secret" })

/** Runs for the tenant of the request. What the store's error says of the store is not for a customer. */
const forTenant = <B, E>(
  run: (tenant: string) => Effect.Effect<B, E | EventStoreError>
): Effect.Effect<B, Exclude<E, EventStoreError> | Unavailable, Tenant> =>
  Effect.flatMap(Tenant, ({ tenant }) =>
    Effect.mapError(run(tenant), (error) =>
      isStoreError(error)
        ? new Unavailable({ message: "the store does not answer: try again" })
        : // The type of a guard does not leave out a member of a type parameter.
          (error as Exclude<E, EventStoreError>)
    )
  )

const isStoreError = (error: unknown): error is EventStoreError =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "EventStoreError"

const viewOf = (endpoint: Endpoint): typeof EndpointView.Type => ({
  id: endpoint.id,
  url: endpoint.url,
  topics: endpoint.topics,
  description: endpoint.description ?? null,
  headers: endpoint.headers,
  secretHeaders: endpoint.secretHeaders,
  secrets: endpoint.secrets.map(({ since, until }) => ({ since, until: until ?? null })),
  envelope: endpoint.envelope ?? null,
  plan: endpoint.plan ?? null,
  rate:
    endpoint.rate === undefined ? null : { limit: endpoint.rate.limit, seconds: Duration.toSeconds(endpoint.rate.per) },
  ordered: endpoint.ordered,
  concurrency: endpoint.concurrency ?? null,
  timeoutSeconds: endpoint.timeout === undefined ? null : Duration.toSeconds(endpoint.timeout),
  createdAt: endpoint.createdAt,
  state: endpoint.state,
  reason: endpoint.reason ?? null,
  since: endpoint.since
})

const shownOnce = ({ endpoint, secret }: WithSecret) => ({ endpoint: viewOf(endpoint), secret: Redacted.value(secret) })

/** What a body says of an endpoint, in the units of this library. */
const fieldsOf = ({
  headers,
  rate,
  secretHeaders,
  timeoutSeconds,
  ...rest
}: Omit<typeof ChangeBody.Type, "url"> & { readonly url?: string }) => ({
  ...rest,
  ...((headers !== undefined || secretHeaders !== undefined) && { headers: joined(headers, secretHeaders) }),
  ...(rate !== undefined && { rate: rate && { limit: rate.limit, per: Duration.seconds(rate.seconds) } }),
  ...(timeoutSeconds !== undefined && { timeout: timeoutSeconds === null ? null : Duration.seconds(timeoutSeconds) })
})

const joined = (
  headers: Readonly<Record<string, string>> = {},
  secretHeaders: Readonly<Record<string, string>> = {}
): NonNullable<NewEndpoint["headers"]> => ({
  ...headers,
  ...Object.fromEntries(Object.entries(secretHeaders).map(([name, value]) => [name, hidden(value)]))
})

const outcomeOf = ({ answer, at, error, status, took }: Omit<EndpointAttempt, "position" | "topic">) => ({
  at,
  took,
  status: status ?? null,
  answer: answer ?? null,
  error: error ?? null
})

const deliveryOf = ({ state, subscription }: DeliveryStatus): (typeof EventView.Type)["deliveries"][number] => ({
  endpoint: subscription,
  state: state._tag,
  failed: "failed" in state ? state.failed : null,
  at: "at" in state ? state.at : state._tag === "Pending" ? (state.nextAt ?? null) : null
})
