import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { format, parse } from "../../src/internal/traceparent.ts"

const [traceId, spanId] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"]
const hex = (length: number) =>
  fc
    .array(fc.constantFrom(..."0123456789abcdef"), { minLength: length, maxLength: length })
    .map((digits) => digits.join(""))
    .filter((id) => !/^0+$/.test(id))

describe("a traceparent", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(hex(32), hex(16), fc.boolean(), (traceId, spanId, sampled) => {
        const found = parse(format({ traceId, spanId, sampled })!)!
        assert.deepStrictEqual(
          { traceId: found.traceId, spanId: found.spanId, sampled: found.sampled },
          { traceId, spanId, sampled }
        )
      })
    )
  })

  it("has the form of the specification", () => {
    assert.strictEqual(format({ traceId, spanId, sampled: true }), `00-${traceId}-${spanId}-01`)
    assert.strictEqual(format({ traceId, spanId, sampled: false }), `00-${traceId}-${spanId}-00`)
    assert.strictEqual(
      format({ traceId: "a3ce929d0e0e4736", spanId, sampled: true }),
      `00-0000000000000000a3ce929d0e0e4736-${spanId}-01`
    )
  })

  it.each([
    ["noop", "noop"],
    ["0".repeat(32), spanId],
    [traceId, "0".repeat(16)],
    [traceId.toUpperCase(), spanId],
    ["trace-456", "span-123"]
  ])("is not there for the ids %s and %s", (traceId, spanId) => {
    assert.strictEqual(format({ traceId, spanId, sampled: true }), undefined)
  })

  it("of a later version is read, with what stands behind it", () => {
    assert.isTrue(parse(`cc-${traceId}-${spanId}-03-what-comes`)?.sampled)
    assert.isFalse(parse(`01-${traceId}-${spanId}-02`)?.sampled)
  })

  it.each([
    "",
    "t",
    `00-${traceId}-${spanId}`,
    `00-${traceId}-${spanId}-01-more`,
    `ff-${traceId}-${spanId}-01`,
    `00-${"0".repeat(32)}-${spanId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId.slice(1)}-${spanId}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    ` 00-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-1x`
  ])("that is none is not read: %j", (text) => {
    assert.strictEqual(parse(text), undefined)
  })
})
