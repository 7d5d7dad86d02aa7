/** Group commit: writes that come while a commit is under way share the next one. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as Latch from "effect/Latch"
import { endWithin } from "../../internal/deadline.ts"
import { answerAll } from "./answerAll.ts"
import { Turns } from "./onDemand.ts"

type Payloads = NonEmptyReadonlyArray<Uint8Array>

interface Writer<out A, in E> {
  readonly events: ReadonlyArray<A>
  readonly payloads: Payloads
  readonly bytes: number
  readonly resume: (answer: Effect.Effect<void, E>) => void
  /** The write was interrupted: none of its events is to be stored any more. */
  interrupted: boolean
}

export interface CommitterOptions<in A, out E> {
  /** Stores payloads whole, or answers that they do not fit. */
  readonly append: (payloads: Payloads) => Effect.Effect<boolean, E>
  /** The answer to a writer whose events do not fit. */
  readonly full: (events: ReadonlyArray<A>) => Effect.Effect<void, E>
  /** The answer to a writer whose commit has not ended at the close. */
  readonly unanswered: Effect.Effect<never, E>
  /** How many events, and bytes of them, share a commit at most; a writer that has more commits alone. */
  readonly events: number
  readonly bytes: number
  /** Whether a writer waits for room, in the order of writes; otherwise it is refused at once. */
  readonly waitsForRoom: boolean
  readonly context: Context.Context<never>
}

/** How often a writer that waits for room polls for room that another process has made. */
const roomPollInterval = "100 millis"

export class Committer<in out A, in out E> {
  private readonly options: CommitterOptions<A, E>
  private waiting: Array<Writer<A, E>> = []
  /** The writers whose commit is under way. */
  private committing: ReadonlyArray<Writer<A, E>> = []
  private closed: Effect.Effect<never, E> | undefined = undefined
  /** How many writers may share a commit: fewer after one that did not fit as a whole. */
  private most = Number.POSITIVE_INFINITY
  private readonly room = Latch.makeUnsafe()
  /** Open while no commit is under way. */
  private readonly idle = Latch.makeUnsafe(true)

  constructor(options: CommitterOptions<A, E>) {
    this.options = options
  }

  /** Stores payloads of events whole. An interruption that comes late leaves them stored. */
  commit(events: ReadonlyArray<A>, payloads: Payloads): Effect.Effect<void, E> {
    return Effect.callback((resume) => {
      if (this.closed !== undefined) return resume(this.closed)
      const bytes = sizeOf(payloads)
      const writer: Writer<A, E> = { events, payloads, bytes, resume, interrupted: false }
      this.waiting.push(writer)
      this.turns.start(this.options.context)
      return Effect.sync(() => {
        writer.interrupted = true
        // The others may wait behind this one.
        this.room.openUnsafe()
      })
    })
  }

  /** There may be room for a writer that waits for it. */
  readonly wake = (): void => void this.room.openUnsafe()

  /** Refuses all writers, waiting and to come, and waits for the commit that is under way until `timeout`. */
  close(closed: Effect.Effect<never, E>, timeout: Duration.Duration): Effect.Effect<void> {
    this.closed = closed
    const { waiting } = this
    this.waiting = []
    this.room.openUnsafe()
    answerAll(waiting, ({ resume }) => resume(closed))
    return Effect.map(
      endWithin(this.idle, timeout, () => this.turns.interrupt()),
      () => this.answer(this.committing, this.options.unanswered)
    )
  }

  private readonly round: Effect.Effect<void> = Effect.suspend(() => {
    const writers = this.batch()
    const [first, ...others] = writers
    if (first === undefined) return Effect.void
    this.room.closeUnsafe()
    this.idle.closeUnsafe()
    this.committing = writers
    // Writers from now on are behind these.
    const behind = this.waiting.length
    const payloads = others.length === 0 ? first.payloads : writers.flatMap((writer) => writer.payloads)
    // Not empty, since no writer's are.
    const commit = this.options.append(payloads as unknown as Payloads)
    return Effect.matchCauseEffect(commit, {
      onFailure: (cause) => Effect.sync(() => this.answer(writers, Effect.failCause(cause))),
      onSuccess: (fits) => {
        if (fits) {
          this.most *= 2
          return Effect.sync(() => this.answer(writers, Effect.void))
        }
        return this.full(writers, behind)
      }
    }).pipe(Effect.ensuring(Effect.sync(() => this.idle.openUnsafe())))
  })

  private readonly turns = new Turns(() => this.waiting.length > 0, this.round)

  /** Takes the writers out whose events share the next commit. */
  private batch(): ReadonlyArray<Writer<A, E>> {
    const batch: Array<Writer<A, E>> = []
    let events = 0
    let bytes = 0
    let taken = 0
    for (const writer of this.waiting) {
      events += writer.payloads.length
      bytes += writer.bytes
      const fits = events <= this.options.events && bytes <= this.options.bytes && batch.length < this.most
      if (!writer.interrupted && batch.length > 0 && !fits) break
      taken++
      if (writer.interrupted) {
        events -= writer.payloads.length
        bytes -= writer.bytes
      } else batch.push(writer)
    }
    this.waiting.splice(0, taken)
    return batch
  }

  /** Some writers may fit where all of them do not. `behind` others were waiting when the store was asked. */
  private full(writers: ReadonlyArray<Writer<A, E>>, behind: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.committing = []
      const { closed } = this
      if (closed !== undefined) {
        this.answer(writers, closed)
        return Effect.void
      }
      const [first, ...others] = writers
      if (first !== undefined && others.length === 0 && !this.options.waitsForRoom) {
        // The events of an interrupted writer are not accepted, and so not dropped either.
        const refused = [first, ...this.refusedWith(first, behind)].filter(({ interrupted }) => !interrupted)
        answerAll(refused, ({ events, resume }) => resume(this.options.full(events)))
        return Effect.void
      }
      this.waiting.unshift(...writers)
      if (others.length > 0) {
        // Without back-pressure a refused writer refuses all larger ones, so the store is asked for one writer at a
        // time.
        this.most = this.options.waitsForRoom ? Math.ceil(writers.length / 2) : 1
        return Effect.void
      }
      return Effect.asVoid(Effect.timeoutOption(this.room.await, roomPollInterval))
    })
  }

  /**
   * Takes out, of the writers that were waiting when the store was asked for `first`, those of as many events or more:
   * at that moment there was no room for them either. Smaller writers, and later ones, are tried. An interrupted writer
   * refuses no other.
   */
  private refusedWith(first: Writer<A, E>, behind: number): ReadonlyArray<Writer<A, E>> {
    if (first.interrupted) return []
    const isRefused = ({ bytes, payloads }: Writer<A, E>, at: number): boolean =>
      at < behind && payloads.length >= first.payloads.length && bytes >= first.bytes
    const { waiting } = this
    this.waiting = waiting.filter((writer, at) => !isRefused(writer, at))
    return waiting.filter(isRefused)
  }

  /** Each writer goes on inside this call, and may write again. */
  private answer(writers: ReadonlyArray<Writer<A, E>>, answer: Effect.Effect<void, E>): void {
    this.committing = []
    answerAll(writers, ({ resume }) => resume(answer))
  }
}

const sizeOf = (payloads: Payloads): number =>
  payloads.length === 1 ? payloads[0].length : payloads.reduce((n, { length }) => n + length, 0)
