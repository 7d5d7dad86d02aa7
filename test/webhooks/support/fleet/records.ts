/** What the processes of a fleet said and its receivers got, and what is wrong with it. */
import { createHmac } from "node:crypto"
import { type Arrival, idOf, type Key, matches, type Spec, type Written } from "./world.ts"

/** An endpoint with what was done to it: times are those before a call began, and after it had answered. */
export interface Endpoint {
  readonly spec: Spec
  key?: Key
  createdAt?: number
  removingAt?: number
  removedAt?: number
  /** The newest one is the last. `since` is before the call that gave it, and `sure` after. */
  readonly secrets: Array<{ readonly secret: string; readonly since: number; sure?: number; until?: number }>
  /** Its urls: until when each was the current one. */
  readonly urls: Array<{ until?: number }>
}

export interface Write extends Written {
  readonly began: number
  acknowledged?: number
}

/** A process was killed, or paused for a time. */
export interface Disturbance {
  readonly from: number
  readonly until: number
}

export interface Records {
  readonly endpoints: ReadonlyMap<number, Endpoint>
  /** By their ids. */
  readonly writes: ReadonlyMap<string, Write>
  readonly arrivals: ReadonlyArray<Arrival>
  readonly disturbances: ReadonlyArray<Disturbance>
  readonly leaseTtl: number
  /** How late what a process does may be because the machine is busy, in milliseconds. */
  readonly margin: number
}

export const isAccepted = ({ status }: Arrival): boolean => status >= 200 && status < 300

/** Whether an endpoint must get an event. One that was made or removed while the event was written may. */
export const isOwed = ({ createdAt, removingAt, spec }: Endpoint, { acknowledged, began, tenant, topic }: Write) =>
  acknowledged !== undefined &&
  removingAt === undefined &&
  createdAt !== undefined &&
  createdAt <= began &&
  spec.tenant === tenant &&
  matches(spec.topics, topic)

/** What should not have been, each in words: twenty at most of each kind. */
export const judge = (records: Records): ReadonlyArray<string> => {
  const problems = new Map<string, Array<string>>()
  const problem = (kind: string, text: string) => {
    const all = problems.get(kind) ?? []
    problems.set(kind, all)
    if (all.length < 20) all.push(`${kind}: ${text}`)
  }
  const byEndpoint = new Map<number, Array<Arrival>>()
  for (const one of records.arrivals) {
    const all = byEndpoint.get(one.i) ?? []
    byEndpoint.set(one.i, all)
    all.push(one)
    if (!records.endpoints.has(one.i)) problem("foreign", `a request came to no endpoint: ${one.i}`)
  }
  for (const [i, endpoint] of records.endpoints) {
    const arrivals = (byEndpoint.get(i) ?? []).toSorted((one, other) => one.order - other.order)
    for (const one of arrivals)
      for (const check of [foreign, removed, moved, signed]) check(records, endpoint, one, problem)
    ordered(endpoint, arrivals, problem)
    takenOver(records, endpoint, arrivals, problem)
  }
  missing(records, byEndpoint, problem)
  return [...problems.values()].flat()
}

/** From the writes to the first arrivals at healthy endpoints, in milliseconds. */
export const delaysOf = (records: Records, isMeant: (write: Write) => boolean): ReadonlyArray<number> => {
  const first = new Map<string, number>()
  for (const one of records.arrivals) {
    const key = `${one.i} ${one.id}`
    if (isAccepted(one)) first.set(key, Math.min(first.get(key) ?? Number.POSITIVE_INFINITY, one.at))
  }
  const delays: Array<number> = []
  const tenants = Map.groupBy(records.endpoints.values(), ({ spec }) => spec.tenant)
  for (const write of records.writes.values()) {
    if (!isMeant(write)) continue
    for (const endpoint of tenants.get(write.tenant) ?? []) {
      if (endpoint.spec.kind !== "healthy" || !isOwed(endpoint, write)) continue
      delays.push((first.get(`${endpoint.spec.i} ${idOf(write)}`) ?? Number.POSITIVE_INFINITY) - write.began)
    }
  }
  return delays
}

export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

// internals

type Report = (kind: string, text: string) => void
type Check = (records: Records, endpoint: Endpoint, arrival: Arrival, problem: Report) => void

const named = ({ spec }: Endpoint, { id }: { readonly id: string }) => `endpoint ${spec.i} (${spec.kind}): ${id}`

/** Until when a process may do what it was about to do: one that is paused then does it when it goes on. */
const atLatest = ({ disturbances, margin }: Records, time: number): number =>
  disturbances.reduce(
    (latest, { from, until }) => (from <= time + margin && until > time ? Math.max(latest, until + margin) : latest),
    time + margin
  )

const foreign: Check = (records, endpoint, arrival, problem) => {
  const written: Written = JSON.parse(arrival.body)
  const write = records.writes.get(arrival.id)
  const isWritten = write !== undefined && write.n === written.n && write.tenant === written.tenant
  if (!isWritten) return problem("foreign", `${named(endpoint, arrival)} was not written: ${arrival.body}`)
  const { spec } = endpoint
  if (written.tenant !== spec.tenant) problem("foreign", `${named(endpoint, arrival)} is that of another tenant`)
  else if (!matches(spec.topics, write.topic)) problem("foreign", `${named(endpoint, arrival)} has no topic of it`)
}

const removed: Check = (records, endpoint, arrival, problem) => {
  const { removedAt } = endpoint
  if (removedAt === undefined) return
  // What is written later was never for it, and is in no process.
  const isLater = (records.writes.get(arrival.id)?.began ?? 0) > removedAt
  if (!isLater && arrival.at <= atLatest(records, removedAt)) return
  problem("removed", `${named(endpoint, arrival)} came ${arrival.at - removedAt} ms after the endpoint was removed`)
}

const moved: Check = (records, endpoint, arrival, problem) => {
  const until = endpoint.urls[arrival.v]?.until
  if (until === undefined || arrival.at <= atLatest(records, until)) return
  problem("moved", `${named(endpoint, arrival)} came ${arrival.at - until} ms after the endpoint was moved`)
}

/** Every signature is of a secret that is valid then, and the newest secret is among them. */
const signed: Check = (records, endpoint, arrival, problem) => {
  const { at, body, id, timestamp } = arrival
  const signatures = arrival.signature.split(" ").filter(Boolean)
  const known = endpoint.secrets.map((secret) => ({
    ...secret,
    text: sign(secret.secret, `${id}.${timestamp}.${body}`)
  }))
  if (signatures.length === 0) problem("signed", `${named(endpoint, arrival)} has no signature`)
  for (const signature of signatures) {
    const secret = known.find(({ text }) => text === signature)
    if (secret === undefined) problem("signed", `${named(endpoint, arrival)} is signed by no secret of the endpoint`)
    else if (at < secret.since) problem("signed", `${named(endpoint, arrival)} is signed before its secret was given`)
    else if (secret.until !== undefined && at > atLatest(records, secret.until))
      problem("signed", `${named(endpoint, arrival)} is signed ${at - secret.until} ms after the end of its secret`)
  }
  const newest = known.findLast(({ sure }) => sure !== undefined && at > atLatest(records, sure))
  if (newest !== undefined && !signatures.includes(newest.text) && newest.until === undefined)
    problem("signed", `${named(endpoint, arrival)} is not signed by the secret of that time`)
}

const sign = (secret: string, content: string): string =>
  `v1,${createHmac("sha256", Buffer.from(secret.replace("whsec_", ""), "base64"))
    .update(content)
    .digest("base64")}`

/** Of an ordered endpoint the first attempts of its events are in the order of their writes. */
const ordered = (endpoint: Endpoint, arrivals: ReadonlyArray<Arrival>, problem: Report): void => {
  if (!endpoint.spec.ordered) return
  const seen = new Set<string>()
  let last = -1
  for (const one of arrivals) {
    if (seen.has(one.id)) continue
    seen.add(one.id)
    const { n }: Written = JSON.parse(one.body)
    if (n < last) problem("order", `${named(endpoint, one)} came after ${last}`)
    last = Math.max(last, n)
  }
}

/**
 * A request that was cut off is there again within the time of a lease. The process that has it then may be killed or paused
 * before it makes the attempt, once.
 */
const takenOver = (records: Records, endpoint: Endpoint, arrivals: ReadonlyArray<Arrival>, problem: Report): void => {
  const { disturbances, leaseTtl, margin } = records
  if (endpoint.spec.kind !== "healthy" || endpoint.removingAt !== undefined) return
  for (const cut of arrivals) {
    if (cut.status !== 0) continue
    const most = cut.endedAt + leaseTtl + margin
    const isDisturbed = disturbances.some(({ from }) => from > cut.endedAt && from <= most)
    const next = arrivals.find(({ id, order }) => id === cut.id && order > cut.order)
    const took = (next?.at ?? Number.POSITIVE_INFINITY) - cut.endedAt
    if (took > (leaseTtl + margin) * (isDisturbed ? 2 : 1))
      problem("taken over", `${named(endpoint, cut)} was cut off and came again after ${took} ms`)
  }
}

const missing = (records: Records, byEndpoint: ReadonlyMap<number, ReadonlyArray<Arrival>>, problem: Report): void => {
  const tenants = Map.groupBy(records.endpoints.values(), ({ spec }) => spec.tenant)
  const accepted = new Set<string>()
  for (const [i, all] of byEndpoint) for (const one of all) if (isAccepted(one)) accepted.add(`${i} ${one.id}`)
  for (const write of records.writes.values()) {
    const id = idOf(write)
    for (const endpoint of tenants.get(write.tenant) ?? []) {
      if (isOwed(endpoint, write) && !accepted.has(`${endpoint.spec.i} ${id}`))
        problem("missing", `${named(endpoint, { id })} was acknowledged and did not arrive`)
    }
  }
}
