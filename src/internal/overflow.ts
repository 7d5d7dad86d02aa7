/**
 * What a full queue does with a write. `suspend`: the write waits for room. `reject`: it fails with `QueueFull`.
 * `drop-newest`: the new event is accepted and dropped. `drop-oldest`: the oldest event that is not being delivered is
 * dropped; when there is none, the new one is.
 *
 * @category options
 * @since 0.1.0
 */
export type Overflow = "suspend" | "reject" | "drop-newest" | "drop-oldest"
