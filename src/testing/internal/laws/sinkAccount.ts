/** What the laws of sinks expect of a world: where its events are, in which order, and what was reported of them. */
import * as Exit from "effect/Exit"
import { isSinkClosed } from "../../../internal/sink.ts"
import { ensure, show } from "./evidence.ts"
import type { Call, GivenUp, World } from "./sinkWorld.ts"

type Labels = ReadonlyArray<unknown>

/** Whether a call failed with `SinkClosed`. */
export const isClosed = ({ exit }: Call<unknown>): boolean =>
  exit !== undefined && Exit.isFailure(exit) && isSinkClosed(exit.cause)

/** What each receiver got; where each event goes to one of them, what both got together. */
export const views = ({ subject, targets }: World): ReadonlyArray<Labels> =>
  subject.targets === "one" ? [targets.flatMap(({ received }) => received)] : targets.map(({ received }) => received)

/** Whether each event is where it must be. */
export const isReceived = (world: World, label: unknown): boolean =>
  views(world).every((received) => received.includes(label))

export const inFlight = ({ targets }: World): Labels => targets.flatMap(({ inFlight }) => inFlight)

/** Everything that a receiver has, or that was reported. */
export const taken = ({ dropped, targets }: World): ReadonlySet<unknown> =>
  new Set([...targets.flatMap(({ received }) => received), ...labelsOf(dropped)])

export const accepted = ({ writes }: World): Labels =>
  writes.flatMap(({ accepted, labels }) => labels.slice(0, accepted))

export const labelsOf = (givenUp: ReadonlyArray<GivenUp>): Labels => givenUp.map(({ label }) => label)

/** What was accepted, and is neither received wherever it must be, nor given up, nor kept by a durable part. */
export const unsettled = (world: World, givenUp: ReadonlyArray<GivenUp>): Labels => {
  const { deadLetters, waiting } = world.remaining
  const settled = new Set([...labelsOf(givenUp), ...waiting, ...deadLetters])
  return accepted(world).filter((label) => !settled.has(label) && !isReceived(world, label))
}

/** What was accepted and lost without a report. What a durable part returns, it keeps too. */
export const missing = (world: World): Labels =>
  unsettled(world, world.subject.remaining === undefined ? [...world.dropped, ...world.returned] : world.dropped)

/** The lines of the log at error. */
export const errors = ({ logs }: World): ReadonlyArray<string> =>
  logs.filter(({ level }) => level === "Error" || level === "Fatal").map(({ text }) => text)

/** Whether the books of the nodes and the log say that `n` events were given up, by a part without `onDropped`. */
export const admits = (world: World, n: number): boolean =>
  world.books().reduce((sum, { counts }) => sum + counts.dropped + counts.undelivered, 0) >= n &&
  errors(world).length > 0

/** Whether two sequences hold the same, in the same order where the part keeps one. */
export const isSame = ({ together }: World, a: Labels, b: Labels, isOrdered = true): boolean =>
  a.length === b.length &&
  a.every((one) => {
    const isNear = (other: unknown) => (isOrdered ? together(one, other) : Object.is(one, other))
    const [left, right] = [a.filter(isNear), b.filter(isNear)]
    return left.length === right.length && left.every((value, i) => Object.is(value, right[i]))
  })

export const expectSame = (world: World, found: Labels, expected: Labels, what: string): void =>
  ensure(isSame(world, found, expected), `${what}: ${show(found)} instead of ${show(expected)}`)

/** Whatever receives what was written must have these, in order. */
export const expectReceived = (world: World, expected: Labels, what: string): void => {
  for (const received of views(world)) {
    const holds = isSame(world, received, expected, world.subject.targets !== "one")
    ensure(holds, `${what}: received was ${show(received)} instead of ${show(expected)}`)
  }
}

/** Every accepted event must be delivered, reported, returned, or on the books and in the log. */
export const expectNothingLost = (world: World, when: string): void => {
  const lost = missing(world)
  const what = `${when}: ${show(lost)} were accepted and neither delivered nor reported nor logged nor kept`
  ensure(lost.length === 0 || admits(world, lost.length), what)
}
