import { Effect, Exit, Scope } from "effect"
import { type Dropped, EventSink } from "effect-events"
import { type HandmadeQueue, queue } from "./queue.ts"

type Sink = EventSink.EventSink<unknown, unknown>

interface Member {
  readonly sink: Sink
  readonly queue: HandmadeQueue
  readonly scope: Scope.Closeable
  closed: boolean
}

export interface HandmadeBroadcaster extends Sink {
  readonly add: (sink: Sink) => Effect.Effect<void>
  readonly remove: (sink: Sink) => Effect.Effect<void>
}

/**
 * A broadcaster made by hand, with a queue for each sink. As in go-events, it finds out in the loop over its sinks that
 * one of them is closed; with the defect it takes that one out of the very slice that the loop goes over, so that the next
 * sink is skipped and the last gets the event twice.
 */
export const broadcaster = (
  first: Sink,
  onDropped: Dropped.OnDropped<unknown, unknown>,
  options: { readonly shifts: boolean }
): Effect.Effect<HandmadeBroadcaster, never, Scope.Scope> =>
  Effect.gen(function* () {
    let members: Array<Member> = []

    const join = (sink: Sink, onDropped: Dropped.OnDropped<unknown, unknown>) =>
      Effect.gen(function* () {
        if (members.some((member) => member.sink === sink)) return
        const scope = yield* Scope.make()
        const noting = (dropped: Dropped.Dropped<unknown, unknown>) => {
          const { reason } = dropped
          if (reason._tag === "Failed" && reason.error instanceof EventSink.SinkClosed) member.closed = true
          return onDropped(dropped)
        }
        const member: Member = {
          sink,
          queue: yield* queue(sink, noting).pipe(Scope.provide(scope)),
          scope,
          closed: false
        }
        members.push(member)
      })

    const leave = (member: Member) => Scope.close(member.scope, Exit.void)

    const takeOut = (member: Member) => {
      const at = members.indexOf(member)
      if (options.shifts) {
        // append(sinks[:i], sinks[i+1:]...): in place, and the loop goes on to its old end
        const last = members[members.length - 1]!
        members.splice(at, 1)
        shifted = [...members, last]
      } else {
        members = members.filter((one) => one !== member)
      }
    }
    let shifted: Array<Member> | undefined

    const publish = (event: unknown) =>
      Effect.gen(function* () {
        shifted = undefined
        const all = [...members]
        for (let i = 0; i < all.length; i++) {
          const member = (shifted ?? all)[i]!
          if (member.closed) takeOut(member)
          else yield* member.queue.write(event)
        }
      })

    const sink = yield* EventSink.make(publish)
    yield* Effect.addFinalizer(() => Effect.forEach(members, leave, { concurrency: "unbounded", discard: true }))
    yield* join(first, onDropped)
    return Object.assign(sink, {
      add: (sink: Sink) => join(sink, () => Effect.void),
      remove: (sink: Sink) =>
        Effect.suspend(() => {
          const member = members.find((one) => one.sink === sink)
          if (member === undefined) return Effect.void
          members = members.filter((one) => one !== member)
          return leave(member)
        })
    })
  })
