/** Judges hosts by their addresses: that of a literal, or all those of a name. */
import * as Arr from "effect/Array"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Dns from "effect/net/Dns"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import { type AddressPolicy, ForbiddenAddress, refusal } from "../AddressPolicy.ts"

/** A host that has no address to connect to, with a code of Node's lookups. */
export class LookupFailed extends Data.TaggedError("LookupFailed")<{
  readonly host: string
  readonly code: "ENOTFOUND" | "EAI_FAIL"
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${this.host} has no address`
  }
}

/** An address in the form that Node takes. */
export interface Resolved {
  readonly address: string
  readonly family: 4 | 6
}

const guardedClients = new WeakMap<object, AddressPolicy>()

/** Marks the client of a guard with its policy, so that a part whose urls come from outside can tell it from another. */
export const markGuarded = (client: object, policy: AddressPolicy): void => void guardedClients.set(client, policy)

/** The policy of a client that is that of a guard itself: one that is made of it, such as by a transformation, is not known to have one. */
export const policyOf = (client: object): AddressPolicy | undefined => guardedClients.get(client)

/** Judges a host that is connected to without a lookup. A name passes: `resolve` judges it. */
export const judgeLiteral = (policy: AddressPolicy, host: string): ForbiddenAddress | LookupFailed | undefined => {
  const parsed = Result.getOrUndefined(Host.hostFromString(host))
  if (NetAddress.isIpAddress(parsed)) return judge(policy, host, parsed, host)
  // A text that is neither might be an address to another parser, as one with a zone is.
  return Host.isDomainName(parsed) ? undefined : new LookupFailed({ host, code: "ENOTFOUND" })
}

/** The addresses of a name. If one of them is forbidden, the others are not to be trusted either. */
export const resolve = Effect.fnUntraced(function* (policy: AddressPolicy, dns: Dns.Dns["Service"], host: string) {
  const addresses = yield* Effect.mapError(dns.lookup(host), (cause) => {
    const code = cause.reason === "NotFound" || cause.reason === "BadName" ? "ENOTFOUND" : "EAI_FAIL"
    return new LookupFailed({ host, code, cause })
  })
  const found: Array<Resolved> = []
  for (const one of addresses) {
    const address = NetAddress.formatIp(one)
    const forbidden = judge(policy, host, one, address)
    if (forbidden !== undefined) return yield* forbidden
    found.push({ address, family: NetAddress.isIpv4Address(one) ? 4 : 6 })
  }
  // The type of a lookup promises an address. Without one Node would fail without a reason.
  return Arr.isReadonlyArrayNonEmpty(found) ? found : yield* new LookupFailed({ host, code: "ENOTFOUND" })
})

// internals

const judge = (policy: AddressPolicy, host: string, address: NetAddress.IpAddress, text: string) => {
  const range = refusal(policy, address)
  return range && new ForbiddenAddress({ host, address: text, range })
}
