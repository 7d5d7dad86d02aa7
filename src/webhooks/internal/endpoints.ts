/** Endpoints as rows of a store: made, read, changed and removed from any process, and never shown to another tenant. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Base64Url from "effect/encoding/Base64Url"
import type { EventStoreError, Operations, Position, State, Subscription } from "../../durable/EventStore.ts"
import { makeDeadLetters } from "../../durable/internal/deadLetters.ts"
import type { Codec } from "../../durable/internal/eventCodec.ts"
import type { Administered } from "./contract.ts"
import {
  type EndpointChange,
  type EndpointEvent,
  type EndpointKey,
  EndpointNotFound,
  InvalidEndpoint,
  type Message,
  type NewEndpoint
} from "./model.ts"
import { readDetail } from "./answers.ts"
import { type Definitive, hidden, type Rows } from "./row.ts"
import { headersOf, limitsOf, makeValidation, type Rules } from "./validation.ts"

export interface Options<in out A> {
  readonly exchange: string
  readonly store: Operations
  readonly rows: Rows
  readonly rules: Rules
  readonly codec: Codec<Message<A>>
  readonly report: (event: EndpointEvent) => void
}

export interface Endpoints<in out A> extends Omit<Administered<A>, "sendTest" | "health"> {
  readonly find: (endpoint: EndpointKey) => Effect.Effect<Subscription, EndpointNotFound | EventStoreError>
  /** Sets the state of an endpoint that is in one of others, and reports that. */
  readonly setState: (
    endpoint: EndpointKey,
    state: State,
    reason: string | undefined,
    from: ReadonlyArray<State>
  ) => Effect.Effect<number, EventStoreError>
}

/** How many secrets sign at most: each costs room in a header. */
const maxSecrets = 4
/** How many endpoints are read together, and events sent again. */
const [pageSize, batchSize] = [100, 500]

export const makeEndpoints = <A>({ codec, exchange, report, rows, rules, store }: Options<A>): Endpoints<A> => {
  const validate = makeValidation(rules)
  const limits = limitsOf(rules.limits)
  const whichOf = ({ id, tenant }: EndpointKey) => ({ exchange, tenant, name: id })

  const find = (endpoint: EndpointKey) =>
    Effect.flatMap(store.list(whichOf(endpoint)), ([found]) =>
      found === undefined ? Effect.fail(new EndpointNotFound({ id: endpoint.id })) : Effect.succeed(found)
    )
  /** Answers nothing where it replaces a row that is another by now. */
  const define = Effect.fnUntraced(function* (endpoint: Definitive, replaces?: Uint8Array) {
    const definition = yield* rows.definition(endpoint)
    const [defined] = yield* store.define(exchange, [{ ...definition, replaces }], { joins: true })
    // Its row was just made.
    return defined && (yield* Effect.orDie(rows.shown(defined)))
  })
  /** Reads a row, and writes back what `changed` makes of it, if anything: from the beginning where another has changed it meanwhile. */
  const change = Effect.fnUntraced(function* <E>(
    endpoint: EndpointKey,
    changed: (found: Subscription) => Effect.Effect<Definitive | undefined, E>
  ) {
    while (true) {
      const found = yield* find(endpoint)
      const after = yield* changed(found)
      if (after === undefined) return undefined
      const defined = yield* define(after, found.data)
      if (defined !== undefined) return defined
    }
  })
  const changeOpened = (endpoint: EndpointKey, changed: (before: Definitive) => Definitive) =>
    // It makes something of every row.
    Effect.map(
      change(endpoint, (found) => Effect.map(rows.opened(found), changed)),
      (defined) => defined!
    )
  const setState: Endpoints<A>["setState"] = (endpoint, state, reason, from) =>
    Effect.tap(store.setState(whichOf(endpoint), state, reason, from), (n) =>
      n === 0 || state === "active"
        ? Effect.void
        : Effect.map(Clock.currentTimeMillis, (at) =>
            report({
              type: state,
              tenant: endpoint.tenant,
              endpoint: endpoint.id,
              at,
              ...(reason !== undefined && { reason })
            })
          )
    )
  /** By one of several that do so at once, and reported once. */
  const setStateFrom = (from: ReadonlyArray<State>, state: State) => (endpoint: EndpointKey, reason?: string) =>
    Effect.andThen(find(endpoint), Effect.asVoid(setState(endpoint, state, reason, from)))
  const idOf = (endpoint: EndpointKey) => Effect.map(store.list(whichOf(endpoint)), ([found]) => found?.id)
  const deadLetters = (endpoint: EndpointKey) => makeDeadLetters(idOf(endpoint), store, codec)
  const newSecret = Effect.sync(() => hidden(`whsec_${Base64.encode(SecureRandom.randomBytesUnsafe(32))}`))

  return {
    find,
    setState,
    create: Effect.fnUntraced(function* (given) {
      yield* validate(given)
      const { length } = yield* store.list({ exchange, tenant: given.tenant, limit: limits.endpoints })
      if (length >= limits.endpoints) {
        return yield* new InvalidEndpoint({ field: "tenant", problem: `has ${limits.endpoints} endpoints already` })
      }
      const createdAt = yield* Clock.currentTimeMillis
      const secret = given.secret ?? (yield* newSecret)
      const { tenant, topics = ["*"], url } = given
      const made = yield* define({
        tenant,
        id: `ep_${Base64Url.encode(SecureRandom.randomBytesUnsafe(18))}`,
        url,
        topics,
        ...headerFields(given.headers ?? {}),
        secrets: [{ secret, since: createdAt, until: undefined }],
        description: given.description,
        envelope: given.envelope,
        plan: given.plan,
        rate: given.rate && { limit: given.rate.limit, per: Duration.fromInputUnsafe(given.rate.per) },
        ordered: given.ordered ?? true,
        concurrency: given.concurrency,
        timeout: given.timeout === undefined ? undefined : Duration.fromInputUnsafe(given.timeout),
        createdAt
      })
      // It replaces nothing.
      return { endpoint: made!, secret }
    }),
    get: Effect.fnUntraced(function* (endpoint) {
      const [found] = yield* store.overview(whichOf(endpoint))
      if (found === undefined) return yield* new EndpointNotFound({ id: endpoint.id })
      const { deadLetters, failingSince, oldest, pending, wait } = found
      const reason = wait !== undefined && wait.attempts > 0 ? wait.reason : undefined
      // Nothing waits for what failed last, such as a dead letter: its attempt has the error.
      const isKept = reason === undefined && failingSince !== undefined
      const [last] = isKept ? yield* store.attempts(found.id, { limit: 1, failedOnly: true }) : []
      return {
        ...(yield* rows.shown(found)),
        pending,
        deadLetters,
        oldest,
        failingSince,
        nextAttempt: wait?.until,
        lastError: reason ?? last?.error
      }
    }),
    list: Effect.fnUntraced(function* (tenant, { after, limit = 50 } = {}) {
      const found = yield* store.list({
        exchange,
        tenant,
        limit: limit + 1,
        ...(after !== undefined && { after: { tenant, name: after } })
      })
      const page = found.slice(0, limit)
      const [endpoints, unreadable] = yield* Effect.partition(page, rows.shown)
      return { endpoints, unreadable, next: found.length > limit ? page.at(-1)?.name : undefined }
    }),
    update: (endpoint, given) =>
      Effect.andThen(
        validate(given),
        changeOpened(endpoint, (before) => changedBy(before, given))
      ),
    rotateSecret: Effect.fnUntraced(function* (endpoint, { keepFor = "1 day", secret: given } = {}) {
      if (given !== undefined) yield* validate({ secret: given })
      const secret = given ?? (yield* newSecret)
      const now = yield* Clock.currentTimeMillis
      const until = now + Duration.toMillis(Duration.fromInputUnsafe(keepFor))
      const changed = yield* changeOpened(endpoint, (before) => ({
        ...before,
        secrets: [
          { secret, since: now, until: undefined },
          ...before.secrets
            .map((one) => ({ ...one, until: Math.min(one.until ?? until, until) }))
            .filter((one) => one.until > now)
        ].slice(0, maxSecrets)
      }))
      return { endpoint: changed, secret }
    }),
    pause: setStateFrom(["active"], "paused"),
    // An active one has its wait ended.
    resume: setStateFrom(["active", "paused"], "active"),
    disable: setStateFrom(["active", "paused"], "disabled"),
    enable: setStateFrom(["disabled"], "active"),
    remove: (endpoint) => Effect.andThen(find(endpoint), store.drop(whichOf(endpoint))),
    resend: Effect.fnUntraced(function* (endpoint, events) {
      const { id, tenant } = yield* find(endpoint)
      const positions: Array<Position> = []
      for (const event of events) {
        const found = typeof event === "string" ? yield* store.status(exchange, { tenant, id: event }) : undefined
        const position = typeof event === "string" ? found?.position : event
        if (position !== undefined) positions.push(position)
      }
      let sent = 0
      for (let from = 0; from < positions.length; from += batchSize) {
        const batch = positions.slice(from, from + batchSize)
        if (isReadonlyArrayNonEmpty(batch)) sent += yield* store.resend(id, batch)
      }
      return sent
    }),
    replayFailed: (endpoint, filter) =>
      Effect.andThen(
        find(endpoint),
        Effect.suspend(() => deadLetters(endpoint).replay(filter ?? "all"))
      ),
    attempts: Effect.fnUntraced(function* (endpoint, page) {
      const { id } = yield* find(endpoint)
      const attempts = yield* store.attempts(id, { limit: 50, ...page })
      return attempts.map(({ detail, ...attempt }) => ({
        ...attempt,
        eventId: undefined,
        status: undefined,
        answer: undefined,
        ...readDetail(detail)
      }))
    }),
    status: (tenant, id) => store.status(exchange, { tenant, id }),
    deadLetters,
    reencrypt: Effect.gen(function* () {
      let [reencrypted, unreadable] = [0, 0]
      for (let after: Subscription | undefined, isDone = false; !isDone;) {
        const page: ReadonlyArray<Subscription> = yield* store.list({ exchange, limit: pageSize, after })
        for (const { name, tenant } of page) {
          // A row of the current key is opened, too: another key may have had its id.
          const one = change({ tenant, id: name }, (found) =>
            Effect.flatMap(rows.opened(found), (opened) =>
              Effect.map(rows.isCurrent(found), (isCurrent) => (isCurrent ? undefined : opened))
            )
          ).pipe(Effect.map((changed) => void (reencrypted += changed === undefined ? 0 : 1)))
          yield* Effect.catchTags(one, {
            EndpointNotFound: () => Effect.void,
            EndpointUnreadable: () => Effect.sync(() => void unreadable++)
          })
        }
        after = page.at(-1)
        isDone = page.length < pageSize
      }
      return { reencrypted, unreadable }
    })
  }
}

// internals

const headerFields = (
  given: NonNullable<NewEndpoint["headers"]>
): Pick<Definitive, "headers" | "secretHeaders" | "secretHeaderValues"> => {
  const headers = headersOf(given)
  const plain = headers.filter(({ isSecret }) => !isSecret)
  const secret = headers.filter(({ isSecret }) => isSecret)
  return {
    headers: Object.fromEntries(plain.map(({ name, value }) => [name, value])),
    secretHeaders: secret.map(({ name }) => name),
    secretHeaderValues: Object.fromEntries(secret.map(({ name, value }) => [name, hidden(value)]))
  }
}

/** Leaves a field as it is where nothing is given, and takes it away for `null`. */
const changedTo = <T>(before: T, given: T | null | undefined): T | undefined =>
  given === undefined ? before : (given ?? undefined)

const changedBy = (before: Definitive, given: EndpointChange): Definitive => ({
  ...before,
  ...(given.headers && headerFields(given.headers)),
  url: given.url ?? before.url,
  topics: given.topics ?? before.topics,
  ordered: given.ordered ?? before.ordered,
  description: changedTo(before.description, given.description),
  envelope: changedTo(before.envelope, given.envelope),
  plan: changedTo(before.plan, given.plan),
  concurrency: changedTo(before.concurrency, given.concurrency),
  rate: changedTo(
    before.rate,
    given.rate && { limit: given.rate.limit, per: Duration.fromInputUnsafe(given.rate.per) }
  ),
  timeout: changedTo(
    before.timeout,
    given.timeout === null || given.timeout === undefined ? given.timeout : Duration.fromInputUnsafe(given.timeout)
  )
})
