import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { defineConfig } from "vitest/config"

// "effect-events" resolves to src/, as in tsconfig.json
const source = { ssr: { resolve: { conditions: ["@effect-events/source"] } } }

const pack = ["test/package.test.ts", "test/quickStart.test.ts"]

// What takes its number of runs from there goes through a tenth of them in `npm test`, and through all in the slow suite.
const ofManyRuns = globSync("test/**/*.test.ts", { cwd: import.meta.dirname }).filter((file) =>
  readFileSync(join(import.meta.dirname, file), "utf8").includes("support/runs.ts")
)

// Timeouts are for what hangs: none is near what a test takes, also on a machine that is busy with other things.
export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    projects: [
      {
        ...source,
        test: {
          // needs no other process: neither a child, nor a server, nor minutes
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/slow/**", ...pack],
          // a third of the time went into loading `effect` anew for each file; no test changes what another one sees
          isolate: false,
          testTimeout: 60_000
        }
      },
      {
        ...source,
        test: {
          name: "slow",
          include: ["test/slow/**/*.test.ts", ...ofManyRuns],
          env: { EFFECT_EVENTS_FULL: "1" },
          testTimeout: 240_000,
          hookTimeout: 240_000
        }
      },
      {
        // builds, packs and installs: the only tests that need a registry
        test: {
          name: "pack",
          include: pack,
          globalSetup: "test/support/pack.ts",
          testTimeout: 240_000,
          hookTimeout: 480_000
        }
      }
    ]
  }
})
