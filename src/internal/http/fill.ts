/** Filling a request with events, up to its limits. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type Envelope, EnvelopeError, type Join, type Part } from "../../http/Envelope.ts"
import { TooLarge } from "../../http/HttpSinkError.ts"
import { headerProblem, isFieldValue } from "./target.ts"

/** A request's content, and how many events it is of. */
export interface Filled extends Part {
  readonly count: number
}

type Failure = EnvelopeError | TooLarge

export class Filler<A> {
  private readonly envelope: Envelope<A>
  private readonly maxEvents: number
  private readonly maxBytes: number
  /** The event that the last request had no room for, so that the next one need not encode it again. */
  private left: { readonly event: A; readonly part: Part } | undefined = undefined

  constructor(envelope: Envelope<A>, maxEvents: number, maxBytes: number) {
    this.envelope = envelope
    this.maxEvents = maxEvents
    this.maxBytes = maxBytes
  }

  /** One event, on its own. */
  one(event: A): Effect.Effect<Filled, Failure> {
    return Effect.flatMap(this.encode(event), ({ body, headers }) =>
      body.length > this.maxBytes
        ? Effect.fail(new TooLarge({ bytes: body.length, maxBytes: this.maxBytes }))
        : Effect.succeed({ body, headers, count: 1 })
    )
  }

  /**
   * As many leading events as fit. One that does not, cannot be encoded or needs other headers ends the group before it;
   * if it is the first, it fails.
   */
  some(join: Join, events: NonEmptyReadonlyArray<A>): Effect.Effect<Filled, Failure> {
    return Effect.suspend(() => {
      const { left } = this
      this.left = undefined
      const most = Math.min(events.length, this.maxEvents)
      const parts: Array<Part> = []
      let bytes = join.prefix.length + join.suffix.length
      let refused: Effect.Effect<never, Failure> | undefined
      return Effect.flatMap(
        Effect.whileLoop({
          while: () => refused === undefined && parts.length < most,
          body: () => {
            // Not out of bounds, by the condition of the loop.
            const event = events[parts.length] as A
            return left !== undefined && Object.is(left.event, event)
              ? Effect.succeed(Exit.succeed(left.part))
              : Effect.exit(this.encode(event))
          },
          step: (exit) => {
            if (Exit.isFailure(exit)) {
              refused = Effect.failCause(exit.cause)
              return
            }
            const part = exit.value
            const [first] = parts
            const size = bytes + part.body.length + (first === undefined ? 0 : join.separator.length)
            if (size <= this.maxBytes && (first === undefined || isSame(first.headers, part.headers))) {
              parts.push(part)
              bytes = size
              return
            }
            refused = Effect.fail(new TooLarge({ bytes: size, maxBytes: this.maxBytes }))
            this.left = { event: events[parts.length] as A, part }
          }
        }),
        () => {
          const [first] = parts
          // Without a part the first event was refused.
          return first === undefined ? refused! : Effect.succeed(joined(join, parts, first, bytes))
        }
      )
    })
  }

  private encode(event: A): Effect.Effect<Part, EnvelopeError> {
    return Effect.flatMap(this.envelope.encode(event), (part) => {
      for (const [name, value] of Object.entries(part.headers)) {
        // The client would refuse the request each time as if the connection had failed.
        const problem = headerProblem(name, value)
        if (problem === undefined || (name === "content-type" && isFieldValue(value))) continue
        return Effect.fail(new EnvelopeError({ direction: "encode", message: `the header ${name} ${problem}` }))
      }
      return Effect.succeed(part)
    })
  }
}

const isSame = (a: Part["headers"], b: Part["headers"]): boolean => {
  if (a === b) return true
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name])
}

const joined = (join: Join, parts: ReadonlyArray<Part>, first: Part, bytes: number): Filled => {
  const body = new Uint8Array(bytes)
  let at = 0
  const put = (piece: Uint8Array): void => {
    body.set(piece, at)
    at += piece.length
  }
  put(join.prefix)
  parts.forEach((part, i) => {
    if (i > 0) put(join.separator)
    put(part.body)
  })
  put(join.suffix)
  return { body, headers: first.headers, count: parts.length }
}
