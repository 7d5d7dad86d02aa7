import { assert, describe, it } from "@effect/vitest"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { sqlProblemOf } from "../../src/durable/internal/postgres/sqlProblem.ts"

describe("the problem of an error of Postgres", () => {
  const server = (code: string, operation = "query") =>
    sqlProblemOf(
      new SqlError({
        reason: new UnknownError({ cause: Object.assign(new Error("words"), { code }), operation, message: "words" })
      })
    )
  const client = (cause: unknown, operation: string) =>
    sqlProblemOf(
      new SqlError({ reason: new ConnectionError({ cause, operation, message: "postgres://user:password@host" }) })
    )

  it.each([
    ["53100", "NoSpace", false],
    ["53300", "Disconnected", false],
    ["25006", "ReadOnly", false],
    ["55P03", "Locked", false],
    ["40P01", "Locked", false],
    ["40001", "Locked", false],
    ["57P01", "Disconnected", true],
    ["57P02", "Disconnected", true],
    ["57P03", "Disconnected", false],
    ["57014", "Other", false],
    ["08006", "Disconnected", true],
    ["XX001", "Corrupt", false],
    ["XX002", "Corrupt", false],
    ["54000", "Invalid", false],
    ["XX000", "Other", false],
    ["42P01", "Other", false]
  ] as const)("%s: %s", (code, problem, broken) => {
    assert.deepStrictEqual(server(code), { problem, broken, detail: `${code} words` })
  })

  it.each([
    ["22021", "Invalid"],
    ["23505", "Other"],
    ["P0001", "Other"]
  ] as const)("the words of %s are left out", (code, problem) => {
    assert.deepStrictEqual(server(code), { problem, broken: false, detail: code })
  })

  it("a connection that was never made, and one that broke", () => {
    const refused = Object.assign(new Error("connect"), { code: "ECONNREFUSED" })
    const pipe = Object.assign(new Error("write"), { code: "EPIPE" })
    const problem = "Disconnected"
    assert.deepStrictEqual(client(refused, "connect"), { problem, broken: false, detail: "ECONNREFUSED" })
    assert.deepStrictEqual(client(pipe, "query"), { problem, broken: true, detail: "EPIPE" })
    assert.deepStrictEqual(client(new Error("closed"), "query"), {
      problem,
      broken: true,
      detail: "the connection broke"
    })
    assert.deepStrictEqual(client(new Error("bad url"), "connect"), { problem, broken: false, detail: "no connection" })
    assert.deepStrictEqual(server("08001", "connect"), { problem, broken: false, detail: "08001 words" })
  })
})
