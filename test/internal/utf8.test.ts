import { assert, describe, it } from "@effect/vitest"
import { encode, encodeShared } from "../../src/internal/encoding/utf8.ts"

describe("texts that share a buffer", () => {
  const texts = ["", "a", "ü", "€uro", "😀", "\ud800 alone", "x".repeat(300), "€".repeat(2_000), "y".repeat(20_000)]

  it("have the bytes that each has by itself", () => {
    const all = Array.from({ length: 200 }, (_, i) => `${i}: ${texts[i % texts.length]}`)
    const bytes = all.map(encodeShared)
    // After all of them were encoded: none was written over by a later one.
    for (const [i, text] of all.entries()) assert.deepStrictEqual([...bytes[i]!], [...encode(text)], `${i}`)
  })

  it("go on when the buffer of an earlier one was transferred", () => {
    const { buffer } = encodeShared("first")
    assert.instanceOf(buffer, ArrayBuffer)
    if (buffer instanceof ArrayBuffer) structuredClone(buffer, { transfer: [buffer] })
    assert.deepStrictEqual([...encodeShared("second")], [...encode("second")])
  })
})
