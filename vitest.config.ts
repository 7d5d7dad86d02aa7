import { defineConfig } from "vitest/config"

// "effect-events" resolves to src/, as in tsconfig.json
const conditions = ["@effect-events/source"]

export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    projects: [
      {
        ssr: { resolve: { conditions } },
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/package.test.ts"],
          testTimeout: 10_000
        }
      },
      {
        // builds, packs and installs: slower, and the only tests that need a registry
        test: { name: "pack", include: ["test/package.test.ts"], testTimeout: 120_000, hookTimeout: 240_000 }
      }
    ]
  }
})
