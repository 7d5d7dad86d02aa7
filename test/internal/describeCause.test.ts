/** What a dead letter says of why its event could not be delivered. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit } from "effect"
import { EventSink, ExponentialBackoff, RetryingSink, RetryStrategy } from "effect-events"
import { describeCause } from "../../src/internal/describeCause.ts"

class Refused extends Data.TaggedError("Refused")<{ readonly status: number; readonly cause?: unknown }> {
  override get message(): string {
    return `refused with ${this.status}`
  }
}

const failed = (error: unknown) => describeCause(Cause.fail(error))
const circle: { self?: unknown } = {}
circle.self = circle
const self = new Error("around")
self.cause = self
const hostile = new Proxy(
  {},
  {
    get: () => {
      throw new Error("no")
    }
  }
)
const nested = (depth: number): Error =>
  depth === 0 ? new Error("at 0") : new Error(`at ${depth}`, { cause: nested(depth - 1) })

describe("the cause of a dead letter", () => {
  it.each<[what: string, error: unknown, text: string]>([
    ["a tagged error", new Refused({ status: 503 }), "Refused: refused with 503"],
    ["an error", new TypeError("no such thing"), "TypeError: no such thing"],
    ["an error without a message", new Error(), "Error"],
    ["a tagged value", { _tag: "Busy" }, "Busy"],
    ["a text", "unavailable", "unavailable"],
    ["a number", 42, "42"],
    ["nothing", undefined, "undefined"],
    ["null", null, "null"],
    ["a symbol", Symbol("no"), "Symbol(no)"],
    ["a plain object", { status: 503 }, '{"status":503}'],
    ["a circle", circle, "an error without a description"],
    ["a value that cannot be read", hostile, "an error without a description"],
    [
      "an error with its cause",
      new Refused({ status: 502, cause: new Error("connect ECONNREFUSED", { cause: "the firewall" }) }),
      "Refused: refused with 502\ncaused by Error: connect ECONNREFUSED\ncaused by the firewall"
    ],
    [
      "an error whose cause is a Cause",
      new Refused({ status: 502, cause: Cause.die(new RangeError("too far")) }),
      "Refused: refused with 502\ncaused by RangeError: too far"
    ],
    ["an error that repeats its cause", new Error("wrapped: at 0", { cause: nested(0) }), "Error: wrapped: at 0"],
    [
      "several errors in one",
      new AggregateError([new Error("a"), new Error("b")], "both failed"),
      "AggregateError: both failed\ncaused by Error: a\ncaused by Error: b"
    ],
    ["an error that is its own cause", self, "Error: around"]
  ])("is, of %s, its tag, its message and its causes", (_, error, text) => {
    assert.strictEqual(failed(error), text)
  })

  it("tells defects and interruptions too", () => {
    const both = Cause.fromReasons([
      ...Cause.die(new Error("a bug")).reasons,
      ...Cause.interrupt().reasons,
      ...Cause.fail("no").reasons
    ])
    assert.strictEqual(describeCause(both), "Error: a bug\ninterrupted\nno")
  })

  it("has no more than 16 errors of a chain", () => {
    assert.strictEqual(failed(nested(40)).split("\n").length, 16)
  })

  it.effect("has no stack trace and no path of a file", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make(() =>
        Effect.fail(new Refused({ status: 503, cause: new Error("deep") }))
      ).pipe(
        RetryingSink.make(
          ExponentialBackoff.make({ base: 0, factor: 0 }).pipe(
            RetryStrategy.combine(RetryStrategy.fromDelays(() => () => Effect.fail("enough")))
          )
        )
      )
      const exit = yield* Effect.exit(sink.write("event"))
      const text = Exit.isFailure(exit) ? describeCause(exit.cause) : ""
      assert.include(text, "gave up after 1 attempts")
      assert.include(text, "caused by Refused: refused with 503\ncaused by Error: deep")
      assert.notMatch(text, /\bat .*:\d+:\d+|file:|\.ts/)
    })
  )
})
