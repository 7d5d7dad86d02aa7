/** A receiver that fails as a test says, and notes each attempt. */
import { Clock, Data, Effect } from "effect"
import { EventSink } from "effect-events"

export class No extends Data.TaggedError("No")<{
  readonly permanent?: boolean
  readonly retryAfter?: unknown
}> {}

/** A receiver that takes what the test says, and notes each attempt with its second. */
export const receiving = (answer: (n: number, attempt: number) => Effect.Effect<void, No>) =>
  Effect.gen(function* () {
    const attempts: Array<readonly [event: number, second: number]> = []
    const received: Array<number> = []
    const counts = new Map<number, number>()
    const sink = yield* EventSink.make((n: number) =>
      Effect.gen(function* () {
        attempts.push([n, Math.round((yield* Clock.currentTimeMillis) / 100) / 10])
        const attempt = (counts.get(n) ?? 0) + 1
        counts.set(n, attempt)
        yield* answer(n, attempt)
        received.push(n)
      })
    )
    return { sink, attempts, received }
  })

export const no = Effect.fail(new No({}))
