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
import { checkLaws, type CheckOptions, type Violation } from "./internal/laws/checkLaws.ts"
import { closingLaws } from "./internal/laws/closingLaws.ts"
import { deliveryLaws } from "./internal/laws/deliveryLaws.ts"
import type { Subject } from "./internal/laws/sinkSubject.ts"
import { type Law, type Play, run, type Scenario } from "./internal/laws/sinkWorld.ts"

export type { CheckOptions, Violation } from "./internal/laws/checkLaws.ts"
export {
  type Receiver,
  type Remaining,
  type Subject,
  subject,
  type SubjectOptions
} from "./internal/laws/sinkSubject.ts"
export type { Law } from "./internal/laws/sinkWorld.ts"

/**
 * The laws, in order.
 *
 * **Details**
 *
 * - 0: conservation: every accepted event has exactly one fate, and the books balance
 * - 1: calls of shutdown wait for the same flush and get the same list; the close reports the rest
 * - 2: a write after the close, or waiting when it came, fails with SinkClosed
 * - 3: a close releases each part once, after its own flush and before what it wraps
 * - 4: removing, failing or closing one sink leaves the sequence of every other unchanged
 * - 5: a close returns within its deadline, whatever the receiver does
 * - 6: a backoff is at most its maximum and never collapses, however many failures there were
 * - 7: any value is an event
 * - 8: an accepted event is never lost without a report, and its content is never logged
 * - 9: interrupting a write leaves it accepted or not; a batch is taken whole or not at all
 * - 10: a defect or an interruption of a sink's own making stops neither worker nor sibling
 * - 11: no fiber is left after the close, but one whose write refuses interruption
 * - 12: writing from inside a queue's own delivery to that queue never deadlocks
 * - 13: a failure during shutdown keeps the event
 * - 14: a fallback fires on a first sink that blocks, as on one that fails
 * - 15: batches make progress, and hold no event past its age
 * - 16: a batch larger than the capacity enters an empty queue or fails typed; it never hangs
 * - 17: what one fiber wrote in order arrives in order at each sink
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
 * violation has the seed that it was found with: with that as `seed` it is played first. A sink with two `targets` is judged with either of them misbehaving.
 *
 * **Gotchas**
 *
 * The sink must take its time from Effect's `Clock`. Real timers and sockets do not move with virtual time. For law 2 a write
 * that is not with the receiver after 20 milliseconds waits in the sink: what the sink does before must take less time here.
 *
 * @category checking
 * @since 0.1.0
 */
export const check = (subject: Subject, options: CheckOptions = {}): Effect.Effect<ReadonlyArray<Violation>> =>
  checkLaws(laws, judge, subject, options)

// internals

const judge = Effect.fnUntraced(function* (subject: Subject, scenario: Play | Scenario, first: string) {
  const row = typeof scenario === "function" ? { play: scenario } : scenario
  const { times = 1 } = row
  const receivers = subject.targets === undefined ? [""] : [", at the first receiver", ", at the second receiver"]
  for (const [misbehaving, receiver] of receivers.entries()) {
    for (let round = 1; round <= times; round++) {
      // The first round has the seed itself: the one of a violation plays its round again.
      const seed = round === 1 ? first : `${first}-${round}`
      const wrong = yield* run(subject, row, misbehaving, seed)
      if (wrong !== undefined) return `${receiver}${times === 1 ? "" : ` (seed "${seed}")`}: ${wrong}`
    }
  }
  return undefined
})
