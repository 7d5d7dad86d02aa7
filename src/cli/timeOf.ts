/** A time as it is written in an option. */
import { isoOf } from "./table.ts"

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** An age such as `30m`, `2h` or `7d`, a day such as `2026-01-31` (UTC), or a time of ISO 8601 with its zone. */
export const timeOf = (text: string, now: number): number | undefined => {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? []
  if (unit !== undefined) return dateOf(now - Number(count) * (units[unit] ?? 0))
  const [, day] = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.exec(text) ?? []
  // `Date.parse` takes the 31st of February as the 3rd of March.
  if (day === undefined || isoOf(dateOf(Date.parse(day)))?.slice(0, day.length) !== day) return undefined
  return dateOf(Date.parse(text))
}

/** A time that a `Date` has. */
const dateOf = (time: number): number | undefined => (Number.isNaN(new Date(time).getTime()) ? undefined : time)
