/** Judges hosts, of which each is an address or has some. */
import * as Arr from "effect/Array"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Dns from "effect/net/Dns"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import { type AddressPolicy, ForbiddenAddress, refusal } from "../AddressPolicy.ts"

/** A host that has no address to connect to, with a code as Node's errors of lookups have it. */
export class LookupFailed extends Data.TaggedError("LookupFailed")<{
  readonly host: string
  readonly code: "ENOTFOUND" | "EAI_FAIL"
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${this.host} has no address`
  }
}

/** An address as Node takes it. */
export interface Resolved {
  readonly address: string
  readonly family: 4 | 6
}

export class Guard {
  private readonly policy: AddressPolicy
  private readonly dns: Dns.Dns["Service"]

  constructor(policy: AddressPolicy, dns: Dns.Dns["Service"]) {
    this.policy = policy
    this.dns = dns
  }

  private judge(host: string, address: NetAddress.IpAddress, text: string): ForbiddenAddress | undefined {
    const range = refusal(this.policy, address)
    return range && new ForbiddenAddress({ host, address: text, range })
  }

  /** Judges a host that is connected to without a lookup. A name passes: it is judged by `resolve`. */
  literal(host: string): ForbiddenAddress | LookupFailed | undefined {
    const parsed = Result.getOrUndefined(Host.hostFromString(host))
    if (NetAddress.isIpAddress(parsed)) return this.judge(host, parsed, host)
    // What is neither might be an address to somebody else, as one with a zone is.
    return Host.isDomainName(parsed) ? undefined : new LookupFailed({ host, code: "ENOTFOUND" })
  }

  /** The addresses of a name, if all of them may be connected to: one that may not is a reason to distrust the others. */
  resolve(host: string): Effect.Effect<Arr.NonEmptyReadonlyArray<Resolved>, ForbiddenAddress | LookupFailed> {
    const answered = Effect.mapError(this.dns.lookup(host), (cause) => {
      const code = cause.reason === "NotFound" || cause.reason === "BadName" ? "ENOTFOUND" : "EAI_FAIL"
      return new LookupFailed({ host, code, cause })
    })
    return Effect.flatMap(answered, (addresses): ReturnType<Guard["resolve"]> => {
      const found: Array<Resolved> = []
      for (const one of addresses) {
        const address = NetAddress.formatIp(one)
        const forbidden = this.judge(host, one, address)
        if (forbidden !== undefined) return Effect.fail(forbidden)
        found.push({ address, family: NetAddress.isIpv4Address(one) ? 4 : 6 })
      }
      // A `Dns` of somebody's own may break its word, and Node then fails without a reason.
      return Arr.isReadonlyArrayNonEmpty(found)
        ? Effect.succeed(found)
        : Effect.fail(new LookupFailed({ host, code: "ENOTFOUND" }))
    })
  }
}
