import type { NewEvent } from "../EventStore.ts"

/** What the store gets of an event beside its payload: nothing, where no function of the part says more. */
export const addressOf = <A>({
  id,
  topic
}: {
  readonly id?: ((event: A) => string) | undefined
  readonly topic?: ((event: A) => string) | undefined
}): ((event: A) => Omit<NewEvent, "payload">) | undefined =>
  id === undefined
    ? topic && ((event) => ({ topic: topic(event) }))
    : topic === undefined
      ? (event) => ({ id: id(event) })
      : (event) => ({ topic: topic(event), id: id(event) })
