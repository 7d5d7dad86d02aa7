/** Why a node needs attention, in a sentence: the worst of what is wrong with it, and nothing where all is well. */
import type { ControlState, SinkHealth } from "../../EventSink.ts"

export interface Trouble {
  /** `bad` where events are lost, or wait and are not delivered; `warn` where it is worth a look. */
  readonly level: "bad" | "warn"
  readonly text: string
}

/** What is known of a node. Times are in milliseconds of the `Clock`. */
export interface Known {
  readonly health: SinkHealth
  readonly control: ControlState | undefined
  /** How many dead letters there are. */
  readonly deadLetters: number | undefined
  /** Why the control or the dead letters could not be read. */
  readonly unread: string | undefined
  readonly error: string | undefined
  /** When these were last seen to change; nothing where that was before the first look. */
  readonly errorAt: number | undefined
  readonly droppedAt: number | undefined
  readonly deadAt: number | undefined
}

/** How long a loss is news, in milliseconds. */
const news = 60_000
/** How long an error is the reason for what waits. */
const fresh = 15_000
/** For how long the oldest event may wait until that is worth a look, and until it hurts. */
const [slow, stuck] = [10_000, 60_000]

export const troubleOf = (known: Known, now: number): Trouble | undefined =>
  unserved(known) ??
  stopped(known, now) ??
  lost(known, now) ??
  heldBack(known) ??
  late(known) ??
  unread(known) ??
  failing(known, now) ??
  left(known, now)

/** A time to be read: `4.2 s`, `3 min`, `2 h 10 min`. */
export const spell = (millis: number): string => {
  const seconds = Math.max(0, millis) / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.floor(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 120) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`
}

// internals

const bad = (text: string): Trouble => ({ level: "bad", text })
const warn = (text: string): Trouble => ({ level: "warn", text })

const events = (n: number, verb: readonly [one: string, many: string]): string =>
  n === 1 ? `1 event ${verb[0]}` : `${n} events ${verb[1]}`
const wait = ["waits", "wait"] as const
const isRecent = (at: number | undefined, now: number): at is number => at !== undefined && now - at < news
const because = (text: string | undefined): string => (text === undefined || text === "" ? "" : `: ${text}`)

const unserved = ({ error, health }: Known) => {
  if (health.state !== "closed" || health.pending === 0) return undefined
  return bad(`It is closed, and ${events(health.pending, wait)}${because(error)}`)
}

const stopped = ({ control, health }: Known, now: number) => {
  if (control === undefined || control.state === "active") return undefined
  const since = control.since === undefined ? "" : ` for ${spell(now - control.since)}`
  const waiting = health.pending === 0 ? "nothing waits" : events(health.pending, wait)
  const text = `It is ${control.state}${since}, and ${waiting}${because(control.reason)}`
  return control.state === "disabled" ? bad(text) : warn(text)
}

const lost = ({ droppedAt, health: { counts, state } }: Known, now: number) => {
  if (counts.undelivered > 0 && state !== "open") {
    return bad(`Its close could not deliver ${counts.undelivered === 1 ? "1 event" : `${counts.undelivered} events`}`)
  }
  if (!isRecent(droppedAt, now)) return undefined
  return bad(`${events(counts.dropped, ["was", "were"])} dropped in all, the last ${spell(now - droppedAt)} ago`)
}

const heldBack = ({ error, health }: Known) => {
  const { breaker, inFlight, oldestAge } = health
  // A sink that holds nothing has its writers wait.
  const pending = Math.max(health.pending, inFlight)
  if (breaker === undefined || breaker === "closed") return undefined
  const oldest = oldestAge === undefined ? "" : `, the oldest for ${spell(oldestAge)}`
  const waiting = pending === 0 ? "nothing waits" : `${events(pending, wait)}${oldest}`
  const text =
    breaker === "open"
      ? `Its receiver fails and is left alone for now, and ${waiting}${because(error)}`
      : `It tries its receiver again with one event, and ${waiting}${because(error)}`
  return breaker === "open" && pending > 0 ? bad(text) : warn(text)
}

const late = ({ error, health: { oldestAge, pending } }: Known) => {
  if (oldestAge === undefined || oldestAge < slow) return undefined
  const text = `The oldest of ${pending === 1 ? "1 event" : `${pending} events`} has waited for ${spell(oldestAge)}`
  return oldestAge < stuck ? warn(`${text}${because(error)}`) : bad(`${text}${because(error)}`)
}

const unread = ({ unread }: Known) => (unread === undefined ? undefined : bad(`Its store does not answer: ${unread}`))

const failing = ({ error, errorAt, health }: Known, now: number) => {
  if (error === undefined || errorAt === undefined || now - errorAt > fresh || health.pending === 0) return undefined
  return warn(`Its last attempt failed${because(error)}`)
}

const left = ({ deadAt, deadLetters = 0 }: Known, now: number) => {
  if (deadLetters === 0) return undefined
  const text = `${deadLetters === 1 ? "1 dead letter waits" : `${deadLetters} dead letters wait`} for a decision`
  return isRecent(deadAt, now) ? bad(`${text}, the last came ${spell(now - deadAt)} ago`) : warn(text)
}
