/**
 * A fleet: processes that deliver to thousands of endpoints of many customers, receivers of which some are dead, slow or flooded,
 * and a process that writes. `simulate` kills and pauses processes and changes endpoints meanwhile; `compare` does neither, and
 * answers how long events took with and without the receivers that are no good.
 */
import { createHash } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { randomFrom } from "../../../support/random.ts"
import { type Member, startMember, startReceivers } from "./processes.ts"
import { delaysOf, type Endpoint, isAccepted, isOwed, judge, quantile, type Records, type Write } from "./records.ts"
import {
  addedSpec,
  type Arrival,
  type Command,
  type Due,
  floodTenant,
  floodTopic,
  idOf,
  lastWritesOf,
  type Orders,
  type Spec,
  specsOf,
  writesOf
} from "./world.ts"

export interface Plan extends Pick<Orders, "store" | "leaseTtl"> {
  readonly seed: number
  readonly endpoints: number
  readonly tenants: number
  /** How many processes deliver. Only one: it writes, too, and is killed with its writes. */
  readonly processes: number
  /** How many endpoints a process delivers to at once. */
  readonly slots: number
  readonly perSecond: number
  readonly seconds: number
  /** How many events the flooded endpoint gets. */
  readonly flood: number
  /** How late what a process does may be because the machine is busy, in milliseconds. */
  readonly margin: number
  /** How often a process is killed, and an endpoint changed, in milliseconds. */
  readonly killEvery: number
  readonly changeEvery: number
}

export interface Outcome {
  readonly kills: number
  readonly pauses: number
  readonly changes: Readonly<Record<Change, number>>
  readonly acknowledged: number
  readonly arrived: number
  /** How many arrivals were accepted more than once, and how many were cut off. */
  readonly repeats: number
  readonly cut: number
  /** From write to arrival at healthy endpoints, in milliseconds. */
  readonly delay: { readonly median: number; readonly p99: number; readonly most: number }
  /** How often a write waited since too much was on its way. */
  readonly heldBack: number
  readonly problems: ReadonlyArray<string>
}

const changeKinds = ["rotate", "move", "add", "rotate", "move", "remove"] as const
type Change = (typeof changeKinds)[number]

/** Kills, pauses and changes while it writes, and judges what came of it. */
export const simulate = async (plan: Plan): Promise<Outcome> => {
  const fleet = await openFleet(plan)
  const { problem, random, records } = fleet
  const changes = { add: 0, rotate: 0, move: 0, remove: 0 }
  let [kills, pauses] = [0, 0]
  let isOver = false
  try {
    await fleet.create()
    await fleet.behave({ isTroubled: true })
    const end = Date.now() + 1000 * plan.seconds
    const every = async (millis: number, act: () => Promise<unknown>) => {
      for (;;) {
        await sleep(millis * (0.5 + random()), undefined, { ref: false })
        if (isOver) return
        await act()
      }
    }
    const kill = async () => {
      if (Date.now() > end && kills >= leastKills) return
      const one = fleet.pick(fleet.members().filter((member) => member !== fleet.paused()))
      if (one === undefined) return
      kills++
      await fleet.kill(one, kills % 2 === 1)
    }
    const pause = async () => {
      await sleep(300 * plan.seconds)
      const one = fleet.pick(fleet.members())
      if (one === undefined) return
      pauses++
      await fleet.pause(one, plan.leaseTtl * 1.5)
    }
    const change = async () => {
      const what = await fleet.change()
      if (what !== undefined) changes[what]++
    }
    const meanwhile = [every(plan.killEvery, kill), every(plan.changeEvery, change), pause()]
    await Promise.all([fleet.write(writesOf(plan)), fleet.flood(plan.flood)])
    await until(() => Date.now() >= end && kills >= leastKills)
    isOver = true
    await Promise.all(meanwhile)
    await fleet.behave({ isTroubled: false })
    await fleet.drain()
    await fleet.write(fleet.last())
    await fleet.drain()
    // What must not arrive has its time to.
    await sleep(1_000)
    await fleet.close()
  } catch (error) {
    problem(`it ended before its time: ${String(error)}`)
  } finally {
    isOver = true
    fleet.stop()
  }
  const accepted = records.arrivals.filter(isAccepted)
  const delays = delaysOf(records, ({ tenant }) => tenant !== floodTenant)
  return {
    kills,
    pauses,
    changes,
    acknowledged: [...records.writes.values()].filter(({ acknowledged }) => acknowledged !== undefined).length,
    arrived: records.arrivals.length,
    repeats: accepted.length - new Set(accepted.map(({ i, id }) => `${i} ${id}`)).size,
    cut: records.arrivals.filter(({ status }) => status === 0).length,
    delay: { median: quantile(delays, 0.5), p99: quantile(delays, 0.99), most: quantile(delays, 1) },
    heldBack: fleet.heldBack(),
    problems: [...fleet.problems(), ...judge(slowed(records, delays))]
  }
}

export interface Comparison {
  /** The 99th percentiles of the delays at healthy endpoints, in milliseconds, with all healthy and without. */
  readonly calm: number
  readonly troubled: number
  readonly medians: readonly [number, number]
  readonly deliveries: number
  readonly heldBack: number
  readonly problems: ReadonlyArray<string>
}

/** Does the same writes `rounds` times each with all receivers healthy and with some that are not, in turn. */
export const compare = async (plan: Plan, rounds: number): Promise<Comparison> => {
  const fleet = await openFleet(plan)
  const { records } = fleet
  const spans: ReadonlyArray<Array<readonly [number, number]>> = [[], []]
  try {
    await fleet.create()
    // What is compiled at first is in neither, on either path.
    await fleet.behave({ isTroubled: true })
    await fleet.write(writesOf(plan))
    await fleet.behave({ isTroubled: false })
    await fleet.drain()
    for (let round = 0; round < rounds; round++) {
      for (const isTroubled of round % 2 === 0 ? [false, true] : [true, false]) {
        await fleet.behave({ isTroubled })
        const flooding = isTroubled ? fleet.flood(plan.flood) : undefined
        const from = Date.now()
        await fleet.write(writesOf(plan))
        spans[isTroubled ? 1 : 0]!.push([from, Date.now()])
        await flooding
        await fleet.behave({ isTroubled: false })
        await fleet.drain()
      }
    }
    await fleet.close()
  } finally {
    fleet.stop()
  }
  const within = (spans: ReadonlyArray<readonly [number, number]>) =>
    delaysOf(
      records,
      ({ began, tenant }) => tenant !== floodTenant && spans.some(([from, until]) => began >= from && began <= until)
    )
  const [calm = [], troubled = []] = spans.map(within)
  return {
    calm: quantile(calm, 0.99),
    troubled: quantile(troubled, 0.99),
    medians: [quantile(calm, 0.5), quantile(troubled, 0.5)],
    deliveries: calm.length + troubled.length,
    heldBack: fleet.heldBack(),
    problems: [...fleet.problems(), ...judge(slowed(records, calm))]
  }
}

// internals

/** On a machine that is busy with other things everything is late: by how much, half of the deliveries show. */
const slowed = (records: Records, delays: ReadonlyArray<number>): Records => ({
  ...records,
  margin: Math.max(records.margin, 2 * quantile(delays, 0.5))
})

/** How often a process is killed at least, which may take longer than the writes. */
const leastKills = 2
/** How many deliveries to healthy endpoints may be on their way before a write waits. */
const mostOwed = 3_000
/** For how long a fleet may do nothing that it owes, in milliseconds. */
const longestStall = 60_000
const [creating, floodBatch] = [8, 250]

/** Waits for what others do, and not for ever. */
const until = async (isMet: () => boolean): Promise<void> => {
  const end = Date.now() + longestStall
  while (!isMet() && Date.now() < end) await sleep(20)
}

const openFleet = async (plan: Plan) => {
  const { endpoints: size, leaseTtl, margin, processes, seed, store, tenants } = plan
  const random = randomFrom(seed)
  const pick = <A>(some: ReadonlyArray<A>): A | undefined => some[Math.floor(random() * some.length)]
  const endpoints = new Map<number, Endpoint>()
  const byTenant = new Map<string, Array<Endpoint>>()
  const writes = new Map<string, Write>()
  const arrivals: Array<Arrival> = []
  const disturbances: Array<{ from: number; until: number }> = []
  const records: Records = { endpoints, writes, arrivals, disturbances, leaseTtl, margin }
  const problems: Array<string> = []
  const problem = (text: string) => void (problems.length < 20 && problems.push(text))

  const accepted = new Set<string>()
  const owed = new Set<string>()
  let owedToHealthy = 0
  const settled = (i: number, key: string) => {
    if (owed.delete(key) && endpoints.get(i)?.spec.kind === "healthy") owedToHealthy--
  }
  const receivers = await startReceivers(size, (arrival) => {
    arrivals.push(arrival)
    if (!isAccepted(arrival)) return
    const key = `${arrival.i} ${arrival.id}`
    accepted.add(key)
    settled(arrival.i, key)
  })
  let behaviour = { isTroubled: false, isHolding: false }
  const behave = (change: Partial<typeof behaviour>) => receivers.behave((behaviour = { ...behaviour, ...change }))

  const start = (slots: number): Member => startMember({ store, leaseTtl, slots })
  const begin = () => start(plan.slots)
  let members = Array.from({ length: processes }, begin)
  const only = processes > 1 ? start(0) : undefined
  let paused: Member | undefined
  const ask = async (command: Command) => {
    // The only process may be on its way.
    await until(() => only !== undefined || members.length > 0)
    const member = only ?? members[0]!
    await member.ready
    const answer = await member.ask(command)
    if (answer?.error !== undefined) problem(`${JSON.stringify(command)} failed: ${answer.error}`)
    return answer?.error === undefined ? answer : undefined
  }

  let given = 0
  const secret = () => `whsec_${createHash("sha256").update(`${seed} ${given++}`).digest("base64")}`
  const urlOf = (i: number, v: number, port: number) => `http://127.0.0.1:${port}/e${i}/v${v}`
  const create = async (spec: Spec) => {
    const first = { secret: secret(), since: Date.now() }
    const endpoint: Endpoint = { spec, secrets: [first], urls: [{}] }
    endpoints.set(spec.i, endpoint)
    byTenant.set(spec.tenant, [...(byTenant.get(spec.tenant) ?? []), endpoint])
    const { i, kind, ordered, tenant, topics } = spec
    const url = urlOf(i, 0, receivers.ports[kind === "refused" ? 1 : 0])
    const answer = await ask({ create: { tenant, topics, ordered, url, secret: first.secret } })
    if (answer?.id === undefined) return
    endpoint.key = { tenant, id: answer.id }
    endpoint.createdAt = answer.ended
  }
  const rotate = async (endpoint: Endpoint, key: NonNullable<Endpoint["key"]>) => {
    const keepFor = 1_000
    const next: Endpoint["secrets"][number] = { secret: secret(), since: Date.now() }
    const before = [...endpoint.secrets]
    endpoint.secrets.push(next)
    const answer = await ask({ rotate: { key, secret: next.secret, keepFor } })
    // Where it is not known, either may sign.
    for (const one of before) {
      if (answer === undefined) delete one.sure
      else one.until ??= answer.ended + keepFor
    }
    if (answer !== undefined) next.sure = answer.ended
  }
  const move = async (endpoint: Endpoint, key: NonNullable<Endpoint["key"]>) => {
    const before = endpoint.urls.at(-1)!
    endpoint.urls.push({})
    const url = urlOf(endpoint.spec.i, endpoint.urls.length - 1, receivers.ports[0])
    const answer = await ask({ move: { key, url } })
    if (answer !== undefined) before.until = answer.ended
  }
  const remove = async (endpoint: Endpoint, key: NonNullable<Endpoint["key"]>) => {
    endpoint.removingAt = Date.now()
    for (const one of owed) if (one.startsWith(`${endpoint.spec.i} `)) settled(endpoint.spec.i, one)
    const answer = await ask({ remove: { key } })
    if (answer !== undefined) endpoint.removedAt = answer.ended
  }
  const changing = new Set<Endpoint>()
  let next = 0
  /** Each kind of change in its turn. */
  const change = async (): Promise<Change | undefined> => {
    const what = changeKinds[next % changeKinds.length]!
    if (what === "add") {
      next++
      const i = Math.max(...endpoints.keys()) + 1
      await create(addedSpec(i, `t${Math.floor(random() * tenants)}`, size))
      return "add"
    }
    const all = [...endpoints.values()]
    // Most of the time only a slow one has a process that is busy with it.
    const endpoint = pick(random() < 0.3 ? all.filter(({ spec }) => spec.kind === "slow") : all)
    const key = endpoint?.key
    if (endpoint === undefined || key === undefined || endpoint.removingAt !== undefined) return undefined
    if (endpoint.spec.kind === "flooded" || changing.has(endpoint)) return undefined
    changing.add(endpoint)
    next++
    await { rotate, move, remove }[what](endpoint, key)
    changing.delete(endpoint)
    return what
  }

  const numbers = new Map<string, number>()
  const chains = new Map<string, Promise<void>>()
  let heldBack = 0
  /** The writes of a tenant come one after the other. */
  const writeOne = ({ count, tenant, topic }: Omit<Due, "at">): Promise<void> => {
    const from = numbers.get(tenant) ?? 0
    numbers.set(tenant, from + count)
    const some = Array.from({ length: count }, (_, k) => ({ tenant, topic, n: from + k, began: Date.now() }) as Write)
    for (const one of some) writes.set(idOf(one), one)
    const done = (chains.get(tenant) ?? Promise.resolve()).then(async () => {
      const answer = await ask({ write: { tenant, topic, from, count } })
      if (answer === undefined) return
      for (const { n } of some) {
        const write: Write = { tenant, topic, n, began: answer.began, acknowledged: answer.ended }
        const id = idOf(write)
        writes.set(id, write)
        for (const endpoint of byTenant.get(tenant) ?? []) {
          const key = `${endpoint.spec.i} ${id}`
          if (!isOwed(endpoint, write) || accepted.has(key)) continue
          owed.add(key)
          if (endpoint.spec.kind === "healthy") owedToHealthy++
        }
      }
    })
    chains.set(tenant, done)
    return done
  }

  const restart = async (one: Member, act: () => Promise<void>) => {
    members = members.filter((member) => member !== one)
    await act()
    const next = begin()
    members = [...members, next]
    // On a busy machine it may take longer than the time between two kills.
    await next.ready
  }

  return {
    records,
    random,
    pick,
    problem,
    problems: () => problems,
    members: () => members,
    paused: () => paused,
    heldBack: () => heldBack,
    behave,
    change,
    create: async () => {
      await Promise.all([...members, only].map((one) => one?.ready))
      const specs = [...specsOf(size, tenants)]
      const next = async (): Promise<void> => {
        for (let spec = specs.shift(); spec !== undefined; spec = specs.shift()) await create(spec)
      }
      await Promise.all(Array.from({ length: creating }, next))
    },
    write: async (due: ReadonlyArray<Due>) => {
      const began = Date.now()
      const done: Array<Promise<void>> = []
      for (const one of due) {
        await sleep(Math.max(0, began + one.at - Date.now()))
        if (owedToHealthy > mostOwed) heldBack++
        await until(() => owedToHealthy <= mostOwed)
        done.push(writeOne(one))
      }
      await Promise.all(done)
    },
    /** A write of each topic to every tenant, which removed endpoints must not get. */
    last: () => lastWritesOf(tenants),
    flood: async (events: number) => {
      for (let n = 0; n < events; n += floodBatch)
        await writeOne({ tenant: floodTenant, topic: floodTopic, count: Math.min(floodBatch, events - n) })
    },
    kill: async (one: Member, inTheMiddle: boolean) => {
      if (one.hasEnded()) return problem(`a process ended by itself: ${one.errors()}`)
      // Requests that it waits for are cut off.
      if (inTheMiddle) await behave({ isHolding: true })
      await sleep(inTheMiddle ? 150 : 0)
      const from = Date.now()
      disturbances.push({ from, until: from })
      await restart(one, async () => {
        one.signal("SIGKILL")
        await one.ended
        if (inTheMiddle) await behave({ isHolding: false })
      })
    },
    pause: async (one: Member, millis: number) => {
      const disturbance = { from: Date.now(), until: Number.POSITIVE_INFINITY }
      disturbances.push(disturbance)
      paused = one
      one.signal("SIGSTOP")
      await sleep(millis)
      one.signal("SIGCONT")
      paused = undefined
      disturbance.until = Date.now()
    },
    drain: async () => {
      for (let before = owed.size, since = Date.now(); owed.size > 0;) {
        if (owed.size < before) [before, since] = [owed.size, Date.now()]
        if (Date.now() - since > longestStall) return problem(`${owed.size} deliveries are owed, and none comes`)
        await sleep(50)
      }
    },
    /** Closes all, and waits for that. */
    close: async () => {
      for (const one of [...members, only]) {
        if (one === undefined) continue
        if (one.hasEnded()) problem(`a process ended by itself: ${one.errors()}`)
        else if ((await one.close()) !== 0) problem(`a process did not close: ${one.errors()}`)
      }
      await receivers.close()
    },
    /** Ends what is left. */
    stop: () => {
      for (const one of [...members, only]) one?.signal("SIGKILL")
      void receivers.close()
    }
  }
}
