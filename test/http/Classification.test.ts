import { assert, describe, it } from "@effect/vitest"
import * as Classification from "../../src/http/Classification.ts"

const statuses = Array.from({ length: 500 }, (_, i) => i + 100)

/** The statuses that a preset judges so, as ranges: `200-299`. */
const ranges = (preset: Classification.Classification, verdict: Classification.Verdict): string => {
  const found: Array<[number, number]> = []
  for (const status of statuses) {
    if (preset({ status, headers: {} }) !== verdict) continue
    const last = found.at(-1)
    if (last !== undefined && last[1] === status - 1) last[1] = status
    else found.push([status, status])
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(" ")
}

describe.each([
  ["standardWebhooks", Classification.standardWebhooks, "200-299", "100-199 300-409 411-599", "410"],
  ["distribution", Classification.distribution, "200-399", "100-199 400-599", ""],
  ["knative", Classification.knative, "200-299", "404 408-409 429 500-599", "100-199 300-403 405-407 410-428 430-499"]
] as const)("%s", (_, preset, accepted, transient, permanent) => {
  it.each([
    ["accepted", accepted],
    ["transient", transient],
    ["permanent", permanent]
  ] as const)("%s: %s", (verdict, expected) => {
    assert.strictEqual(ranges(preset, verdict), expected)
  })
})
