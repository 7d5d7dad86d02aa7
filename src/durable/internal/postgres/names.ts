/** The names of a store's tables and of its channel. */

export interface Names {
  readonly schema: string
  readonly version: string
  readonly positions: string
  /** The next of the positions, as a statement has it. */
  readonly nextPosition: string
  readonly exchanges: string
  readonly subscriptions: string
  readonly routes: string
  readonly leases: string
  readonly owners: string
  readonly events: string
  readonly deliveries: string
  readonly delayed: string
  readonly scheduled: string
  readonly arrivals: string
  readonly deadLetters: string
  readonly fills: string
  readonly dropped: string
  readonly ids: string
  readonly outcomes: string
  readonly attempts: string
  /** The name of an index: of the schema of its table. */
  readonly index: (name: string) => string
  /** The channel of `NOTIFY`: one for all exchanges. Stores of two schemas may share it, and then poll once too often. */
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
    positions: table("positions"),
    nextPosition: `nextval('${table("positions").replaceAll("'", "''")}')`,
    exchanges: table("exchanges"),
    subscriptions: table("subscriptions"),
    routes: table("routes"),
    leases: table("leases"),
    owners: table("owners"),
    events: table("events"),
    deliveries: table("deliveries"),
    delayed: table("delayed"),
    scheduled: table("scheduled"),
    arrivals: table("arrivals"),
    deadLetters: table("dead_letters"),
    fills: table("fills"),
    dropped: table("dropped"),
    ids: table("ids"),
    outcomes: table("outcomes"),
    attempts: table("attempts"),
    index: (name) => quoted(prefix + name),
    channel: `${prefix}changes`
  }
}
