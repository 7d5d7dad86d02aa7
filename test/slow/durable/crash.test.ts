/** Whatever is killed, what was acknowledged arrives. `npm run test:crash` is the long form. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { crashes, type Outcome, type Plan } from "../../durable/support/crashes.ts"
import { describePostgres } from "../../durable/support/postgres.ts"

const rounds = Number(process.env["EFFECT_EVENTS_KILLS"] ?? 5)
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 1_000_000)
const timeout = 180_000 + rounds * 5_000

const judge = async (plan: Omit<Plan, "rounds" | "seed">): Promise<Outcome> => {
  const outcome = await crashes({ ...plan, rounds, seed })
  if (rounds >= 50) console.log(plan, outcome)
  expect(outcome.problems, `EFFECT_EVENTS_SEED=${seed} EFFECT_EVENTS_KILLS=${rounds}`).toEqual([])
  // Something was at stake.
  expect(outcome.acknowledged).toBeGreaterThan(rounds)
  return outcome
}

describe("SIGKILL at any moment, on SQLite", () => {
  const onFile = async (plan: Omit<Plan, "rounds" | "seed" | "store">) => {
    const folder = mkdtempSync(join(tmpdir(), "effect-events-crash-"))
    try {
      return await judge({ ...plan, store: { sqlite: join(folder, "events.db") } })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  it("loses nothing that was acknowledged, with one process", { timeout }, async () => {
    await onFile({ part: "queue", processes: 1 })
  })

  it("nor with two, of which the owner is killed, or paused until the other has its lease", { timeout }, async () => {
    await onFile({ part: "queue", processes: 2, pauses: true })
  })

  it("nor when they deliver three writers' events at once", { timeout }, async () => {
    await onFile({ part: "queue", processes: 2, pauses: true, concurrency: 3 })
  })

  it("nor of a broadcaster, for no subscription, of which some come and go", { timeout }, async () => {
    await onFile({ part: "broadcaster", processes: 2, onlyWriting: 1, pauses: true })
  })
})

describePostgres(
  "SIGKILL at any moment, on Postgres",
  (server) => {
    it("loses nothing that was acknowledged, with one process", { timeout }, async () => {
      await judge({ part: "queue", processes: 1, store: { postgres: server().port } })
    })

    it("nor with two, of which the owner is killed, or paused until the other has its lease", { timeout }, async () => {
      await judge({ part: "queue", processes: 2, pauses: true, store: { postgres: server().port } })
    })

    it("nor when they deliver three writers' events at once", { timeout }, async () => {
      await judge({ part: "queue", processes: 2, pauses: true, concurrency: 3, store: { postgres: server().port } })
    })

    it("nor of a broadcaster, for no subscription, of which some come and go", { timeout }, async () => {
      const store = { postgres: server().port }
      await judge({ part: "broadcaster", processes: 2, onlyWriting: 1, pauses: true, store })
    })

    it("nor when the server itself is killed and started again", { timeout }, async () => {
      const restartServer = async () => {
        await server().kill()
        await server().start()
      }
      await judge({ part: "queue", processes: 2, store: { postgres: server().port }, restartServer })
    })
  },
  { fsync: true }
)
