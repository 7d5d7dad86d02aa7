/** One request and its answer. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as UrlParams from "effect/http/UrlParams"
import * as Option from "effect/Option"
import { Scope } from "effect/Scope"
import { nativeTracer, ParentSpan, Tracer } from "effect/Tracer"
import type { Classification } from "../../Classification.ts"
import { type ForbiddenAddress, type Reason, Status, Timeout, type Transport } from "../../HttpSinkError.ts"
import { drain, retryAfter, transport } from "./answer.ts"
import { Deadlines } from "./deadlines.ts"
import type { Target } from "./target.ts"

export interface ExchangeOptions {
  readonly target: Target
  readonly contentType: string
  readonly classification: Classification
  readonly timeout: Duration.Duration
  readonly maxRetryAfter: Duration.Duration
}

/** Why a request failed, and whether another may succeed. */
export interface Failed {
  readonly reason: Reason
  readonly transient: boolean
}

export interface Content {
  readonly body: Uint8Array
  readonly headers: Readonly<Record<string, string>>
}

export class Exchange {
  private readonly client: HttpClient.HttpClient
  private readonly options: ExchangeOptions
  /** What the client itself was given for `fetch`, if it is one of those. */
  private readonly init: FetchHttpClient.RequestInit["Service"] | undefined
  private readonly headers: Headers.Headers
  private readonly deadlines: Deadlines
  private caller: Context.Context<never> | undefined = undefined
  private context: Context.Context<never> = Context.empty()

  constructor(
    client: HttpClient.HttpClient,
    init: FetchHttpClient.RequestInit["Service"] | undefined,
    options: ExchangeOptions
  ) {
    this.client = client
    this.init = init
    this.options = options
    this.deadlines = new Deadlines(options.timeout)
    this.headers = Headers.fromInput({ ...options.target.headers, "content-type": options.contentType })
  }

  /** Sends a request, and answers with the status. It fails unless that is accepted, and is over when the answer is read. */
  send({ body, headers }: Content): Effect.Effect<number, Failed> {
    const { contentType, target, timeout } = this.options
    const all = hasNone(headers) ? this.headers : Headers.setAll(this.headers, headers)
    const request = HttpClientRequest.makeWith(
      "POST",
      target.href,
      target.params,
      Option.none(),
      all,
      HttpBody.uint8Array(body, all["content-type"] ?? contentType)
    )
    let verdict: Effect.Effect<number, Failed> | undefined
    const answered = (response: HttpClientResponse): Effect.Effect<number, Failed> => {
      const { headers } = response
      // Not before the body is read: what a classification throws would leave the connection neither used nor ended.
      const judged = Effect.suspend(() => this.judge(response.status, headers))
      verdict = judged
      return Effect.andThen(drain(response, headers), judged)
    }
    const exchange = Effect.matchEffect(this.client.execute(request), {
      onSuccess: answered,
      onFailure: (error) =>
        // A client may have a view of its own on what is an answer; here the classification decides.
        "response" in error.reason ? answered(error.reason.response) : Effect.fail(this.unanswered(transport(error)))
    })
    if (!Duration.isFinite(timeout)) return Effect.updateContext(exchange, this.contextOf)
    return this.deadlines.limit(
      exchange,
      this.contextOf,
      // The status was the verdict: a body that never ends does not change it.
      () => verdict ?? Effect.fail({ reason: new Timeout({ after: timeout }), transient: true })
    )
  }

  private unanswered(reason: Transport | ForbiddenAddress): Failed {
    // An address in the url stays what it is. One that a redirect led to may not.
    const isForGood = reason._tag === "ForbiddenAddress" && reason.isLiteral && reason.host === this.options.target.host
    return { reason, transient: !isForGood }
  }

  private judge(status: number, headers: Headers.Headers): Effect.Effect<number, Failed> {
    const verdict = this.options.classification({ status, headers })
    if (verdict === "accepted") return Effect.succeed(status)
    return Effect.flatMap(retryAfter(headers["retry-after"], this.options.maxRetryAfter), (retryAfter) =>
      Effect.fail({ reason: new Status({ status, retryAfter }), transient: verdict === "transient" })
    )
  }

  /** What a request runs in: its caller's context, with what keeps redirects unfollowed and secrets out of spans. */
  private readonly contextOf = (caller: Context.Context<never>): Context.Context<never> => {
    // Most writes come from the same fiber, so the context of the last caller is kept.
    if (caller === this.caller) return this.context
    const given = Context.getOrUndefined(caller, FetchHttpClient.RequestInit)
    // Nothing of a request outlives it, so its caller's scope has no part in it: `UndiciClient` is faster without one.
    const unscoped = Context.omit(Scope)(caller) as Context.Context<never>
    let context = Context.add(unscoped, FetchHttpClient.RequestInit, { ...this.init, ...given, redirect: "manual" })
    const isTraced =
      Context.getOrUndefined(caller, ParentSpan) !== undefined || Context.get(caller, Tracer) !== nativeTracer
    if (isTraced) {
      const hidden = [...Context.get(caller, Headers.CurrentRedactedNames), ...this.options.target.hidden]
      context = Context.add(context, Headers.CurrentRedactedNames, hidden)
      // Every value of a query that is part of the text.
      context = Context.add(context, UrlParams.CurrentRedactedNames, [/^/])
    } else {
      // A span of its own costs a third of a request, and nobody would see it.
      context = Context.add(context, HttpClient.TracerDisabledWhen, constTrue)
    }
    this.caller = caller
    this.context = context
    return context
  }
}

const hasNone = (record: Readonly<Record<string, string>>): boolean => {
  for (const _ in record) return false
  return true
}

/**
 * What a client that runs on `fetch` was given when it was made. A request's own options take the place of those, so they
 * must be known to be kept. The request that would be sent is interrupted before there is one.
 */
export const initOf = (
  client: HttpClient.HttpClient
): Effect.Effect<FetchHttpClient.RequestInit["Service"] | undefined> => {
  let init: FetchHttpClient.RequestInit["Service"] | undefined
  const look = Effect.contextWith((context: Context.Context<never>) => {
    init = Context.getOrUndefined(context, FetchHttpClient.RequestInit)
    return Effect.interrupt
  })
  return Effect.map(Effect.exit(client.postprocess(look)), () => init)
}
