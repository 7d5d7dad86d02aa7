/** What turns an endpoint off, and fails its writes while it is, or sends their events elsewhere. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { Disabled, HttpSinkError } from "../../HttpSinkError.ts"
import { annotate } from "../../../internal/failureLog.ts"
import { type EventSink, makeSink, type SinkClosed } from "../../../internal/sink.ts"

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
      /** What the receiver had answered, or why it had not; nothing when it was disabled by hand. */
      readonly error: HttpSinkError | undefined
    }

const enabled: State = { _tag: "Enabled", failingSince: undefined }

/** A receiver that is gone for good says so (RFC 9110, section 15.5.11; Standard Webhooks, "status codes"). */
export const gone = 410

/** A wrapper that is the sink itself for pictures and health. */
const alike = <A, E, B, F>(
  self: EventSink<A, E>,
  parts: Pick<EventSink<B, F>, "write" | "writeSome">
): EventSink<B, F> => makeSink<B, F>({ ...parts, node: self.node })

export class Switch {
  private readonly name: string
  /** What may be shown of where it posts to. */
  private readonly url: string
  private readonly disableAfter: Duration.Duration
  private readonly latch = Latch.makeUnsafe()
  state: State = enabled

  constructor(name: string, url: string, disableAfter: Duration.Duration) {
    this.name = name
    this.url = url
    this.disableAfter = disableAfter
  }

  get isDisabled(): boolean {
    return this.state._tag === "Disabled"
  }

  /** Waits until it is disabled. */
  get disabled(): Effect.Effect<void> {
    return this.latch.await
  }

  readonly enable: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.isDisabled) return Effect.void
    this.latch.closeUnsafe()
    this.state = enabled
    return Effect.logInfo(`the endpoint "${this.name}" is enabled again`).pipe(annotate("Endpoint", this.name))
  })

  readonly disable: Effect.Effect<void> = Clock.clockWith((clock) => {
    if (this.isDisabled) return Effect.void
    this.turnOff(clock.currentTimeMillisUnsafe(), undefined)
    return Effect.logInfo(`the endpoint "${this.name}" is disabled by hand`).pipe(annotate("Endpoint", this.name))
  })

  private turnOff(since: number, error: HttpSinkError | undefined): void {
    this.state = { _tag: "Disabled", since, error }
    // Who waits for the receiver need not any more.
    this.latch.openUnsafe()
  }

  /** Fails as a write does while it is disabled, for `error`. */
  private refuse(since: number, error: HttpSinkError | undefined): Effect.Effect<never, HttpSinkError> {
    const reason = new Disabled({ since, error })
    return Effect.fail(new HttpSinkError({ sink: this.name, url: this.url, reason, transient: false }))
  }

  /**
   * The lower half, below all retries: lets each request through and judges how it went, or fails without one while it is
   * disabled. `unsendable` is told of each event that cannot be made into a request.
   */
  judging<A>(http: EventSink<A, HttpSinkError>, unsendable: () => void): EventSink<A, HttpSinkError> {
    const judged = <C>(write: Effect.Effect<C, HttpSinkError | SinkClosed>, n: number) =>
      Effect.suspend((): Effect.Effect<C, HttpSinkError | SinkClosed> => {
        if (this.state._tag === "Disabled") return this.refuse(this.state.since, this.state.error)
        return Effect.matchEffect(write, {
          onFailure: (error): Effect.Effect<never, HttpSinkError | SinkClosed> => {
            if (!(error instanceof HttpSinkError)) return Effect.fail(error)
            // The receiver has no part in these.
            if (error.reason._tag !== "Encode" && error.reason._tag !== "TooLarge") return this.failed(error)
            // A group with it is tried again as ever smaller ones until it stands alone.
            if (n === 1) unsendable()
            return Effect.fail(error)
          },
          onSuccess: (answer) => {
            // A request may have been under way when another was the last straw.
            if (!this.isDisabled) this.state = enabled
            return Effect.succeed(answer)
          }
        })
      })
    const { writeSome } = http
    return alike(http, {
      write: (event: A) => judged(http.write(event), 1),
      writeSome: writeSome && ((events: NonEmptyReadonlyArray<A>) => judged(writeSome(events), events.length))
    })
  }

  private failed(error: HttpSinkError): Effect.Effect<never, HttpSinkError> {
    const { reason } = error
    return Clock.clockWith((clock): Effect.Effect<never, HttpSinkError> => {
      if (this.state._tag === "Disabled") return this.refuse(this.state.since, this.state.error)
      const now = clock.currentTimeMillisUnsafe()
      const failingSince = this.state.failingSince ?? now
      const isGone = reason._tag === "Status" && reason.status === gone
      // If it will not have this event for good, it works all the same. That nobody may connect to it says no such thing.
      const isAnswer = !error.transient && reason._tag !== "ForbiddenAddress"
      this.state = isGone || !isAnswer ? { _tag: "Enabled", failingSince } : enabled
      if (!isGone && isAnswer) return Effect.fail(error)
      if (!isGone && now - failingSince < Duration.toMillis(this.disableAfter)) return Effect.fail(error)
      this.turnOff(now, error)
      const why = isGone ? "its receiver is gone" : `it has failed for ${Duration.format(this.disableAfter)}`
      return Effect.andThen(
        Effect.logWarning(`the endpoint "${this.name}" is disabled: ${why} (${reason.message})`).pipe(
          annotate("Endpoint", this.name)
        ),
        this.refuse(now, error)
      )
    })
  }

  /** The upper half, above all retries: hands what is not to be sent to `onDisabled`. */
  diverting<A>(
    retrying: EventSink<A, HttpSinkError>,
    onDisabled: (event: A) => Effect.Effect<void>
  ): EventSink<A, HttpSinkError> {
    const diverted = <C>(write: Effect.Effect<C, HttpSinkError | SinkClosed>, divert: Effect.Effect<C>) =>
      Effect.suspend(() =>
        this.isDisabled
          ? divert
          : Effect.catch(write, (error) =>
              error instanceof HttpSinkError && error.reason._tag === "Disabled" ? divert : Effect.fail(error)
            )
      )
    const divert = (event: A) => Effect.suspend(() => onDisabled(event))
    const { writeSome } = retrying
    return alike(retrying, {
      write: (event: A) => diverted(retrying.write(event), divert(event)),
      // One at a time: a defect or the close then costs one, and a group would be handed on again from its beginning.
      writeSome:
        writeSome &&
        ((events: NonEmptyReadonlyArray<A>) => diverted(writeSome(events), Effect.as(divert(events[0]), 1)))
    })
  }
}
