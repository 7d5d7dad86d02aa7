/**
 * How often a property is tried, and how large a load is: a tenth of `all` in `npm test`, and `all` in
 * `npm run test:slow`, which also runs each file that imports this one.
 */
export const runs = (all: number): number => (isFull ? all : Math.ceil(all / 10))

/** Whether this is the slow suite, which leaves nothing out. */
export const isFull = process.env["EFFECT_EVENTS_FULL"] === "1"

/** Of many that are alike, one in `every` of them in `npm test`, and all in the slow suite. */
export const spread = <A>(all: ReadonlyArray<A>, every: number): ReadonlyArray<A> =>
  isFull ? all : all.filter((_, n) => n % every === 0)

/**
 * Pairs of what is tested and what it is tested for. In `npm test` each of the first is in an eighth of its pairs, each of the second
 * with an eighth of the first, and every one of these in its turn.
 */
export const checksOf = <A, B>(
  some: ReadonlyArray<A>,
  of: (one: A) => ReadonlyArray<B>
): ReadonlyArray<readonly [A, ReadonlyArray<B>]> =>
  some.map((one, i) => [one, isFull ? of(one) : of(one).filter((_, j) => (i + j) % 8 === 0)] as const)
