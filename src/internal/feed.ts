import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"

/** One subscription to a `PubSub`, read in batches, that can be cut off without losing what was published to it. */
export class Feed<A> {
  private readonly subscription: PubSub.Subscription<A>
  private readonly scope: Scope.Closeable
  private readonly context: Context.Context<never>
  /** Taken from the `PubSub`, and not handed to the reader yet. */
  private held: ReadonlyArray<A> = []
  private from = 0
  private isCut = false

  private constructor(subscription: PubSub.Subscription<A>, scope: Scope.Closeable, context: Context.Context<never>) {
    this.subscription = subscription
    this.scope = scope
    this.context = context
  }

  /** Subscribes now: what is published after this is read. */
  static make<A>(pubsub: PubSub.PubSub<A>, context: Context.Context<never>): Effect.Effect<Feed<A>> {
    return Effect.suspend(() => {
      const scope = Scope.makeUnsafe()
      return Effect.map(
        Scope.provide(PubSub.subscribe(pubsub), scope),
        (subscription) => new Feed(subscription, scope, context)
      )
    })
  }

  /** How many events wait here. */
  get size(): number {
    return this.held.length - this.from + (this.isCut ? 0 : this.subscription.subscription.size())
  }

  /**
   * Waits for events and takes all there are; none when the feed has been cut off and is read out.
   *
   * A `PubSub` wakes its readers at every event, from inside the publisher: one event is taken, the publisher is let go
   * on, and then all that it published meanwhile is taken at once.
   */
  readonly take: Effect.Effect<ReadonlyArray<A>> = Effect.suspend(() => {
    if (this.isCut || this.size > 0) return Effect.succeed(this.rest())
    return Effect.matchCauseEffect(PubSub.take(this.subscription), {
      onSuccess: (first) => {
        this.held = [...this.held.slice(this.from), first]
        this.from = 0
        // Another reader may be faster; then this one waits again.
        return Effect.andThen(Effect.yieldNow, this.take)
      },
      // Cutting the feed off interrupts its waiting reader, which then takes what was left.
      onFailure: (cause) => (this.isCut ? this.take : Effect.failCause(cause))
    })
  })

  /** Takes one event, and leaves the others for the next call; none as `take`. */
  readonly takeOne: Effect.Effect<ReadonlyArray<A>> = Effect.suspend(() => {
    if (this.from < this.held.length) return Effect.succeed([this.held[this.from++]!])
    return Effect.flatMap(this.take, (events) => {
      if (events.length === 0) return Effect.succeed(events)
      this.held = events
      this.from = 0
      return this.takeOne
    })
  })

  /** Takes all there is, without waiting. */
  rest(): ReadonlyArray<A> {
    this.pull()
    const rest = this.from === 0 ? this.held : this.held.slice(this.from)
    this.held = []
    this.from = 0
    return rest
  }

  private pull(): void {
    if (this.isCut) return
    const more = this.subscription.subscription.pollUpTo(Number.POSITIVE_INFINITY)
    const held = this.held.length - this.from
    this.held = held === 0 ? more : this.held.slice(this.from).concat(more)
    this.from = 0
  }

  /** Ends the subscription here: what was published before is kept for the reader, what comes later is not for it. */
  cut(): void {
    if (this.isCut) return
    this.pull()
    this.isCut = true
    Effect.runForkWith(this.context)(Scope.close(this.scope, Exit.void))
  }
}
