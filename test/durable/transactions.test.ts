/** How operations that write to one file share its commits, over a file that does as the test says. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { Attempt, Database, Failed } from "../../src/durable/internal/sqlite/database.ts"
import type { Sql } from "../../src/durable/internal/sqlite/prepared.ts"
import { makeTransactions } from "../../src/durable/internal/sqlite/transactions.ts"
import { settle, uncaught } from "../support/virtual.ts"

const busy: Failed = { _tag: "Busy", problem: "Locked", detail: "database is locked", maybeCommitted: false }
const broken: Failed = { _tag: "Failed", problem: "Disconnected", detail: "disk I/O error", maybeCommitted: true }
const refused: Failed = {
  _tag: "Failed",
  problem: "NoSpace",
  detail: "database or disk is full",
  maybeCommitted: false
}

/** A file that records what is done together, unless its answer is given. */
class File implements Pick<Database, "attempt"> {
  readonly commits: Array<ReadonlyArray<string>> = []
  attempts = 0
  says: (operations: ReadonlyArray<string>) => Attempt<never> | undefined = () => undefined
  private operations: Array<string> = []

  readonly work = (name: string) => () => {
    this.operations.push(name)
    return name
  }

  attempt<A>(_: "read" | "write" | "none", work: (sql: Sql) => A): Attempt<A> {
    this.attempts++
    this.operations = []
    // The works of these tests do not use it.
    const value = work(undefined as unknown as Sql)
    const said = this.says(this.operations)
    if (said !== undefined) return said
    this.commits.push(this.operations)
    return { _tag: "Done", value }
  }
}

const setup = (busyTimeout = 100) =>
  Effect.map(Effect.context<never>(), (context) => {
    const file = new File()
    const transactions = makeTransactions(file, busyTimeout, context)
    return { file, write: (name: string) => transactions.write(name, file.work(name)), transactions }
  })
const names = (n: number) => Array.from({ length: n }, (_, i) => `${i}`)

describe("operations that write to one file", () => {
  it.effect("that come together share a commit, in order, and each gets its own answer", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup()
      const answers = yield* Effect.forEach(names(5), write, { concurrency: "unbounded" })
      assert.deepStrictEqual(answers, names(5))
      assert.deepStrictEqual(file.commits, [names(5)])
    })
  )

  it.effect("that are many share some commits, so that the event loop has its turn", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup()
      let turns = 0
      const ticking = setImmediate(function tick() {
        turns++
        if (file.commits.length < 5) setImmediate(tick)
      })
      yield* Effect.forEach(names(40), write, { concurrency: "unbounded" })
      clearImmediate(ticking)
      assert.deepStrictEqual(file.commits.flat(), names(40))
      assert.isAtMost(Math.max(...file.commits.map(({ length }) => length)), 8)
      assert.strictEqual(file.commits.length, 5)
      assert.isAtLeast(turns, 4)
    })
  )

  it.effect("fail alone, if one of them makes the commit of all fail", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup()
      file.says = (operations) => (operations.includes("2") ? refused : undefined)
      const exits = yield* Effect.forEach(names(5), (name) => Effect.exit(write(name)), { concurrency: "unbounded" })
      assert.deepStrictEqual(
        exits.map(({ _tag }) => _tag),
        ["Success", "Success", "Failure", "Success", "Success"]
      )
      assert.deepStrictEqual(file.commits, [["0"], ["1"], ["3"], ["4"]])
      file.says = () => undefined
      yield* Effect.forEach(names(3), write, { concurrency: "unbounded" })
      assert.deepStrictEqual(file.commits.at(-1), names(3))
    })
  )

  it.effect("die alone, if one of them is a mistake", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup()
      file.says = (operations) => (operations.includes("1") ? { _tag: "Died", defect: "mistake" } : undefined)
      const exits = yield* Effect.forEach(names(3), (name) => Effect.exit(write(name)), { concurrency: "unbounded" })
      assert.deepStrictEqual(exits, [Exit.succeed("0"), Exit.die("mistake"), Exit.succeed("2")])
    })
  )

  it.effect("are not tried again when their commit may be done, and say so", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup()
      file.says = () => broken
      const errors = yield* Effect.forEach(names(3), (name) => Effect.flip(write(name)), { concurrency: "unbounded" })
      assert.deepStrictEqual(
        errors.map(({ operation, problem, maybeCommitted }) => ({ operation, problem, maybeCommitted })),
        names(3).map((operation) => ({ operation, problem: "Disconnected", maybeCommitted: true }))
      )
      assert.strictEqual(file.attempts, 1)
    })
  )

  it.effect("wait while it is locked, each for its own time, and are committed together when it is free", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup(100)
      file.says = () => busy
      const first = yield* Effect.forkChild(write("first"))
      yield* TestClock.adjust(60)
      const second = yield* Effect.forkChild(write("second"))
      yield* TestClock.adjust(39)
      yield* settle
      assert.isUndefined(first.pollUnsafe())
      yield* TestClock.adjust(1)
      const error = yield* Effect.flip(Fiber.join(first))
      assert.deepStrictEqual([error.problem, error.operation, error.maybeCommitted], ["Locked", "first", false])
      assert.include(error.detail, "100 ms")
      const third = yield* Effect.forkChild(write("third"))
      yield* settle
      file.says = () => undefined
      yield* TestClock.adjust(50)
      assert.deepStrictEqual([yield* Fiber.join(second), yield* Fiber.join(third)], ["second", "third"])
      assert.deepStrictEqual(file.commits, [["second", "third"]])
      // It does not go on asking.
      const { attempts } = file
      yield* TestClock.adjust(1000)
      assert.strictEqual(file.attempts, attempts)
    })
  )

  it.effect("fail when their time is up, however many wait before them", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup(100)
      file.says = () => busy
      const fibers = yield* Effect.forEach(names(100), (name) => Effect.forkChild(Effect.flip(write(name))))
      yield* settle
      yield* TestClock.adjust(100)
      yield* settle
      assert.strictEqual(fibers.filter((fiber) => fiber.pollUnsafe() === undefined).length, 0)
      const errors = yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(
        errors.map(({ operation, problem }) => ({ operation, problem })),
        names(100).map((operation) => ({ operation, problem: "Locked" }))
      )
    })
  )

  it.effect("that failed together are done one by one after a lock too, and no others", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup()
      file.says = (operations) => (operations.includes("2") ? refused : file.attempts <= 3 ? busy : undefined)
      const all = yield* Effect.forEach(names(3), (name) => Effect.forkChild(Effect.exit(write(name))))
      yield* settle
      const others = yield* Effect.forEach(["3", "4"], (name) => Effect.forkChild(write(name)))
      yield* settle
      yield* TestClock.adjust(100)
      const exits = yield* Effect.forEach(all, Fiber.join)
      assert.deepStrictEqual(
        exits.map(({ _tag }) => _tag),
        ["Success", "Success", "Failure"]
      )
      yield* Effect.forEach(others, Fiber.join)
      assert.deepStrictEqual(file.commits, [["0"], ["1"], ["3", "4"]])
    })
  )

  it.effect("are tried at once after a lock, not as late as the last try before it", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup(10_000)
      file.says = () => busy
      const waiting = yield* Effect.forkChild(write("waiting"))
      yield* TestClock.adjust(1000)
      file.says = () => undefined
      yield* TestClock.adjust(50)
      yield* Fiber.join(waiting)
      file.says = () => busy
      const next = yield* Effect.forkChild(write("next"))
      yield* settle
      file.says = () => undefined
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(next), "next")
    })
  )

  it.effect("that are interrupted while they wait are not done, whatever they wait with", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup(10_000)
      file.says = () => busy
      const fibers = yield* Effect.forEach(names(3), (name) => Effect.forkChild(write(name)))
      yield* settle
      yield* Fiber.interrupt(fibers[0]!)
      yield* Fiber.interrupt(fibers[2]!)
      file.says = () => undefined
      yield* TestClock.adjust(50)
      assert.strictEqual(yield* Fiber.join(fibers[1]!), "1")
      assert.deepStrictEqual(file.commits, [["1"]])
    })
  )

  it.effect("wait by the clock of the store, whatever came first", () =>
    Effect.gen(function* () {
      const { file, write } = yield* setup()
      file.says = () => busy
      // A clock that stands.
      const first = yield* Effect.forkChild(Effect.provide(write("first"), TestClock.layer()))
      yield* settle
      yield* Fiber.interrupt(first)
      const second = yield* Effect.forkChild(write("second"))
      file.says = () => undefined
      yield* TestClock.adjust(50)
      yield* settle
      assert.deepStrictEqual(second.pollUnsafe(), Exit.succeed("second"))
    })
  )

  it.effect("are all answered, though an observer of one throws", () =>
    Effect.gen(function* () {
      const { errors } = yield* uncaught
      const { write } = yield* setup()
      const context = yield* Effect.context<never>()
      const thrown = new Error("thrown")
      const first = Effect.runForkWith(context)(write("first"))
      first.addObserver(() => {
        throw thrown
      })
      const second = yield* Effect.forkChild(write("second"), { startImmediately: true })
      yield* settle
      assert.deepStrictEqual(second.pollUnsafe(), Exit.succeed("second"))
      assert.deepStrictEqual(errors, [thrown])
    })
  )

  it.effect("have the time of their caller's clock", () =>
    Effect.gen(function* () {
      const { transactions } = yield* setup()
      yield* TestClock.setTime(12_345)
      assert.strictEqual(yield* transactions.write("now", (_, now) => now), 12_345)
    })
  )
})
