import { describe, expect, it } from "vitest"
import { entrySizes } from "./bundle.ts"

/**
 * The goal is 12 kB for what an event passes: the bound goes down with the code, and up with a feature alone. Spans have 1.2 kB of
 * it, batches 2.9 kB; `SinkMetrics` 2.1 kB, and `Health` and `tap` of `SinkGraph` 0.8 kB, which an application that does not import them leaves out.
 */
const maxKilobytesOfCore = 32

describe("the bundle", () => {
  it(`has at most ${maxKilobytesOfCore} kB of the core's own code, gzipped`, async () => {
    const sizes = await entrySizes(["effect-events"])
    if (typeof sizes === "string") throw new Error(sizes)
    expect(sizes[0]?.gzipped).toBeLessThanOrEqual(1000 * maxKilobytesOfCore)
  })
})
