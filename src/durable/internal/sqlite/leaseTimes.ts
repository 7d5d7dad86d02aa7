/** The times of a lease, as the row of its queue has them. */

export interface LeaseTimes {
  /** When the lease was acquired or renewed, and when it expires; nothing when it was released. */
  readonly renewed: number | null
  readonly expires: number | null
}

/** A time that an integer column can hold. */
export const expiry = (now: number, ttl: number): number => Math.min(Math.ceil(now + ttl), Number.MAX_SAFE_INTEGER)

/**
 * The lease was renewed at a time that is further ahead than it lasts: the clock was set back since. An owner that
 * lives renews it by the clock as it is; the lease of a dead owner would last as long again as the clock was wrong.
 */
export const isFromLater = ({ expires, renewed }: LeaseTimes, now: number): boolean =>
  expires !== null && renewed !== null && renewed - now > expires - renewed
