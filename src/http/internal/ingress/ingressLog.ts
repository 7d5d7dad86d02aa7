import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import { annotate, makeFailureLog } from "../../../internal/failureLog.ts"
import { loggable } from "../../../internal/report.ts"

/** Senders choose what is warned of: so many texts are kept, and no later one is logged. */
const mostWarnings = 100

/** What an ingress tells the log: how often, and why, never what came. */
export class IngressLog {
  private readonly name: string
  private readonly forged = makeFailureLog()
  private readonly untaken = makeFailureLog()
  private readonly broken = makeFailureLog()
  private readonly warnings = new Set<string>()

  constructor(name: string) {
    this.name = name
  }

  /** A signature was refused. A good one ends no run of these: it says nothing about who sent the others. */
  refused(why: string): Effect.Effect<void> {
    const n = this.forged.failed()
    return n === 0
      ? Effect.void
      : this.line(Effect.logWarning, `refused ${times(n, "signature")}, the last since ${why}`)
  }

  /** The sink did not take a request. */
  unavailable(why: string): Effect.Effect<void> {
    const n = this.untaken.failed()
    return n === 0 ? Effect.void : this.line(Effect.logWarning, `took none of ${times(n, "request")} since ${why}`)
  }

  /** Something died that should not. */
  died(cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const n = this.broken.failed()
    if (n === 0) return Effect.void
    const told = loggable(cause)
    const what = `took none of ${times(n, "request")} since the sink, the envelope or an option died`
    return this.line((...line) => Effect.logError(...line, ...(told.reasons.length > 0 ? [told] : [])), what)
  }

  /** The sink took a request. */
  took(): Effect.Effect<void> {
    const run = this.untaken.recovered() + this.broken.recovered()
    return run === 0 ? Effect.void : this.line(Effect.logInfo, `takes requests again, after ${run} that it did not`)
  }

  /** A request decoded although something about it is doubtful. Each text is logged once. */
  doubtful(text: string | undefined): Effect.Effect<void> {
    if (text === undefined || this.warnings.size >= mostWarnings || this.warnings.has(text)) return Effect.void
    this.warnings.add(text)
    return this.line(Effect.logWarning, `decoded a request with a warning: ${text}`)
  }

  /** Tells an option of what has happened. That is over: what the option throws changes nothing of it. */
  telling<A>(option: ((a: A) => void) | undefined, a: A): Effect.Effect<void> {
    if (option === undefined) return Effect.void
    return Effect.catchCause(
      Effect.sync(() => option(a)),
      (cause) => this.line((line) => Effect.logError(line, loggable(cause)), "answered, and onAnswer died")
    )
  }

  private line(log: (line: string) => Effect.Effect<void>, what: string): Effect.Effect<void> {
    return log(`EventIngress "${this.name}" ${what}`).pipe(annotate("EventIngress", this.name))
  }
}

const times = (n: number, what: string): string => (n === 1 ? `a ${what}` : `${n} ${what}s`)

/** What an error may be called in the log: its tag, and nothing that it carries. */
export const tagOf = (error: unknown): string =>
  hasProperty(error, "_tag") && typeof error._tag === "string" ? ` with ${error._tag}` : ""
