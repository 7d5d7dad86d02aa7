/** Group commit: writes that come while a commit is under way share the next one. */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { endWithin } from "../../internal/deadline.ts"
import { answerAll, makeOnDemand } from "./onDemand.ts"

/** A write: what it stores, whole or not at all, and how much that is. */
export interface Write<out A> {
  readonly events: ReadonlyArray<A>
  readonly bytes: number
}

interface Writer<A, E> extends Write<A> {
  readonly resume: (answer: Effect.Effect<void, E>) => void
  /** The write was interrupted: none of its events is to be stored any more. */
  interrupted: boolean
  /** The part of a commit that failed, which is tried again by itself. */
  part: object | undefined
}

export interface Options<A, E> {
  /** Stores the events of writes whole, or answers that they do not fit. */
  readonly commit: (writes: ReadonlyArray<Write<A>>) => Effect.Effect<boolean, E>
  /** Whether a commit failed for one of its events, whatever the others are, or for the store, which refuses all of them. */
  readonly blames: (error: E) => "event" | "either" | "store"
  /** The answer to a writer whose events do not fit. */
  readonly full: (write: Write<A>) => Effect.Effect<void, E>
  /** The answer to a writer whose commit has not ended at the close. */
  readonly unanswered: Effect.Effect<never, E>
  /** How many events, and bytes of them, share a commit at most; a writer that has more commits alone. */
  readonly events: number
  readonly bytes: number
  /** Whether a writer waits for room, in the order of writes; otherwise it is refused at once. */
  readonly waitsForRoom: boolean
  readonly context: Context.Context<never>
}

export interface GroupCommit<A, E> {
  /** Stores the events of a write whole. An interruption that comes late leaves them stored. */
  readonly commit: (write: Write<A>) => Effect.Effect<void, E>
  /** There may be room for a writer that waits for it. */
  readonly wake: () => void
  /** Refuses all writers, waiting and to come, and waits for the commit that is under way until `timeout`. */
  readonly close: (closed: Effect.Effect<never, E>, timeout: Duration.Duration) => Effect.Effect<void>
}

/** How often a writer that waits for room polls for room that another process has made. */
const roomPollInterval = "100 millis"
/** After how many writers in a row that it refused alone a store is not asked for the others of their commit. */
const mostInVain = 2

export const makeGroupCommit = <A, E>(options: Options<A, E>): GroupCommit<A, E> => {
  const room = Latch.makeUnsafe()
  /** Open while no commit is under way. */
  const idle = Latch.makeUnsafe(true)
  let waiting: Array<Writer<A, E>> = []
  /** The writers whose commit is under way. */
  let committing: ReadonlyArray<Writer<A, E>> = []
  let refused: Effect.Effect<never, E> | undefined
  /** How many writers may share a commit: fewer after one that did not fit as a whole. */
  let most = Number.POSITIVE_INFINITY
  /** How many writers in a row were refused alone, perhaps by a store that refuses all. */
  let inVain = 0

  /** Each writer goes on inside this call, and may write again. */
  const answer = (writers: ReadonlyArray<Writer<A, E>>, effect: Effect.Effect<void, E>) => {
    committing = []
    answerAll(writers, ({ resume }) => resume(effect))
  }
  /** Takes the writers out whose events share the next commit. */
  const batch = (): ReadonlyArray<Writer<A, E>> => {
    const writers: Array<Writer<A, E>> = []
    let events = 0
    let bytes = 0
    let taken = 0
    for (const writer of waiting) {
      events += writer.events.length
      bytes += writer.bytes
      const fits =
        events <= options.events && bytes <= options.bytes && writers.length < most && writer.part === writers[0]?.part
      if (!writer.interrupted && writers.length > 0 && !fits) break
      taken++
      if (writer.interrupted) {
        events -= writer.events.length
        bytes -= writer.bytes
      } else writers.push(writer)
    }
    waiting.splice(0, taken)
    return writers
  }
  /**
   * Takes out, of the first `behind` writers, those of as many events or more as one that did not fit: there was no room for
   * them either. Smaller writers, and later ones, are tried. An interrupted writer refuses no other.
   */
  const refusedWith = (first: Writer<A, E>, behind: number): ReadonlyArray<Writer<A, E>> => {
    if (first.interrupted) return []
    const isRefused = ({ bytes, events }: Writer<A, E>, at: number): boolean =>
      at < behind && events.length >= first.events.length && bytes >= first.bytes
    const all = waiting
    waiting = all.filter((writer, at) => !isRefused(writer, at))
    return all.filter(isRefused)
  }
  /** Some writers may fit where all of them do not. `behind` others were waiting when the store was asked. */
  const full = (writers: ReadonlyArray<Writer<A, E>>, behind: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      committing = []
      if (refused !== undefined) {
        answer(writers, refused)
        return Effect.void
      }
      const [first, ...others] = writers
      if (first !== undefined && others.length === 0 && !options.waitsForRoom) {
        // The events of an interrupted writer are not accepted, and so not dropped either.
        const all = [first, ...refusedWith(first, behind)].filter(({ interrupted }) => !interrupted)
        answerAll(all, (writer) => writer.resume(options.full(writer)))
        return Effect.void
      }
      waiting.unshift(...writers)
      if (others.length > 0) {
        // Without back-pressure a refused writer refuses all larger ones, so the store is asked for one at a time.
        most = options.waitsForRoom ? Math.ceil(writers.length / 2) : 1
        return Effect.void
      }
      return Effect.asVoid(Effect.timeoutOption(room.await, roomPollInterval))
    })
  /**
   * One event that cannot be stored fails no other writer: a commit that failed for it is tried again, half by half, and so
   * is asked for a few times more. Where the store itself may be the reason, it is asked no further after two writers that
   * were refused alone; where it is the reason for sure, what is left shares a commit again.
   */
  const failed = (writers: ReadonlyArray<Writer<A, E>>, cause: Cause.Cause<E>): void => {
    const [reason, ...reasons] = cause.reasons
    const blamed = reason?._tag === "Fail" && reasons.length === 0 ? options.blames(reason.error) : "store"
    if (blamed !== "store" && writers.length > 1 && refused === undefined) {
      committing = []
      if (writers[0]?.part === undefined) inVain = 0
      const halves = [{}, {}] as const
      const middle = Math.ceil(writers.length / 2)
      writers.forEach((writer, at) => (writer.part = halves[at < middle ? 0 : 1]))
      waiting.unshift(...writers)
      return
    }
    inVain = blamed === "either" ? inVain + 1 : 0
    const suspects = waiting.filter(({ part }) => part !== undefined)
    if (blamed === "store") for (const writer of suspects) writer.part = undefined
    const isGivenUp = inVain >= mostInVain
    if (isGivenUp) waiting = waiting.filter(({ part }) => part === undefined)
    answer(isGivenUp ? [...writers, ...suspects] : writers, Effect.failCause(cause))
  }
  const round = Effect.suspend(() => {
    const writers = batch()
    if (writers.length === 0) return Effect.void
    room.closeUnsafe()
    idle.closeUnsafe()
    committing = writers
    // Writers from now on are behind these.
    const behind = waiting.length
    return Effect.matchCauseEffect(options.commit(writers), {
      onFailure: (cause) => {
        failed(writers, cause)
        return Effect.void
      },
      onSuccess: (fits) => {
        inVain = 0
        if (!fits) return full(writers, behind)
        most *= 2
        answer(writers, Effect.void)
        return Effect.void
      }
    }).pipe(Effect.ensuring(Effect.sync(() => idle.openUnsafe())))
  })
  const turns = makeOnDemand(options.context, () => waiting.length > 0, round)

  return {
    commit: ({ bytes, events }) =>
      Effect.callback((resume) => {
        if (refused !== undefined) return resume(refused)
        const writer: Writer<A, E> = { events, bytes, resume, interrupted: false, part: undefined }
        waiting.push(writer)
        turns.start()
        return Effect.sync(() => {
          writer.interrupted = true
          // The others may wait behind this one.
          room.openUnsafe()
        })
      }),
    wake: () => room.openUnsafe(),
    close: (closed, timeout) => {
      refused = closed
      const turnedAway = waiting
      waiting = []
      room.openUnsafe()
      answerAll(turnedAway, ({ resume }) => resume(closed))
      return Effect.map(
        endWithin(idle, timeout, () => turns.interrupt()),
        () => answer(committing, options.unanswered)
      )
    }
  }
}
