import { describe, expect, it } from "vitest"
import { entrySizes } from "./bundle.ts"

/** The goal is 12 kB: the bound goes down with the code, and goes up for a feature alone. Spans have cost 1.2 kB of it. */
const maxKilobytesOfCore = 17.1

describe("the bundle", () => {
  it(`has at most ${maxKilobytesOfCore} kB of the core's own code, gzipped`, async () => {
    const sizes = await entrySizes(["effect-events"])
    if (typeof sizes === "string") throw new Error(sizes)
    expect(sizes[0]?.gzipped).toBeLessThanOrEqual(1000 * maxKilobytesOfCore)
  })
})
