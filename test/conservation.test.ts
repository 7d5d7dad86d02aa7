import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { defects, naiveQueue } from "./support/naiveQueue.ts"
import { cases, type CaseSpec, type GraphSpec, queueCases } from "./support/randomGraph.ts"
import { runs } from "./support/runs.ts"
import { violationsOf } from "./support/scenario.ts"

/**
 * The seed of the run, and the path to one of its cases: both stand in the message of a failure. To run that case again:
 *
 *     EFFECT_EVENTS_SEED=… EFFECT_EVENTS_PATH=… npx vitest run test/conservation.test.ts
 *
 * `EFFECT_EVENTS_RUNS` is for longer searches.
 */
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 2 ** 31)
const path = process.env["EFFECT_EVENTS_PATH"]
const numRuns = Number(process.env["EFFECT_EVENTS_RUNS"] ?? runs(1000))

const hanging = (drain: number): GraphSpec => ({
  part: "receiver",
  behaviour: { does: "hang", from: 1, uninterruptible: false },
  batchSize: 0,
  drain
})
const recording: GraphSpec = { part: "receiver", behaviour: { does: "record" }, batchSize: 0, drain: 0 }
const member = (drain: number) => ({ below: hanging(0), taker: "record", maxLag: 0, drain, later: false }) as const
const inOrder = { concurrency: 1, keys: 0 } as const
const one = { pause: 0, size: 1, how: "each" } as const

/** Cases that the search found, made small. */
const onceBroken: ReadonlyArray<{ readonly when: string; readonly spec: CaseSpec }> = [
  {
    when: "a broadcaster's shutdown is interrupted between the ends of two of its sinks",
    spec: {
      graph: { part: "broadcaster", members: [member(5), member(200)] },
      writers: [{ writes: [one], interruptAt: undefined }],
      operations: [{ at: 1, what: "shutdown", target: 0, interruptAfter: 50 }],
      closeAt: 60,
      steps: [1],
      seed: 0
    }
  },
  {
    when: "a writer is interrupted while it reports the first event of a batch that overflows",
    spec: {
      graph: {
        part: "queue",
        ...inOrder,
        capacity: 3,
        overflow: "drop-newest",
        taker: "slow",
        drain: 0,
        below: hanging(0)
      },
      writers: [{ writes: [3, 3].map((size) => ({ pause: 0, size, how: "some" })), interruptAt: 1 }],
      operations: [],
      closeAt: 5,
      steps: [1],
      seed: 0
    }
  },
  {
    when: "a flush begins while a drop is being reported",
    spec: {
      graph: {
        part: "queue",
        ...inOrder,
        capacity: 0,
        overflow: "suspend",
        taker: "slow",
        drain: 0,
        below: { part: "receiver", behaviour: { does: "die", every: 1 }, batchSize: 0, drain: 0 }
      },
      writers: [{ writes: [{ pause: 0, size: 2, how: "each" }], interruptAt: undefined }],
      operations: [{ at: 1, what: "flush", target: 0, interruptAfter: undefined }],
      closeAt: 6,
      steps: [1],
      seed: 0
    }
  },
  {
    when: "a write that finds no room wakes a drainer, which finds the sink closed",
    spec: {
      graph: {
        part: "queue",
        ...inOrder,
        capacity: 3,
        overflow: "drop-oldest",
        maxAge: 7,
        taker: "none",
        drain: 5,
        below: {
          part: "broadcaster",
          members: [
            {
              below: { part: "broadcaster", members: [{ ...member(0), below: recording, taker: "none" }] },
              taker: "none",
              maxLag: 0,
              drain: 0,
              later: false
            }
          ]
        }
      },
      writers: [
        {
          writes: [
            { pause: 1, size: 1, how: "each" },
            { pause: 0, size: 2, how: "some" },
            { pause: 0, size: 1, how: "each" }
          ],
          interruptAt: undefined
        },
        { writes: [one], interruptAt: undefined }
      ],
      operations: [{ at: 0, what: "shutdown", target: 1, interruptAfter: undefined }],
      closeAt: 1,
      steps: [20],
      seed: 0
    }
  }
]

/** What a broken queue is given to show its defect, and a sound one to show none. */
const casesOfQueues = 200
/** Its own seed, since whether a defect shows in so few cases must not change from run to run. */
const seedOfQueues = 1

describe("conservation: accepted = delivered + filtered + dropped + undelivered", () => {
  it(
    `holds in ${numRuns} random graphs, EFFECT_EVENTS_SEED=${seed}`,
    { timeout: numRuns * 300 + 240_000 },
    async () => {
      const property = fc.asyncProperty(cases, async (spec) => {
        expect(await violationsOf(spec)).toEqual([])
      })
      await fc.assert(property, {
        seed,
        numRuns,
        ...(path === undefined ? {} : { path }),
        // A case that spins would stop the clock of the tests too, and shrinking must come to an end.
        timeout: 60_000,
        interruptAfterTimeLimit: numRuns * 300 + 120_000,
        markInterruptAsFailure: true
      })
    }
  )

  it.each(onceBroken)("holds when $when", async ({ spec }) => {
    expect(await violationsOf(spec)).toEqual([])
  })

  const searched = (queue: ReturnType<typeof naiveQueue>) =>
    fc.check(
      fc.asyncProperty(queueCases, async (spec) => (await violationsOf(spec, queue)).length === 0),
      { seed: seedOfQueues, numRuns: casesOfQueues, endOnFailure: true }
    )

  it("holds for a naive queue without a defect", { timeout: 240_000 }, async () => {
    const property = fc.asyncProperty(queueCases, async (spec) => {
      expect(await violationsOf(spec, naiveQueue(undefined))).toEqual([])
    })
    await fc.assert(property, { seed: seedOfQueues, numRuns: casesOfQueues })
  })

  it.each(defects)(
    `is found broken by a queue that %s, in ${casesOfQueues} cases`,
    { timeout: 240_000 },
    async (defect) => {
      expect(await searched(naiveQueue(defect))).toMatchObject({ failed: true })
    }
  )
})
