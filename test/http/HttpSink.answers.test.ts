/** What is kept of the bodies of answers: nothing, unless it is asked for. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpClient } from "effect/http"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { note, type Note, one } from "./support/envelopes.ts"
import { fakeClient } from "./support/receiver.ts"

const body = "0123456789"
/** A body in pieces, whose length no header says. */
const pieces = (status: number) =>
  new Response(
    new ReadableStream({
      start: (controller) => {
        for (const piece of ["0123", "456", "789"]) controller.enqueue(new TextEncoder().encode(piece))
        controller.close()
      }
    }),
    { status }
  )

const attemptsOf = (answer: () => Response, options: Partial<HttpSink.Options<Note>> = {}) =>
  Effect.gen(function* () {
    const attempts: Array<HttpSink.Attempt> = []
    const sink = yield* HttpSink.make({
      url: "https://receiver.test",
      envelope: one,
      onAttempt: (attempt) => void attempts.push(attempt),
      ...options
    })
    yield* Effect.exit(sink.write(note("x")))
    return attempts.map(({ answer, status }) => [status, answer && new TextDecoder().decode(answer)])
  }).pipe(
    Effect.scoped,
    Effect.provideService(
      HttpClient.HttpClient,
      fakeClient(() => Effect.sync(answer))
    )
  )

describe("the first bytes of an answer", () => {
  const whole = (status: number) => new Response(body, { status, headers: { "content-length": String(body.length) } })

  for (const [name, answer] of [
    ["whole", whole],
    ["in pieces", pieces]
  ] as const) {
    it.effect(`are kept where they are asked for, of success and failure: ${name}`, () =>
      Effect.gen(function* () {
        for (const status of [200, 500]) {
          for (const [answerBytes, kept] of [
            [5, "01234"],
            [100, body]
          ] as const) {
            assert.deepStrictEqual(yield* attemptsOf(() => answer(status), { answerBytes }), [[status, kept]])
            const transformClient: HttpSink.TransformClient = (client) => client
            assert.deepStrictEqual(yield* attemptsOf(() => answer(status), { answerBytes, transformClient }), [
              [status, kept]
            ])
          }
          assert.deepStrictEqual(yield* attemptsOf(() => answer(status)), [[status, undefined]])
        }
      })
    )
  }
})
