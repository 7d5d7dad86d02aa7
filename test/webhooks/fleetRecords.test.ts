/** What judges a fleet must be able to find fault with it: each of its checks, by one record that is wrong. */
import { createHmac } from "node:crypto"
import { describe, expect, it } from "vitest"
import { delaysOf, type Endpoint, judge, type Records } from "./support/fleet/records.ts"
import type { Arrival, Written } from "./support/fleet/world.ts"

const secretOf = (name: string) => `whsec_${Buffer.from(name.repeat(8)).toString("base64")}`

const endpoint = (i: number, tenant: string): Endpoint => ({
  spec: { i, tenant, topics: ["order/*"], ordered: true, kind: "healthy" },
  createdAt: 100,
  secrets: [{ secret: secretOf(tenant), since: 50, sure: 100 }],
  urls: [{}]
})

let orders = 0
const arrival = (i: number, { n, tenant, topic }: Written, at: number, change: Partial<Arrival> = {}, by = tenant) => {
  const [id, timestamp, body] = [`${tenant}-${n}`, "1", JSON.stringify({ tenant, n, topic })]
  const key = Buffer.from(secretOf(by).slice(6), "base64")
  const signature = `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`
  const made: Arrival = {
    i,
    v: 0,
    order: orders++,
    at,
    endedAt: at,
    status: 204,
    id,
    timestamp,
    signature,
    body,
    ...change
  }
  return made
}

const event = (tenant: string, n: number, topic = "order/placed") => ({ tenant, n, topic })
const [first, second] = [event("acme", 0), event("acme", 1)]

/** Two endpoints of two tenants, and two events of the first one, all well. */
const make = () => {
  const acme = endpoint(1, "acme")
  const other = endpoint(2, "other")
  const writes = new Map(
    [first, second].map((one, k) => [`${one.tenant}-${one.n}`, { ...one, began: 1000 + k, acknowledged: 1100 + k }])
  )
  const arrivals = [arrival(1, first, 1200), arrival(1, second, 1300)]
  const records = { endpoints: new Map([acme, other].map((one) => [one.spec.i, one])), writes, arrivals }
  return { acme, other, ...records, disturbances: [], leaseTtl: 1000, margin: 500 }
}

const problemsOf = (change: (records: ReturnType<typeof make>) => Partial<Records> | void) => {
  const records = make()
  return judge({ ...records, ...change(records) })
}

describe("the judgement of a fleet", () => {
  it("is nothing where all is well, repeats and cut requests that come again included", () => {
    expect(problemsOf(() => {})).toEqual([])
    const arrivals = [
      arrival(1, first, 1200, { status: 0 }),
      arrival(1, first, 2100),
      arrival(1, second, 2200),
      arrival(1, first, 2300)
    ]
    expect(problemsOf(() => ({ arrivals }))).toEqual([])
  })

  it("is that an event is missing which was acknowledged", () => {
    const some = { arrivals: [arrival(1, first, 1200)] }
    expect(problemsOf(() => some)).toEqual([expect.stringMatching(/^missing: .* acme-1 was acknowledged/)])
    // A request that was refused is no arrival.
    const refused = { arrivals: [arrival(1, first, 1200), arrival(1, second, 1300, { status: 500 })] }
    expect(problemsOf(() => refused)).toEqual([expect.stringMatching(/^missing/)])
    expect(problemsOf(({ acme }) => ((acme.removingAt = 1250), some))).toEqual([])
    expect(problemsOf(({ acme }) => ((acme.createdAt = 1050), { arrivals: [] }))).toEqual([])
  })

  it("is that events are out of order, of an ordered endpoint", () => {
    const arrivals = [arrival(1, second, 1200), arrival(1, first, 1300)]
    expect(problemsOf(() => ({ arrivals }))).toEqual([expect.stringMatching(/^order: .* acme-0 came after 1/)])
    const unordered = ({ acme }: ReturnType<typeof make>) => ({
      arrivals,
      endpoints: new Map([[1, { ...acme, spec: { ...acme.spec, ordered: false } }]])
    })
    expect(problemsOf(unordered)).toEqual([])
  })

  it("is that something comes of a removed endpoint, or to the url of before", () => {
    const late = [arrival(1, first, 1200), arrival(1, second, 1600)]
    const at = (removedAt: number) => (records: ReturnType<typeof make>) => {
      Object.assign(records.acme, { removingAt: removedAt - 1, removedAt })
      return { arrivals: late }
    }
    expect(problemsOf(at(1150))).toEqual([])
    expect(problemsOf(at(1050))).toEqual([expect.stringMatching(/^removed: .* acme-1 came 550 ms after/)])
    // A process that was paused then may go on with what it was about to do.
    const paused = (records: ReturnType<typeof make>) => ({
      ...at(1050)(records),
      disturbances: [{ from: 1040, until: 1550 }]
    })
    expect(problemsOf(paused)).toEqual([])
    // What was written later was in no process then.
    const later = (records: ReturnType<typeof make>) => {
      records.writes.set("acme-1", { ...second, began: 1151, acknowledged: 1160 })
      return at(1150)(records)
    }
    expect(problemsOf(later)).toEqual([expect.stringMatching(/^removed: .* acme-1 came 450 ms after/)])
    const moved = ({ acme }: ReturnType<typeof make>) => void acme.urls.splice(0, 1, { until: 750 }, {})
    expect(problemsOf(moved)).toEqual([expect.stringMatching(/^moved: .* acme-1 came 550 ms after/)])
  })

  it("is that something comes of another tenant, of another topic, or of no write", () => {
    const foreign = ({ arrivals }: ReturnType<typeof make>) => ({
      arrivals: [...arrivals, arrival(2, first, 1300, {}, "other")]
    })
    expect(problemsOf(foreign)).toEqual([expect.stringMatching(/^foreign: .* another tenant/)])
    const topic = ({ arrivals, writes }: ReturnType<typeof make>) => {
      writes.set("acme-2", { ...event("acme", 2, "user/created"), began: 1200, acknowledged: 1210 })
      return { arrivals: [...arrivals, arrival(1, event("acme", 2, "user/created"), 1300)] }
    }
    expect(problemsOf(topic)).toEqual([expect.stringMatching(/^foreign: .* no topic/)])
    const unwritten = ({ arrivals }: ReturnType<typeof make>) => ({
      arrivals: [...arrivals, arrival(1, event("acme", 2), 1300)]
    })
    expect(problemsOf(unwritten)).toEqual([expect.stringMatching(/^foreign: .* not written/)])
    const nowhere = ({ arrivals }: ReturnType<typeof make>) => ({ arrivals: [...arrivals, arrival(3, first, 1300)] })
    expect(problemsOf(nowhere)).toEqual([expect.stringMatching(/^foreign: .* no endpoint/)])
  })

  it("is that a signature is of no secret of the endpoint, or of none that is valid then", () => {
    const wrong = { arrivals: [arrival(1, first, 1200), arrival(1, second, 1300, {}, "other")] }
    expect(problemsOf(() => wrong)).toContainEqual(expect.stringMatching(/^signed: .* no secret of the endpoint/))
    const none = { arrivals: [arrival(1, first, 1200), arrival(1, second, 1300, { signature: "" })] }
    expect(problemsOf(() => none)).toContainEqual(expect.stringMatching(/^signed: .* has no signature/))
    const over = ({ acme }: ReturnType<typeof make>) => void (acme.secrets[0]!.until = 750)
    expect(problemsOf(over)).toEqual([expect.stringMatching(/^signed: .* 550 ms after the end of its secret/)])
    const early = ({ acme }: ReturnType<typeof make>) => ({
      endpoints: new Map([[1, { ...acme, secrets: [{ secret: secretOf("acme"), since: 1250 }] }]])
    })
    expect(problemsOf(early)).toEqual([expect.stringMatching(/^signed: .* before its secret was given/)])
    const rotated = ({ acme }: ReturnType<typeof make>) =>
      void acme.secrets.push({ secret: secretOf("newer"), since: 740, sure: 750 })
    expect(problemsOf(rotated)).toEqual([expect.stringMatching(/^signed: .* not signed by the secret of that time/)])
  })

  it("is that what was cut off comes again too late", () => {
    const cutAt = (at: number) => [
      arrival(1, first, at, { status: 0 }),
      arrival(1, first, 2800),
      arrival(1, second, 2900)
    ]
    expect(problemsOf(() => ({ arrivals: cutAt(1300) }))).toEqual([])
    const late = { arrivals: cutAt(1200) }
    expect(problemsOf(() => late)).toEqual([expect.stringMatching(/^taken over: .* again after 1600 ms/)])
    expect(problemsOf(() => ({ ...late, disturbances: [{ from: 1400, until: 1400 }] }))).toEqual([])
  })

  it("knows how long events took to healthy endpoints", () => {
    expect(delaysOf(make(), () => true)).toEqual([200, 299])
    expect(delaysOf({ ...make(), arrivals: [] }, ({ n }) => n === 0)).toEqual([Number.POSITIVE_INFINITY])
  })
})
