/** What the processes of a crash test said and its receivers got, and what is wrong with it. */
import { isFor, type Subscription } from "./crashSubscriptions.ts"

/** What one writer of one process said. */
interface Sent {
  readonly size: number
  /** How many of its events were acknowledged, and how many writes it repeated, not knowing. */
  acknowledged: number
  repeated: number
  /** When each write that was acknowledged had begun. */
  readonly began: Array<number>
}

/** What a subscription got of one writer. */
interface Got {
  readonly first: number
  /** The number that is to arrive next for the first time. */
  next: number
}

interface Standing {
  readonly subscription: Subscription
  /** When it was surely there. */
  since: number
  /** It may be gone, or made again since. */
  isDropped: boolean
  repeats: number
  readonly got: Map<string, Got>
}

export const makeRecords = (sizes: ReadonlyArray<number>) => {
  const problems: Array<string> = []
  const sent = new Map<string, Sent>()
  const subscriptions = new Map<string, Standing>()
  let arrived = 0
  const problem = (text: string) => void (problems.length < 20 && problems.push(text))

  const sentBy = (run: number, writer: number): Sent => {
    const key = `${run}:${writer}`
    const found = sent.get(key) ?? { size: sizes[writer] ?? 0, acknowledged: 0, repeated: 0, began: [] }
    sent.set(key, found)
    return found
  }
  const nextFor = (subscription: Subscription, from: number): number => {
    let n = from
    while (!isFor(subscription, n)) n++
    return n
  }

  const receive = (name: string, body: string): void => {
    const standing = subscriptions.get(name)
    if (standing === undefined) return problem(`something came for ${name}`)
    const { got, subscription } = standing
    for (const line of body.split("\n").filter(Boolean)) {
      const { n, run, writer } = JSON.parse(line) as Record<"run" | "writer" | "n", number>
      const key = `${run}:${writer}`
      sentBy(run, writer)
      arrived++
      if (!isFor(subscription, n)) problem(`${name} got ${key} ${n}, which is not for it`)
      const before = got.get(key)
      const next = nextFor(subscription, n + 1)
      if (before === undefined) got.set(key, { first: n, next })
      else if (n < before.next) standing.repeats++
      else {
        if (n > before.next && !standing.isDropped) problem(`${name}: ${key} ${n} came when ${before.next} had not`)
        before.next = next
      }
    }
  }

  /** What a process says, beside that it is ready. */
  const heard = (run: number, line: string): void => {
    const [word, what = "", n, time] = line.split(" ")
    const standing = subscriptions.get(what)
    if (word === "wrote") {
      const writer = sentBy(run, Number(what))
      writer.acknowledged = Number(n)
      writer.began.push(Number(time))
    }
    if (word === "again") sentBy(run, Number(what)).repeated++
    if (word === "added" && standing !== undefined) standing.since = Math.min(standing.since, Number(n))
    if (word === "dead" && what !== "0") problem(`${what} dead letters`)
  }

  /** `batches` is how many batches may have been delivered without being acknowledged, to each subscription. */
  const judge = (batches: number, batchSize: number) => {
    let again = 0
    for (const { repeated, size } of sent.values()) again += repeated * size
    for (const [name, { got, isDropped, repeats, since, subscription }] of subscriptions) {
      if (isDropped) continue
      const most = batches * batchSize + again
      if (repeats > most) problem(`${name}: ${repeats} repeats, of at most ${most}`)
      for (const [key, { acknowledged, began, size }] of sent) {
        const write = began.findIndex((at) => at > since)
        const { first = Number.POSITIVE_INFINITY, next = 0 } = got.get(key) ?? {}
        const most = nextFor(subscription, acknowledged + size)
        if (next > most) problem(`${name}: ${key}: ${acknowledged} were acknowledged, and ${next} came`)
        if (write < 0) continue
        const from = nextFor(subscription, write * size)
        if (from >= acknowledged) continue
        if (first > from) problem(`${name}: ${key} ${from} was acknowledged, and the first that came was ${first}`)
        if (next < acknowledged) problem(`${name}: ${key}: ${acknowledged} were acknowledged, and ${next} is missing`)
      }
    }
    return {
      acknowledged: [...sent.values()].reduce((n, one) => n + one.acknowledged, 0),
      arrived,
      repeats: [...subscriptions.values()].reduce((n, one) => n + one.repeats, 0),
      subscriptions: subscriptions.size,
      problems
    }
  }

  return {
    problem,
    receive,
    heard,
    judge,
    known: (subscription: Subscription) =>
      void subscriptions.set(subscription.name, {
        subscription,
        since: Number.POSITIVE_INFINITY,
        isDropped: false,
        repeats: 0,
        got: new Map()
      }),
    /** From now on it may be gone. */
    dropping: (name: string) => {
      const standing = subscriptions.get(name)
      if (standing !== undefined) standing.isDropped = true
    },
    /** The subscriptions that are to be served. */
    standing: () => [...subscriptions.values()].flatMap((one) => (one.isDropped ? [] : [one.subscription]))
  }
}
