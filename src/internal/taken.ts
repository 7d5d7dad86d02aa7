/** What the drainers of a buffer have taken, entry by entry, and not settled. */

/** The place of an event among all that were offered. */
interface Positioned {
  readonly position: number
}

/** Is called with the position of each event that is taken, and of each that is settled. */
interface Positions {
  readonly take: (position: number) => void
  readonly settle: (position: number) => void
}

export const makeTaken = (positions: Positions | undefined) => {
  const sources: Array<{ entries: ReadonlyArray<Positioned>; settled: number }> = []
  return {
    /** The least position that is taken and not settled, or `waiting` if that is less. */
    oldest: (waiting: number): number =>
      sources.reduce((least, { entries, settled }) => Math.min(least, entries[settled]?.position ?? least), waiting),
    /** For one drainer, which takes again when it has settled all of what it took. */
    source: () => {
      const own = { entries: [] as ReadonlyArray<Positioned>, settled: 0 }
      sources.push(own)
      return {
        take: (entries: ReadonlyArray<Positioned>): void => {
          own.settled = 0
          own.entries = entries
          if (positions !== undefined) for (const { position } of entries) positions.take(position)
        },
        /** The first `n` that are not settled are. Answers whether that is the rest. */
        settle: (n: number): boolean => {
          if (positions !== undefined) {
            for (const { position } of own.entries.slice(own.settled, own.settled + n)) positions.settle(position)
          }
          own.settled += n
          if (own.settled < own.entries.length) return false
          // A delivered event is left to the collector.
          own.entries = []
          return true
        }
      }
    }
  }
}
