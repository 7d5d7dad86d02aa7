/**
 * Many customers on many machines: what was acknowledged arrives, in order, at the right endpoints and signed by the right secrets,
 * whatever is killed and paused. `npm run test:fleet` is the large form.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { describePostgres } from "../../durable/support/postgres.ts"
import { compare, type Plan, simulate } from "../../webhooks/support/fleet/fleet.ts"

const isWhole = process.env["EFFECT_EVENTS_FLEET"] !== undefined
const size = Number(process.env["EFFECT_EVENTS_FLEET"] ?? 300)
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 1_000_000)
const timeout = isWhole ? 1_800_000 : 240_000

const small = {
  seed,
  endpoints: size,
  tenants: 10,
  processes: 3,
  slots: 64,
  perSecond: 6,
  seconds: 12,
  flood: 500,
  leaseTtl: 1_500,
  margin: 3_000,
  killEvery: 2_500,
  changeEvery: 300
}
const plan: Omit<Plan, "store"> = isWhole
  ? {
      ...small,
      tenants: 100,
      slots: 256,
      seconds: 120,
      flood: 20_000,
      leaseTtl: 5_000,
      margin: 10_000,
      killEvery: 5_000,
      changeEvery: 200
    }
  : small

const judge = async (plan: Plan): Promise<void> => {
  const outcome = await simulate(plan)
  if (isWhole) console.log({ ...plan, ...outcome })
  expect(outcome.problems, `EFFECT_EVENTS_SEED=${seed}`).toEqual([])
  // Something was at stake.
  expect(outcome.kills).toBeGreaterThan(1)
  expect(outcome.pauses).toBe(1)
  expect(outcome.cut).toBeGreaterThan(0)
  for (const n of Object.values(outcome.changes)) expect(n).toBeGreaterThan(0)
  expect(outcome.arrived).toBeGreaterThan(size)
}

describePostgres(`${size} endpoints on Postgres`, (server) => {
  it("lose nothing while processes are killed and paused, and endpoints changed", { timeout }, async () => {
    await judge({ ...plan, store: { postgres: server().port } })
  })
})

describePostgres(`${size} endpoints on Postgres, of which some are dead, slow and flooded`, (server) => {
  it.runIf(isWhole)("cost the others less than twice the time", { timeout }, async () => {
    // Where the machine is the limit, all are late, and no receiver is to blame.
    const eased = { ...plan, perSecond: plan.perSecond / 2, seconds: 40, flood: 10_000 }
    const outcome = await compare({ ...eased, store: { postgres: server().port } }, 4)
    console.log(outcome)
    expect(outcome.problems, `EFFECT_EVENTS_SEED=${seed}`).toEqual([])
    expect(outcome.troubled / outcome.calm, `EFFECT_EVENTS_SEED=${seed}`).toBeLessThan(2)
  })
})

describe("endpoints on SQLite, in one process", () => {
  it("lose nothing while it is killed and paused, and endpoints are changed", { timeout }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "effect-events-fleet-"))
    const endpoints = isWhole ? Math.ceil(size / 10) : 100
    const tenants = Math.ceil(plan.tenants / 3)
    const seconds = isWhole ? 60 : 6
    try {
      await judge({ ...plan, endpoints, tenants, seconds, processes: 1, store: { sqlite: join(folder, "events.db") } })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
