/** How a store notices changes: `LISTEN` on one connection, or polling. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { hasProperty } from "effect/Predicate"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import * as RcRef from "effect/RcRef"
import * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../../EventStore.ts"
import { pingPayload } from "./parts.ts"
import type { Presence } from "./presence.ts"
import { problem, type Runner } from "./runner.ts"

type Notifications = Queue.Dequeue<{ readonly payload: string }, SqlError>
type Listen = (channel: string) => Effect.Effect<Notifications, SqlError, Scope.Scope>

/** A client that can listen, as that of `@effect/sql-pg` does. Its package is not needed for another. */
export interface Listening extends SqlClient {
  /** A queue of notifications, once the server has confirmed; it fails when the connection breaks. */
  readonly listen: Listen
  readonly config: { readonly maxMessageSize?: number | undefined }
}

/** How much the client reads with its largest message, less what comes with a payload; unlimited, unless it says. */
export const largestPayload = (sql: SqlClient): number => {
  if (!canListen(sql)) return Number.POSITIVE_INFINITY
  return (sql.config.maxMessageSize ?? 16 * 1024 * 1024) - 64 * 1024
}

export const canListen = (sql: SqlClient): sql is Listening =>
  hasProperty(sql, "~@effect/sql-pg/PgClient") && hasProperty(sql, "listen")

export interface Settings {
  readonly channel: string
  /** Notifies the store's own channel, to test that notifications arrive. */
  readonly ping: Effect.Effect<unknown, EventStoreError>
  /** How often a listener polls without a notification. */
  readonly check: Duration.Duration
  readonly timeout: Duration.Duration
  readonly presence: Presence
}

/** The changes that one process notices. */
export interface Changes {
  readonly stream: Stream.Stream<void, EventStoreError>
  /** This process itself has changed something that no other is notified of. */
  readonly changed: Effect.Effect<void>
}

/** The delays before another attempt to listen, in milliseconds. */
const firstDelay = 100
const maxDelay = 5_000

/** How long to wait until a connection is given back. A dead one is given back when the client finds that. */
const leaveTimeout = Duration.seconds(1)

/**
 * The changes, over one connection for all streams: it is open while there are streams. A stream begins when the server
 * has confirmed, and fails if it does not. After that it is never silent for long: when the connection breaks it has an
 * element at each attempt to listen again, and one after each `check`.
 *
 * A connection can be dead without being broken: a firewall dropped it, or a pooler between keeps notifications to
 * itself. So at each `check` the store notifies its own channel, and listens again when that did not arrive until the
 * next.
 */
export const listening = Effect.fnUntraced(function* (sql: Listening, runner: Runner, settings: Settings) {
  // A change that comes while another waits to be taken is part of it: a listener polls only then.
  const changes = yield* PubSub.sliding<void>(1)
  const changed = Effect.asVoid(PubSub.publish(changes, undefined))
  const shared = yield* RcRef.make({ acquire: begin(sql, runner, settings, changed) })
  const stream = Stream.unwrap(
    Effect.gen(function* () {
      yield* RcRef.get(shared)
      const subscription = yield* PubSub.subscribe(changes)
      return Stream.concat(Stream.make<[void]>(undefined), Stream.fromSubscription(subscription))
    })
  )
  return { stream, changed } satisfies Changes
})

/** For a client that cannot listen. */
export const polling = (interval: Duration.Duration): Changes => ({
  stream: Stream.tick(interval),
  changed: Effect.void
})

/** Listens as long as the scope is open; is done when the server has confirmed for the first time. */
const begin = Effect.fnUntraced(function* (
  sql: Listening,
  runner: Runner,
  settings: Settings,
  changed: Effect.Effect<void>
) {
  const confirmed = yield* Deferred.make<void, EventStoreError>()
  let delay = firstDelay
  const attempt = session(sql, runner, settings, changed, () => {
    delay = firstDelay
    return Effect.andThen(changed, Deferred.succeed(confirmed, undefined))
  })
  const again = Effect.gen(function* () {
    const exit = yield* Effect.exit(attempt)
    // of no use once listening has begun: all listeners poll, and this listens again
    yield* Deferred.done(confirmed, exit)
    yield* Effect.sleep(delay)
    delay = Math.min(maxDelay, delay * 2)
    yield* changed
  })
  // without spans: those of the first caller would be its parents for ever
  yield* Effect.forkScoped(Effect.withTracerEnabled(Effect.forever(again), false))
  yield* Deferred.await(confirmed)
})

/** Listens until the connection breaks, or notifications do not arrive. */
const session = (
  sql: Listening,
  runner: Runner,
  { channel, check, ping, presence, timeout }: Settings,
  changed: Effect.Effect<void>,
  onConfirmed: () => Effect.Effect<unknown>
): Effect.Effect<never, EventStoreError> => {
  let heard = true
  const hear = (notifications: Notifications) =>
    Effect.forever(
      Effect.flatMap(Queue.takeAll(notifications), (some) => {
        heard = true
        return some.every(({ payload }) => payload === pingPayload) ? Effect.void : changed
      })
    )
  const watch = Effect.forever(
    Effect.suspend(() => {
      if (!heard) return Effect.fail(problem("listen", "Disconnected", "its own notification was not heard"))
      heard = false
      // a ping that fails does not arrive either
      return Effect.andThen(changed, Effect.ignore(ping))
    }).pipe(Effect.delay(check))
  )
  return Effect.acquireUseRelease(
    Scope.make(),
    (scope) =>
      Effect.gen(function* () {
        const within = Scope.provide(scope)
        const notifications = yield* runner.bounded("listen", within(listenOn(sql, channel, presence)), false, timeout)
        yield* onConfirmed()
        const broken = (): EventStoreError => problem("listen", "Disconnected", "the connection broke")
        return yield* Effect.raceFirst(Effect.mapError(hear(notifications), broken), watch)
      }),
    // to leave a channel takes an answer, too, which may never come
    (scope) =>
      Effect.flatMap(Effect.forkDetach(Scope.close(scope, Exit.void)), (closing) =>
        Effect.timeoutOption(Fiber.await(closing), leaveTimeout)
      )
  )
}

/**
 * Listens on a connection that holds the lock of the owner, too. That a reserved connection of `@effect/sql-pg` can listen
 * is not in the types: one that cannot listens as the client does, and the owner has no lock.
 */
const listenOn = Effect.fnUntraced(function* (sql: Listening, channel: string, presence: Presence) {
  const can = yield* Effect.scoped(Effect.map(sql.reserve, canListenItself))
  if (!can) return yield* sql.listen(channel)
  const reserved = yield* sql.reserve
  if (!canListenItself(reserved)) return yield* sql.listen(channel)
  const notifications = yield* reserved.connection.listen(channel)
  yield* presence.hold((text, params) => reserved.executeUnprepared(text, params, undefined))
  return notifications
})

const canListenItself = <A>(reserved: A): reserved is A & { readonly connection: { readonly listen: Listen } } =>
  hasProperty(reserved, "connection") && hasProperty(reserved.connection, "listen")
