/** Random graphs of sinks and random workloads over them: plain data, so that a case can be printed, shrunk and run again. */
import * as fc from "fast-check"

/** What a receiver does with its writes. `every` and `from` count its attempts from 1. */
export type Behaviour =
  | { readonly does: "record" }
  | { readonly does: "recordAtOnce"; readonly dieEvery: number }
  | { readonly does: "fail"; readonly rate: number; readonly seed: number; readonly after: number }
  | { readonly does: "failFirst"; readonly times: number }
  | { readonly does: "delay"; readonly ms: number; readonly uninterruptible: boolean; readonly commitsFirst: boolean }
  | { readonly does: "hang"; readonly from: number; readonly uninterruptible: boolean }
  | { readonly does: "die"; readonly every: number }
  | { readonly does: "interruptItself"; readonly every: number }
  | { readonly does: "close"; readonly from: number }

/** What takes the reports: `none` leaves them to the log. */
export type Taker = "none" | "record" | "slow" | "dies" | "hangs"

export type Strategy =
  | { readonly is: "limited"; readonly times: number; readonly ms: number }
  | { readonly is: "forever"; readonly times: number; readonly ms: number }
  | { readonly is: "backoff"; readonly ms: number }
  | { readonly is: "breaker"; readonly threshold: number; readonly ms: number }
  | { readonly is: "backoffUnderBreaker"; readonly threshold: number; readonly ms: number }

export type GraphSpec =
  | { readonly part: "receiver"; readonly behaviour: Behaviour; readonly batchSize: number; readonly drain: number }
  | {
      readonly part: "channel"
      readonly capacity: number
      readonly readEvery: number
      readonly taker: Taker
      readonly drain: number
    }
  /** One more wrapper of a part that is there already. */
  | { readonly part: "shared"; readonly index: number }
  /** A filter by a number's rest, or a router whose cases are the rests, and lead to the same sink. */
  | { readonly part: "filter"; readonly mod: number; readonly routes: boolean; readonly below: GraphSpec }
  | { readonly part: "mapInput"; readonly below: GraphSpec }
  | { readonly part: "tap"; readonly ms: number; readonly dies: boolean; readonly below: GraphSpec }
  | { readonly part: "timeout"; readonly ms: number; readonly below: GraphSpec }
  /** A limit of how many events go in 10 ms, or of how many writes are under way; `keys` as for a queue. */
  | {
      readonly part: "limit"
      readonly by: "rate" | "rateOrFail" | "permits"
      readonly most: number
      readonly keys: number
      readonly drain: number
      readonly below: GraphSpec
    }
  /** Over a sink that takes batches, and keeps none of them. */
  | {
      readonly part: "batching"
      readonly batchSize: number
      readonly maxAge: number
      readonly concurrency: number
      readonly keys: number
      readonly drain: number
      readonly below: GraphSpec
    }
  /** Over a sink that keeps nothing, since what it is left with may be there twice. */
  | {
      readonly part: "fallback"
      readonly after: number
      readonly threshold: number
      readonly drain: number
      readonly below: GraphSpec
      readonly next: GraphSpec
    }
  | { readonly part: "retry"; readonly strategy: Strategy; readonly drain: number; readonly below: GraphSpec }
  | {
      readonly part: "queue"
      readonly capacity: number
      readonly overflow: "suspend" | "reject" | "drop-newest" | "drop-oldest"
      readonly concurrency: number
      /** An event's key is the rest of its number by this; 0 for no keys. */
      readonly keys: number
      /** For how many milliseconds an event waits for a batch of 3 to fill up; without it, for none. */
      readonly maxAge?: number
      /** Whether events have weights: the rest of their numbers by 3. */
      readonly weighs?: boolean
      readonly taker: Taker
      readonly drain: number
      readonly below: GraphSpec
    }
  | { readonly part: "broadcaster"; readonly members: ReadonlyArray<MemberSpec> }

export interface MemberSpec {
  readonly below: GraphSpec
  readonly taker: Taker
  readonly maxLag: number
  readonly drain: number
  /** Not added from the start, but when an operation says so. */
  readonly later: boolean
}

export interface WriterSpec {
  readonly writes: ReadonlyArray<{
    readonly pause: number
    readonly size: number
    readonly how: "each" | "some" | "all"
  }>
  readonly interruptAt: number | undefined
}

export interface OperationSpec {
  readonly at: number
  readonly what: "flush" | "shutdown" | "add" | "remove" | "subscribe"
  /** Which of the parts that can do it, counted round. */
  readonly target: number
  readonly interruptAfter: number | undefined
}

export interface CaseSpec {
  readonly graph: GraphSpec
  readonly writers: ReadonlyArray<WriterSpec>
  readonly operations: ReadonlyArray<OperationSpec>
  readonly closeAt: number
  /** How far the clock goes at a time, round and round. */
  readonly steps: ReadonlyArray<number>
  readonly seed: number
}

/** Plain objects, which print as they are written. */
const record = <T>(model: { readonly [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(model, { noNullPrototype: true })

const ms = (max: number) => fc.integer({ min: 1, max })
const drain = fc.constantFrom(0, 5, 30, 200)
const taker = fc.constantFrom<Taker>("none", "record", "record", "slow", "dies", "hangs")
const capacity = fc.constantFrom(0, 1, 2, 3, 8)

const behaviour: fc.Arbitrary<Behaviour> = fc.oneof(
  fc.constant<Behaviour>({ does: "record" }),
  record({ does: fc.constant("recordAtOnce" as const), dieEvery: fc.constantFrom(0, 2, 5) }),
  record({
    does: fc.constant("fail" as const),
    rate: fc.constantFrom(0.2, 0.5, 0.9, 1),
    seed: fc.nat(1000),
    after: fc.constantFrom(0, 0, 2)
  }),
  record({ does: fc.constant("failFirst" as const), times: fc.integer({ min: 1, max: 9 }) }),
  record({
    does: fc.constant("delay" as const),
    ms: ms(15),
    uninterruptible: fc.boolean(),
    commitsFirst: fc.boolean()
  }),
  record({
    does: fc.constant("hang" as const),
    from: fc.integer({ min: 1, max: 6 }),
    uninterruptible: fc.boolean()
  }),
  record({ does: fc.constant("die" as const), every: fc.integer({ min: 1, max: 4 }) }),
  record({ does: fc.constant("interruptItself" as const), every: fc.integer({ min: 1, max: 4 }) }),
  record({ does: fc.constant("close" as const), from: fc.integer({ min: 1, max: 8 }) })
)

const strategy: fc.Arbitrary<Strategy> = fc.oneof(
  record({
    is: fc.constant("limited" as const),
    times: fc.integer({ min: 0, max: 3 }),
    ms: fc.integer({ min: 0, max: 10 })
  }),
  record({ is: fc.constant("forever" as const), times: fc.integer({ min: 1, max: 3 }), ms: ms(10) }),
  record({ is: fc.constant("backoff" as const), ms: ms(10) }),
  record({ is: fc.constant("breaker" as const), threshold: fc.integer({ min: 1, max: 3 }), ms: ms(20) }),
  record({ is: fc.constant("backoffUnderBreaker" as const), threshold: fc.integer({ min: 1, max: 3 }), ms: ms(10) })
)

type Node<P extends GraphSpec["part"]> = Extract<GraphSpec, { readonly part: P }>
// A type and not an interface: fast-check asks for an index signature.
type Tied = {
  readonly graph: GraphSpec
  readonly queue: Node<"queue">
  readonly broadcaster: Node<"broadcaster">
  readonly member: MemberSpec
}

const { broadcaster, graph, queue } = fc.letrec<Tied>((tie) => {
  const below = tie("graph")
  const constant = <const P extends GraphSpec["part"]>(part: P) => fc.constant<P>(part)
  return {
    graph: fc.oneof(
      { depthSize: "medium", maxDepth: 5 },
      {
        weight: 3,
        arbitrary: record({
          part: constant("receiver"),
          behaviour,
          batchSize: fc.constantFrom(0, 0, 0, 1, 2, 5),
          drain
        })
      },
      {
        weight: 1,
        arbitrary: record({
          part: constant("channel"),
          capacity: fc.constantFrom(0, 1, 4),
          readEvery: fc.integer({ min: 0, max: 20 }),
          taker,
          drain
        })
      },
      { weight: 2, arbitrary: record({ part: constant("shared"), index: fc.nat(5) }) },
      { weight: 6, arbitrary: tie("queue") },
      { weight: 4, arbitrary: tie("broadcaster") },
      { weight: 5, arbitrary: record({ part: constant("retry"), strategy, drain, below }) },
      {
        weight: 3,
        arbitrary: record({ part: constant("filter"), mod: fc.constantFrom(2, 3), routes: fc.boolean(), below })
      },
      { weight: 1, arbitrary: record({ part: constant("mapInput"), below }) },
      {
        weight: 1,
        arbitrary: record({ part: constant("tap"), ms: fc.constantFrom(0, 3), dies: fc.boolean(), below })
      },
      { weight: 1, arbitrary: record({ part: constant("timeout"), ms: ms(15), below }) },
      {
        weight: 2,
        arbitrary: record({
          part: constant("limit"),
          by: fc.constantFrom("rate", "rateOrFail", "permits"),
          most: fc.integer({ min: 1, max: 3 }),
          keys: fc.constantFrom(0, 1, 3),
          drain,
          below
        })
      },
      {
        weight: 3,
        arbitrary: record({
          part: constant("batching"),
          batchSize: fc.integer({ min: 1, max: 4 }),
          maxAge: fc.constantFrom(0, 2, 7),
          concurrency: fc.constantFrom(1, 1, 2),
          keys: fc.constantFrom(0, 0, 3),
          drain,
          below
        })
      },
      {
        weight: 3,
        arbitrary: record({
          part: constant("fallback"),
          after: ms(15),
          threshold: fc.integer({ min: 1, max: 3 }),
          drain,
          below,
          next: below
        })
      }
    ),
    queue: record({
      part: constant("queue"),
      capacity,
      overflow: fc.constantFrom("suspend", "reject", "drop-newest", "drop-oldest"),
      concurrency: fc.constantFrom(1, 1, 2, 3, 4),
      keys: fc.constantFrom(0, 1, 2, 3, 5),
      maxAge: fc.constantFrom(0, 0, 2, 7),
      weighs: fc.boolean(),
      taker,
      drain,
      below
    }),
    broadcaster: record({
      part: constant("broadcaster"),
      members: fc.array(tie("member"), { minLength: 1, maxLength: 3, size: "max" })
    }),
    member: record({
      below,
      taker,
      maxLag: fc.constantFrom(0, 0, 0, 2, 6),
      drain,
      later: fc.boolean()
    })
  }
})

const writer: fc.Arbitrary<WriterSpec> = record({
  writes: fc.array(
    record({
      pause: fc.constantFrom(0, 0, 0, 1, 4, 15),
      size: fc.integer({ min: 1, max: 6 }),
      how: fc.constantFrom("each", "some", "some", "all")
    }),
    { minLength: 1, maxLength: 8, size: "max" }
  ),
  interruptAt: fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined, freq: 2 })
})

const operation = (...what: ReadonlyArray<OperationSpec["what"]>): fc.Arbitrary<OperationSpec> =>
  record({
    at: fc.integer({ min: 0, max: 90 }),
    what: fc.constantFrom(...what),
    target: fc.nat(5),
    interruptAfter: fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined, freq: 2 })
  })

const around = (graph: fc.Arbitrary<GraphSpec>, operation: fc.Arbitrary<OperationSpec>): fc.Arbitrary<CaseSpec> =>
  record({
    graph,
    writers: fc.array(writer, { minLength: 1, maxLength: 3, size: "max" }),
    operations: fc.array(operation, { maxLength: 5, size: "max" }),
    closeAt: fc.integer({ min: 0, max: 120 }),
    steps: fc
      .array(fc.constantFrom(0, 1, 2, 7, 20), { minLength: 1, maxLength: 4 })
      .filter((steps) => steps.some((n) => n > 0)),
    seed: fc.nat()
  })

/** A graph with a queue or a broadcaster at its root more often than not, its writers, and the operations on it. */
export const cases: fc.Arbitrary<CaseSpec> = around(
  fc.oneof(graph, queue, broadcaster),
  operation("flush", "shutdown", "shutdown", "add", "add", "remove", "remove", "subscribe")
)

/** One rejecting queue over one receiver: enough for a queue with a defect to show it. */
export const queueCases: fc.Arbitrary<CaseSpec> = around(
  record({
    part: fc.constant("queue" as const),
    capacity,
    overflow: fc.constant("reject" as const),
    concurrency: fc.constant(1),
    keys: fc.constant(0),
    taker: fc.constant<Taker>("record"),
    drain,
    below: record({
      part: fc.constant("receiver" as const),
      behaviour: behaviour.filter(
        ({ does }) => does !== "close" && does !== "interruptItself" && does !== "recordAtOnce"
      ),
      batchSize: fc.constant(0),
      drain
    })
  }),
  operation("flush", "shutdown", "shutdown")
)
