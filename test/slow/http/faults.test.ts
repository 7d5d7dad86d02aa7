import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { FetchHttpClient } from "effect/http"
import * as fc from "fast-check"
import { quiet } from "../../support/virtual.ts"
import { type Delivery, disordered, keyOf, open, until } from "../../http/support/delivery.ts"
import { type Fault, faults, nothing } from "../../http/support/faults.ts"
import { type Case, opened, sideBySide, variants } from "../../http/support/handles.ts"
import { status } from "../../http/support/receiver.ts"
import { type Script, unreliable } from "../../http/support/unreliable.ts"

/** Requests that go well before the receiver misbehaves. */
const healthy = 10

/** Meets so many requests with a fault, and then goes well. */
const met =
  (fault: Fault, times: number): Script =>
  (n) =>
    n <= healthy || n > healthy + times ? undefined : fault.down === true ? "down" : fault

const checks = () => {
  const found: Array<string> = []
  const check = (holds: boolean, what: string) => void (holds || found.push(what))
  return { found, check }
}

const errors = ({ failures }: Delivery) => new Set(failures.map(({ reason }) => reason._tag))

/** What holds when all that was accepted is settled, and no event was dropped. */
const settled = Effect.fnUntraced(function* (delivery: Delivery) {
  const { check, found } = checks()
  check(yield* delivery.flushed, "was not flushed in time")
  const { delivered, pending } = yield* delivery.counts
  check(pending === 0 && delivered === delivery.accepted.length, `delivered ${delivered}, and ${pending} are pending`)
  check((yield* delivery.endpoint.state)._tag === "Enabled", "is disabled")
  yield* delivery.close
  check(delivery.books.reports.length === 0, `dropped ${delivery.books.reports.length}`)
  return [...found, ...(yield* delivery.violations)]
})

/**
 * Where the timeout makes the test it is short, and for others long: a process that gets no time for so long may take an
 * answer for one that did not come. That costs repeats, and nothing else.
 */
const timeoutOf = (fault: Fault) => (fault.slow === true ? "200 millis" : "1 minute")

/** The receiver misbehaves under load, and then no more. */
const recovering = (fault: Fault): Case<unknown> => {
  // Enough for a breaker that opens at 5 failures.
  const times = fault.down === true ? 1 : fault.slow === true ? 4 : 12
  return {
    name: `${fault.name}, recovering`,
    script: () => met(fault, times),
    run: Effect.fnUntraced(function* (receiver, { client, concurrency }, stalled) {
      const delivery = yield* open(receiver, concurrency, { timeout: timeoutOf(fault) })
      const { check, found } = checks()
      const writing = yield* Effect.forkChild(delivery.writers(fault.bytes === undefined ? 20 : 8, fault.bytes))
      if (fault.down === true) {
        yield* until(() => receiver.isDown() && delivery.failures.length >= 8)
        yield* receiver.up
      }
      yield* Fiber.join(writing)
      found.push(...(yield* settled(delivery)))

      // The fault was met, and is called what it is.
      check(receiver.hit.length === (fault.down === true ? 0 : times), `met ${receiver.hit.length} times`)
      // A quarter of the timeout: after a longer stall it says nothing about the receiver.
      if (fault.slow === undefined || stalled() < 50) {
        const called = errors(delivery)
        check(called.size === 1 && called.has(fault.as), `is called ${[...called]}`)
        check(fault.slow === undefined || receiver.peak() > 1 || concurrency === 1, "one request at a time")
        // A status of 2xx is an acceptance whatever follows it.
        const accepted = receiver.hit.filter(({ code }) => code === 200).map(({ body }) => body)
        const again = accepted.filter((body) => receiver.taken.filter((other) => other === body).length > 1)
        check(again.length === 0, `sent ${again.length} again of ${accepted.length} that were accepted`)
      }
      // An answer is read to its end, or its connection is lost. The pool of `fetch` opens one for each request, now and
      // then, once connections have failed, and ends it at once.
      const costly = delivery.failures.filter(({ reason }) => reason._tag !== "Status").length
      const lost = costly + (fault.keeps === true ? 0 : receiver.hit.length)
      const most = opened(concurrency) + lost
      check(
        client === "fetch" || receiver.connections() <= most,
        `took ${receiver.connections()} connections, ${lost} lost`
      )
      return found
    })
  }
}

const drainTimeout = 300

/** The scope closes while the receiver misbehaves. */
const closing = (fault: Fault): Case<unknown> => ({
  name: `${fault.name}, closing`,
  // Each client and each concurrency with every second fault.
  variants: variants.filter((_, i) => (faults.indexOf(fault) % 2 === 0 ? i % 3 === 0 : i % 3 !== 0)),
  script: () => met(fault, Infinity),
  run: Effect.fnUntraced(function* (receiver, { concurrency }) {
    const delivery = yield* open(receiver, concurrency, { timeout: timeoutOf(fault), drainTimeout })
    const { check, found } = checks()
    const opening = performance.now()
    yield* delivery.writers(fault.bytes === undefined ? 20 : 8, fault.bytes)
    yield* until(() => receiver.hit.length > 0 || delivery.failures.length > 0)
    const begin = performance.now()
    yield* delivery.close
    const took = performance.now() - begin
    // Long before a request's own minute is over.
    check(took < 30_000, `the close took ${Math.round(took)} ms`)
    const left = delivery.books.reports
    check(left.length === 0 || took > drainTimeout - 10, `left ${left.length} undelivered after ${Math.round(took)} ms`)
    check(left.length > 0 || (fault.code !== undefined && fault.slow === undefined), "nothing was left")
    check(
      left.every(({ reason }) => reason === "Undelivered"),
      `reported ${left.map(({ reason }) => reason)}`
    )
    const { pending } = yield* delivery.counts
    check(pending === 0, `${pending} are pending`)
    // The breaker opened, and then let one try at a time: its backoff is 20 ms, and it opens at 5 failures.
    const tries = 5 + concurrency + (performance.now() - opening) / 20
    const isTaking = receiver.hit.some(({ code }) => code === 200)
    check(isTaking || delivery.failures.length <= tries, `tried ${delivery.failures.length} times`)
    // What was on its way may still arrive, and nothing else.
    const [seen, reports] = [receiver.seen.length, left.length]
    yield* Effect.sleep("30 millis")
    check(receiver.seen.length <= seen + delivery.inFlight.length, "sends after the close")
    check(left.length === reports, "reports after the close")
    return [...found, ...(yield* delivery.violations)]
  })
})

/** Less than a second each, and many times that on a machine that is busy with other things: this is for what hangs. */
const patience = 240_000

const holds = <E>(found: Effect.Effect<ReadonlyArray<string>, E>) =>
  quiet(Effect.map(found, (violations) => assert.strictEqual(violations.join("\n"), "")))

describe("an endpoint over a receiver that does not work for a while loses nothing, keeps order, and leaves nothing open", () => {
  // Slow ones have time for each other.
  const silent = faults.filter(({ as, slow }) => slow === true && as === "Timeout")
  const stuck = faults.filter(({ as, slow }) => slow === true && as !== "Timeout")
  const groups = [...faults.filter(({ slow }) => slow === undefined).map((fault) => [fault]), silent, stuck]

  it.live.each(groups.map((group) => [group.map(({ name }) => name).join(", "), group] as const))(
    "%s",
    ([, group]) => holds(sideBySide(...group.map(recovering), ...group.map(closing))),
    patience
  )
})

/** Four writers at once, of 40 events each, and a receiver that goes away five times meanwhile. */
const restarted: Case<unknown> = {
  name: "restarted",
  script: () => () => undefined,
  run: Effect.fnUntraced(function* (receiver, { concurrency }) {
    const delivery = yield* open(receiver, concurrency)
    const writing = yield* Effect.forkChild(
      Effect.forEach([1, 2, 3, 4], (name) => delivery.writer(name, 40), { concurrency: "unbounded", discard: true })
    )
    const { check, found } = checks()
    for (let i = 1; i <= 5; i++) {
      yield* until(() => receiver.taken.length >= 25 * i)
      receiver.down()
      const before = delivery.failures.length
      yield* until(() => delivery.failures.length > before)
      yield* receiver.up
    }
    yield* Fiber.join(writing)
    found.push(...(yield* settled(delivery)))
    check(errors(delivery).has("Transport"), "no connection was lost")
    return found
  })
}

const answering = (code: number, headers: Record<string, string> = {}): Fault => ({
  name: `${code}`,
  code: () => code,
  answer: (response) => status(code, "", headers)(response, nothing, 1),
  as: "Status"
})

/** 40 events are taken, then there is trouble, and then the receiver is gone for good: for what is queued and what comes. */
const gone: Case<unknown> = {
  name: "gone",
  script: () => (n) => (n <= 40 ? undefined : answering(n <= 52 ? 503 : 410)),
  run: Effect.fnUntraced(function* (receiver, { concurrency }) {
    // Long: an answer that comes too late would be an event that both the receiver and `onDisabled` have.
    const delivery = yield* open(receiver, concurrency, { timeout: "1 minute" })
    const { check, found } = checks()
    yield* delivery.writers(30)
    check(yield* delivery.flushed, "was not flushed in time")
    check((yield* delivery.endpoint.state)._tag === "Disabled", "is not disabled")
    yield* delivery.writer(4, 10)
    check(yield* delivery.flushed, "was not flushed in time")
    yield* delivery.close
    const { books, taken } = delivery
    check(taken.length === 40, `took ${taken.length}`)
    const all = [...taken, ...books.diverted]
    check(
      all.length === 100 && new Set(all).size === 100,
      `${all.length} places for ${new Set(all).size} of 100 events`
    )
    // With one line the order is that of all events, and otherwise that of each key: the receiver's events come first.
    check(concurrency > 1 || all.join() === delivery.accepted.join(), `not in the order of the queue: ${all}`)
    check(disordered(all).length === 0, `out of order: ${disordered(all)}`)
    // The one that was tried alone got the answer, and those that waited for its turn to end were not sent any more.
    check(receiver.hit.length === 13, `asked ${receiver.hit.length - 12} times`)
    return [...found, ...(yield* delivery.violations)]
  })
}

/** One request is answered by 503 and asked for a second of peace. */
const asking: Case<unknown> = {
  name: "asking",
  script: () => (n) => (n === healthy ? answering(503, { "retry-after": "1" }) : undefined),
  run: Effect.fnUntraced(function* (receiver, { concurrency }) {
    const delivery = yield* open(receiver, concurrency)
    const { check, found } = checks()
    yield* delivery.writers(10)
    found.push(...(yield* settled(delivery)))
    const { body } = receiver.hit[0]!
    const asked = receiver.arrived[receiver.seen.indexOf(body)]!
    const key = keyOf(body)
    // With lines side by side it holds for the key, and the others go on.
    const later = receiver.seen.flatMap((other, i) =>
      receiver.arrived[i]! > asked && (concurrency === 1 || keyOf(other) === key)
        ? [{ body: other, after: receiver.arrived[i]! - asked }]
        : []
    )
    check(later[0]?.body === body, `next came ${later[0]?.body}`)
    // A timer may be early by what its clock rounds away.
    check(later[0]!.after >= 998, `came again after ${later[0]!.after} ms`)
    return found
  })
}

describe("an endpoint over a receiver", () => {
  it.live(
    "that is restarted under load loses nothing, keeps order, and leaves nothing open",
    () => holds(sideBySide(restarted)),
    patience
  )

  it.live(
    "that is gone in the middle is disabled, and hands on the rest in order, nothing twice",
    () => holds(sideBySide(gone)),
    patience
  )

  it.live("that asks to be left alone sends nothing more of that key before", () => holds(sideBySide(asking)), patience)

  // Slow ones among them would take the time of many runs.
  const quick = faults.filter(
    ({ bytes, down, slow }) => bytes === undefined && down === undefined && slow === undefined
  )
  const mixture = fc.array(fc.option(fc.constantFrom(...quick), { nil: undefined, freq: 2 }), {
    minLength: 5,
    maxLength: 40
  })

  it.live(
    "with any mixture of faults loses nothing, keeps order, and leaves nothing open",
    () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(mixture, (script) => {
            const mixed: Case<unknown> = {
              name: script.map((fault) => fault?.name ?? "none").join("; "),
              script: () => (n) => script[n - 1],
              run: Effect.fnUntraced(function* (receiver, { concurrency }) {
                const delivery = yield* open(receiver, concurrency)
                yield* delivery.writers(16)
                return yield* settled(delivery)
              })
            }
            return Effect.runPromise(holds(sideBySide(mixed)))
          }),
          // A failure names its seed; to try all smaller mixtures takes too long.
          { numRuns: 5, endOnFailure: true }
        )
      ),
    patience
  )

  it.live(
    "leaves the idle connections of fetch to its pool, which ends them when the receiver said so",
    () =>
      holds(
        Effect.gen(function* () {
          // The pool ends them 2 seconds before the receiver would.
          const receiver = yield* unreliable(
            (n) => (n === healthy ? faults.find(({ as }) => as === "Status") : undefined),
            3000
          )
          const delivery = yield* open(receiver, 4)
          yield* delivery.writers(10)
          const found = yield* settled(delivery)
          const kept = receiver.open()
          const ended = yield* until(() => receiver.open() === 0)
          return [...found, ...(kept > 0 ? [] : ["none was kept"]), ...(ended ? [] : [`${receiver.open()} are open`])]
        }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer))
      ),
    patience
  )
})
