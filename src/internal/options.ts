/**
 * A count that an option gives: a whole number from `least` on, or `Infinity`. Anything else is a mistake in the program
 * and a defect, which says what and where.
 */
export const count = (where: string, what: string, value: number, least: number): number => {
  if (value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && value >= least)) return value
  throw new RangeError(`${where}: ${what} must be a whole number from ${least} on, and is ${value}`)
}
