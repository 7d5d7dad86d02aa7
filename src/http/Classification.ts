/**
 * What a receiver's answer means: the event is accepted, another attempt may succeed, or none will. Only answers are judged:
 * where none came, another attempt may succeed.
 *
 * @since 0.1.0
 */

/**
 * What a receiver answered, but for the body, which is never judged.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>
}

/**
 * `accepted`: the event is committed. `transient`: another attempt may succeed. `permanent`: none will.
 *
 * @category models
 * @since 0.1.0
 */
export type Verdict = "accepted" | "transient" | "permanent"

/**
 * Judges an answer. A function of one's own is a classification like the presets here.
 *
 * **Example** (A receiver that answers 422 to what it will never take)
 *
 * ```ts
 * import * as Classification from "effect-events/http/Classification"
 *
 * const mine: Classification.Classification = (answer) =>
 *   answer.status === 422 ? "permanent" : Classification.standardWebhooks(answer)
 *
 * console.log(mine({ status: 422, headers: {} }), mine({ status: 500, headers: {} }))
 * // prints: permanent transient
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Classification = (answer: Answer) => Verdict

const isBetween = (status: number, from: number, to: number): boolean => status >= from && status <= to

/**
 * Standard Webhooks 1.0.0: 2xx is accepted, 410 (Gone) ends it, and all else, redirects among it, is tried again.
 *
 * @category presets
 * @since 0.1.0
 */
export const standardWebhooks: Classification = ({ status }) =>
  isBetween(status, 200, 299) ? "accepted" : status === 410 ? "permanent" : "transient"

/**
 * Docker distribution's notification endpoints: 2xx and 3xx are accepted, and all else is tried again, without end.
 *
 * @category presets
 * @since 0.1.0
 */
export const distribution: Classification = ({ status }) => (isBetween(status, 200, 399) ? "accepted" : "transient")

/**
 * Knative Eventing's delivery: 2xx is accepted; 404, 408, 409, 429 and 5xx are tried again, and all else is permanent.
 *
 * @category presets
 * @since 0.1.0
 */
export const knative: Classification = ({ status }) => {
  if (isBetween(status, 200, 299)) return "accepted"
  return [404, 408, 409, 429].includes(status) || isBetween(status, 500, 599) ? "transient" : "permanent"
}
