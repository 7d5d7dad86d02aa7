/** What waits, in the order of its arrival. Each of it may leave before the others. */

export interface Arrival {
  hasLeft: boolean
}

/** What has left is removed once there is this much of it, and more of it than of the rest. */
const sweep = 1024

export type Arrivals<A extends Arrival> = ReturnType<typeof makeArrivals<A>>

export const makeArrivals = <A extends Arrival>() => {
  let all: Array<A> = []
  let head = 0
  let size = 0
  return {
    size: () => size,
    add: (one: A) => {
      all.push(one)
      size++
    },
    /** The first that has not left. */
    first: (): A | undefined => {
      while (all[head]?.hasLeft === true) head++
      return all[head]
    },
    /** Answers whether it was there. */
    leave: (one: A) => {
      if (one.hasLeft) return false
      one.hasLeft = true
      size--
      // Also behind one that stays for long: what has left must not stay in memory.
      const gone = all.length - size
      if (size === 0 || (gone >= sweep && gone * 2 > all.length)) {
        all = all.filter(({ hasLeft }) => !hasLeft)
        head = 0
      }
      return true
    }
  }
}
