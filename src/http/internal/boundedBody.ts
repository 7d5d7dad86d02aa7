/** The bound of a body that an API reads as a whole: neither the platform nor a schema has one. */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import { MaxBodySize } from "effect/http/HttpServerRequest"

/** Room for 500 ids of 500 characters. */
const maxBodySize = ByteSize.kibibytes(256)

/** Answers 413 to a larger body, before it is decoded. A bound that the application has set is kept. */
export const withBoundedBody = <A, E, R>(answer: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => Effect.provideService(answer, MaxBodySize, fiber.getRef(MaxBodySize) ?? maxBodySize))
