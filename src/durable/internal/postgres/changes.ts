/** How a store notices changes: `LISTEN` on one connection, or polling. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { hasProperty } from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as RcRef from "effect/RcRef"
import * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../../EventStore.ts"
import { Listeners } from "../listeners.ts"
import { topic } from "./names.ts"
import { problem, type Runner } from "./runner.ts"

/** A client that can listen, as that of `@effect/sql-pg` does. Its package is not needed for another. */
export interface Listening extends SqlClient {
  /** A queue of notifications, once the server has confirmed; it fails when the connection breaks. */
  readonly listen: (
    channel: string
  ) => Effect.Effect<Queue.Dequeue<{ readonly payload: string }, SqlError>, SqlError, Scope.Scope>
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
  /** How often all listeners poll without a notification. */
  readonly check: Duration.Duration
  readonly timeout: Duration.Duration
}

/** The delays before another attempt to listen, in milliseconds. */
const firstDelay = 100
const maxDelay = 5_000

/** How long to wait until a connection is given back. A dead one is given back when the client finds that. */
const leaveTimeout = Duration.seconds(1)

/**
 * The changes of queues, over one connection for all streams: it is open while there are streams. A stream begins when
 * the server has confirmed, and fails if it does not. After that it is never silent for long: when the connection
 * breaks it has an element at each attempt to listen again, and one after each `check`.
 *
 * A connection can be dead without being broken: a firewall dropped it, or a pooler between keeps notifications to
 * itself. So at each `check` the store notifies its own channel, and listens again when that did not arrive until the
 * next.
 */
export const listening = (sql: Listening, runner: Runner, settings: Settings) =>
  Effect.map(
    RcRef.make({ acquire: begin(sql, runner, settings) }),
    (shared) => (queue: string) =>
      Stream.unwrap(Effect.map(RcRef.get(shared), (listeners) => listeners.stream(topic(queue))))
  )

/** For a client that cannot listen. */
export const polling = (interval: Duration.Duration) => (): Stream.Stream<void> => Stream.tick(interval)

/** Listens as long as the scope is open; is done when the server has confirmed for the first time. */
const begin = Effect.fnUntraced(function* (sql: Listening, runner: Runner, settings: Settings) {
  const listeners = new Listeners()
  const confirmed = yield* Deferred.make<void, EventStoreError>()
  let delay = firstDelay
  const attempt = session(sql, runner, settings, listeners, () => {
    delay = firstDelay
    listeners.notifyAll()
    return Deferred.succeed(confirmed, undefined)
  })
  const again = Effect.gen(function* () {
    const exit = yield* Effect.exit(attempt)
    // of no use once listening has begun: all listeners poll, and this listens again
    yield* Deferred.done(confirmed, exit)
    yield* Effect.sleep(delay)
    delay = Math.min(maxDelay, delay * 2)
    listeners.notifyAll()
  })
  // without spans: those of the first caller would be its parents for ever
  yield* Effect.forkScoped(Effect.withTracerEnabled(Effect.forever(again), false))
  yield* Deferred.await(confirmed)
  return listeners
})

/** Listens until the connection breaks, or notifications do not arrive. */
const session = (
  sql: Listening,
  runner: Runner,
  { channel, check, ping, timeout }: Settings,
  listeners: Listeners,
  onConfirmed: () => Effect.Effect<unknown>
): Effect.Effect<never, EventStoreError> => {
  let heard = true
  const hear = (notifications: Queue.Dequeue<{ readonly payload: string }, SqlError>) =>
    Effect.forever(
      Effect.map(Queue.takeAll(notifications), (some) => {
        heard = true
        for (const { payload } of some) listeners.notify(payload)
      })
    )
  const watch = Effect.forever(
    Effect.suspend(() => {
      listeners.notifyAll()
      if (!heard) return Effect.fail(problem("listen", "Disconnected", "its own notification was not heard"))
      heard = false
      // a ping that fails does not arrive either
      return Effect.ignore(ping)
    }).pipe(Effect.delay(check))
  )
  return Effect.acquireUseRelease(
    Scope.make(),
    (scope) =>
      Effect.gen(function* () {
        const notifications = yield* runner.bounded("listen", Scope.provide(sql.listen(channel), scope), false, timeout)
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
