/**
 * Whether a sink that has failed is worth a write now: a breaker that never waits. `Breaker` is a strategy, which holds a write
 * back until the sink may be tried again; here the write goes elsewhere meanwhile.
 */
import type * as Clock from "effect/Clock"
import { monotonicMillis } from "../monotonic.ts"

/** An attempt that the gate has let through. */
export interface Pass {
  /** How often the gate had opened. */
  readonly opened: number
}

export const makeGate = (threshold: number, backoffMillis: number, clock: Clock.Clock) => {
  /** Failures in a row while it is closed. */
  let failures = 0
  /** When a probe is due, while it is open. */
  let due: number | undefined
  let opened = 0
  /** The one attempt that is let through while it is half-open. */
  let probe: Pass | undefined

  return {
    state: (): "closed" | "open" | "half-open" =>
      probe !== undefined ? "half-open" : due === undefined ? "closed" : "open",
    /** Lets an attempt through; nothing where the sink is to be left out. */
    begin: (): Pass | undefined => {
      if (due === undefined) return { opened }
      if (probe !== undefined || monotonicMillis(clock) < due) return undefined
      return (probe = { opened })
    },
    /** To be called when an attempt is over; `"none"` where it says nothing of the sink, and the next probes at once. */
    end: (pass: Pass, verdict: "success" | "failure" | "none"): void => {
      const isProbe = pass === probe
      // It began before the gate opened.
      if (!isProbe && (due !== undefined || pass.opened !== opened)) return
      if (isProbe) probe = undefined
      if (verdict === "success") {
        failures = 0
        due = undefined
      } else if (verdict === "failure" && (isProbe || ++failures >= threshold)) {
        failures = 0
        due = monotonicMillis(clock) + backoffMillis
        if (!isProbe) opened++
      }
    }
  }
}
