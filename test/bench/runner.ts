/** Runs rows: the sides of a row take turns, each in a process of its own that does nothing while the others run. */
import type { Checkout } from "./checkout.ts"
import type { Go } from "./go.ts"
import type { Figures, Goal, Metric, Row, Side } from "./model.ts"
import { measure, type Measurer } from "./processes.ts"
import { type Summary, summary } from "./statistics.ts"

export interface Effort {
  /** How often all of a row's processes are started anew. */
  readonly generations: number
  /** Samples of each side, of all generations together. */
  readonly samples: number
  /** How long a sample takes at least, in milliseconds. */
  readonly millis: number
  /** CPU time that each process spends before its first sample, in milliseconds. */
  readonly warmUp: number
  /** Divides the number of events of every row, down to ten. */
  readonly divisor: number
}

export const thorough: Effort = { generations: 3, samples: 11, millis: 100, warmUp: 1200, divisor: 1 }
export const quick: Effort = { generations: 1, samples: 3, millis: 20, warmUp: 150, divisor: 10 }

export interface Figure extends Summary {
  /** In the order of the turns: those of one turn were taken one right after the other. */
  readonly samples: ReadonlyArray<number>
  /** How many times as much this side takes as the one that it stands against, in each turn. */
  readonly ratio: Summary | undefined
}

export interface JudgedGoal extends Goal {
  readonly metric: string
  /** The label of the side that it is about, beside the one that it stands against. */
  readonly side: string
  readonly against: string | undefined
  /** The figure or the ratio; nothing where the sides were not measured. */
  readonly judged: Summary | undefined
  readonly met: boolean | undefined
}

export interface SideResult {
  readonly label: string
  readonly status: "measured" | "not installed" | "missing" | "failed" | "left out"
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
  readonly goals: ReadonlyArray<JudgedGoal>
}

export interface Setting {
  readonly effort: Effort
  /** The Go program, or why there is none. */
  readonly go: Go | string
  /** Where the sides "before" are measured. */
  readonly before: Checkout | undefined
  /** Only the sides that a goal needs, those of go-events and those "before". */
  readonly goalsOnly: boolean
}

interface Contestant extends Side {
  /** The side as its row has it, which the process looks for. */
  readonly original: Side
  readonly isBefore: boolean
  readonly against: string | undefined
}

/** The sides of a row, each of ours followed by the same one on the other checkout. */
const contestants = (row: Row): ReadonlyArray<Contestant> =>
  row.sides.flatMap((side) => {
    const first = row.sides[0]?.label
    const base = side.against ?? first
    const against = base === side.label ? undefined : base
    const own: Contestant = { ...side, against, original: side, isBefore: false }
    if (side.before === undefined) return [own]
    const label = side.label.replace(/^ours/, "before")
    return [own, { ...side, label, against: side.label, goals: side.before, original: side, isBefore: true }]
  })

/** Whether a row has goals at all, which `goalsOnly` is about. */
export const hasGoals = (row: Row): boolean =>
  contestants(row).some(({ goals }) => goals !== undefined && Object.keys(goals).length > 0)

export const runRow = async (row: Row, { before, effort, go, goalsOnly }: Setting): Promise<RowResult> => {
  const n = row.cold ? row.n : Math.max(10, Math.ceil(row.n / effort.divisor))
  const load = { n, millis: effort.millis }
  const sides = contestants(row)
  const samples = new Map<Contestant, Array<Figures>>()
  const failures = new Map<Contestant, Pick<SideResult, "status" | "reason">>()
  const isNeeded = (side: Contestant): boolean =>
    side.isBefore ||
    typeof side.run === "string" ||
    side.goals !== undefined ||
    sides.some(({ against, goals }) => against === side.label && goals !== undefined)
  for (const side of sides) {
    if (side.isBefore && before === undefined) {
      failures.set(side, { status: "left out", reason: "there is no --against" })
    } else if (goalsOnly && !isNeeded(side)) {
      failures.set(side, { status: "left out" })
    } else if (typeof side.run === "string" && typeof go === "string") {
      failures.set(side, { status: "not installed", reason: go })
    } else {
      samples.set(side, [])
    }
  }

  const attempt = async (side: Contestant, act: () => Promise<string | undefined | void>): Promise<void> => {
    const fail = (status: SideResult["status"], reason: string) => {
      samples.delete(side)
      failures.set(side, { status, reason })
    }
    try {
      const missing = await act()
      if (missing !== undefined) fail("missing", missing)
    } catch (error) {
      fail("failed", error instanceof Error ? error.message : String(error))
    }
  }

  /** The turns of a generation: all of them together are so many as there are samples. */
  const turns = (generation: number): ReadonlyArray<number> => {
    const all = row.cold ? effort.generations : effort.samples
    const until = (generation: number) => Math.floor((all * generation) / effort.generations)
    return Array.from({ length: until(generation + 1) - until(generation) }, (_, i) => until(generation) + i)
  }

  for (let generation = 0; generation < effort.generations; generation++) {
    const measurers = new Map<Contestant, Measurer>()
    try {
      for (const side of samples.keys()) {
        const start = {
          row,
          side: side.original,
          load,
          warmUp: row.cold ? 0 : effort.warmUp * (row.warmUps ?? 1),
          go: typeof go === "string" ? "" : go.binary,
          checkout: side.isBefore ? before?.directory : undefined
        }
        measurers.set(side, measure(start))
      }
      // They start side by side, and warm up one after the other.
      for (const [side, measurer] of measurers) await attempt(side, measurer.warm)
      for (const turn of turns(generation)) {
        for (const side of rotated([...samples.keys()], turn)) {
          await attempt(side, async () => void samples.get(side)!.push(await measurers.get(side)!.sample()))
        }
      }
    } finally {
      for (const measurer of measurers.values()) measurer.stop()
    }
  }

  const result = (side: Contestant): SideResult => {
    const { against, label } = side
    const all = samples.get(side)
    if (all === undefined) return { label, status: "failed", ...failures.get(side), figures: {} }
    const base = [...samples].find(([one]) => one.label === against)?.[1]
    const figures = row.metrics.map(({ key }): [string, Figure] => {
      const own = all.map((figures) => figures[key]!)
      const ratio = base && summary(own.map((value, turn) => value / base[turn]![key]!))
      return [key, { ...summary(own), samples: own, ratio }]
    })
    return { label, status: "measured", figures: Object.fromEntries(figures) }
  }
  const results = sides.map(result)
  const goals = sides.flatMap(({ against, goals = {}, label }, i) =>
    Object.entries(goals).map(([metric, goal]): JudgedGoal => {
      const figure = results[i]!.figures[metric]
      const judged = goal.of === "value" ? figure && brief(figure) : figure?.ratio
      return { ...goal, metric, side: label, against, judged, met: judged && meets(goal, judged.median) }
    })
  )
  const { metrics, name, note, question } = row
  return { name, question, n, metrics, note, sides: results, goals }
}

/** Another side begins in each turn: in a fixed order the last one looks slower than it is. */
const rotated = <A>(all: ReadonlyArray<A>, turn: number): ReadonlyArray<A> => {
  const first = all.length === 0 ? 0 : turn % all.length
  return [...all.slice(first), ...all.slice(0, first)]
}

const brief = ({ max, median, min }: Summary): Summary => ({ median, min, max })

const meets = (goal: Goal, value: number): boolean => (goal.limit === "at least" ? value >= goal.is : value <= goal.is)
