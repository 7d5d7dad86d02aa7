/** Buffers of a queue, each with the Effect `Queue` that it keeps its events in. */
import { type Cause, Effect, Queue } from "effect"
import type { Buffer, Page } from "../../src/internal/pages.ts"
import { type Batching, fifo, type Partition, partitioned } from "../../src/internal/queue/buffer.ts"

export const inOrder = <A>(drainers: number, batching: Batching): Effect.Effect<Buffer<A>> =>
  Effect.map(Queue.unbounded<Page<A>, Cause.Done>(), (queue) => fifo(queue, drainers, batching))

export const byKeys = <A>(batching: Batching, keyOf: (event: A) => unknown): Effect.Effect<Buffer<A>> =>
  Effect.map(Queue.unbounded<Partition<A>, Cause.Done>(), (queue) => partitioned(queue, batching, keyOf))

/** Drainers get one event at a time. */
export const one: Batching = { joinUpTo: 1, max: 1 }
