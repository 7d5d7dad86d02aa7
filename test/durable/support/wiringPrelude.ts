/** What the wirings of wirings.test.ts speak of. */
import { Data, Effect, Schema } from "effect"
import { EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
import { Envelope } from "effect-events/http"

export const Event = Schema.Struct({ n: Schema.Int })
export type Event = typeof Event.Type

/** Where the test receives events: the name of the wiring is appended. */
export const url = process.argv[2] ?? ""

export class Unreachable extends Data.TaggedError("Unreachable")<{}> {}

/** A receiver that takes longer than a writer. */
export const receiver = (name: string) =>
  EventSink.make(
    ({ n }: Event) =>
      Effect.tryPromise({
        try: () => fetch(`${url}${name}`, { method: "POST", body: JSON.stringify({ n }) }),
        catch: () => new Unreachable()
      }).pipe(Effect.delay(50), Effect.asVoid),
    { name: "receiver", drainTimeout: 0 }
  )
/** One that cannot fail, as a queue in memory needs. */
export const reliable = (name: string) => RetryingSink.make(receiver(name), backoff)

export const backoff = ExponentialBackoff.make({ base: "5 millis", factor: "5 millis", max: "50 millis" })
export const short = { leaseTtl: "500 millis" } as const
export const endpoint = (name: string) => ({ name: "endpoint", url: `${url}${name}`, envelope: Envelope.json(Event) })
