/** What the file has for each endpoint, of this run and of others. */
import { Effect } from "effect"
import { EventStore } from "effect-events/durable"
import { exchange } from "./Notifications.ts"

export interface Stored {
  /** How many events wait. */
  readonly waiting: number
  readonly deadLetters: number
}

const nothing: Stored = { waiting: 0, deadLetters: 0 }

/** Looks up endpoints by their names, be they served by this process or not. */
export const stored = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const found = yield* Effect.forEach(yield* store.list({ exchange }), ({ id, name }) =>
    Effect.map(
      store.figures(id),
      (figures) => [name, { waiting: figures?.pending ?? 0, deadLetters: figures?.deadLetters ?? 0 }] as const
    )
  )
  const all = new Map<string, Stored>(found)
  return { names: [...all.keys()], of: (name: string) => all.get(name) ?? nothing }
})

/**
 * Ends what is stored for endpoints that are not given any more, since nothing would ever take it out. What waits for them
 * stays until they are given again, and is answered; those for which nothing does are forgotten.
 */
export const leave = Effect.fnUntraced(function* (given: ReadonlyArray<string>) {
  const store = yield* EventStore.EventStore
  const { names, of } = yield* stored
  const left: Array<Stored & { readonly name: string }> = []
  for (const name of names.filter((name) => !given.includes(name))) {
    const { deadLetters, waiting } = of(name)
    if (waiting + deadLetters === 0) yield* store.drop({ exchange, name })
    // No topic is so called.
    else yield* store.define(exchange, [{ name, topics: ["not given"] }])
    if (waiting + deadLetters > 0) left.push({ name, waiting, deadLetters })
  }
  return left satisfies ReadonlyArray<Stored & { readonly name: string }>
})
