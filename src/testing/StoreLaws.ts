/**
 * The laws that every store of the durable parts must keep, as a suite that runs anywhere: given a way to make a store's data,
 * it answers which laws the store breaks. It belongs to no test runner. A store that goes by Effect's `Clock` is checked in
 * virtual time, one with a clock of its own in real time: the suite waits for it some seconds in all.
 *
 * **Example** (Checking a store of one's own)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MemoryStore } from "effect-events/durable"
 * import * as StoreLaws from "effect-events/testing/StoreLaws"
 *
 * const memory = StoreLaws.subject({
 *   name: "the store in memory",
 *   time: "virtual",
 *   make: Effect.map(MemoryStore.makeMemory, (memory) => ({ layer: MemoryStore.layerOver(memory) }))
 * })
 *
 * Effect.runPromise(StoreLaws.check(memory)).then((violations) => console.log(violations))
 * // prints: []
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { checkLaws, type CheckOptions, type Violation } from "./internal/laws/checkLaws.ts"
import { changeLaws } from "./internal/laws/changeLaws.ts"
import { deadLetterLaws } from "./internal/laws/deadLetterLaws.ts"
import { exchangeLaws } from "./internal/laws/exchangeLaws.ts"
import { insightLaws } from "./internal/laws/insightLaws.ts"
import { leaseLaws } from "./internal/laws/leaseLaws.ts"
import { processLaws } from "./internal/laws/processLaws.ts"
import { publishingLaws } from "./internal/laws/publishingLaws.ts"
import { settlementLaws } from "./internal/laws/settlementLaws.ts"
import type { Subject } from "./internal/laws/storeSubject.ts"
import { type Law, run, type Scenario } from "./internal/laws/storeWorld.ts"
import { timeLaws } from "./internal/laws/timeLaws.ts"

export type { CheckOptions, Violation } from "./internal/laws/checkLaws.ts"
export { type Data, type Subject, subject, type SubjectOptions } from "./internal/laws/storeSubject.ts"
export type { Law } from "./internal/laws/storeWorld.ts"

/**
 * The laws, in order.
 *
 * @category laws
 * @since 0.1.0
 */
export const laws: ReadonlyArray<Law> = [
  ...publishingLaws,
  ...settlementLaws,
  ...deadLetterLaws,
  ...leaseLaws,
  ...processLaws,
  ...timeLaws,
  ...insightLaws,
  ...exchangeLaws,
  ...changeLaws
]

/**
 * Answers which of the laws that concern a store it breaks: nothing for a good store. Each scenario answers its first
 * violation, with the evidence and the seed, and has data of its own.
 *
 * @category checking
 * @since 0.1.0
 */
export const check = (subject: Subject, options: CheckOptions = {}): Effect.Effect<ReadonlyArray<Violation>> =>
  checkLaws(laws, judge, subject, options)

// internals

const judge = (subject: Subject, scenario: Scenario, seed: string) =>
  Effect.map(run(subject, scenario, seed), (wrong) => wrong && `: ${wrong} (seed "${seed}")`)
