/**
 * swarmkit's watch queue, `watch/watch.go`: what is published goes to every watcher that it matches. A watcher that falls too
 * far behind, or does not take an event in time, is evicted with a typed reason that says where to go on. Neither holds up
 * the publisher or another watcher.
 */
import { type Duration, Effect, Exit, Fiber, Stream } from "effect"
import { Broadcaster, EventChannel, EventSink } from "effect-events"

export interface Options {
  /** How many events a watcher may be behind: unlimited by default. swarmkit's `WithLimit`. */
  readonly limit?: number | undefined
  /** How long an event may wait for a watcher to take it: for ever by default. swarmkit's `WithTimeout`. */
  readonly timeout?: Duration.Input | undefined
  /** How many of the last events are kept for watchers that go on where they were. */
  readonly keep?: number | undefined
}

export interface WatchOptions<in A> {
  /** What the watcher wants. swarmkit's `CallbackWatch`. */
  readonly matcher?: ((event: A) => boolean) | undefined
  /** The position behind the last event that the watcher had. swarmkit's `WatchFrom`. */
  readonly since?: string | undefined
}

export const make = Effect.fnUntraced(function* <A>({ keep, limit, timeout }: Options = {}) {
  const broadcaster = yield* Broadcaster.make<A>({ name: "watch", replay: keep })
  return {
    publish: broadcaster.write,
    /** The position behind what was published last: read it, then the state, then watch from it. */
    position: Broadcaster.position(broadcaster),
    /** Events from now on, until the scope closes. */
    watch: Effect.fnUntraced(function* ({ matcher, since }: WatchOptions<A> = {}) {
      const events = yield* Broadcaster.subscribeWithPosition(broadcaster, {
        filter: matcher,
        maxLag: limit,
        replay: since === undefined ? undefined : { since }
      })
      return timeout === undefined ? events : yield* takenWithin(events, timeout)
    })
  }
})

/** swarmkit's `timeoutSink`: a stream whose reader takes each event in time, or gets a `WriteTimeout`. */
const takenWithin = Effect.fnUntraced(function* <A>(
  events: Stream.Stream<A, Broadcaster.SubscriberLagged>,
  timeout: Duration.Input
) {
  const channel = yield* EventChannel.make<A>()
  const sink = yield* EventSink.timeout(channel, timeout)
  const copying = yield* Stream.run(events, EventSink.toSink(sink)).pipe(
    // swarmkit's `dropErrClosed`: the channel is closed, and its reader sees that.
    Effect.catchTag("SinkClosed", () => Effect.void),
    Effect.ensuring(channel.shutdown),
    Effect.forkScoped
  )
  const reason = Effect.flatMap(Fiber.await(copying), (exit) => (Exit.hasInterrupts(exit) ? Effect.void : exit))
  return Stream.concat(channel.stream, Stream.fromEffectDrain(reason))
})
