/** The times of a lease, as the row of its queue has them. */

export interface Times {
  /** When the lease was given or renewed, and when it runs out; nothing when it was given back. */
  readonly renewed: number | null
  readonly expires: number | null
}

/** A time that an integer column can hold. */
export const expiry = (now: number, ttl: number): number => Math.min(Math.ceil(now + ttl), Number.MAX_SAFE_INTEGER)

/**
 * The lease was renewed at a time that is further ahead than it lasts: the clock was set back since. An owner that lives
 * renews it by the clock as it is; that of one that died would last as long again as the clock was wrong.
 */
export const isFromLater = ({ expires, renewed }: Times, now: number): boolean =>
  expires !== null && renewed !== null && renewed - now > expires - renewed
