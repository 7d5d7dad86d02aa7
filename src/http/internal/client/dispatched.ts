/** A request that a dispatcher carries out, and the answer to it as it comes. */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"

/** What is used of undici's controller of a request. */
export interface Controller {
  abort(reason: Error): void
  pause(): void
  resume(): void
}

export type RawHeaders = Readonly<Record<string, string | Array<string> | undefined>>

/** What is used of an `AbortSignal`, whose type is the platform's. */
export interface Signal {
  readonly aborted: boolean
  addEventListener(type: "abort", listener: () => void): void
  removeEventListener(type: "abort", listener: () => void): void
}

/** Who sent the request. Is told one of both, once. */
export interface Asker {
  /** The answer has begun: its status and headers are there. */
  readonly answered: () => void
  /** Why there is none. */
  readonly failed: (cause: unknown) => void
}

/** A body is there once. */
class AlreadyRead extends Data.TaggedError("AlreadyRead")<{ readonly as: string }> {
  override get message(): string {
    return `the body has been read as ${this.as}`
  }
}

/** How much of a body that nobody has asked for is held before the connection is told to wait. */
const highWaterMark = 64 * 1024

/** Undici's handler of one request. */
export class Dispatched {
  status = 0
  headers: RawHeaders = {}
  private readonly signal: Signal | undefined
  private asker: Asker | undefined
  private controller: Controller | undefined = undefined
  private chunks: Array<Uint8Array> = []
  private held = 0
  private state: "open" | "ended" | "failed" = "open"
  private error: unknown = undefined
  private isAborted = false
  private read: "not yet" | "whole" | "in pieces" = "not yet"
  private whole: ArrayBuffer | undefined = undefined
  private waiters: Array<() => void> = []

  constructor(signal: Signal | undefined, asker: Asker) {
    this.signal = signal
    this.asker = asker
    signal?.addEventListener("abort", this.abort)
  }

  get isOver(): boolean {
    return this.state !== "open"
  }

  /** Ends the request, and its connection unless the answer is there as a whole. */
  readonly abort = (): void => {
    if (this.isOver) return
    this.isAborted = true
    const error = new Error("the request was aborted")
    // One that still waits for its turn is aborted when that comes.
    if (this.controller === undefined) this.tell((asker) => asker.failed(error))
    else this.controller.abort(error)
  }

  onRequestStart(controller: Controller): void {
    this.controller = controller
    if (this.isAborted || this.signal?.aborted === true) this.abort()
  }

  onResponseStart(_: Controller, status: number, headers: RawHeaders): void {
    // What comes before the answer (RFC 9110, section 15.2).
    if (status < 200) return
    this.status = status
    this.headers = headers
    this.tell((asker) => asker.answered())
  }

  onResponseData(controller: Controller, chunk: Uint8Array): void {
    this.chunks.push(chunk)
    this.held += chunk.length
    if (this.read === "whole") return
    if (this.held >= highWaterMark) controller.pause()
    this.wake()
  }

  onResponseEnd(): void {
    this.over("ended")
  }

  onResponseError(_: Controller, error: unknown): void {
    this.error = error
    this.over("failed")
    this.tell((asker) => asker.failed(error))
  }

  /** A turn later: whoever goes on does not run inside the parser, and a short body is there as a whole by then. */
  private tell(what: (asker: Asker) => void): void {
    const { asker } = this
    this.asker = undefined
    if (asker !== undefined) soon(() => what(asker))
  }

  private over(state: "ended" | "failed"): void {
    this.state = state
    this.signal?.removeEventListener("abort", this.abort)
    this.wake()
  }

  private wake(): void {
    if (this.waiters.length === 0) return
    const { waiters } = this
    this.waiters = []
    soon(() => {
      for (const waiter of waiters) waiter()
    })
  }

  /** Waits for more of the body, or for its end. Who is interrupted in that will not have the rest. */
  private readonly more = Effect.callback<void>((resume) => {
    const waiter = () => resume(Effect.void)
    this.waiters.push(waiter)
    this.controller?.resume()
    return Effect.sync(this.abort)
  })

  /** The whole body, which can be read again. */
  readonly bytes: Effect.Effect<ArrayBuffer, unknown> = Effect.suspend(() => {
    if (this.read === "in pieces") return Effect.fail(new AlreadyRead({ as: "a stream" }))
    this.read = "whole"
    if (this.state === "open") return Effect.flatMap(this.more, () => this.bytes)
    if (this.state === "failed") return Effect.fail(this.error)
    this.whole ??= joined(this.chunks, this.held)
    this.chunks = []
    return Effect.succeed(this.whole)
  })

  /** The body piece by piece, as it comes. */
  readonly pull: Pull.Pull<readonly [Uint8Array, ...Array<Uint8Array>], unknown> = Effect.suspend(() => {
    if (this.read === "whole") return Effect.fail(new AlreadyRead({ as: "a whole" }))
    this.read = "in pieces"
    const { chunks } = this
    this.chunks = []
    this.held = 0
    // Not empty, by the condition.
    if (chunks.length > 0) return Effect.succeed(chunks as [Uint8Array, ...Array<Uint8Array>])
    if (this.state === "open") return Effect.flatMap(this.more, () => this.pull)
    return this.state === "failed" ? Effect.fail(this.error) : Cause.done()
  })
}

const joined = (chunks: ReadonlyArray<Uint8Array>, length: number): ArrayBuffer => {
  if (length === 0) return new ArrayBuffer(0)
  const bytes = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes.buffer
}

/** In a microtask: `queueMicrotask` takes longer, and is no part of the language. */
const soon = (act: () => void): void => void Promise.resolve().then(act)
