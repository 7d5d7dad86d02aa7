/** The commit of a request's events, within a time, and the refusal of a request whose events the sink did not commit. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import { within } from "../../../internal/deadline.ts"
import { commitAll, type EventSink, SinkClosed } from "../../../internal/sink.ts"
import type { Envelope } from "../../Envelope.ts"
import type { Deduplicate } from "./deduplication.ts"
import { idsOf, type ToWritten } from "./eventIds.ts"
import { type Refused, refuseBy, type Reply } from "./refusal.ts"
import type { Genuine } from "./verification.ts"

/** Makes the function that commits events in order, and answers how many were duplicates. */
export const makeCommitEvents =
  <A, B, E>(
    sink: EventSink<B, E>,
    toWritten: ToWritten<A, B>,
    deduplicate: Deduplicate,
    timeout: Duration.Duration,
    refusal?: (error: E) => Reply
  ) =>
  (envelope: Envelope<A>, events: ReadonlyArray<A>, genuine: Genuine | undefined) => {
    const write = (some: ReadonlyArray<B>, committed: (n: number) => void) =>
      sink.writeSome !== undefined
        ? commitAll(sink.writeSome, some, committed)
        : Effect.forEach(some, (one) => Effect.map(sink.write(one), () => committed(1)), { discard: true })
    const ids = idsOf(envelope, events, genuine)
    const committing = Effect.flatMap(toWritten(events, ids, genuine?.sender), (written) =>
      deduplicate(ids, genuine?.sender, written, write)
    )
    return Effect.flatMap(exitWithin(committing, timeout), (exit): Effect.Effect<number, Refused> => {
      const refuse = (detail: string, reason: string, reply: Reply = { status: 503 }) =>
        refuseBy(reply, detail, { of: "commit", reason: `the sink ${reason}` })
      if (exit === undefined) return refuse("The commit did not end in time, but may succeed", "exceeded writeTimeout")
      if (Exit.isSuccess(exit)) return Effect.succeed(exit.value)
      const error = Cause.findErrorOption(exit.cause)
      if (Option.isNone(error)) return Effect.die(Cause.squash(exit.cause))
      if (error.value instanceof SinkClosed) return refuse("The receiver is closed", "is closed")
      // The error is no `SinkClosed`, and so an `E`: the compiler does not narrow a type parameter.
      return refuse("The events were not committed", failedWith(error.value), refusal?.(error.value as E))
    })
  }

/**
 * Runs an effect in a fiber of its own, and answers its exit; nothing when it did not end within `timeout` and was
 * interrupted. The wait is uninterruptible: when the sender disconnects, the effect still ends, so that the ids of its
 * events are kept for the next request, and a server that closes waits for it.
 */
export const exitWithin = <A, E>(self: Effect.Effect<A, E>, timeout: Duration.Duration) =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.forkDetach(self, { startImmediately: true, uninterruptible: false }), (fiber) => {
      const hasEnded = fiber.pollUnsafe() !== undefined
      return Effect.map(hasEnded ? Effect.void : within(Fiber.await(fiber), timeout), () => {
        const exit = fiber.pollUnsafe()
        // Not waited for: a write that refuses interruption would hold the answer.
        if (exit === undefined) fiber.interruptUnsafe()
        return exit
      })
    })
  )

/** An error as it may be logged: its tag, and nothing of its content. */
export const failedWith = (error: unknown): string =>
  hasProperty(error, "_tag") && typeof error._tag === "string" ? `failed with ${error._tag}` : "failed"
