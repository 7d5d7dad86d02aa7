import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { InFlight, type Row } from "../../src/durable/internal/inFlight.ts"
import { collector } from "../support/collector.ts"

const row = (key: number, partition: string): Row<number> => ({
  key,
  event: key,
  partition,
  payload: new Uint8Array(1),
  attempts: 0,
  writtenAt: 0,
  exempt: false
})

describe("events in flight", () => {
  it.each([true, false])("skips waiting events, and keeps the order of the rest (by keys: %s)", (partitioned) => {
    const inFlight = new InFlight<number>(2, false, partitioned)
    const [source, other] = inFlight.sources
    inFlight.offer([row(1, "a"), row(2, "a"), row(3, "b"), row(4, "a"), row(5, "b")])
    assert.deepStrictEqual(source!.poll(), [1])
    inFlight.skip(new Set([2, 3]))
    assert.deepStrictEqual(
      inFlight.rows.map(({ key }) => key),
      [1, 4, 5]
    )
    source!.settle(1)
    // Of two keys the one that has waited longer is first.
    assert.deepStrictEqual([other!.poll(), source!.poll()], partitioned ? [[5], [4]] : [[4], [5]])
    source!.settle(1)
    other!.settle(1)
    assert.deepStrictEqual([inFlight.size, inFlight.isReady, source!.poll()], [0, false, undefined])
  })

  it.live("releases what is settled", () =>
    Effect.gen(function* () {
      const gc = collector()
      const inFlight = new InFlight<number>(8, true, true)
      const refs: Array<WeakRef<object>> = []
      inFlight.sources.forEach((source, n) => {
        const rows = [row(2 * n, `${n}`), row(2 * n + 1, `${n}`)]
        for (const one of rows) refs.push(new WeakRef(one))
        inFlight.offer(rows)
        assert.deepStrictEqual(source.poll(), [2 * n, 2 * n + 1])
        source.settle(1)
        source.settle(1)
      })
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 2)
    })
  )

  it.live("releases what it skips behind a key that hangs", () =>
    Effect.gen(function* () {
      const gc = collector()
      const inFlight = new InFlight<number>(2, false, true)
      const refs: Array<WeakRef<object>> = []
      const offer = (key: number) => {
        const one = row(key, "a")
        refs.push(new WeakRef(one))
        inFlight.offer([one])
      }
      offer(0)
      assert.deepStrictEqual(inFlight.sources[0]!.poll(), [0])
      for (let key = 1; key <= 5000; key++) {
        offer(key)
        inFlight.skip(new Set([key]))
      }
      // The target of a reference is kept until the next turn of the event loop.
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.strictEqual(inFlight.size, 1)
    })
  )
})
