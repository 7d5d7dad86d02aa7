/** Whether an endpoint delivers: what disables it, and what its sinks do while it is disabled. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import { HttpClientError, TransportError } from "effect/http/HttpClientError"
import * as Latch from "effect/Latch"
import type { SinkControls } from "../../../internal/controls.ts"
import { logLine } from "../../../internal/failureLog.ts"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import { type EventSink, makeSink, type SinkClosed } from "../../../internal/sink.ts"
import { Disabled, HttpSinkError } from "../../HttpSinkError.ts"

/**
 * Whether an endpoint delivers.
 *
 * @category models
 * @since 0.1.0
 */
export type State =
  | {
      readonly _tag: "Enabled"
      /** Since when every request has failed, in milliseconds of the `Clock`; nothing when the last one succeeded. */
      readonly failingSince: number | undefined
    }
  | {
      readonly _tag: "Disabled"
      /** Since when, in milliseconds of the `Clock`. */
      readonly since: number
      /** The answer that disabled it, or why there was none; nothing when it was disabled by hand. */
      readonly error: HttpSinkError | undefined
    }

/** A receiver that is gone for good says so (RFC 9110, section 15.5.11; Standard Webhooks, "status codes"). */
export const gone = 410

type Write<B> = Effect.Effect<B, HttpSinkError | SinkClosed>

export interface EndpointState {
  readonly current: () => State
  readonly enable: Effect.Effect<void>
  readonly disable: Effect.Effect<void>
  /** Waits until the endpoint is disabled. */
  readonly disabled: Effect.Effect<void>
  /**
   * The lower half, below all retries: makes each request and judges how it went, or fails without one while the endpoint
   * is disabled. `onUnsendable` is called for each event that cannot be made into a request.
   */
  readonly judging: <A>(http: EventSink<A, HttpSinkError>, onUnsendable: () => void) => EventSink<A, HttpSinkError>
  /** Refuses a request that has waited for a permit until the endpoint was disabled. */
  readonly gating: (client: HttpClient.HttpClient) => HttpClient.HttpClient
  /** The upper half, above all retries: hands the events of a disabled endpoint to `onDisabled`. */
  readonly diverting: <A>(
    retrying: EventSink<A, HttpSinkError>,
    onDisabled: (event: A) => Effect.Effect<void>
  ) => EventSink<A, HttpSinkError>
  /** What it can be asked to do beside writes, in the words of the core. */
  readonly controls: (attempts: SinkControls["attempts"]) => SinkControls
}

/** Makes the state of an endpoint that is enabled; `url` is what may be shown of where it posts to. */
export const makeEndpointState = (name: string, url: string, disableAfter: Duration.Duration): EndpointState => {
  let state: State = enabled
  /** The monotonic time of `failingSince`. */
  let failingFrom = 0
  const latch = Latch.makeUnsafe()
  const part = { kind: "Endpoint", name }

  const turnOff = (since: number, error: HttpSinkError | undefined) => {
    state = { _tag: "Disabled", since, error }
    latch.openUnsafe()
  }
  const refused = (since: number, error: HttpSinkError | undefined) =>
    Effect.fail(new HttpSinkError({ sink: name, url, reason: new Disabled({ since, error }), transient: false }))

  const failed = (error: HttpSinkError): Effect.Effect<never, HttpSinkError> =>
    Clock.clockWith((clock) => {
      if (state._tag === "Disabled") return refused(state.since, state.error)
      const { reason } = error
      const now = clock.currentTimeMillisUnsafe()
      const monotonic = monotonicMillis(clock)
      if (state.failingSince === undefined) failingFrom = monotonic
      const failingSince = state.failingSince ?? now
      const isGone = reason._tag === "Status" && reason.status === gone
      // A receiver that refuses one event for good works. An address that a guard forbids does not show that.
      if (!isGone && !error.transient && reason._tag !== "ForbiddenAddress") {
        state = enabled
        return Effect.fail(error)
      }
      state = { _tag: "Enabled", failingSince }
      if (!isGone && monotonic - failingFrom < Duration.toMillis(disableAfter)) return Effect.fail(error)
      turnOff(now, error)
      const why = isGone ? "its receiver is gone" : `it has failed for ${Duration.format(disableAfter)}`
      return Effect.andThen(logLine(part, "Warn", `is disabled: ${why} (${reason.message})`), refused(now, error))
    })

  const judged = <B>(write: Write<B>, events: number, onUnsendable: () => void) =>
    Effect.suspend((): Write<B> => {
      if (state._tag === "Disabled") return refused(state.since, state.error)
      return Effect.matchEffect(write, {
        onFailure: (error): Write<never> => {
          if (error._tag === "SinkClosed") return Effect.fail(error)
          const { _tag } = error.reason
          const isUnsendable = _tag === "Encode" || _tag === "TooLarge"
          // The receiver has no part in these.
          if (!isUnsendable && _tag !== "RateLimited") return failed(error)
          // A batch with such an event is tried again as ever smaller ones until the event is alone.
          if (isUnsendable && events === 1) onUnsendable()
          return Effect.fail(error)
        },
        onSuccess: (answer) => {
          // Another request may have disabled the endpoint meanwhile.
          if (state._tag === "Enabled") state = enabled
          return Effect.succeed(answer)
        }
      })
    })

  const diverted = <B>(write: Write<B>, divert: Effect.Effect<B>) =>
    Effect.suspend(() =>
      state._tag === "Disabled"
        ? divert
        : Effect.catch(write, (error) =>
            error._tag === "HttpSinkError" && error.reason._tag === "Disabled" ? divert : Effect.fail(error)
          )
    )

  const enable = Effect.suspend(() => {
    if (state._tag === "Enabled") return Effect.void
    latch.closeUnsafe()
    state = enabled
    return logLine(part, "Info", "is enabled again")
  })
  const disable = Clock.clockWith((clock) => {
    if (state._tag === "Disabled") return Effect.void
    turnOff(clock.currentTimeMillisUnsafe(), undefined)
    return logLine(part, "Info", "is disabled by hand")
  })

  return {
    current: () => state,
    disabled: latch.await,
    enable,
    disable,
    controls: (attempts) => ({
      state: Effect.sync(() =>
        state._tag === "Enabled"
          ? { state: "active", reason: undefined, since: undefined }
          : { state: "disabled", reason: state.error?.reason.message ?? "disabled by hand", since: state.since }
      ),
      disable,
      enable,
      attempts
    }),
    judging: ({ node, write, writeSome }, onUnsendable) =>
      makeSink({
        node,
        write: (event) => judged(write(event), 1, onUnsendable),
        writeSome: writeSome && ((events) => judged(writeSome(events), events.length, onUnsendable))
      }),
    gating: HttpClient.transform((response, request) =>
      Effect.suspend(() => {
        if (state._tag === "Enabled") return response
        const cause = new Disabled({ since: state.since, error: state.error })
        return Effect.fail(new HttpClientError({ reason: new TransportError({ request, cause }) }))
      })
    ),
    diverting: <A>(
      { node, write, writeSome }: EventSink<A, HttpSinkError>,
      onDisabled: (event: A) => Effect.Effect<void>
    ) => {
      const divert = (event: A) => Effect.suspend(() => onDisabled(event))
      return makeSink<A, HttpSinkError>({
        node,
        write: (event) => diverted(write(event), divert(event)),
        // One at a time: a defect or the close then costs one, and a batch would be handed on again from its beginning.
        writeSome:
          writeSome &&
          ((events: NonEmptyReadonlyArray<A>) => diverted(writeSome(events), Effect.as(divert(events[0]), 1)))
      })
    }
  }
}

// internals

const enabled: State = { _tag: "Enabled", failingSince: undefined }
