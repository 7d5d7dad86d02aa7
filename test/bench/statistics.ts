const sorted = (values: ReadonlyArray<number>): ReadonlyArray<number> => values.toSorted((a, b) => a - b)

/** The value below which the part `p` of the values lies. */
export const quantile = (values: ReadonlyArray<number>, p: number): number => {
  const all = sorted(values)
  return all[Math.min(all.length - 1, Math.floor(p * all.length))] ?? Number.NaN
}

export const median = (values: ReadonlyArray<number>): number => {
  const all = sorted(values)
  const middle = Math.floor(all.length / 2)
  if (all.length % 2 === 1) return all[middle] ?? Number.NaN
  return ((all[middle - 1] ?? Number.NaN) + (all[middle] ?? Number.NaN)) / 2
}

export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

export const summary = (values: ReadonlyArray<number>): Summary => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values)
})
