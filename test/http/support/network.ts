/** A network in small: servers at several addresses of loopback, and a resolver that answers what a test says. */
import { Effect, Layer, Schedule } from "effect"
import { Dns, NetAddress } from "effect/net"
import { networkInterfaces } from "node:os"
import { type Answer, ok, receiver } from "./receiver.ts"

/** The part of loopback that tests open, so that it stands for the internet. Any system but macOS has it from the start. */
export const outside = "127.0.0.2"
export const open = [`${outside}/32`]

/** Not every container has a loopback of IPv6. What needs one is skipped there. */
export const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"))

/** Servers at 127.0.0.1 and ::1, which no request may reach, and one outside, all on the same port. */
export const network = Effect.fnUntraced(function* (answer: Answer = ok) {
  const servers = Effect.gen(function* () {
    const out = yield* receiver(answer, { host: outside })
    const { port } = out
    const inside = [yield* receiver(ok, { port })]
    if (hasIpv6) inside.push(yield* receiver(ok, { host: "::1", port }))
    return { out, port, reached: () => inside.reduce((sum, { connections }) => sum + connections(), 0) }
  })
  // Another process may have the port at one of the others.
  return yield* Effect.catchDefect(servers, Effect.fail).pipe(Effect.retry(Schedule.recurs(5)), Effect.orDie)
})

/** Answers a name's addresses at its n-th lookup, from 1, and counts the lookups. */
export const resolver = (addresses: (name: string, n: number) => ReadonlyArray<string>) => {
  let lookups = 0
  const dns = Dns.make({
    lookup: (name) => Effect.sync(() => addresses(name, ++lookups).map(NetAddress.ipFromStringUnsafe))
  })
  return { layer: Layer.succeed(Dns.Dns, dns), lookups: () => lookups }
}
