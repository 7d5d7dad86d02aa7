/** The dead letters of an endpoint, as this example needs them: whose they are, and why. */
import { Effect, Result } from "effect"
import { DurableBroadcaster } from "effect-events/durable"
import type { Notifications } from "./Notifications.ts"

export interface DeadLetter {
  /** The id of the event, unless it does not decode. */
  readonly id: string | undefined
  /** In one line, without the name of the error. */
  readonly why: string
}

/** Reads all dead letters of a subscription, page by page. */
export const deadLettersOf = Effect.fnUntraced(function* (notifications: Notifications["Service"], name: string) {
  const { list } = DurableBroadcaster.deadLetters(notifications, name)
  const deadLetters: Array<DeadLetter> = []
  let page = yield* list()
  while (page.length > 0) {
    for (const { cause, event } of page) {
      const id = Result.isSuccess(event) ? event.success.id : undefined
      deadLetters.push({ id, why: (cause.split("\n")[0] ?? "").replace(/^\w+: /, "") })
    }
    page = yield* list({ after: page.at(-1) })
  }
  return deadLetters satisfies ReadonlyArray<DeadLetter>
})

/** A line for each reason there is. */
export const reasons = (name: string, deadLetters: ReadonlyArray<DeadLetter>): ReadonlyArray<string> => {
  const counts = new Map<string, number>()
  for (const { why } of deadLetters) counts.set(why, (counts.get(why) ?? 0) + 1)
  return Array.from(counts, ([why, n]) => `  ${name}: ${n} events: ${why}`)
}
