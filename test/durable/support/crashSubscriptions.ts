/** The subscriptions of the crash tests. */

export interface Subscription {
  readonly name: string
  readonly topics: readonly [string, ...Array<string>]
  readonly concurrency: number
}

export const topicOf = (n: number): string => `third/${n % 3}`

/** Whether an event is for it. */
export const isFor = ({ topics }: Subscription, n: number): boolean =>
  topics.some((topic) => topic === "*" || topic === "third/*" || topic === topicOf(n))

export const queueOf = (concurrency: number): ReadonlyArray<Subscription> => [
  { name: "queue", topics: ["*"], concurrency }
]

/** One in order, one by keys, and one of a topic. */
export const standing: ReadonlyArray<Subscription> = [
  { name: "ordered", topics: ["*"], concurrency: 1 },
  { name: "keyed", topics: ["*"], concurrency: 3 },
  { name: "topic", topics: ["third/1"], concurrency: 1 }
]

/** One that is added, and dropped, while others write. */
export const passing = (n: number): Subscription => ({
  name: `passing-${n}`,
  topics: ["third/*"],
  concurrency: 1 + (n % 2)
})
