/** Group commit: writers that come while a commit is under way share the next one. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as Latch from "effect/Latch"
import { endWithin } from "../../internal/deadline.ts"
import { answerAll } from "./answering.ts"
import { Turns } from "./onDemand.ts"

type Payloads = NonEmptyReadonlyArray<Uint8Array>

interface Writer<out A, in E> {
  readonly events: ReadonlyArray<A>
  readonly payloads: Payloads
  readonly bytes: number
  readonly resume: (answer: Effect.Effect<void, E>) => void
  /** It was interrupted: nothing of it is to be stored any more. */
  gone: boolean
}

export interface CommitterOptions<in A, out E> {
  /** Stores payloads whole, or answers that they do not fit. */
  readonly append: (payloads: Payloads) => Effect.Effect<boolean, E>
  /** What a writer gets for events that do not fit. */
  readonly full: (events: ReadonlyArray<A>) => Effect.Effect<void, E>
  /** What a writer gets whose commit has not ended by the end. */
  readonly unanswered: Effect.Effect<never, E>
  /** How many events, and bytes of them, share a commit at most; a writer that has more commits alone. */
  readonly events: number
  readonly bytes: number
  /** Whether a writer waits for room, first come, first in; otherwise it is told that there is none. */
  readonly patient: boolean
  readonly context: Context.Context<never>
}

/** How long a writer that waits for room does not look whether another process has made some. */
const lookForRoom = "100 millis"

export class Committer<in out A, in out E> {
  private readonly options: CommitterOptions<A, E>
  private waiting: Array<Writer<A, E>> = []
  /** Whose commit is under way. */
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
      const writer: Writer<A, E> = { events, payloads, bytes, resume, gone: false }
      this.waiting.push(writer)
      this.turns.start(this.options.context)
      return Effect.sync(() => {
        writer.gone = true
        // It may be the one that the others wait behind.
        this.room.openUnsafe()
      })
    })
  }

  /** There may be room for who waits for it. */
  readonly wake = (): void => void this.room.openUnsafe()

  /** Turns away who waits and who comes, and waits for the commit that is under way until `timeout`. */
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
    const writers = this.group()
    const [first, ...others] = writers
    if (first === undefined) return Effect.void
    this.room.closeUnsafe()
    this.idle.closeUnsafe()
    this.committing = writers
    // Writers that come from now on stand behind these.
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
  private group(): ReadonlyArray<Writer<A, E>> {
    const group: Array<Writer<A, E>> = []
    let events = 0
    let bytes = 0
    let taken = 0
    for (const writer of this.waiting) {
      events += writer.payloads.length
      bytes += writer.bytes
      const fits = events <= this.options.events && bytes <= this.options.bytes && group.length < this.most
      if (!writer.gone && group.length > 0 && !fits) break
      taken++
      if (writer.gone) {
        events -= writer.payloads.length
        bytes -= writer.bytes
      } else group.push(writer)
    }
    this.waiting.splice(0, taken)
    return group
  }

  /** Some of them may fit where all of them do not. So many others were waiting when the store was asked. */
  private full(writers: ReadonlyArray<Writer<A, E>>, behind: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.committing = []
      const { closed } = this
      if (closed !== undefined) {
        this.answer(writers, closed)
        return Effect.void
      }
      const [first, ...others] = writers
      if (first !== undefined && others.length === 0 && !this.options.patient) {
        // What an interrupted writer had is not accepted, and so not dropped either.
        const refused = [first, ...this.refusedWith(first, behind)].filter(({ gone }) => !gone)
        answerAll(refused, ({ events, resume }) => resume(this.options.full(events)))
        return Effect.void
      }
      this.waiting.unshift(...writers)
      if (others.length > 0) {
        // What is said of one who is not patient is said of all who ask for as much: he is asked for at once.
        this.most = this.options.patient ? Math.ceil(writers.length / 2) : 1
        return Effect.void
      }
      return Effect.asVoid(Effect.timeoutOption(this.room.await, lookForRoom))
    })
  }

  /**
   * Takes out, of those who were waiting when the store was asked for `first`, who ask for as much or more: at that moment
   * there was no room for them either. Who asks for less, or came later, is tried. Nobody learns anything from one that is
   * interrupted.
   */
  private refusedWith(first: Writer<A, E>, behind: number): ReadonlyArray<Writer<A, E>> {
    if (first.gone) return []
    const isRefused = ({ bytes, payloads }: Writer<A, E>, at: number): boolean =>
      at < behind && payloads.length >= first.payloads.length && bytes >= first.bytes
    const { waiting } = this
    this.waiting = waiting.filter((writer, at) => !isRefused(writer, at))
    return waiting.filter(isRefused)
  }

  /** Each goes on inside this call, and may write again. */
  private answer(writers: ReadonlyArray<Writer<A, E>>, answer: Effect.Effect<void, E>): void {
    this.committing = []
    answerAll(writers, ({ resume }) => resume(answer))
  }
}

const sizeOf = (payloads: Payloads): number =>
  payloads.length === 1 ? payloads[0].length : payloads.reduce((n, { length }) => n + length, 0)
