/**
 * containerd's event exchange, `core/events/exchange`: events with a namespace and a topic, published here or forwarded from
 * another exchange, and subscriptions by filter expressions, each a stream that ends with its scope.
 */
import { Context, DateTime, Effect, Schema } from "effect"
import { Broadcaster } from "effect-events"
import * as Filter from "./Filter.ts"

/** The namespace that a fiber works in. What publishes without one does not compile. */
export class Namespace extends Context.Service<Namespace, string>()("containerd/Namespace") {}

/** Alphanumeric, with single dots, dashes and underscores between; 76 characters at most. */
const word = "(?=[^/]{1,76}(?:/|$))[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*"
const Identifier = Schema.String.check(Schema.isPattern(new RegExp(`^${word}$`), { expected: "an identifier" }))
const Topic = Schema.String.check(
  Schema.isPattern(new RegExp(`^(?:/${word})+$`), { expected: "a topic, as /tasks/exit" })
)

/** An event on its way, which is any value that an exchange is made for. */
export const Envelope = <A, I>(event: Schema.Codec<A, I>) =>
  Schema.Struct({
    timestamp: Schema.DateTimeUtcFromString,
    namespace: Identifier,
    topic: Topic,
    event
  })
export type Envelope<A> = ReturnType<typeof Envelope<A, unknown>>["Type"]

export const make = Effect.fnUntraced(function* <A, I>(event: Schema.Codec<A, I>) {
  const broadcaster = yield* Broadcaster.make<Envelope<A>>({ name: "exchange" })
  const envelope = Envelope(event)
  const validate = Schema.decodeUnknownEffect(Schema.toType(envelope))
  const decode = Schema.decodeUnknownEffect(envelope)
  return {
    /** The first publisher of an event: its namespace is the caller's, and its time is now. */
    publish: (topic: string, event: A) =>
      Effect.gen(function* () {
        const timestamp = yield* DateTime.now
        const namespace = yield* Namespace
        yield* broadcaster.write(yield* validate({ timestamp, namespace, topic, event }))
      }),
    /** Passes on what came from another exchange, encoded, with its own namespace, topic and time. */
    forward: (encoded: unknown) => Effect.flatMap(decode(encoded), broadcaster.write),
    /** What is published from now on and matches any of the filters. */
    subscribe: (...filters: ReadonlyArray<string>) =>
      Effect.flatMap(Effect.fromResult(Filter.parseAll(filters)), (matches) =>
        Broadcaster.subscribe(broadcaster, { filter: (envelope) => matches(fieldOf(envelope)) })
      )
  }
})

/** Fields that are texts, and not empty. */
const fieldOf =
  (envelope: unknown): Filter.Field =>
  (path) => {
    const found = path.reduce<unknown>(
      // It has been seen to be an object.
      (value, key) =>
        typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined,
      envelope
    )
    return typeof found === "string" && found !== "" ? found : undefined
  }
