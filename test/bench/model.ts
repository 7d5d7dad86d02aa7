/** What a benchmark is made of: rows, each a question, and in each row the sides that answer it. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** How much a process is asked to do in one sample. */
export interface Load {
  /** Events at a time. */
  readonly n: number
  /** A sample repeats its `n` events for at least so many milliseconds. */
  readonly millis: number
}

/** One measurement: a figure for each metric of the row. */
export type Figures = Readonly<Record<string, number>>

export type Sample = Effect.Effect<Figures>

/** A goal for the ratio of a side, or for its value itself. Ratios are "this side divided by what it stands against". */
export type Goal = {
  readonly of: "ratio" | "value"
  readonly limit: "at least" | "at most"
  readonly is: number
}

/** Goals by metric. */
export type Goals = Readonly<Record<string, Goal>>

export const atLeast = (is: number): Goal => ({ of: "ratio", limit: "at least", is })
export const atMost = (is: number): Goal => ({ of: "ratio", limit: "at most", is })
export const valueAtMost = (is: number): Goal => ({ of: "value", limit: "at most", is })

/** The goal of a peer: an event of ours takes at most one `times`-th of the peer's CPU time. */
export const speed = (times: number | undefined): Goals | undefined =>
  times === undefined ? undefined : { cpu: atLeast(times) }

/** One contestant of a row. It is measured in processes of its own. */
export interface Side {
  readonly label: string
  /** Prepares, and answers with what is to be measured; or the name of a case of the Go program. */
  readonly run: ((load: Load) => Effect.Effect<Sample, never, Scope.Scope>) | string
  readonly goals?: Goals | undefined
  /** The label of the side that it is compared with: the first of the row by default. */
  readonly against?: string | undefined
  /**
   * Only for sides of this library, whose labels begin with "ours": the side is measured on the sources of `--against`
   * as well, as a side "before", and these are the goals of that one.
   */
  readonly before?: Goals | undefined
  /** What the checkout lacks for this side. */
  readonly missing?: string | undefined
}

export interface Metric {
  readonly key: string
  readonly label: string
  readonly unit: "ns" | "us" | "ms" | "bytes" | "per s" | "percent"
}

export interface Row {
  readonly name: string
  readonly question: string
  readonly n: number
  readonly metrics: ReadonlyArray<Metric>
  readonly sides: ReadonlyArray<Side>
  readonly note?: string | undefined
  /** Neither warmed up nor repeated in one process: for what is about memory, or about a process that does nothing. */
  readonly cold?: boolean | undefined
  /** Warmed up so many times as long as other rows: for events that take so long that these make few of them. */
  readonly warmUps?: number | undefined
}

export const goLabel = "go-events"

export const goSide = (name: string, goals?: Goals, label = goLabel): Side => ({ label, run: name, goals })

/** The metrics of most rows. */
export const cpuAndWall: ReadonlyArray<Metric> = [
  { key: "cpu", label: "CPU per event", unit: "ns" },
  { key: "wall", label: "wall per event", unit: "ns" }
]

/** The metrics of a row that is about one act. */
export const cpuAndWallOfAct: ReadonlyArray<Metric> = [
  { key: "cpu", label: "CPU", unit: "ms" },
  { key: "wall", label: "wall", unit: "ms" }
]

/** The metrics of a row that is about what an act holds up. */
export const delaysOfAct: ReadonlyArray<Metric> = [
  { key: "longestCpu", label: "longest between timers, CPU", unit: "ms" },
  { key: "longest", label: "longest delay", unit: "ms" },
  { key: "p99", label: "delay, p99", unit: "ms" },
  ...cpuAndWallOfAct
]
