/** Filling a request with events, up to its limits. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type Envelope, EnvelopeError, type Join, type Part } from "../../Envelope.ts"
import { TooLarge } from "../../HttpSinkError.ts"
import { andThenEager, isOver } from "../../../internal/eager.ts"
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
  private left: Left<A> | undefined = undefined

  constructor(envelope: Envelope<A>, maxEvents: number, maxBytes: number) {
    this.envelope = envelope
    this.maxEvents = maxEvents
    this.maxBytes = maxBytes
  }

  /** One event, on its own. */
  one(event: A): Effect.Effect<Filled, Failure> {
    return andThenEager(this.encode(event), ({ body, headers }) =>
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
      const bytes = join.prefix.length + join.suffix.length
      return this.goOn({ join, events, left, parts: [], bytes, refused: undefined })
    })
  }

  /** Goes on until it is full. No effect is run for an event that is encoded at once, as most are. */
  private goOn(group: Group<A>): Effect.Effect<Filled, Failure> {
    const { events, join, left, parts } = group
    const most = Math.min(events.length, this.maxEvents)
    while (group.refused === undefined && parts.length < most) {
      // Not out of bounds, by the condition of the loop.
      const event = events[parts.length] as A
      const isLeft = left !== undefined && Object.is(left.event, event)
      const encoded = isLeft ? Effect.succeed(left.part) : this.encode(event)
      if (!isOver(encoded)) {
        return Effect.flatMap(Effect.exit(encoded), (exit) => {
          this.put(group, event, exit)
          return this.goOn(group)
        })
      }
      this.put(group, event, encoded)
    }
    const [first] = parts
    // Without a part the first event was refused.
    return first === undefined ? group.refused! : Effect.succeed(joined(join, parts, first, group.bytes))
  }

  private put(group: Group<A>, event: A, exit: Exit.Exit<Part, EnvelopeError>): void {
    if (Exit.isFailure(exit)) {
      group.refused = Effect.failCause(exit.cause)
      return
    }
    const part = exit.value
    const [first] = group.parts
    const size = group.bytes + part.body.length + (first === undefined ? 0 : group.join.separator.length)
    if (size <= this.maxBytes && (first === undefined || isSame(first.headers, part.headers))) {
      group.parts.push(part)
      group.bytes = size
      return
    }
    group.refused = Effect.fail(new TooLarge({ bytes: size, maxBytes: this.maxBytes }))
    this.left = { event, part }
  }

  private encode(event: A): Effect.Effect<Part, EnvelopeError> {
    const encoded = this.envelope.encode(event)
    if (!isOver(encoded)) return Effect.flatMap(encoded, (part) => refusal(part) ?? Effect.succeed(part))
    return (Exit.isSuccess(encoded) ? refusal(encoded.value) : undefined) ?? encoded
  }
}

/** A request that is being filled. */
interface Group<A> {
  readonly join: Join
  readonly events: NonEmptyReadonlyArray<A>
  /** What the last one had no room for: the first event of this one, if that is still to be sent. */
  readonly left: Left<A> | undefined
  readonly parts: Array<Part>
  bytes: number
  refused: Effect.Effect<never, Failure> | undefined
}

interface Left<A> {
  readonly event: A
  readonly part: Part
}

/** The client would refuse the request each time as if the connection had failed. */
const refusal = ({ headers }: Part): Effect.Effect<never, EnvelopeError> | undefined => {
  for (const name in headers) {
    const value = headers[name] ?? ""
    const problem = headerProblem(name, value)
    if (problem === undefined || (name === "content-type" && isFieldValue(value))) continue
    return Effect.fail(new EnvelopeError({ direction: "encode", message: `the header ${name} ${problem}` }))
  }
  return undefined
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
