/**
 * State by key that is forgotten: an entry is dropped once `isIdle` holds for it, without a timer and without a loop over
 * all keys. Each use looks at two entries in turn, so there are at most about twice as many as were in use lately.
 */
import * as MutableHashMap from "effect/MutableHashMap"
import * as MutableList from "effect/MutableList"
import * as Option from "effect/Option"

/** Keys are compared by `Equal`. */
export const makeKeyed = <S>(make: () => S, isIdle: (state: S) => boolean) => {
  const entries = MutableHashMap.empty<unknown, S>()
  const turns = MutableList.make<readonly [key: unknown, state: S]>()
  const sweep = () => {
    if (turns.length === 0) return
    // There is one, by the line above.
    const next = MutableList.take(turns) as readonly [unknown, S]
    const [key, state] = next
    if (!isIdle(state)) return MutableList.append(turns, next)
    try {
      MutableHashMap.remove(entries, key)
    } catch {
      // A key that cannot be compared any more costs the memory of its entry, and not the write of another key.
    }
  }
  return {
    size: () => MutableHashMap.size(entries),
    /** The state of a key, new if there is none. What the comparison of keys throws, this throws. */
    get: (key: unknown): S => {
      // First: an entry that is new is idle until its user changes it.
      sweep()
      sweep()
      const found = MutableHashMap.get(entries, key)
      const state = Option.isSome(found) ? found.value : make()
      if (Option.isNone(found)) {
        MutableHashMap.set(entries, key, state)
        MutableList.append(turns, [key, state])
      }
      return state
    }
  }
}
