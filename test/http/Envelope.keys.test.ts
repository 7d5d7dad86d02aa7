import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import * as Envelope from "../../src/http/Envelope.ts"
import { masked } from "./support/masked.ts"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

const decode = <A>(envelope: Envelope.Envelope<A>, body: string) =>
  envelope.decode({ headers: { "content-type": envelope.contentType }, body: encoder.encode(body) })

/** The text of a request's only event, decoded and encoded again. */
const again = Effect.fnUntraced(function* <A>(envelope: Envelope.Envelope<A>, body: string) {
  const [event] = yield* decode(envelope, body)
  return decoder.decode((yield* envelope.encode(event ?? assert.fail("no event"))).body)
})

const Any = Schema.Struct({ id: Schema.String, any: Schema.Unknown })
const Int = Schema.Struct({ id: Schema.String, any: Schema.Int })

describe("a key of an object's prototype", () => {
  it.effect.each(masked)("is data in every field that takes any JSON: %s", (text) =>
    Effect.gen(function* () {
      const body = `{"id":"a","any":${text}}`
      assert.strictEqual(yield* again(Envelope.json(Any), body), body)
      assert.strictEqual(yield* again(Envelope.json(Schema.Unknown), body), body)
      assert.strictEqual(yield* again(Envelope.ndjson(Any), body), body)
      assert.strictEqual(yield* again(Envelope.registry, `{"events":[${body}]}`), body)
      const event = `{"specversion":"1.0","id":"a","source":"/a","type":"t","datacontenttype":"application/json","data":${text}}`
      const [cloud] = yield* decode(CloudEvent.structured(CloudEvent.json(Schema.Unknown)), event)
      assert.strictEqual(JSON.stringify(cloud?.data), text)
    })
  )

  it.effect.each(masked)("is refused where it does not fit, without a defect: %s", (text) =>
    Effect.gen(function* () {
      const body = `{"id":"a","any":${text}}`
      const message = 'Expected number at ["any"]'
      assert.strictEqual((yield* Effect.flip(decode(Envelope.json(Int), body))).message, message)
      assert.strictEqual((yield* Effect.flip(decode(Envelope.ndjson(Int), body))).message, `${message} on line 1`)
      const events = `{"events":[{"id":${text}}]}`
      assert.strictEqual(
        (yield* Effect.flip(decode(Envelope.registry, events))).message,
        'Expected string at ["events"][0]["id"]'
      )
    })
  )
})
