import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Hand, type Row } from "../../src/durable/internal/hand.ts"
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

describe("what was read and is not settled", () => {
  it.each([true, false])("skips what waits, and keeps the order of what stays (by keys: %s)", (partitioned) => {
    const hand = new Hand<number>(2, false, partitioned)
    const [line, other] = hand.lines
    hand.enter([row(1, "a"), row(2, "a"), row(3, "b"), row(4, "a"), row(5, "b")])
    assert.deepStrictEqual(line!.poll(), [1])
    hand.skip(new Set([2, 3]))
    assert.deepStrictEqual(
      hand.rows.map(({ key }) => key),
      [1, 4, 5]
    )
    line!.settle(1)
    // Of two keys it is the turn of the one that has waited longer.
    assert.deepStrictEqual([other!.poll(), line!.poll()], partitioned ? [[5], [4]] : [[4], [5]])
    line!.settle(1)
    other!.settle(1)
    assert.deepStrictEqual([hand.size, hand.isReady, line!.poll()], [0, false, undefined])
  })

  it.live("lets go of what is settled", () =>
    Effect.gen(function* () {
      const gc = collector()
      const hand = new Hand<number>(8, true, true)
      const refs: Array<WeakRef<object>> = []
      hand.lines.forEach((line, n) => {
        const rows = [row(2 * n, `${n}`), row(2 * n + 1, `${n}`)]
        for (const one of rows) refs.push(new WeakRef(one))
        hand.enter(rows)
        assert.deepStrictEqual(line.poll(), [2 * n, 2 * n + 1])
        line.settle(1)
        line.settle(1)
      })
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 2)
    })
  )

  it.live("lets go of what it skips behind a key that hangs", () =>
    Effect.gen(function* () {
      const gc = collector()
      const hand = new Hand<number>(2, false, true)
      const refs: Array<WeakRef<object>> = []
      const enter = (key: number) => {
        const one = row(key, "a")
        refs.push(new WeakRef(one))
        hand.enter([one])
      }
      enter(0)
      assert.deepStrictEqual(hand.lines[0]!.poll(), [0])
      for (let key = 1; key <= 5000; key++) {
        enter(key)
        hand.skip(new Set([key]))
      }
      // What a reference was made to is kept until the next turn of the event loop.
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.strictEqual(hand.size, 1)
    })
  )
})
