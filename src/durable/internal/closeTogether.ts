import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/** What begins to close the durable parts of each scope. */
const closing = new WeakMap<Scope.Scope, Set<() => void>>()

/**
 * A finalizer for a durable part. A scope runs its finalizers one after the other, and parts that hang would each take a
 * `drainTimeout` of their own: the first of them begins the close of all that are in the scope. `begin` does not wait.
 */
export const closeTogether = (
  begin: () => void,
  ended: Effect.Effect<unknown>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Scope.Scope
    const all = closing.get(scope) ?? new Set()
    closing.set(scope, all)
    all.add(begin)
    yield* Effect.addFinalizer(() => {
      for (const one of all) one()
      all.delete(begin)
      return ended
    })
  })
