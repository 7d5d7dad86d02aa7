/** Forms of `Retry-After` that receivers send, with the wait that each asks for. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { retryAfterOf } from "../../src/http/internal/sink/retryAfterOf.ts"

const now = Date.UTC(2027, 0, 20, 9, 58, 30)
const cap = Duration.hours(1)

const secondsOf = (header: string | undefined) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(now)
    const wait = yield* retryAfterOf(header, cap)
    return wait && Duration.toSeconds(wait)
  })

describe("Retry-After", () => {
  it.effect.each<[header: string | undefined, seconds: number | undefined]>([
    ["30", 30],
    ["0", 0],
    // from the field
    ["29.5", 30],
    ["0.503", 1],
    ["5, 7", 7],
    ["Wed, 20 Jan 2027 10:00:00 +0000", 90],
    ["Wed, 20 Jan 2027 10:00:00 UTC", 90],
    ["2027-01-20T10:00:00Z", 90],
    ["120s", 120],
    ["-3", 0],
    ["1e3", undefined],
    ["99999999999999999999999999", 3600],
    // their neighbours
    ["-0.5", 0],
    ["1.", undefined],
    [".5", undefined],
    ["120 s", 120],
    ["120 seconds", 120],
    ["120S", 120],
    ["120ms", undefined],
    ["2m", undefined],
    ["+5", undefined],
    ["0x10", undefined],
    ["Infinity", undefined],
    ["NaN", undefined],
    ["", undefined],
    [undefined, undefined],
    [" 5 ", 5],
    ["7,5", 7],
    ["5, soon", 5],
    ["soon", undefined],
    ["5, Wed, 20 Jan 2027 10:00:00 GMT", 90],
    ["Wed, 20 Jan 2027 10:00:00 GMT, 120", 120],
    ["Wed, 20 Jan 2027 10:00:00 GMT, Wed, 20 Jan 2027 10:01:00 GMT", 150],
    ["Wed, 20 Jan 2027 10:00:00 GMT", 90],
    ["Wednesday, 20-Jan-27 10:00:00 GMT", 90],
    ["Wed Jan 20 10:00:00 2027", 90],
    ["Wed, 20 Jan 2027 12:00:00 +0200", 90],
    ["20 Jan 2027 10:00:00 +0000", 90],
    ["Wed, 20 Jan 2027 10:00:00 -0000", 90],
    ["Wed, 20 Jan 2027 10:00:00 Z", 90],
    ["Wed, 20 Jan 2027 09:00:00 GMT", 0],
    ["2027-01-20T09:00:00Z", 0],
    ["2027-01-20T11:00:00+01:00", 90],
    ["2027-01-20T10:00:00.500Z", 90.5],
    ["2027-01-20", undefined],
    ["2027-13-20T10:00:00Z", undefined],
    ["Thu, 20 Jan 2028 10:00:00 GMT", 3600],
    // of a receiver that is after the time of its sender
    [`5${",".repeat(499)}`, 5],
    [`5${",".repeat(16_000)}`, undefined]
  ])("%j asks for %j seconds", ([header, seconds]) =>
    Effect.map(secondsOf(header), (found) => assert.strictEqual(found, seconds))
  )
})
