/** What is in spans and logs of requests to endpoints: nothing that is as good as a secret. */
import { assert, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { recorder } from "../support/recorder.ts"
import { withLogs } from "../support/virtual.ts"
import { deliver, makeReceivers, started, write } from "./support/webhooks.ts"

it.effect("no path or query of a url, no header's value and no secret is in a span, a log or an error", () => {
  const { provide, spans } = recorder()
  return withLogs((logs) =>
    Effect.gen(function* () {
      const receivers = makeReceivers((_, n) => new Response(null, { status: n % 2 === 1 ? 503 : 400 }))
      const { webhooks } = yield* started(receivers)
      const { endpoint, secret } = yield* webhooks.create({
        tenant: "acme",
        url: "https://acme.test/path-of-acme?query=of-acme",
        headers: { authorization: Redacted.make("Bearer header-of-acme"), "x-plain": "plain-of-acme" }
      })
      yield* write(webhooks, 1)
      yield* deliver
      yield* write(webhooks, 2)
      yield* deliver
      const test = yield* webhooks.sendTest(endpoint, { topic: "test", event: { id: "t", total: 1 } })
      yield* webhooks.update(endpoint, { url: "https://acme.test/other-of-acme" })
      yield* webhooks.rotateSecret(endpoint)
      assert.isAbove(spans.length, 0)
      assert.include(
        spans.map(({ name }) => name),
        "POST"
      )
      const all = [
        ...spans.map((span) =>
          JSON.stringify([
            span.name,
            [...span.attributes],
            span.events,
            String(span.status._tag === "Ended" ? JSON.stringify(span.status.exit) : "")
          ])
        ),
        ...logs.map(({ line }) => line),
        JSON.stringify([test.error, yield* webhooks.attempts(endpoint)]),
        JSON.stringify(yield* webhooks.deadLetters(endpoint).list())
      ]
      const key = Redacted.value(secret).replace("whsec_", "")
      for (const hidden of ["path-of-acme", "of-acme", "other-of-acme", key])
        assert.deepStrictEqual(
          all.filter((text) => text.includes(hidden)),
          []
        )
    }).pipe(Effect.scoped, provide)
  )
})
