/**
 * Composable event sinks for Effect: queue, retry, break, broadcast and filter events, and never lose one silently.
 *
 * @since 0.1.0
 */
export * as BatchingSink from "./BatchingSink.ts"
export * as Breaker from "./Breaker.ts"
export * as Broadcaster from "./Broadcaster.ts"
export * as ConcurrencyLimitedSink from "./ConcurrencyLimitedSink.ts"
export * as Dropped from "./Dropped.ts"
export * as EventChannel from "./EventChannel.ts"
export * as EventFilter from "./EventFilter.ts"
export * as EventQueue from "./EventQueue.ts"
export * as EventRouter from "./EventRouter.ts"
export * as EventSink from "./EventSink.ts"
export * as ExponentialBackoff from "./ExponentialBackoff.ts"
export * as FallbackSink from "./FallbackSink.ts"
export * as Interop from "./Interop.ts"
export * as RateLimitedSink from "./RateLimitedSink.ts"
export * as RetryingSink from "./RetryingSink.ts"
export * as RetryStrategy from "./RetryStrategy.ts"
export * as SinkGraph from "./SinkGraph.ts"
export * as SinkMetrics from "./SinkMetrics.ts"
