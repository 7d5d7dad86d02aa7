/** What a law of stores is. */
import type { Scenario } from "./scene.ts"
import type { Subject } from "./subject.ts"

/**
 * A law of stores, and which of them it concerns.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  readonly number: number
  readonly title: string
  readonly concerns: (subject: Subject) => boolean
  /**
   * The scenarios, by what happens in them.
   *
   * @internal
   */
  readonly scenarios: Readonly<Record<string, Scenario>>
}

export const concernsAll = (): boolean => true
