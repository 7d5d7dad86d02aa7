import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore } from "effect-events/durable"
import { failure } from "../../src/cli/cliFailure.ts"
import { importOptional } from "../../src/cli/importOptional.ts"
import { openPostgres } from "../../src/cli/openPostgres.ts"
import { openSqlite } from "../../src/cli/openSqlite.ts"
import { openStore } from "../../src/cli/openStore.ts"
import { conditionOf } from "../../src/cli/condition.ts"
import { ageOf, firstLine, isoOf } from "../../src/cli/table.ts"
import { timeOf } from "../../src/cli/timeOf.ts"
import { cli } from "./support/program.ts"
import { makeStore, queueOf } from "./support/world.ts"

const open = openStore({
  sqlite: () => Promise.resolve({ openSqlite }),
  postgres: () => Promise.resolve({ openPostgres })
})

describe("the command line", () => {
  it.effect("answers 2 for what it does not understand, and writes that to the standard error", () =>
    Effect.gen(function* () {
      const run = cli(yield* makeStore)
      const wrong = [
        [],
        ["frobnicate"],
        ["queues", "--frobnicate"],
        ["queues", "a", "b"],
        ["pause"],
        ["status", "orders"],
        ["dead-letters", "orders", "--reason", "Bored"],
        ["dead-letters", "orders", "--limit", "0"],
        ["dead-letters", "orders", "--limit", "many"],
        ["dead-letters", "orders", "--since", "yesterday"],
        ["dead-letters", "orders", "--since", "2026-01-31T12:00"],
        ["--wizard"]
      ]
      for (const args of wrong) {
        const { code, err, out } = yield* run(...args)
        assert.deepStrictEqual([code, out], [2, ""], args.join(" "))
        assert.include(err, "USAGE")
      }
    })
  )

  it.effect("answers help and its version on the standard output", () =>
    Effect.gen(function* () {
      const run = cli(yield* makeStore)
      assert.deepStrictEqual(yield* run("--version"), { code: 0, out: "effect-events v1.2.3\n", err: "" })
      const help = yield* run("--help")
      assert.deepInclude(help, { code: 0, err: "" })
      for (const text of ["--store", "--json", "queues", "purge-dead-letters"]) assert.include(help.out, text)
      assert.include((yield* run("replay", "--help")).out, "--cause")
    })
  )

  it.effect("takes the store from a flag before or after the command, or from the environment", () =>
    Effect.gen(function* () {
      const opened: Array<string> = []
      const store = yield* makeStore
      const run = cli((url, tables) =>
        Effect.sync(() => {
          opened.push(`${url._tag} ${url._tag === "Sqlite" ? url.filename : ""} ${tables.schema} ${tables.prefix}`)
          return store
        })
      )
      yield* run("queues")
      yield* run("queues", "--store", "sqlite:/data/a.db")
      yield* run("--store=sqlite:///data/b.db", "queues")
      yield* run("--store", "postgres://host/db", "queues", "--schema", "s", "--prefix", "p_")
      yield* run("--store", "postgres:postgresql://host/db", "queues")
      assert.deepStrictEqual(opened, [
        "Sqlite events.db undefined undefined",
        "Sqlite /data/a.db undefined undefined",
        "Sqlite /data/b.db undefined undefined",
        "Postgres  s p_",
        "Postgres  undefined undefined"
      ])
    })
  )

  it.effect("says what is wrong with a store", () =>
    Effect.gen(function* () {
      const run = cli(open, { env: { EFFECT_EVENTS_STORE: "" } })
      const saying = function* (sentence: string, code: number, ...args: ReadonlyArray<string>) {
        const printed = yield* run(...args, "queues")
        assert.deepStrictEqual([printed.code, printed.out], [code, ""], args.join(" "))
        assert.include(printed.err, `effect-events: ${sentence}`)
      }
      yield* saying("no store: give --store", 2)
      yield* saying("the store is neither", 2, "--store", "events.db")
      yield* saying("the store has no file", 2, "--store", "sqlite:")
      yield* saying("the store has no file", 2, "--store", "sqlite::memory:")
      yield* saying("there is no such file: /nowhere/events.db\n", 1, "--store", "sqlite:/nowhere/events.db")
      yield* saying("this is no file: /\n", 1, "--store", "sqlite:/")
      yield* saying("--schema and --prefix are for Postgres", 2, "--store", "sqlite:/", "--schema", "s")
      yield* saying("--prefix has 1 to 40 of", 2, "--store", "postgres://127.0.0.1:1/db", "--prefix", "A")
    })
  )

  it.effect("prints what a store fails with, and answers 1", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      yield* queueOf(store, "orders", ["a"])
      const problem = { store: "memory", operation: "list", problem: "Locked", detail: "it is locked" } as const
      const error = new EventStore.EventStoreError({ ...problem, maybeCommitted: false })
      const failing = cli({ ...store, overview: () => Effect.fail(error) })
      const sentence = "effect-events: the memory store could not list (Locked: it is locked)\n"
      assert.deepStrictEqual(yield* failing("queues", "--json"), { code: 1, out: "", err: sentence })
      const dying = cli(() => Effect.die(new Error("no")))
      assert.deepStrictEqual(yield* dying("queues"), { code: 1, out: "", err: "effect-events: Error: no\n" })
    })
  )

  it.live("says which package is missing", () =>
    Effect.gen(function* () {
      // not by its literal name, which the compiler would look for
      const name = ["effect", "events", "missing"].join("-")
      const { exitCode, message } = yield* Effect.flip(importOptional(name, () => import(name)))
      assert.deepStrictEqual([exitCode, message], [1, `this needs the package ${name}: npm install ${name}`])
    })
  )
})

describe("a password", () => {
  const password = "hunter2%40Ba/r#x y"
  const encoded = "s3cr%40et"
  /** What no output may have. */
  const secrets = ["hunter2", "Ba/r", "Ba%2Fr", "s3cr", "@et", "%40et"]

  const silent = (printed: { readonly out: string; readonly err: string }, what: string) => {
    for (const secret of secrets) assert.notInclude(printed.out + printed.err, secret, what)
  }

  it.live("is in no output, whatever is wrong", () =>
    Effect.gen(function* () {
      const urls = [
        `postgres://user:${encoded}@127.0.0.1:1/db`,
        `postgresql://user:${encoded}@127.0.0.1:1/db?sslmode=disable`,
        `postgres:postgresql://user:${encoded}@127.0.0.1:1/db`,
        `postgres://127.0.0.1:1/db?password=${encoded}`,
        `postgres://user:${encoded}@127.0.0.1:99999999/db`,
        `postgres://user:${encoded}@127.0.0.1:1/db?connect_timeout=${encoded}`,
        `postgres://user:${encoded}@127.0.0.1:1/db?sslmode=${encoded}`,
        `postgres://user:${password}@127.0.0.1:1/db`,
        `postgres://user:12/${password}@127.0.0.1:1/db`,
        `postgres://user:12?${password}@127.0.0.1:1/db`,
        `postgres://user:12#${password}@127.0.0.1:1/db`,
        `postgres:user:${encoded}@127.0.0.1/db`,
        `POSTGRES://user:${encoded}@/db%ZZ`
      ]
      for (const url of urls) {
        for (const flags of [[], ["--json"]]) {
          const fromEnv = yield* cli(open, { env: { EFFECT_EVENTS_STORE: url } })("queues", ...flags)
          silent(fromEnv, `environment: ${url}`)
          assert.include([1, 2], fromEnv.code, url)
          assert.strictEqual(fromEnv.out, "")
          assert.notStrictEqual(fromEnv.err, "")
          silent(yield* cli(open)("--store", url, "purge", "orders", ...flags), `flag: ${url}`)
        }
        const wrong = [
          [url, "queues"],
          ["--store", url],
          ["--store", url, "--store", url, "queues"],
          [`--stor=${url}`, "queues"],
          ["--json", url],
          ["queues", "orders", url],
          ["queues", `--limit=${url}`],
          ["--store", url, "dead-letters", "orders", "--since", url],
          ["--store", url, "dead-letters", "orders", "--reason", url],
          ["dead-letters", "orders", "--position", url],
          ["--store", ...url.split(" "), "queues"],
          [...url.split("@"), "queues"]
        ]
        for (const args of wrong) {
          const printed = yield* cli(open)(...args)
          silent(printed, args.join(" "))
          assert.include([1, 2], printed.code)
        }
      }
    })
  )

  it.effect("is in no output where the URL is in a wrong place", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      const url = `postgres://user:${encoded}@127.0.0.1:1/db`
      silent(yield* cli(open)("--store", `sqlite:${url}`, "queues"), "a file")
      silent(yield* cli(store)("--store", "sqlite:events.db", "queues", url), "an exchange")
      silent(yield* cli(store)("--store", "sqlite:events.db", "status", "orders", url, "--id"), "an id")
    })
  )

  it.effect("is not in what a server says, nor in a defect", () =>
    Effect.gen(function* () {
      const detail = `authentication failed for user:${encoded} and s3cr@et`
      const problem = { store: "postgres", operation: "list", problem: "Other", maybeCommitted: false } as const
      const failing = cli(() => Effect.fail(new EventStore.EventStoreError({ ...problem, detail })))
      const dying = cli(() => Effect.die(new Error(detail)))
      const opening = cli(() => Effect.fail(failure(detail)))
      const url = `postgres://user:${encoded}@127.0.0.1/db`
      for (const run of [failing, dying, opening]) {
        const printed = yield* run("--store", url, "queues")
        silent(printed, url)
        assert.include(printed.err, "authentication failed for user:*** and ***")
      }
    })
  )
})

describe("what is written and read", () => {
  it("times of options", () => {
    const now = Date.UTC(2026, 0, 31)
    assert.strictEqual(timeOf("90s", now), now - 90_000)
    assert.strictEqual(timeOf("2d", now), now - 2 * 86_400_000)
    assert.strictEqual(timeOf("2026-01-31", now), now)
    assert.strictEqual(timeOf("2026-01-31T01:00:00.5+01:00", now), now + 500)
    assert.strictEqual(timeOf("2028-02-29T23:59:59Z", now), Date.UTC(2028, 1, 29, 23, 59, 59))
    const none = ["2026-13-01", "2026-02-29", "2026-02-31", "2026-06-31T00:00Z", `${"9".repeat(400)}d`, "9999999999d"]
    for (const wrong of ["", "5", "-5m", "1w", "2026-01-31T00:00", "now", ...none])
      assert.isUndefined(timeOf(wrong, now), wrong)
  })

  it("a time that no date has is the last that there is", () => {
    assert.deepStrictEqual(
      [isoOf(1e300), isoOf(Infinity), isoOf(0)],
      [isoOf(8.64e15), isoOf(8.64e15), "1970-01-01T00:00:00.000Z"]
    )
  })

  it("ages in their greatest unit", () => {
    const ages = [0, 999, 59_999, 60_000, 3_599_999, 3_600_000, 47 * 3_600_000, 48 * 3_600_000, 999 * 86_400_000]
    assert.deepStrictEqual(
      ages.map((age) => ageOf(0, age)),
      ["0s", "0s", "59s", "1m", "59m", "1h", "47h", "2d", "999d"]
    )
    assert.strictEqual(ageOf(60_000, 0), "1m")
  })

  it("the first line of a text, which has some", () => {
    assert.strictEqual(firstLine("\n  a b \nc"), "a b")
    assert.strictEqual(firstLine(" \n"), undefined)
    assert.strictEqual(firstLine("x".repeat(81)), `${"x".repeat(79)}…`)
  })

  it("a subscription that no process delivers, although it waits no longer", () => {
    const wait = { until: 50, attempts: 2, firstFailedAt: 10, reason: "503", position: undefined }
    const base = { id: 1, exchange: "e", tenant: "", name: "e", topics: ["*"], data: undefined, reason: undefined }
    const overview = {
      ...base,
      state: "active",
      since: 0,
      pending: 1,
      bytes: 1,
      deadLetters: 0,
      nextDue: undefined,
      failingSince: undefined,
      wait
    }
    const at = (now: number, owner: string | undefined) =>
      conditionOf({ ...overview, state: "active", oldest: 5, owner }, now)
    assert.deepStrictEqual(at(40, undefined), { state: "down", reason: "503", since: 10 })
    assert.deepStrictEqual(at(60, undefined), { state: "no process", reason: "503", since: 50 })
    assert.deepStrictEqual(at(60, "host"), { state: "down", reason: "503", since: 10 })
  })
})
