/** What the events of a queue weigh, by their positions: of all that are not settled, and of those that wait. */

export type Weights = ReturnType<typeof makeWeights>

export const makeWeights = () => {
  const weights = new Map<number, number>()
  let all = 0
  let waiting = 0
  return {
    /** An event is offered, and waits. */
    offer: (position: number, weight: number) => {
      weights.set(position, weight)
      all += weight
      waiting += weight
    },
    /** A drainer has taken the event, or it is dropped. */
    take: (position: number) => {
      waiting -= weights.get(position)!
    },
    /** The event, which was taken, counts no more. */
    settle: (position: number) => {
      all -= weights.get(position)!
      weights.delete(position)
      // Sums of fractions: what they are off by must not grow.
      if (weights.size === 0) all = waiting = 0
    },
    /** What the events weigh that are not settled. */
    all: () => all,
    /** What those of them weigh that a drainer has taken. */
    taken: () => all - waiting
  }
}

/** What an event weighs by the option `size`: a finite number from 0 on; anything else is a defect of the write. */
export const checkedWeight = (weight: number): number => {
  if (Number.isFinite(weight) && weight >= 0) return weight
  throw new RangeError(`EventQueue.make: size must answer a finite number from 0 on, and answered ${weight}`)
}
