/** Runs rows: the sides of a row take turns, each in a process of its own that does nothing while the others run. */
import { type Go } from "./go.ts"
import type { Figures, Goal, Metric, Row, Side } from "./model.ts"
import { measure, type Measurer } from "./processes.ts"
import { type Summary, summary } from "./statistics.ts"

export interface Effort {
  /** How often all of a row's processes are started anew. */
  readonly generations: number
  /** Samples that each process gives, taking turns with the others. */
  readonly samples: number
  /** How long a sample takes at least, in milliseconds. */
  readonly millis: number
  /** CPU time that each process spends before its first sample, in milliseconds. */
  readonly warmUp: number
  /** Divides the number of events of every row, down to ten. */
  readonly divisor: number
}

export const thorough: Effort = { generations: 2, samples: 4, millis: 50, warmUp: 250, divisor: 1 }
export const quick: Effort = { generations: 1, samples: 2, millis: 20, warmUp: 150, divisor: 10 }

export interface Figure extends Summary {
  readonly samples: ReadonlyArray<number>
  /** This side's median divided by that of the side it stands against: how many times as much it takes. */
  readonly ratio: number | undefined
  readonly goal: (Goal & { readonly met: boolean }) | undefined
}

export interface SideResult {
  readonly label: string
  readonly status: "measured" | "not installed" | "failed"
  /** Why it has no figures. */
  readonly reason?: string
  readonly figures: Readonly<Record<string, Figure>>
}

export interface RowResult {
  readonly name: string
  readonly question: string
  readonly n: number
  readonly metrics: ReadonlyArray<Metric>
  readonly note: string | undefined
  readonly sides: ReadonlyArray<SideResult>
}

export const runRow = async (
  row: Row,
  effort: Effort,
  go: Go | string,
  isWanted: (side: Side) => boolean = () => true
): Promise<RowResult> => {
  const n = row.cold ? row.n : Math.max(10, Math.ceil(row.n / effort.divisor))
  const load = { n, millis: effort.millis }
  const samples = new Map<Side, Array<Figures>>()
  const failures = new Map<Side, Pick<SideResult, "status" | "reason">>()
  for (const side of row.sides.filter(isWanted)) {
    if (typeof side.run === "string" && typeof go === "string") {
      failures.set(side, { status: "not installed", reason: go })
    } else {
      samples.set(side, [])
    }
  }

  const attempt = async (side: Side, act: () => Promise<void>): Promise<void> => {
    try {
      await act()
    } catch (error) {
      samples.delete(side)
      failures.set(side, { status: "failed", reason: error instanceof Error ? error.message : String(error) })
    }
  }

  for (let generation = 0; generation < effort.generations; generation++) {
    const measurers = new Map<Side, Measurer>()
    try {
      for (const side of samples.keys()) {
        const warmUp = row.cold ? 0 : effort.warmUp * (row.warmUps ?? 1)
        measurers.set(side, measure(row, side, load, warmUp, typeof go === "string" ? "" : go.binary))
      }
      // They start side by side, and warm up one after the other.
      for (const [side, measurer] of measurers) await attempt(side, measurer.warm)
      for (let turn = 0; turn < (row.cold ? 1 : effort.samples); turn++) {
        // There and back again, so that none is always the first.
        const order = [...samples.keys()]
        for (const side of (generation + turn) % 2 === 0 ? order : order.toReversed()) {
          await attempt(side, async () => void samples.get(side)!.push(await measurers.get(side)!.sample()))
        }
      }
    } finally {
      for (const measurer of measurers.values()) measurer.stop()
    }
  }

  const median = (label: string | undefined, metric: string): Summary | undefined => {
    const side = row.sides.find((one) => one.label === label)
    const all = side && samples.get(side)
    return all && summary(all.map((figures) => figures[metric]!))
  }
  const result = (side: Side): SideResult => {
    const { label } = side
    const failure = failures.get(side)
    const all = samples.get(side)
    if (all === undefined) return { label, status: "failed", ...failure, figures: {} }
    const against = side.against ?? row.sides[0]?.label
    const figures = row.metrics.map(({ key }): [string, Figure] => {
      const own = summary(all.map((one) => one[key]!))
      const base = against === label ? undefined : median(against, key)
      const ratio = base && own.median / base.median
      const goal = side.goals?.[key]
      const judged = goal?.of === "value" ? own.median : ratio
      return [
        key,
        {
          ...own,
          samples: all.map((one) => one[key]!),
          ratio,
          goal: goal && judged !== undefined ? { ...goal, met: meets(goal, judged) } : undefined
        }
      ]
    })
    return { label, status: "measured", figures: Object.fromEntries(figures) }
  }
  const { metrics, name, note, question } = row
  return { name, question, n, metrics, note, sides: row.sides.filter(isWanted).map(result) }
}

const meets = (goal: Goal, value: number): boolean => (goal.limit === "at least" ? value >= goal.is : value <= goal.is)
