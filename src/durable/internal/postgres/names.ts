/** The names of a store's tables and of its channel. */

export interface Names {
  readonly schema: string
  readonly version: string
  readonly leases: string
  readonly events: string
  readonly deadLetters: string
  readonly deadLettersOrder: string
  /** The channel of `NOTIFY`: one for all queues. Stores of two schemas may share it, and then poll once too often. */
  readonly channel: string
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** Checks a prefix of names of tables. */
export const prefixOf = (prefix: string): string => {
  // a name of Postgres has 63 bytes, and what is longer is cut off: the prefix leaves room for the rest
  if (/^[a-z_][a-z0-9_]{0,39}$/.test(prefix)) return prefix
  throw new RangeError(`PostgresStore: prefix must be 1 to 40 of a-z, 0-9 and _, and is ${JSON.stringify(prefix)}`)
}

export const names = (schema: string, prefix: string): Names => {
  const table = (name: string) => `${quoted(schema)}.${quoted(prefix + name)}`
  return {
    schema: quoted(schema),
    version: table("version"),
    leases: table("leases"),
    events: table("events"),
    deadLetters: table("dead_letters"),
    deadLettersOrder: quoted(`${prefix}dead_letters_order`),
    channel: `${prefix}changes`
  }
}

/**
 * The name of a queue in a notification, whose payload Postgres limits to 8,000 bytes: the queue's own, of a long one
 * the first thousand characters. Queues whose names begin alike wake each other, which does no harm.
 */
export const topic = (queue: string): string =>
  queue.length <= 1_000 ? queue : Array.from(queue).slice(0, 1_000).join("")
