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

// Lives, laws and days of durable parts, random graphs and faults: in the slow suite alone, so that `npm test` is over in a minute.
const long = [
  "test/StoreLaws.test.ts",
  "test/conservation.test.ts",
  "test/dashboard/SinkDashboard.test.ts",
  "test/durable/DurableBroadcaster.laws.test.ts",
  "test/durable/DurableBroadcaster.scale.test.ts",
  "test/durable/DurableBroadcaster.states.test.ts",
  "test/durable/DurableQueue.jumps.test.ts",
  "test/durable/DurableQueue.laws.test.ts",
  "test/durable/DurableQueue.overflow.test.ts",
  "test/durable/DurableQueue.plans.test.ts",
  "test/durable/DurableQueue.redelivery.test.ts",
  "test/durable/EventStore.lives.test.ts",
  "test/durable/SqliteStore.laws.test.ts",
  "test/durable/SqliteStore.times.test.ts",
  "test/durable/exchangeHost.test.ts",
  "test/durable/loops.test.ts",
  "test/durable/maxAge.test.ts",
  "test/durable/sweeping.test.ts",
  "test/http/CloudEvent.any.test.ts",
  "test/http/CloudEvent.lenient.test.ts",
  "test/http/HttpSink.faults.test.ts",
  "test/http/WebhookSignature.secrets.test.ts",
  "test/internal/batchedBuffer.model.test.ts",
  "test/internal/pages.test.ts",
  "test/lateWriters.test.ts",
  "test/responsive.test.ts",
  "test/webhooks/attempts.test.ts",
  "test/webhooks/health.test.ts",
  "test/webhooks/processes.test.ts",
  "test/webhooks/safety.test.ts"
]

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
          exclude: ["test/slow/**", ...pack, ...long],
          // a third of the time went into loading `effect` anew for each file; no test changes what another one sees
          isolate: false,
          testTimeout: 60_000
        }
      },
      {
        ...source,
        test: {
          name: "slow",
          include: ["test/slow/**/*.test.ts", ...new Set([...ofManyRuns, ...long])],
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
