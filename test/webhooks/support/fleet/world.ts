/** What a fleet is made of: its endpoints and its writes, by a seed, and what its processes say to each other. */
import { randomFrom } from "../../../support/random.ts"

/** `refused` has no receiver that listens, `failing` one that answers 500, `slow` one that takes seconds. */
export type Kind = "healthy" | "refused" | "failing" | "slow" | "flooded"

export interface Spec {
  /** What it is at its receiver: `/e3/v0` is the first url of endpoint 3. */
  readonly i: number
  readonly tenant: string
  readonly topics: readonly [string, ...Array<string>]
  readonly ordered: boolean
  readonly kind: Kind
}

/** How long a slow receiver takes, in milliseconds. */
export const slowness = 3_000

const topics = [["order/*"], ["order/*"], ["*"], ["user/created"]] as const
const topicsWritten = ["order/placed", "order/shipped", "user/created", "user/deleted"] as const

/** One in a hundred is dead, in one of two ways, and one in a hundred is slow. */
export const kindOf = (i: number, endpoints: number): Kind => {
  if (i === endpoints) return "flooded"
  if (i > endpoints) return "healthy"
  const hundred = Math.floor(i / 100)
  return i % 100 === 7 ? (hundred % 2 === 0 ? "refused" : "failing") : i % 100 === 13 ? "slow" : "healthy"
}

const specOf = (i: number, tenant: string, endpoints: number): Spec => {
  const n = i + Math.floor(i / 100)
  return { i, tenant, topics: topics[n % topics.length]!, ordered: n % 10 !== 9, kind: kindOf(i, endpoints) }
}

export const floodTenant = "flood"
export const floodTopic = "flood/again"

/** The endpoints that there are from the begin on: the last one is to be flooded, and has a tenant of its own. */
export const specsOf = (endpoints: number, tenants: number): ReadonlyArray<Spec> => [
  ...Array.from({ length: endpoints }, (_, i) => specOf(i, `t${Math.floor((i * tenants) / endpoints)}`, endpoints)),
  { i: endpoints, tenant: floodTenant, topics: [floodTopic], ordered: true, kind: "flooded" }
]

/** One that is added later. */
export const addedSpec = (i: number, tenant: string, endpoints: number): Spec => specOf(i, tenant, endpoints)

export const matches = (topics: ReadonlyArray<string>, topic: string): boolean =>
  topics.some((one) => one === "*" || one === topic || (one.endsWith("/*") && topic.startsWith(one.slice(0, -1))))

/** A write that is due so many milliseconds after the begin: events of one tenant and topic, in one call. */
export interface Due {
  readonly at: number
  readonly tenant: string
  readonly topic: string
  readonly count: number
}

/** Half of the writes are of a tenth of the tenants, and one in eight has five events. */
export const writesOf = (options: {
  readonly seed: number
  readonly tenants: number
  readonly perSecond: number
  readonly seconds: number
}): ReadonlyArray<Due> => {
  const random = randomFrom(options.seed)
  const below = (n: number) => Math.floor(random() * n)
  const busy = Math.max(1, Math.floor(options.tenants / 10))
  return Array.from({ length: Math.floor(options.perSecond * options.seconds) }, (_, i) => ({
    at: (1000 * (i + random())) / options.perSecond,
    tenant: `t${random() < 0.5 ? below(busy) : below(options.tenants)}`,
    topic: topicsWritten[below(topicsWritten.length)]!,
    count: random() < 1 / 8 ? 5 : 1
  }))
}

/** Writes that every endpoint gets something of: fifty a second. */
export const lastWritesOf = (tenants: number): ReadonlyArray<Due> =>
  Array.from({ length: 2 * tenants }, (_, i) => ({
    at: 20 * i,
    tenant: `t${i % tenants}`,
    topic: topicsWritten[i < tenants ? 0 : 2]!,
    count: 1
  }))

/** What events are: the number is that of its tenant, which its writes count up. */
export interface Written {
  readonly tenant: string
  readonly n: number
  readonly topic: string
}

export const idOf = ({ n, tenant }: Pick<Written, "n" | "tenant">): string => `${tenant}-${n}`

/** The arguments of a process that delivers, or only writes and changes endpoints, where it has no slots. */
export interface Orders {
  readonly store: { readonly sqlite: string } | { readonly postgres: number }
  readonly slots: number
  readonly leaseTtl: number
}

export interface Key {
  readonly tenant: string
  readonly id: string
}

/** What such a process is asked for. */
export type Command =
  | {
      readonly create: Pick<Spec, "tenant" | "topics" | "ordered"> & { readonly url: string; readonly secret: string }
    }
  | {
      readonly write: { readonly tenant: string; readonly topic: string; readonly from: number; readonly count: number }
    }
  | { readonly rotate: { readonly key: Key; readonly secret: string; readonly keepFor: number } }
  | { readonly move: { readonly key: Key; readonly url: string } }
  | { readonly remove: { readonly key: Key } }

/** What it answers: when it had begun and ended, by a clock that all processes share. */
export interface Answer {
  readonly asked: number
  readonly began: number
  readonly ended: number
  readonly id?: string
  readonly error?: string
}

/** What receivers are asked for: whether some are dead and slow, and whether all withhold their answers. */
export interface Behaviour {
  readonly isTroubled: boolean
  readonly isHolding: boolean
}

/** A request as its receiver saw it. */
export interface Arrival {
  readonly i: number
  /** Which of its urls it came to. */
  readonly v: number
  /** In the order of all requests. */
  readonly order: number
  readonly at: number
  readonly endedAt: number
  /** What was answered; 0 where the sender was gone before. */
  readonly status: number
  readonly id: string
  readonly timestamp: string
  readonly signature: string
  readonly body: string
}
