import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { cli } from "./support/program.ts"
import { type DeadLetter, deadLettersOf, lease, makeStore } from "./support/world.ts"

const secret = "payload a"

const given: ReadonlyArray<DeadLetter> = [
  { reason: "Exhausted", cause: "503 Service Unavailable\n  at the receiver", attempts: 3 },
  { reason: "Failed", cause: "400 Bad Request", attempts: 1 },
  { reason: "Exhausted", cause: "503 \u001b[31mred\u009b", attempts: 5 },
  { reason: "Died", cause: "", attempts: 1 }
]

/** A queue whose dead letters are 4, 3, 2 and 1 minutes old. */
const world = Effect.gen(function* () {
  const store = yield* makeStore
  const positions = yield* deadLettersOf(store, "orders", given)
  const figures = Effect.map(store.overview({ exchange: "orders" }), ([one]) => [one?.pending, one?.deadLetters])
  return { store, positions, figures, run: cli(store) }
})

const causesOf = (out: string): ReadonlyArray<string> =>
  out
    .trimEnd()
    .split("\n")
    .slice(2)
    .map((line) => line.split(/ {2,}/).at(-1) ?? "")

describe("effect-events dead-letters", () => {
  it.effect("counts them and shows the first lines of their causes, without what a terminal obeys", () =>
    Effect.gen(function* () {
      const { run } = yield* world
      assert.deepStrictEqual(yield* run("dead-letters", "orders"), {
        code: 0,
        err: "",
        out: [
          '4 dead letters of "orders"',
          "POSITION  AGE  REASON     ATTEMPTS  TOPIC    CAUSE",
          "       1   4m  Exhausted         3  topic/a  503 Service Unavailable",
          "       2   3m  Failed            1  topic/b  400 Bad Request",
          "       3   2m  Exhausted         5  topic/c  503 \\x1b[31mred\\x9b",
          "       4   1m  Died              1  topic/d  -",
          ""
        ].join("\n")
      })
    })
  )

  it.effect("selects by reason, cause, topic and time, and limits", () =>
    Effect.gen(function* () {
      const { run } = yield* world
      const found = (...flags: ReadonlyArray<string>) =>
        Effect.map(run("dead-letters", "orders", ...flags, "--json"), ({ code, err, out }) => {
          assert.deepStrictEqual([code, err], [0, ""])
          const { count, deadLetters } = JSON.parse(out)
          return [count, ...deadLetters.map(({ position }: { position: number }) => position)]
        })
      assert.deepStrictEqual(yield* found("--reason", "Exhausted"), [2, 1, 3])
      assert.deepStrictEqual(yield* found("--reason", "Exhausted", "--cause", "Service"), [1, 1])
      assert.deepStrictEqual(yield* found("--topic", "topic/d"), [1, 4])
      assert.deepStrictEqual(yield* found("--topic", "other/*"), [0])
      assert.deepStrictEqual(yield* found("--since", "2m"), [2, 3, 4])
      assert.deepStrictEqual(yield* found("--before", "120s"), [2, 1, 2])
      assert.deepStrictEqual(yield* found("--since", "2026-01-31T13:01:00+01:00", "--before", "1m"), [2, 2, 3])
      assert.deepStrictEqual(yield* found("--since", "2026-02-01"), [0])
      assert.deepStrictEqual(yield* found("--limit", "3"), [4, 1, 2, 3])
      const { out } = yield* run("dead-letters", "orders", "--limit", "1")
      assert.include(out, '4 dead letters of "orders", the first 1\n')
    })
  )

  it.effect("shows one with its whole cause, and payloads only where they are asked for", () =>
    Effect.gen(function* () {
      const { run } = yield* world
      const one = yield* run("dead-letters", "orders", "--position", "1")
      assert.deepStrictEqual(one.out.trimEnd().split("\n"), [
        "position:      1",
        "topic:         topic/a",
        "written:       2026-01-31T12:00:00.000Z (4m ago)",
        "dead-lettered: 2026-01-31T12:00:00.000Z (4m ago)",
        "reason:        Exhausted",
        "attempts:      3",
        "cause:",
        "503 Service Unavailable",
        "  at the receiver"
      ])
      const shown = yield* run("dead-letters", "orders", "--position", "1", "--payload")
      assert.strictEqual(shown.out, `${one.out}payload:\npayload a\n`)
      const json = yield* run("dead-letters", "orders", "--position", "3", "--json")
      for (const character of ["\u001b", "\u009b"]) assert.notInclude(json.out, character)
      assert.deepStrictEqual(JSON.parse(json.out), {
        exchange: "orders",
        subscription: "orders",
        tenant: "",
        deadLetter: {
          position: 3,
          deadLetteredAt: "2026-01-31T12:02:00.000Z",
          writtenAt: "2026-01-31T12:00:00.000Z",
          reason: "Exhausted",
          attempts: 5,
          topic: "topic/c",
          cause: "503 \u001b[31mred\u009b",
          contentType: null,
          trace: null
        }
      })
      for (const flags of [[], ["--json"]])
        assert.notInclude((yield* run("dead-letters", "orders", ...flags)).out, secret)
      const all = yield* run("dead-letters", "orders", "--payload", "--json", "--limit", "1")
      assert.deepStrictEqual(JSON.parse(all.out).deadLetters[0].payload, { encoding: "utf8", data: "payload a" })
      assert.deepStrictEqual(causesOf((yield* run("dead-letters", "orders", "--payload", "--limit", "1")).out), [
        secret
      ])
    })
  )

  it.effect("shows a payload that is no text in Base64", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      yield* store.define("orders", [{ name: "orders", topics: ["*"] }])
      yield* store.publish("orders", [{ payload: new Uint8Array([255, 0]) }])
      const { settle } = yield* lease(store, "orders")
      yield* settle([{ _tag: "DeadLettered", position: 1, reason: "Undecodable", cause: "no", attempts: 1 }])
      const json = yield* cli(store)("dead-letters", "orders", "--position", "1", "--payload", "--json")
      assert.deepStrictEqual(JSON.parse(json.out).deadLetter.payload, { encoding: "base64", data: "/wA=" })
      const text = yield* cli(store)("dead-letters", "orders", "--position", "1", "--payload")
      assert.include(text.out, "payload:\nbase64: /wA=\n")
    })
  )

  it.effect("says which subscriptions there are where one is not", () =>
    Effect.gen(function* () {
      const { run, store } = yield* world
      yield* store.define("hooks", [
        { name: "a", topics: ["*"] },
        { name: "b", tenant: "acme", topics: ["*"] }
      ])
      const sentence = 'the store has no subscription "hooks" of "hooks", but a, b (--tenant acme)'
      for (const command of [["dead-letters"], ["replay", "--all"], ["purge-dead-letters", "--all"]])
        assert.deepStrictEqual(yield* run(...command, "hooks"), {
          code: 1,
          out: "",
          err: `effect-events: ${sentence}\n`
        })
      const { err } = yield* run("dead-letters", "nothing")
      assert.strictEqual(err, 'effect-events: the store has no subscription of "nothing"\n')
      const gone = yield* run("dead-letters", "orders", "--position", "99")
      const missing = 'effect-events: there is no dead letter at position 99 of "orders"\n'
      assert.deepStrictEqual(gone, { code: 1, out: "", err: missing })
      assert.strictEqual((yield* run("replay", "orders", "--position", "99")).err, missing)
      assert.strictEqual((yield* run("purge-dead-letters", "orders", "--position", "99")).err, missing)
    })
  )
})

describe("effect-events replay", () => {
  it.effect("replays nothing without a filter or --all, nor with both", () =>
    Effect.gen(function* () {
      const { figures, run } = yield* world
      for (const flags of [[], ["--all", "--reason", "Died"]]) {
        for (const command of ["replay", "purge-dead-letters"]) {
          const { code, err, out } = yield* run(command, "orders", ...flags, ...(command === "replay" ? [] : ["--yes"]))
          assert.deepStrictEqual([code, out], [2, ""])
          assert.include(err, "give --all, or a filter")
        }
      }
      // A variable that is not set is no filter.
      const empty = yield* run("replay", "orders", "--cause", "")
      assert.deepStrictEqual([empty.code, empty.out], [2, ""])
      assert.include(empty.err, "Expected: a text that is not empty")
      assert.deepStrictEqual(yield* figures, [0, 4])
    })
  )

  it.effect("replays what a filter selects, the first of them, one, and all", () =>
    Effect.gen(function* () {
      const { figures, run } = yield* world
      const none = yield* run("replay", "orders", "--cause", "nothing has this")
      assert.deepInclude(none, { code: 0, out: 'replayed 0 dead letters of "orders"\n' })
      // a reason that the one at the position does not have
      assert.strictEqual((yield* run("replay", "orders", "--position", "1", "--reason", "Died")).code, 1)
      const one = yield* run("replay", "orders", "--position", "1", "--reason", "Exhausted")
      assert.deepInclude(one, { code: 0, out: 'replayed 1 dead letter of "orders"\n' })
      const limited = yield* run("replay", "orders", "--topic", "topic/*", "--limit", "1", "--json")
      assert.deepStrictEqual(JSON.parse(limited.out), {
        exchange: "orders",
        subscription: "orders",
        tenant: "",
        replayed: 1
      })
      assert.deepStrictEqual(yield* figures, [2, 2])
      const all = yield* run("replay", "orders", "orders", "--all")
      assert.deepInclude(all, { code: 0, out: 'replayed 2 dead letters of "orders"\n', err: "" })
      assert.deepStrictEqual(yield* figures, [4, 0])
    })
  )

  it.effect("shows its progress on a terminal", () =>
    Effect.gen(function* () {
      const store = yield* makeStore
      const one = { reason: "Failed", cause: "no", attempts: 1 } as const
      yield* deadLettersOf(
        store,
        "orders",
        Array.from({ length: 600 }, () => one)
      )
      const { err } = yield* cli(store, { terminal: { stderr: true } })("replay", "orders", "--reason", "Failed")
      assert.strictEqual(err, "\rreplayed 500 of 600\rreplayed 600 of 600\n")
    })
  )
})

describe("effect-events purge-dead-letters", () => {
  it.effect("deletes what is selected, once that is confirmed", () =>
    Effect.gen(function* () {
      const { figures, store } = yield* world
      const run = cli(store)
      const refused = yield* run("purge-dead-letters", "orders", "--reason", "Exhausted")
      const sentence = 'effect-events: this would delete 2 dead letters of "orders": confirm with --yes\n'
      assert.deepStrictEqual(refused, { code: 2, out: "", err: sentence })
      const asked = cli(store, { terminal: { stdin: true, stdout: true }, keys: "y" })
      const limited = yield* asked("purge-dead-letters", "orders", "--since", "1h", "--limit", "1")
      assert.include(limited.out, 'deleted 1 dead letter of "orders"')
      const filtered = yield* run("purge-dead-letters", "orders", "--reason", "Exhausted", "--yes", "--json")
      assert.deepInclude(JSON.parse(filtered.out), { deleted: 1 })
      assert.deepStrictEqual(yield* figures, [0, 2])
      const all = yield* run("purge-dead-letters", "orders", "--all", "-y")
      assert.deepInclude(all, { code: 0, out: 'deleted 2 dead letters of "orders"\n' })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* figures, [0, 0])
      assert.deepInclude(yield* run("purge-dead-letters", "orders", "--all"), { code: 0 })
    })
  )

  it.effect("deletes nothing that came after there was nothing to be confirmed", () =>
    Effect.gen(function* () {
      const { figures, store } = yield* world
      const run = cli({ ...store, countDeadLetters: () => Effect.succeed(0) })
      const { code, out } = yield* run("purge-dead-letters", "orders", "--position", "1")
      assert.deepStrictEqual([code, out], [1, ""])
      assert.deepStrictEqual(yield* figures, [0, 4])
    })
  )
})
