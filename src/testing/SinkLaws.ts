/**
 * The laws that every sink must keep, as a suite that runs anywhere: given a way to make a sink, it answers which laws
 * the sink breaks. It belongs to no test runner, sleeps no real time, and never hangs: everything happens on a
 * `TestClock`, and what does not end is a violation.
 *
 * **Example** (Checking a sink of one's own)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventQueue, EventSink } from "effect-events"
 * import * as SinkLaws from "effect-events/testing/SinkLaws"
 *
 * const queued = SinkLaws.subject({
 *   name: "my queue",
 *   queued: true,
 *   make: (receiver, onDropped) => receiver.pipe(EventQueue.make({ onDropped })),
 *   shutdown: (queue) => queue.shutdown
 * })
 *
 * const careless = SinkLaws.subject({
 *   name: "my careless sink",
 *   make: (receiver) => EventSink.make((event: unknown) => Effect.ignore(receiver.write(event)))
 * })
 *
 * const program = Effect.gen(function* () {
 *   console.log(yield* SinkLaws.check(queued, { laws: [1, 2, 5, 8] }))
 *   const broken = yield* SinkLaws.check(careless)
 *   console.log(broken.some(({ law }) => law === 8))
 * })
 *
 * Effect.runPromise(program)
 * // prints: []
 * // prints: true
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { admissionLaws } from "./internal/laws/admissionLaws.ts"
import { closingLaws } from "./internal/laws/closingLaws.ts"
import { deliveryLaws } from "./internal/laws/deliveryLaws.ts"
import type { Subject } from "./internal/laws/sinkSubject.ts"
import { type Law, run } from "./internal/laws/sinkWorld.ts"

export {
  type Receiver,
  type Remaining,
  type Subject,
  subject,
  type SubjectOptions
} from "./internal/laws/sinkSubject.ts"
export type { Law } from "./internal/laws/sinkWorld.ts"

/**
 * A law that a sink breaks.
 *
 * @category models
 * @since 0.1.0
 */
export interface Violation {
  /** The number of the law. */
  readonly law: number
  readonly title: string
  /** What was seen: the scenario, its seed where it is random, and what went wrong in it. */
  readonly what: string
}

/**
 * @category options
 * @since 0.1.0
 */
export interface CheckOptions {
  /** The numbers of the laws to check: all that concern the sink by default. */
  readonly laws?: ReadonlyArray<number> | undefined
  /** What the random scenarios begin from: the same by default, so that every run is the same. */
  readonly seed?: string | undefined
}

/**
 * The laws, in order. Those about fallbacks and batches come with the parts that they concern.
 *
 * @category laws
 * @since 0.1.0
 */
export const laws: ReadonlyArray<Law> = [...closingLaws, ...deliveryLaws, ...admissionLaws].toSorted(
  (a, b) => a.number - b.number
)

/**
 * Answers which of the laws that concern a sink it breaks: nothing for a good sink.
 *
 * **Details**
 *
 * Each scenario answers its first violation, with the evidence. A random scenario is played several times, and the
 * violation has the seed that it was found with. A sink with two `targets` is judged with either of them misbehaving.
 *
 * **Gotchas**
 *
 * The sink must take its time from Effect's `Clock`. Real timers and sockets do not move with virtual time.
 *
 * @category checking
 * @since 0.1.0
 */
export const check = (subject: Subject, options: CheckOptions = {}): Effect.Effect<ReadonlyArray<Violation>> =>
  Effect.map(
    Effect.forEach(
      laws.filter((law) => (options.laws?.includes(law.number) ?? true) && law.concerns(subject)),
      (law) => checkLaw(subject, law, options.seed ?? "effect-events")
    ),
    (violations) => violations.flat()
  )

const checkLaw = Effect.fnUntraced(function* (subject: Subject, law: Law, seed: string) {
  const violations: Array<Violation> = []
  for (const row of law.scenarios(subject)) {
    const { times = 1, title } = row
    const rounds = Array.from({ length: times }, (_, i) => (times === 1 ? seed : `${seed}-${i + 1}`))
    const targets = subject.targets === undefined ? [0] : [0, 1]
    search: for (const misbehaving of targets) {
      for (const played of rounds) {
        const [what] = yield* run(subject, row, { seed: played, misbehaving })
        if (what === undefined) continue
        const round = times === 1 ? "" : ` (seed "${played}")`
        const target = targets.length === 1 ? "" : `, at the ${misbehaving === 0 ? "first" : "second"} receiver`
        violations.push({ law: law.number, title: law.title, what: `${title}${target}${round}: ${what}` })
        break search
      }
    }
  }
  return violations
})
