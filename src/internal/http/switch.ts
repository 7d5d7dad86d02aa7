/** What turns an endpoint off, and sends its events elsewhere while it is. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { HttpSinkError } from "../../http/HttpSinkError.ts"
import { annotate } from "../failureLog.ts"
import type { Node } from "../node.ts"
import { type EventSink, Sink, type SinkClosed } from "../sink.ts"

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

/** Its endpoint is off: nothing is sent, and nothing is tried again. */
export class IsDisabled extends Data.TaggedError("IsDisabled") {
  readonly transient = false
}

/** How a request ends that was not accepted. */
export type Judged = HttpSinkError | IsDisabled

const enabled: State = { _tag: "Enabled", failingSince: undefined }

/** A receiver that is gone for good says so (RFC 9110, section 15.5.11; Standard Webhooks, "status codes"). */
export const gone = 410

/** A wrapper that is the sink itself for pictures and health. */
const alike = <A, E, B, F>(
  self: EventSink<A, E>,
  parts: Pick<EventSink<B, F>, "write" | "writeSome">
): EventSink<B, F> => new Sink<B, F>({ ...parts, node: self.node as Node })

export class Switch<in A> {
  private readonly name: string
  private readonly disableAfter: Duration.Duration
  private readonly onDisabled: (event: A) => Effect.Effect<void>
  private readonly latch = Latch.makeUnsafe()
  state: State = enabled

  constructor(name: string, disableAfter: Duration.Duration, onDisabled: (event: A) => Effect.Effect<void>) {
    this.name = name
    this.disableAfter = disableAfter
    this.onDisabled = onDisabled
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

  /**
   * The lower half, below all retries: lets each request through and judges how it went, or lets none through. `unsendable`
   * is told of each event that cannot be made into a request.
   */
  judging<B extends A>(http: EventSink<B, HttpSinkError>, unsendable: () => void): EventSink<B, Judged> {
    const judged = <C>(write: Effect.Effect<C, HttpSinkError | SinkClosed>, n: number) =>
      Effect.suspend((): Effect.Effect<C, Judged | SinkClosed> => {
        if (this.isDisabled) return Effect.fail(new IsDisabled())
        return Effect.matchEffect(write, {
          onFailure: (error): Effect.Effect<never, Judged | SinkClosed> => {
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
      write: (event: B) => judged(http.write(event), 1),
      writeSome: writeSome && ((events: NonEmptyReadonlyArray<B>) => judged(writeSome(events), events.length))
    })
  }

  private failed(error: HttpSinkError): Effect.Effect<never, Judged> {
    const { reason } = error
    return Clock.clockWith((clock): Effect.Effect<never, Judged> => {
      if (this.state._tag === "Disabled") return Effect.fail(new IsDisabled())
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
        Effect.fail(new IsDisabled())
      )
    })
  }

  /** The upper half, above all retries: hands what is not to be sent to `onDisabled`. */
  diverting<B extends A, E>(retrying: EventSink<B, E>): EventSink<B, Exclude<E, IsDisabled>> {
    const diverted = <C>(
      write: Effect.Effect<C, E | SinkClosed>,
      divert: Effect.Effect<C>
    ): Effect.Effect<C, Exclude<E, IsDisabled> | SinkClosed> =>
      Effect.suspend(() =>
        this.isDisabled
          ? divert
          : Effect.catch(write, (error): Effect.Effect<C, Exclude<E, IsDisabled> | SinkClosed> =>
              error instanceof IsDisabled
                ? divert
                : // It is not the one that is left out.
                  Effect.fail(error as Exclude<E, IsDisabled> | SinkClosed)
            )
      )
    const divert = (event: B) => Effect.suspend(() => this.onDisabled(event))
    const { writeSome } = retrying
    return alike(retrying, {
      write: (event: B) => diverted(retrying.write(event), divert(event)),
      // One at a time: a defect or the close then costs one, and a group would be handed on again from its beginning.
      writeSome:
        writeSome &&
        ((events: NonEmptyReadonlyArray<B>) => diverted(writeSome(events), Effect.as(divert(events[0]), 1)))
    })
  }
}
