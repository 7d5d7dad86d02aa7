/** A time as it is written in an option. */

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** An age such as `30m`, `2h` or `7d`, a day such as `2026-01-31` (UTC), or a time of ISO 8601 with its zone. */
export const timeOf = (text: string, now: number): number | undefined => {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? []
  if (unit !== undefined) return now - Number(count) * (units[unit] ?? 0)
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text)) return undefined
  const time = Date.parse(text)
  return Number.isNaN(time) ? undefined : time
}
