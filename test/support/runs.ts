/**
 * How often a property is tried, and how large a load is: a tenth of `all` in `npm test`, and `all` in
 * `npm run test:slow`, which also runs each file that imports this one.
 */
export const runs = (all: number): number => (isFull ? all : Math.ceil(all / 10))

/** Whether this is the slow suite, which leaves nothing out. */
export const isFull = process.env["EFFECT_EVENTS_FULL"] === "1"
