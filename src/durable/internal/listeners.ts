/** The listeners to the changes of queues, and how a store notifies them. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Listener<E> = Queue.Queue<void, E | Cause.Done>

/**
 * The listeners of one store. Each has room for one element: a change that comes while another waits to be taken is
 * part of it, since a listener that takes an element polls only then.
 */
export class Listeners<E = never> {
  private readonly byQueue = new Map<string, Set<Listener<E>>>()

  /** Notifies of a change of a queue. For after the commit, when a poll finds it. */
  notify(queue: string): void {
    for (const listener of this.byQueue.get(queue) ?? []) Queue.offerUnsafe(listener, undefined)
  }

  /** Notifies of a possible change of any queue. */
  notifyAll(): void {
    for (const queue of this.byQueue.keys()) this.notify(queue)
  }

  /** Ends all streams. */
  end(): void {
    for (const listeners of this.byQueue.values()) for (const listener of listeners) Queue.endUnsafe(listener)
  }

  /**
   * The changes of a queue, the first element at once. `begin` runs before it, and `meanwhile` as long as the stream
   * has a consumer: its failure is that of the stream.
   */
  stream(
    queue: string,
    begin: Effect.Effect<void, E> = Effect.void,
    meanwhile: Effect.Effect<void, E> = Effect.void
  ): Stream.Stream<void, E> {
    const listen = (listener: Listener<E>): Effect.Effect<void, E, Scope.Scope> =>
      Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => this.add(queue, listener)),
          () => Effect.sync(() => this.remove(queue, listener))
        ),
        Effect.andThen(
          begin,
          Effect.suspend(() => {
            Queue.offerUnsafe(listener, undefined)
            return meanwhile
          })
        )
      )
    return Stream.callback(listen, { bufferSize: 1, strategy: "sliding" })
  }

  private add(queue: string, listener: Listener<E>): void {
    const listeners = this.byQueue.get(queue)
    if (listeners === undefined) this.byQueue.set(queue, new Set([listener]))
    else listeners.add(listener)
  }

  private remove(queue: string, listener: Listener<E>): void {
    const listeners = this.byQueue.get(queue)
    listeners?.delete(listener)
    if (listeners?.size === 0) this.byQueue.delete(queue)
  }
}
