import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { exitEager, loopEager } from "../../internal/eager.ts"
import type { Delivery } from "../EventStore.ts"
import type { Codec } from "./eventCodec.ts"
import { type Row, rowOf } from "./rows.ts"

export interface Decoded<out A> {
  readonly rows: ReadonlyArray<Row<A>>
  readonly bad: ReadonlyArray<readonly [delivery: Delivery, cause: Cause.Cause<unknown>]>
}

/** Decodes deliveries in order: all, or up to the first that does not decode. `check` throws where a key cannot be had. */
export const decodeDeliveries = <A>(
  deliveries: ReadonlyArray<Delivery>,
  codec: Codec<A>,
  check: (row: Row<A>) => unknown,
  stops: boolean
): Effect.Effect<Decoded<A>> => {
  const rows: Array<Row<A>> = []
  const bad: Array<readonly [Delivery, Cause.Cause<unknown>]> = []
  let next = 0
  const decoded = (delivery: Delivery) =>
    Effect.flatMapEager(codec.decode(delivery.payload), (event) => {
      const row = rowOf(delivery, event)
      try {
        // The process that has written it may have had another function.
        check(row)
        return Effect.succeed(row)
      } catch (defect) {
        return Effect.die(defect)
      }
    })
  return Effect.map(
    loopEager(
      // Not out of bounds, by the condition.
      () =>
        next < deliveries.length && (bad.length === 0 || !stops) ? exitEager(decoded(deliveries[next]!)) : undefined,
      (exit) => {
        const one = deliveries[next++]!
        if (exit._tag === "Success") rows.push(exit.value)
        else bad.push([one, exit.cause])
      }
    ),
    () => ({ rows, bad })
  )
}
