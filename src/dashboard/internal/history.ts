/** The last 15 minutes of a node, a sample a second, in a ring of fixed size. */

/** How many samples there are at most. */
export const maxSamples = 900

/** How many samples a rate is the mean of. */
const smoothed = 5

/** Samples that were joined, from the oldest to the newest: the greatest depth and the mean rate of each. */
export interface Buckets {
  readonly pending: ReadonlyArray<number>
  readonly rate: ReadonlyArray<number>
}

export interface History {
  /** Adds a sample, for as many seconds as it stands for. */
  readonly push: (pending: number, rate: number, seconds?: number) => void
  /** Events a second, over the last samples. */
  readonly rate: () => number
  /** The newest samples, `size` of them to a bucket; the newest bucket may have fewer. */
  readonly buckets: (size: number) => Buckets
}

export const makeHistory = (): History => {
  const pendings = new Float32Array(maxSamples)
  const rates = new Float32Array(maxSamples)
  /** How many were ever pushed. */
  let pushed = 0
  return {
    push: (pending, rate, seconds = 1) => {
      for (let i = 0; i < Math.min(seconds, maxSamples); i++, pushed++) {
        pendings[pushed % maxSamples] = pending
        rates[pushed % maxSamples] = rate
      }
    },
    rate: () => {
      const n = Math.min(smoothed, pushed)
      let sum = 0
      for (let i = pushed - n; i < pushed; i++) sum += rates[i % maxSamples] ?? 0
      return n === 0 ? 0 : sum / n
    },
    buckets: (size) => {
      const pending: Array<number> = []
      const rate: Array<number> = []
      // Buckets keep their borders from one call to the next, or a line would tremble.
      const first = Math.max(0, Math.ceil((pushed - maxSamples) / size) * size)
      for (let from = first; from < pushed; from += size) {
        const to = Math.min(from + size, pushed)
        let most = 0
        let sum = 0
        for (let i = from; i < to; i++) {
          most = Math.max(most, pendings[i % maxSamples] ?? 0)
          sum += rates[i % maxSamples] ?? 0
        }
        pending.push(most)
        rate.push(Math.round((100 * sum) / (to - from)) / 100)
      }
      return { pending, rate }
    }
  }
}
