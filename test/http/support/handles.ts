/** What is open in this process, and that it is closed again. */
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Exit, type Layer, Scope } from "effect"
import { FetchHttpClient, type HttpClient } from "effect/http"
import { until } from "./delivery.ts"
import { type Script, type Unreliable, unreliable } from "./unreliable.ts"

type Counts = ReadonlyMap<string, number>

/** What keeps this process alive, by kind: an idle connection of a client's pool does not, and receivers count those. */
const active = (): Counts => {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}

const more = (now: Counts, before: Counts): ReadonlyArray<string> =>
  [...now]
    .filter(([kind, n]) => n > (before.get(kind) ?? 0))
    .map(([kind, n]) => `${n - (before.get(kind) ?? 0)} ${kind}`)

export interface Variant {
  readonly name: string
  readonly client: "undici" | "fetch"
  readonly layer: Layer.Layer<HttpClient.HttpClient>
  readonly concurrency: number
  /** How many connections a client may keep, after its close, when it has nothing to send. */
  readonly kept: number
}

/**
 * How many connections a client opens when none is lost: for each request under way at once two, since one can be used
 * again only a turn of the event loop after its last answer, and some in place of those that were aborted.
 */
export const opened = (concurrency: number): number => 2 * concurrency + 2

const variant = (client: Variant["client"], concurrency: number): Variant => ({
  name: `${client}, ${concurrency} at once`,
  client,
  layer: client === "undici" ? NodeHttpClient.layerUndici : FetchHttpClient.layer,
  concurrency,
  // The one has a pool of its own, which ends with it. That of the other is the whole process's.
  kept: client === "undici" ? 0 : opened(concurrency)
})

export const variants: ReadonlyArray<Variant> = [
  variant("undici", 1),
  variant("undici", 4),
  variant("fetch", 1),
  variant("fetch", 4)
]

export interface Case<E> {
  readonly name: string
  readonly variants?: ReadonlyArray<Variant> | undefined
  readonly script: () => Script
  /** Runs the case; `stalled` is the longest time for which this process could not run anything else. */
  readonly run: (
    receiver: Unreliable,
    variant: Variant,
    stalled: () => number
  ) => Effect.Effect<ReadonlyArray<string>, E, HttpClient.HttpClient | Scope.Scope>
}

/** Milliseconds between two looks at the clock. */
const tick = 5

/**
 * Runs cases side by side over each client, each with a receiver of its own, and answers what did not hold. Then looks
 * that nothing is open that was not before:
 *
 * - Endpoints and clients are closed, receivers are not: they count no more connections than a client's pool may keep.
 * - Those are idle: a socket with a pending read keeps the process alive, and there is none but the receivers' own.
 * - The receivers end the idle ones, and then themselves: of no kind of resource is there more than before.
 */
export const sideBySide = <E>(...cases: ReadonlyArray<Case<E>>): Effect.Effect<ReadonlyArray<string>, E> =>
  Effect.gen(function* () {
    const before = active()
    const found: Array<string> = []
    const eventually = (holds: () => boolean, what: () => string) =>
      Effect.map(until(holds), (came) => void (came || found.push(what())))
    let [longest, last] = [0, performance.now()]
    const ticks = setInterval(() => {
      const now = performance.now()
      longest = Math.max(longest, now - last - tick)
      last = now
    }, tick)
    const receivers = yield* Scope.make()
    const ran = yield* Effect.forEach(
      cases.flatMap((one) =>
        (one.variants ?? variants).map((variant) => ({
          ...variant,
          ...one,
          name: `${one.name}, ${variant.name}`,
          variant
        }))
      ),
      Effect.fnUntraced(function* ({ kept, layer, name, run, script, variant }) {
        const receiver = yield* Scope.provide(unreliable(script()), receivers)
        const violations = yield* Effect.provide(Effect.scoped(run(receiver, variant, () => longest)), layer)
        for (const violation of violations) found.push(`${name}: ${violation}`)
        return { name, kept, receiver }
      }),
      { concurrency: "unbounded" }
    )
    clearInterval(ticks)
    for (const { kept, name, receiver } of ran)
      yield* eventually(
        () => receiver.open() <= kept,
        () => `${name}: ${receiver.open()} connections are open`
      )
    const sockets = (counts: Counts) => counts.get("TCPSocketWrap") ?? 0
    const busy = () => sockets(active()) - sockets(before) - ran.reduce((n, { receiver }) => n + receiver.open(), 0)
    yield* eventually(
      () => busy() <= 0,
      () => `a client still waits on ${busy()} connections`
    )
    for (const { receiver } of ran) receiver.endIdle()
    for (const { name, receiver } of ran)
      yield* eventually(
        () => receiver.open() === 0,
        () => `${name}: ${receiver.open()} connections are not idle`
      )
    yield* Scope.close(receivers, Exit.void)
    yield* eventually(
      () => more(active(), before).length === 0,
      () => `left open: ${more(active(), before)}`
    )
    return found
  })
