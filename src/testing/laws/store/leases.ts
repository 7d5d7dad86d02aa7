/** Laws of the lease: whose a queue is, and for how long. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Lease, Operations } from "../../../durable/EventStore.ts"
import { concernsAll, type Law } from "./law.ts"
import { all, append, ensure, expectLine, expectLost, keysOf, letters, names, own, show } from "./scene.ts"

const hour = Duration.hours(1)
const short = Duration.millis(40)
const pastShort = 80

/** Expects a lease to be held, for at most an hour. */
const expectHeld = (store: Operations, queue: string, when: string) =>
  Effect.map(store.acquire(queue, hour), (acquired) => {
    ensure(acquired._tag === "Held", () => `${when}: the lease was given: ${show(acquired)}`)
    const { remaining } = acquired
    const hourLong = Duration.toMillis(hour)
    ensure(remaining > 0 && remaining <= hourLong, () => `${when}: it is held for ${remaining} ms of ${hourLong}`)
    return remaining
  })

/** The lease after another, whose epoch must be greater. */
const ownAfter = (store: Operations, before: Lease, ttl = hour) =>
  Effect.map(own(store, before.queue, ttl), (lease) => {
    ensure(lease.epoch > before.epoch, () => `after the epoch ${before.epoch} came ${lease.epoch}`)
    return lease
  })

/** Expects that a lease is lost: nothing can be done with it, and nothing has happened. */
const expectPowerless = Effect.fnUntraced(function* (
  store: Operations,
  lost: Lease,
  key: number,
  texts: ReadonlyArray<string>,
  owner: Lease
) {
  yield* expectLost("next", lost, store.next(lost, all))
  yield* expectLost("acknowledge", lost, store.acknowledge(lost, [key]))
  yield* expectLost("deadLetter", lost, store.deadLetter(lost, [{ key, reason: "Failed", cause: "no", attempts: 1 }]))
  yield* expectLost("renew", lost, store.renew(lost, hour))
  yield* store.release(lost)
  yield* expectLine(store, owner, texts, "after all that a lost lease tried")
  ensure((yield* letters(store, lost.queue)).length === 0, () => "an event was dead-lettered with a lost lease")
  yield* store.renew(owner, hour)
  yield* expectHeld(store, lost.queue, "after a lost lease was given back")
})

export const leases: ReadonlyArray<Law> = [
  {
    number: 11,
    title: "a queue has one owner at a time, and each has a greater epoch",
    concerns: concernsAll,
    scenarios: {
      "one after the other": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        const first = yield* own(one, "line")
        yield* expectHeld(one, "line", "asked again by the owner's handle")
        const before = yield* expectHeld(other, "line", "asked by another")
        yield* scene.sleep(50)
        const after = yield* expectHeld(other, "line", "asked later")
        ensure(after < before, () => `${before} ms were left, and 50 ms later ${after}`)
        yield* own(other, "of others")
        yield* one.release(first)
        const second = yield* ownAfter(other, first)
        yield* expectHeld(one, "line", "asked by who gave it back")
        // Giving it back again must not take it from the next.
        yield* one.release(first)
        yield* expectHeld(one, "line", "given back twice")
        yield* other.release(second)
        yield* ownAfter(one, second)
      }),
      "many at once": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        let last = 0
        for (let round = 0; round < 5; round++) {
          const asked = yield* Effect.forEach(
            names("", 1, 20),
            (_, i) => (i % 2 === 0 ? one : other).acquire("line", hour),
            { concurrency: "unbounded" }
          )
          const given = asked.flatMap((answer) => (answer._tag === "Acquired" ? [answer.lease] : []))
          const [lease] = given
          ensure(lease !== undefined && given.length === 1, () => `20 asked, ${given.length} got it`)
          ensure(lease.epoch > last, () => `after the epoch ${last} came ${lease.epoch}`)
          last = lease.epoch
          yield* other.release(lease)
        }
      })
    }
  },
  {
    number: 12,
    title: "a lease runs out, and is kept by renewing it",
    concerns: concernsAll,
    scenarios: {
      "run out": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        const first = yield* own(one, "line", short)
        yield* scene.sleep(pastShort)
        const second = yield* ownAfter(other, first)
        yield* expectLost("renew", first, one.renew(first, hour))
        yield* other.renew(second, hour)
      }),
      renewed: Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        // So long that a slow machine renews it in time.
        const lease = yield* own(one, "line", Duration.seconds(1))
        yield* one.renew(lease, hour)
        yield* scene.sleep(1100)
        yield* expectHeld(other, "line", "renewed for an hour")
        // From now, and not from when it would have run out.
        yield* one.renew(lease, short)
        yield* scene.sleep(pastShort)
        yield* ownAfter(other, lease)
      }),
      "renewed after it had run out": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        const lease = yield* own(one, "line", short)
        yield* append(one, "line", ["e"])
        yield* scene.sleep(pastShort)
        yield* one.renew(lease, hour)
        yield* expectHeld(other, "line", "renewed when nobody had taken it")
        yield* expectLine(one, lease, ["e"], "renewed when nobody had taken it")
      }),
      "for ever": Effect.fnUntraced(function* (scene) {
        const store = yield* scene.open
        const lease = yield* own(store, "line", Duration.infinity)
        yield* store.renew(lease, Duration.infinity)
        ensure((yield* store.acquire("line", short))._tag === "Held", () => "a lease for ever was taken")
      })
    }
  },
  {
    number: 13,
    title: "nothing can be done with a lease that is lost",
    concerns: concernsAll,
    scenarios: {
      "taken by another": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        const texts = names("e", 1, 3)
        yield* append(one, "line", texts)
        const lost = yield* own(one, "line", short)
        const keys = keysOf(yield* one.next(lost, all))
        yield* scene.sleep(pastShort)
        const owner = yield* ownAfter(other, lost)
        yield* expectPowerless(one, lost, keys[0], texts, owner)
        yield* expectPowerless(other, lost, keys[1] ?? 0, texts, owner)
      }),
      "taken by another, and free again": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        const lost = yield* own(one, "line", short)
        yield* scene.sleep(pastShort)
        const between = yield* ownAfter(other, lost)
        yield* other.release(between)
        yield* expectLost("next", lost, one.next(lost, all))
        yield* expectLost("renew", lost, one.renew(lost, hour))
        yield* ownAfter(one, between)
      }),
      "given back": Effect.fnUntraced(function* (scene) {
        const one = yield* scene.open
        const other = yield* scene.another(one)
        yield* append(one, "line", ["e"])
        const lost = yield* own(one, "line")
        const [key] = keysOf(yield* one.next(lost, all))
        yield* one.release(lost)
        yield* expectLost("next", lost, one.next(lost, all))
        yield* expectLost("renew", lost, one.renew(lost, hour))
        yield* expectPowerless(one, lost, key, ["e"], yield* ownAfter(other, lost))
      })
    }
  }
]
