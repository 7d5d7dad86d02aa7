/** The problem of an error of SQL, in the words of a store. */
import { hasProperty } from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"
import type { StoreProblem } from "../port/error.ts"

/** SQLSTATEs, or the classes they begin with, and their problems; the longer ones first. */
const problems: ReadonlyArray<readonly [code: string, problem: StoreProblem]> = [
  ["53100", "NoSpace"],
  ["53300", "Disconnected"], // too many connections
  ["25006", "ReadOnly"],
  ["55P03", "Locked"], // lock_timeout
  ["40P01", "Locked"], // deadlock
  ["40001", "Locked"], // serialization failure
  ["57P01", "Disconnected"], // shut down, or terminated by an administrator
  ["57P02", "Disconnected"], // the server crashed
  ["57P03", "Disconnected"], // it starts, or recovers
  ["57P05", "Disconnected"], // idle for too long
  ["25P03", "Disconnected"], // idle in a transaction for too long
  ["XX001", "Corrupt"],
  ["XX002", "Corrupt"],
  ["08", "Disconnected"],
  ["22", "Invalid"], // no value of its type, such as a text with a NUL
  ["54", "Invalid"] // a limit of the server's, such as the size of a row of an index
]

/** Classes whose messages name no value of a statement. What triggers say, and what values are, is left out. */
const safe = /^(08|25|28|3D|3F|40|42|53|54|55|57|58|XX)/

/** The classes there are: a system's code such as `EPIPE` is none. */
const isSqlState = /^(?:[0-9][0-9A-Z]|F0|HV|P0|XX)[0-9A-Z]{3}$/

export interface SqlProblem {
  readonly problem: StoreProblem
  readonly detail: string
  /** The connection broke, and it is unknown whether the statement was still committed. */
  readonly broken: boolean
}

export const sqlProblemOf = ({ reason }: SqlError): SqlProblem => {
  const { cause } = reason
  const code = hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined
  if (code !== undefined && isSqlState.test(code)) {
    const problem = problems.find(([beginning]) => code.startsWith(beginning))?.[1] ?? "Other"
    const message = safe.test(code) && cause instanceof Error ? ` ${cause.message}` : ""
    // a server that ends a session may have committed just before; one that does not let us in has not seen the
    // statement
    const broken = problem === "Disconnected" && reason.operation !== "connect" && code !== "57P03" && code !== "53300"
    return { problem, detail: code + message, broken }
  }
  if (reason._tag !== "ConnectionError") return { problem: "Other", detail: reason._tag, broken: false }
  const broken = reason.operation !== "connect"
  // a code such as ECONNREFUSED; the client's own messages may quote the url, with its password
  return { problem: "Disconnected", detail: code ?? (broken ? "the connection broke" : "no connection"), broken }
}
