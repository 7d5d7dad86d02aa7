/** Subscriptions by topic, which come and go: each event to the sinks of all that match, one after the other. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { judgesEdges, judgeEdge } from "../acknowledgement.ts"
import { defaultDrainTimeout } from "../deadline.ts"
import { edgesTo, noteError } from "../node.ts"
import { patternsOf } from "../patternsOf.ts"
import { filtered, noteOutcome } from "../receipt.ts"
import { type EventSink, isSinkClosed, makePart, makeSink, runWrite, type SinkClosed } from "../sink.ts"
import { makeWrites } from "../writes.ts"

interface Subscription<in A, out E> {
  readonly pattern: string
  readonly sink: EventSink<A, E>
  /** Its place in the order of all subscriptions. */
  readonly place: number
  isOver: boolean
}

/** What can be done to a router by topic. */
export interface Topics<in out A, in out E> {
  /** Answers whether it is new. */
  readonly subscribe: (pattern: string, sink: EventSink<A, E>) => Effect.Effect<boolean, SinkClosed>
  /** Answers whether it was there. */
  readonly unsubscribe: (pattern: string, sink: EventSink<A, E>) => Effect.Effect<boolean>
}

export interface TopicsOptions<in A, out E> {
  readonly topic: (event: A) => string
  readonly orElse: EventSink<A, E> | "ignore"
  readonly name: string | undefined
  readonly drainTimeout: Duration.Input | undefined
}

export const makeTopics = <A, E>({ drainTimeout = defaultDrainTimeout, name, orElse, topic }: TopicsOptions<A, E>) =>
  Clock.clockWith((clock) => {
    const timeout = Duration.fromInputUnsafe(drainTimeout)
    /** By pattern, and then by sink. */
    const all = new Map<string, Map<EventSink<A, E>, Subscription<A, E>>>()
    let places = 0
    const rest = orElse === "ignore" ? undefined : orElse

    const { account, closed, node } = makePart({
      kind: "EventRouter",
      name,
      downstream: () =>
        edgesTo([
          ...Array.from(all.values(), (some) => [...some.values()])
            .flat()
            .toSorted((a, b) => a.place - b.place)
            .map(({ pattern, sink }) => [pattern, sink] as const),
          ...(rest === undefined ? [] : [["orElse", rest] as const])
        ]),
      filters: rest === undefined,
      update: () => void (account.accepted = account.delivered + account.filtered)
    })
    judgesEdges(node)
    const writes = makeWrites(account, node)

    const matching = (event: A): ReadonlyArray<Subscription<A, E>> =>
      patternsOf(topic(event))
        .flatMap((pattern) => [...(all.get(pattern)?.values() ?? [])])
        .toSorted((a, b) => a.place - b.place)

    /** Writes to each subscription that is not over when its turn comes, and answers how many these were. */
    const writeTo = (subscriptions: ReadonlyArray<Subscription<A, E>>, event: A) => {
      let next = 0
      let n = 0
      const skip = () => {
        while (subscriptions[next]?.isOver === true) next++
        return next < subscriptions.length
      }
      const each = Effect.whileLoop({
        while: skip,
        // There is one, by the condition of the loop.
        body: () => subscriptions[next++]!.sink.write(event),
        step: () => void n++
      })
      return Effect.map(each, () => n)
    }
    const toRest = (event: A) =>
      rest === undefined
        ? Effect.andThen(
            Effect.sync(() => void account.filtered++),
            noteOutcome(node, filtered)
          )
        : Effect.map(rest.write(event), () => void account.delivered++)
    const begin = (event: A) => {
      if (account.state !== "open") return undefined
      // What `topic` throws is a defect of the write, which has not begun.
      const subscriptions = matching(event)
      account.inFlight++
      return {
        effect:
          subscriptions.length === 0
            ? toRest(event)
            : Effect.flatMap(writeTo(subscriptions, event), (n) => {
                if (n === 0) return toRest(event)
                account.delivered++
                return Effect.void
              }),
        end: (exit: Exit.Exit<void, unknown>): undefined => {
          if (Exit.isFailure(exit)) note(exit)
          writes.end()
        }
      }
    }
    const note = ({ cause }: Exit.Failure<void, unknown>) => {
      const [reason] = cause.reasons
      if (reason === undefined || reason._tag === "Interrupt" || isSinkClosed(cause)) return
      noteError(account, reason._tag === "Fail" ? reason.error : reason.defect, clock)
    }

    const operations: Topics<A, E> = {
      subscribe: (pattern, sink) =>
        Effect.suspend((): Effect.Effect<boolean, SinkClosed> => {
          if (account.state !== "open") return closed
          judgeEdge(node, sink.node)
          const some = all.get(pattern) ?? new Map<EventSink<A, E>, Subscription<A, E>>()
          if (some.has(sink)) return Effect.succeed(false)
          some.set(sink, { pattern, sink, place: places++, isOver: false })
          all.set(pattern, some)
          node.figures.changed(sink.node)
          return Effect.succeed(true)
        }),
      unsubscribe: (pattern, sink) =>
        Effect.sync(() => {
          const some = all.get(pattern)
          const subscription = some?.get(sink)
          if (some === undefined || subscription === undefined) return false
          subscription.isOver = true
          some.delete(sink)
          if (some.size === 0) all.delete(pattern)
          node.figures.changed()
          return true
        })
    }
    const sink = makeSink<A, E>({ node, write: (event) => runWrite(event, begin, closed) })
    return Effect.as(
      Effect.addFinalizer(() => writes.close(timeout)),
      { operations, sink }
    )
  })
