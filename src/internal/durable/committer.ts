/** Group commit: writers that come while a commit is under way share the next one. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { DurableQueueStoreError } from "../../durable/DurableQueueStore.ts"
import { endWithin } from "../deadline.ts"
import type { SinkClosed } from "../sink.ts"

type Payloads = NonEmptyReadonlyArray<Uint8Array>
type Answer = Effect.Effect<boolean, DurableQueueStoreError | SinkClosed>

interface Writer {
  readonly payloads: Payloads
  readonly bytes: number
  readonly resume: (answer: Answer) => void
  /** It was interrupted: nothing of it is to be stored any more. */
  gone: boolean
}

export interface CommitterOptions {
  /** Stores payloads whole, or answers that they do not fit. */
  readonly append: (payloads: Payloads) => Effect.Effect<boolean, DurableQueueStoreError>
  /** How many events, and bytes of them, share a commit at most; a writer that has more commits alone. */
  readonly events: number
  readonly bytes: number
  /** Whether a writer waits for room, first come, first in; otherwise it is told that there is none. */
  readonly patient: boolean
  readonly context: Context.Context<never>
}

/** How long a writer that waits for room does not look whether another process has made some. */
const lookForRoom = "100 millis"

const yes: Answer = Effect.succeed(true)
const no: Answer = Effect.succeed(false)
const unanswered: Answer = Effect.suspend(() =>
  Effect.fail(
    new DurableQueueStoreError({
      store: "unknown",
      operation: "append",
      problem: "Other",
      detail: "the queue closed before it answered",
      unsure: true
    })
  )
)

export class Committer {
  private readonly options: CommitterOptions
  private waiting: Array<Writer> = []
  private fiber: Fiber.Fiber<void> | undefined = undefined
  /** Whose commit is under way. */
  private committing: ReadonlyArray<Writer> = []
  private closed: Effect.Effect<never, SinkClosed> | undefined = undefined
  /** How many writers may share a commit: fewer after one that did not fit as a whole. */
  private most = Number.POSITIVE_INFINITY
  private readonly room = Latch.makeUnsafe()
  /** Open while no commit is under way. */
  private readonly idle = Latch.makeUnsafe(true)

  constructor(options: CommitterOptions) {
    this.options = options
  }

  /** Stores payloads whole. Answers `false` when they do not fit. An interruption that comes late leaves them stored. */
  commit(payloads: Payloads): Answer {
    return Effect.callback((resume) => {
      if (this.closed !== undefined) return resume(this.closed)
      const bytes = payloads.reduce((n, { length }) => n + length, 0)
      const writer: Writer = { payloads, bytes, resume, gone: false }
      this.waiting.push(writer)
      this.start()
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
  close(closed: Effect.Effect<never, SinkClosed>, timeout: Duration.Duration): Effect.Effect<void> {
    this.closed = closed
    const { waiting } = this
    this.waiting = []
    this.room.openUnsafe()
    for (const { resume } of waiting) resume(closed)
    return Effect.map(
      endWithin(this.idle, timeout, () => this.fiber?.interruptUnsafe()),
      () => this.answer(this.committing, unanswered)
    )
  }

  private start(): void {
    if (this.fiber !== undefined) return
    const fiber = Effect.runForkWith(this.options.context)(this.rounds)
    this.fiber = fiber
    fiber.addObserver(() => {
      this.fiber = undefined
      // Between its last look and its end somebody may have come.
      if (this.waiting.length > 0) this.start()
    })
  }

  /**
   * Before each commit it is the others' turn: the writers that run now share it, and a store that works on this thread
   * leaves the event loop its timers and sockets.
   */
  private readonly rounds: Effect.Effect<void> = Effect.suspend(() =>
    Effect.whileLoop({
      while: () => this.waiting.length > 0,
      body: () => Effect.andThen(Effect.yieldNow, this.round),
      step: () => {}
    })
  )

  private readonly round: Effect.Effect<void> = Effect.suspend(() => {
    const writers = this.group()
    const [first, ...others] = writers
    if (first === undefined) return Effect.void
    this.room.closeUnsafe()
    this.idle.closeUnsafe()
    this.committing = writers
    // Who comes from now on stands behind these.
    const behind = this.waiting.length
    const payloads = others.length === 0 ? first.payloads : writers.flatMap((writer) => writer.payloads)
    // Not empty, since no writer's are.
    const commit = this.options.append(payloads as unknown as Payloads)
    return Effect.matchCauseEffect(commit, {
      onFailure: (cause) => Effect.sync(() => this.answer(writers, Effect.failCause(cause))),
      onSuccess: (fits) => {
        if (fits) {
          this.most *= 2
          return Effect.sync(() => this.answer(writers, yes))
        }
        return this.full(writers, behind)
      }
    }).pipe(Effect.ensuring(Effect.sync(() => this.idle.openUnsafe())))
  })

  /** Takes the writers out whose events share the next commit. */
  private group(): ReadonlyArray<Writer> {
    const group: Array<Writer> = []
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
  private full(writers: ReadonlyArray<Writer>, behind: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.committing = []
      const { closed } = this
      if (closed !== undefined) {
        this.answer(writers, closed)
        return Effect.void
      }
      const [first, ...others] = writers
      if (first !== undefined && others.length === 0 && !this.options.patient) {
        this.answer([first, ...this.refusedWith(first, behind)], no)
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
  private refusedWith(first: Writer, behind: number): ReadonlyArray<Writer> {
    if (first.gone) return []
    const isRefused = ({ bytes, payloads }: Writer, at: number): boolean =>
      at < behind && payloads.length >= first.payloads.length && bytes >= first.bytes
    const { waiting } = this
    this.waiting = waiting.filter((writer, at) => !isRefused(writer, at))
    return waiting.filter(isRefused)
  }

  /** Each goes on inside this call, and may write again. */
  private answer(writers: ReadonlyArray<Writer>, answer: Answer): void {
    this.committing = []
    for (const { resume } of writers) resume(answer)
  }
}
