/** Changes of endpoints by several processes at once. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { type EventStore, MemoryStore } from "effect-events/durable"
import { file, open } from "../durable/support/sqliteFile.ts"
import { operationsOver } from "../durable/support/store.ts"
import { quiet } from "../support/virtual.ts"
import { key, makeReceivers, startedOver } from "./support/webhooks.ts"

const stores = {
  memory: Effect.flatMap(MemoryStore.makeMemory, operationsOver),
  SQLite: Effect.flatMap(file, open)
}
const names = ["memory", "SQLite"] as const

/** Two processes, of which the first does `between` after it has read a row, and before it writes that back, `times` times. */
const started = Effect.fnUntraced(function* (
  name: keyof typeof stores,
  options: Parameters<typeof startedOver>[2] = {}
) {
  const store = yield* stores[name]
  const meanwhile = { times: 0, run: Effect.void as Effect.Effect<unknown, unknown> }
  const slow: EventStore.Operations = {
    ...store,
    list: (which) =>
      Effect.tap(store.list(which), () =>
        which.name === undefined || meanwhile.times-- <= 0 ? Effect.void : Effect.orDie(meanwhile.run)
      )
  }
  const receivers = makeReceivers()
  const one = yield* startedOver(slow, receivers, { slots: 0, ...options })
  const other = yield* startedOver({ ...store }, receivers, { slots: 0 })
  const { endpoint } = yield* other.create({ tenant: "acme", url: "https://acme.test/1" })
  const between = (run: Effect.Effect<unknown, unknown>, times = 1) => Object.assign(meanwhile, { run, times })
  return { one, other, endpoint, between }
})

describe("two processes that change one endpoint at once", () => {
  it.effect.each(names)("undo no change of each other: %s", (name) =>
    Effect.gen(function* () {
      const { between, endpoint, one, other } = yield* started(name)
      between(other.update(endpoint, { url: "https://acme.test/2" }))
      yield* one.update(endpoint, { topics: ["order/*"] })
      between(other.update(endpoint, { topics: ["user/*"] }))
      yield* one.update(endpoint, { description: "mine" })
      between(other.rotateSecret(endpoint))
      yield* one.rotateSecret(endpoint)
      const found = yield* one.get(endpoint)
      assert.deepInclude(found, { url: "https://acme.test/2", topics: ["user/*"], description: "mine" })
      assert.lengthOf(found.secrets, 3)
      let n = 0
      between(
        Effect.suspend(() => other.update(endpoint, { description: `theirs ${n++}` })),
        5
      )
      assert.strictEqual((yield* one.update(endpoint, { url: "https://acme.test/3" })).description, "theirs 4")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect.each(names)("do not make anew what the other has removed: %s", (name) =>
    Effect.gen(function* () {
      const { between, endpoint, one, other } = yield* started(name)
      between(other.remove(endpoint))
      const error = yield* Effect.flip(one.update(endpoint, { url: "https://acme.test/2" }))
      assert.strictEqual(error._tag, "EndpointNotFound")
      assert.deepStrictEqual((yield* one.list("acme")).endpoints, [])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect.each(names)("reencrypt undoes no change: %s", (name) =>
    Effect.gen(function* () {
      const keys = { current: key("b"), old: [key("a")] }
      const { between, endpoint, one, other } = yield* started(name, { keys })
      between(other.update(endpoint, { url: "https://acme.test/2" }))
      assert.deepStrictEqual(yield* one.reencrypt, { reencrypted: 1, unreadable: 0 })
      assert.strictEqual((yield* one.get(endpoint)).url, "https://acme.test/2")
      // The other process does not have the new key: the row was encrypted with that.
      const error = yield* Effect.flip(other.update(endpoint, { url: "https://acme.test/3" }))
      assert.strictEqual(error._tag, "EndpointUnreadable")
      const { secret } = yield* one.rotateSecret(endpoint)
      assert.match(Redacted.value(secret), /^whsec_/)
    }).pipe(Effect.scoped, quiet)
  )
})
