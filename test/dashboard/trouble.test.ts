import { describe, expect, it } from "vitest"
import type { EventSink } from "effect-events"
import { type Known, spell, troubleOf } from "../../src/dashboard/internal/trouble.ts"

const now = 1_000_000
const known = (health: Partial<EventSink.SinkHealth>, more: Partial<Known> = {}): Known => ({
  control: undefined,
  deadLetters: undefined,
  unread: undefined,
  error: undefined,
  errorAt: undefined,
  droppedAt: undefined,
  deadAt: undefined,
  ...more,
  health: {
    kind: "EventQueue",
    name: "orders",
    state: "open",
    pending: 0,
    oldestAge: undefined,
    inFlight: 0,
    breaker: undefined,
    lastError: undefined,
    counts: { accepted: 0, delivered: 0, filtered: 0, dropped: 0, undelivered: 0, deadLettered: 0, remaining: 0 },
    ...health
  }
})
const counts = (some: Partial<EventSink.SinkCounts>) => ({ counts: { ...known({}).health.counts, ...some } })

describe("what is wrong with a node", () => {
  it("is nothing where events wait for a moment", () => {
    expect(troubleOf(known({}), now)).toBe(undefined)
    expect(troubleOf(known({ pending: 1000, oldestAge: 500, breaker: "closed" }), now)).toBe(undefined)
    // An error of some time ago.
    expect(troubleOf(known({ pending: 1, oldestAge: 5 }, { error: "503", errorAt: now - 60_000 }), now)).toBe(undefined)
  })

  it.each<readonly [Known, "bad" | "warn", string]>([
    [
      known({ state: "closed", pending: 3 }, { error: "no process serves it" }),
      "bad",
      "It is closed, and 3 events wait: no process serves it"
    ],
    [
      known({ pending: 1 }, { control: { state: "paused", reason: "maintenance", since: now - 5000 } }),
      "warn",
      "It is paused for 5.0 s, and 1 event waits: maintenance"
    ],
    [
      known({}, { control: { state: "disabled", reason: "410 Gone", since: undefined } }),
      "bad",
      "It is disabled, and nothing waits: 410 Gone"
    ],
    [
      known(counts({ dropped: 4 }), { droppedAt: now - 2000 }),
      "bad",
      "4 events were dropped in all, the last 2.0 s ago"
    ],
    [known({ state: "closed", ...counts({ undelivered: 2 }) }), "bad", "Its close could not deliver 2 events"],
    [
      known({ breaker: "open", pending: 12, oldestAge: 3000 }, { error: "503" }),
      "bad",
      "Its receiver fails and is left alone for now, and 12 events wait, the oldest for 3.0 s: 503"
    ],
    [known({ breaker: "open", inFlight: 1 }), "bad", "Its receiver fails and is left alone for now, and 1 event waits"],
    [known({ breaker: "open" }), "warn", "Its receiver fails and is left alone for now, and nothing waits"],
    [
      known({ breaker: "half-open", pending: 1 }),
      "warn",
      "It tries its receiver again with one event, and 1 event waits"
    ],
    [known({ pending: 2, oldestAge: 20_000 }), "warn", "The oldest of 2 events has waited for 20 s"],
    [known({ pending: 1, oldestAge: 7_200_000 }), "bad", "The oldest of 1 event has waited for 2 h 0 min"],
    [known({}, { unread: "locked" }), "bad", "Its store does not answer: locked"],
    [known({ pending: 1 }, { error: "503", errorAt: now - 1000 }), "warn", "Its last attempt failed: 503"],
    [known({}, { deadLetters: 2 }), "warn", "2 dead letters wait for a decision"],
    [
      known({}, { deadLetters: 1, deadAt: now - 1000 }),
      "bad",
      "1 dead letter waits for a decision, the last came 1.0 s ago"
    ]
  ])("is said in a sentence: %#", (known, level, text) => {
    expect(troubleOf(known, now)).toEqual({ level, text })
  })

  it("is the worst of it", () => {
    const all = known(
      { breaker: "open", pending: 1, oldestAge: 90_000 },
      { control: { state: "disabled", reason: undefined, since: undefined }, deadLetters: 3 }
    )
    expect(troubleOf(all, now)?.text).toMatch(/^It is disabled/)
  })
})

it("times are read at a glance", () => {
  expect([-5, 0, 4230, 9_990, 45_000, 200_000, 8_000_000, 300_000_000].map(spell)).toEqual([
    "0.0 s",
    "0.0 s",
    "4.2 s",
    "10.0 s",
    "45 s",
    "3 min",
    "2 h 13 min",
    "3 days"
  ])
})
