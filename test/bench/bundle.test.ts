import { describe, expect, it } from "vitest"
import { entrySizes } from "./bundle.ts"

/**
 * The goal is 12 kB for what an event passes: the bound goes down with the code, and up with a feature alone. What an application
 * does not import it leaves out, such as routers, fallbacks, batches and limits; `SinkMetrics` is 2.1 kB, `Health` and `tap` of
 * `SinkGraph` 0.8 kB.
 */
const maxKilobytesOfCore = 33

describe("the bundle", () => {
  it(`has at most ${maxKilobytesOfCore} kB of the core's own code, gzipped`, async () => {
    const sizes = await entrySizes(["effect-events"])
    if (typeof sizes === "string") throw new Error(sizes)
    expect(sizes[0]?.gzipped).toBeLessThanOrEqual(1000 * maxKilobytesOfCore)
  })
})
