/** The scenarios of the tests of containerd's `events/exchange` and `filters`. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, Fiber, Layer, Result, Schema, Scope, Stream } from "effect"
import * as Exchange from "../../docs/examples/containerd-exchange/Exchange.ts"
import * as Filter from "../../docs/examples/containerd-exchange/Filter.ts"

const Event = Schema.Union([
  Schema.TaggedStruct("ContainerCreate", { id: Schema.String }),
  Schema.TaggedStruct("TaskExit", { containerId: Schema.String })
])
type Event = typeof Event.Type

const created = ["asdf", "qwer", "zxcv"].map((id): Event => ({ _tag: "ContainerCreate", id }))
const exited: Event = { _tag: "TaskExit", containerId: "abcdef" }
const namespace = Layer.succeed(Exchange.Namespace, "testing")

describe("exchange_test.go", () => {
  it.effect("two subscriptions get all events in order, and end with their scopes", () =>
    Effect.gen(function* () {
      const exchange = yield* Exchange.make(Event)
      const scope = yield* Scope.make()
      const streams = yield* Effect.all([exchange.subscribe(), exchange.subscribe()]).pipe(Scope.provide(scope))
      const got: Array<Exchange.Envelope<Event>> = []
      const reading = yield* Effect.forkChild(
        Stream.runForEach(streams[0], (envelope) => Effect.sync(() => got.push(envelope)))
      )
      for (const event of created) yield* exchange.publish("/test", event)
      const second = yield* Stream.runCollect(Stream.take(streams[1], 3))
      assert.deepStrictEqual(
        second.map(({ event }) => event),
        created
      )
      const now = yield* DateTime.now
      for (const { namespace, timestamp, topic } of second) {
        assert.deepStrictEqual([namespace, topic, timestamp], ["testing", "/test", now])
      }
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(reading)
      assert.deepStrictEqual(got, second)
    }).pipe(Effect.provide(namespace))
  )

  const cases: ReadonlyArray<readonly [filters: ReadonlyArray<string>, expected: ReadonlyArray<Event>]> = [
    [[], [...created, exited]],
    [['topic=="/containers/create"'], created],
    [["event.id"], created],
    [['topic=="/containers/create"', "event.id"], created],
    [['topic~="/containers/*"'], created],
    [
      ['topic=="/tasks/exit"', 'topic=="/containers/create"'],
      [...created, exited]
    ],
    [['topic=="/containers/create",event.id=="qwer"'], [created[1]!]],
    [["namespace==other"], []]
  ]
  for (const [filters, expected] of cases) {
    it.effect(`filters [${filters.join(" | ")}] let ${expected.length} events through`, () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const exchange = yield* Scope.provide(Exchange.make(Event), scope)
        const stream = yield* exchange.subscribe(...filters)
        for (const event of created) yield* exchange.publish("/containers/create", event)
        yield* exchange.publish("/tasks/exit", exited)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(
          (yield* Stream.runCollect(stream)).map(({ event }) => event),
          expected
        )
      }).pipe(Effect.provide(namespace))
    )
  }

  const envelope = {
    timestamp: "2026-01-02T03:04:05.000Z",
    namespace: "testing",
    topic: "/test",
    event: created[0]
  }
  const topics = {
    "/test": true,
    "/test/test": true,
    test: false,
    "": false,
    "/": false,
    "/test/": false,
    "/a..b": false
  }
  for (const [topic, isValid] of Object.entries(topics)) {
    it.effect(`publish and forward ${isValid ? "take" : "refuse"} the topic "${topic}"`, () =>
      Effect.gen(function* () {
        const exchange = yield* Exchange.make(Event)
        const { forward, publish } = exchange
        for (const result of [
          yield* Effect.result(publish(topic, created[0]!)),
          yield* Effect.result(forward({ ...envelope, topic }))
        ]) {
          assert.strictEqual(Result.isSuccess(result), isValid)
          if (Result.isFailure(result)) assert.strictEqual(result.failure._tag, "SchemaError")
        }
      }).pipe(Effect.provide(namespace))
    )
  }

  it.effect("forward keeps an envelope's namespace and time, and refuses one without, or with a bad one", () =>
    Effect.gen(function* () {
      const exchange = yield* Exchange.make(Event)
      const stream = yield* exchange.subscribe()
      yield* exchange.forward({ ...envelope, namespace: "other" })
      const [got] = yield* Stream.runCollect(Stream.take(stream, 1))
      assert(got !== undefined)
      assert.strictEqual(got.namespace, "other")
      assert.strictEqual(DateTime.formatIso(got.timestamp), envelope.timestamp)
      const { namespace: _n, ...withoutNamespace } = envelope
      const { timestamp: _t, ...withoutTime } = envelope
      for (const wrong of [
        withoutNamespace,
        withoutTime,
        { ...envelope, namespace: "" },
        { ...envelope, namespace: "-a" },
        { ...envelope, namespace: "a".repeat(77) },
        { ...envelope, event: { _tag: "Unknown" } }
      ]) {
        assert.strictEqual((yield* Effect.flip(exchange.forward(wrong)))._tag, "SchemaError")
      }
      const other = Effect.provideService(exchange.publish("/test", created[0]!), Exchange.Namespace, "not/one")
      assert.strictEqual((yield* Effect.flip(other))._tag, "SchemaError")
    })
  )

  it.effect("a filter that does not parse fails the subscription, typed", () =>
    Effect.gen(function* () {
      const exchange = yield* Exchange.make(Event)
      const error = yield* Effect.flip(Effect.catchTag(exchange.subscribe("topic==/a"), "SinkClosed", Effect.die))
      assert.strictEqual(error.message, "topic==/a: expected a value or quoted text at 7")
    })
  )
})

describe("filter_test.go", () => {
  interface Entry {
    readonly name: string
    readonly other?: string
    readonly labels?: Readonly<Record<string, string>>
  }
  const entries: ReadonlyArray<Entry> = [
    { name: "foo", labels: { foo: "true" } },
    { name: "bar" },
    { name: "foo", labels: { foo: "present", "more complex label": "present" } },
    { name: "bar", labels: { bar: "true" } },
    { name: "fooer", labels: { 'more complex label with \\ and "': "present" } },
    { name: "fooer", labels: { 'more complex label with \\ and ".post': "present" } },
    { name: "baz", other: "too complex, yo" },
    { name: "bazo", other: "abc" },
    { name: "compound", labels: { foo: "omg_asdf.asdf-qwer" } }
  ]
  const fieldOf =
    ({ labels = {}, name, other }: Entry): Filter.Field =>
    ([first, ...rest]) =>
      first === "name" ? name : first === "other" ? other : first === "labels" ? labels[rest.join(".")] : undefined
  const all = entries.map((_, i) => i)

  const matching: Readonly<Record<string, ReadonlyArray<number>>> = {
    "": all,
    name: all,
    "labels.foo": [0, 2, 8],
    "labels.foo,name": [0, 2, 8],
    "labels.foo==true": [0],
    "labels.foo==omg_asdf.asdf-qwer": [8],
    "name==bar": [1, 3],
    "name!=bar": [0, 2, 4, 5, 6, 7, 8],
    "name==bar,labels.bar": [3],
    'other=="too complex, yo"': [6],
    "other~=[abc]+,name!=foo": [6, 7],
    "other~=/[abc]+/,name!=foo": [6, 7],
    "other~=|[abc]+|,name!=foo": [6, 7],
    "other~=/[abc]{1,2}/,name!=foo": [6, 7],
    'other~=/[abc]{0,1}"\\//,name!=foo': [],
    "name==bar,labels.bar==true": [3],
    "name==bar,labels.bar==wrong": [],
    'name==foo,labels."more complex label"': [2],
    'labels."more complex label with \\\\ and \\""==present': [4],
    'labels."more complex label with \\\\ and \\"".post==present': [5]
  }
  for (const [filter, expected] of Object.entries(matching)) {
    it(`\`${filter}\` holds for ${expected.join()}`, () => {
      const matches = Result.getOrThrow(Filter.parse(filter))
      assert.deepStrictEqual(
        all.filter((i) => matches(fieldOf(entries[i]!))),
        expected
      )
    })
  }

  const refused = {
    "labels.|foo|==omg_asdf.asdf-qwer": 7,
    'labels.?"more complex label with \\\\ and \\"".post==present': 7,
    "name==foo,": 10,
    "labels.": 7,
    "image~=,id?=?fbaq": 7,
    "labels.ns/key==value": 9,
    "labels.key==/value": 12,
    "name~=[": 6
  }
  for (const [filter, at] of Object.entries(refused)) {
    it(`\`${filter}\` is refused at ${at}`, () => {
      const result = Filter.parse(filter)
      assert(Result.isFailure(result))
      assert.strictEqual(result.failure.at, at)
    })
  }
})
