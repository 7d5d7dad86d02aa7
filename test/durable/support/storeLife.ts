/** A random life of a store beside a model of it: what each operation answers, and that no event is lost. */
import { Duration, Effect, Random } from "effect"
import type { EventStore } from "effect-events/durable"
import type * as StoreLaws from "effect-events/testing/StoreLaws"
import { ensure, expectSame, names, show } from "../../../src/testing/internal/laws/expectations.ts"
import { acknowledged, again, aside, dead } from "../../../src/testing/internal/laws/settled.ts"
import * as Worker from "../../../src/testing/internal/laws/storeWorker.ts"
import { define, hour, positions, publish, text, texts } from "../../../src/testing/internal/laws/storeWorker.ts"
import { exchange, run, withHandles } from "../../../src/testing/internal/laws/storeWorld.ts"

type Delivery = EventStore.Delivery
type Lease = EventStore.Lease
type Operations = EventStore.Operations
type Settled = EventStore.Settled

/** What is wrong in a life of so many steps: nothing, if the store is as it should be. */
export const violationsOfLife = (subject: StoreLaws.Subject, seed: string, steps = 300) =>
  run(
    subject,
    withHandles(function* (one, other, { sleep }) {
      yield* live([one, other], steps, sleep)
    }),
    seed
  )

/** A subscription as it should be. Times are at once or never, so that the model needs no clock. */
interface Model {
  readonly name: string
  readonly id: EventStore.SubscriptionId
  topics: "*" | "a"
  /** In the order of their positions. */
  rows: ReadonlyArray<Row>
  /** The lanes that wait. */
  readonly late: Set<number>
  letters: ReadonlyArray<string>
  isActive: boolean
  isWaiting: boolean
  attempts: number
  holder: { readonly worker: Worker.Worker; readonly lease: Lease } | undefined
  /** Its owner must be woken by the next claim, if there is something due. */
  isNew: boolean
  /** Its owner must be woken by the next claim. */
  isRedefined: boolean
}

interface Row {
  readonly text: string
  lane: number | undefined
}

/** Lives for some steps, each an operation of one of some processes. */
const live = Effect.fnUntraced(function* (
  stores: readonly [Operations, Operations],
  steps: number,
  sleep: (ms: number) => Effect.Effect<void>
) {
  const [store] = stores
  const models: Array<Model> = []
  const workers: Array<Worker.Worker> = []
  const lost: Array<{ readonly owner: Worker.Worker["owner"]; readonly lease: Lease }> = []
  const events: Array<{ readonly text: string; readonly position: EventStore.Position }> = []
  const isRetained = yield* Random.nextBoolean
  if (isRetained) yield* store.open(exchange, { retention: hour })
  let published = 0
  let hired = 0

  const pick = <A>(all: ReadonlyArray<A>): Effect.Effect<A> =>
    // Not empty, where it is called.
    Effect.map(Random.nextIntBetween(0, all.length, { halfOpen: true }), (i) => all[i]!)
  const some = <A>(all: ReadonlyArray<A>) => Effect.filter(all, () => Random.nextBoolean)

  const add = Effect.fnUntraced(function* (name: string) {
    const topics = yield* pick(["*", "a"] as const)
    const id = yield* define(store, { name, topics: [topics] })
    const flags = { isActive: true, isWaiting: false, isNew: false, isRedefined: false }
    models.push({ name, id, topics, rows: [], late: new Set(), letters: [], attempts: 0, holder: undefined, ...flags })
  })
  const hire = Effect.suspend(() => Worker.makeWorker(stores[hired % 2]!, `worker ${++hired}`))
  const free = (model: Model) => {
    if (model.holder !== undefined) lost.push({ owner: model.holder.worker.owner, lease: model.holder.lease })
    model.holder = undefined
    model.isRedefined = false
  }

  /** What may be given, lane by lane, and at last what stands in order. */
  const due = ({ late, rows }: Model, busy: ReadonlyArray<number> = []) => {
    const lanes = new Set(rows.map(({ lane }) => lane).filter((lane) => lane !== undefined))
    const open = [...lanes].filter((lane) => !late.has(lane) && !busy.includes(lane))
    const of = (lane: number | undefined) => rows.filter((row) => row.lane === lane).map((row) => row.text)
    return { lanes: open.map((lane) => [lane, of(lane)] as const), inOrder: of(undefined) }
  }
  const isDue = (model: Model) => {
    const { inOrder, lanes } = due(model)
    return model.isActive && !model.isWaiting && (inOrder.length > 0 || lanes.length > 0)
  }

  const operations: Readonly<Record<string, () => Effect.Effect<unknown, unknown>>> = {
    publish: Effect.fnUntraced(function* () {
      const all = names("e", published + 1, (published += yield* Random.nextIntBetween(1, 4)))
      const topic = yield* pick(["a", "b"])
      const found = models.filter(({ topics }) => topics === "*" || topics === topic)
      const answer = yield* publish(yield* pick(stores), all, { topic })
      expectSame(
        answer.map(({ matched }) => matched),
        all.map(() => found.length),
        "for how many it is stored"
      )
      events.push(...all.map((text, at) => ({ text, position: answer[at]!.position })))
      for (const model of found) {
        model.rows = [...model.rows, ...all.map((text) => ({ text, lane: undefined }))]
        model.isNew = true
      }
    }),
    claim: Effect.fnUntraced(function* () {
      const worker = yield* pick(workers)
      const isWhole = yield* Random.nextBoolean
      const asked = isWhole ? models : yield* some(models)
      const limit = yield* Random.nextIntBetween(0, 3)
      const { acquired, woken } = yield* worker.claim(isWhole ? { exchange } : asked.map(({ id }) => id), limit)
      const may = asked.filter(({ holder, isActive, isWaiting }) => holder === undefined && isActive && !isWaiting)
      const must = may.filter(isDue)
      const isRight = acquired.length >= Math.min(limit, must.length) && acquired.length <= limit
      ensure(isRight, () => `acquired ${acquired.length}, asked for ${limit}, of ${must.length} that are due`)
      const own = models.filter(({ holder }) => holder?.worker === worker)
      const missing = own.filter(
        (model) => ((model.isNew && isDue(model)) || (model.isRedefined && model.isActive)) && !woken.includes(model.id)
      )
      expectSame(
        missing.map(({ name }) => name),
        [],
        "not woken"
      )
      const others = woken.filter((id) => !own.some((model) => model.id === id))
      expectSame(others, [], "woken, of another")
      for (const model of own) {
        if (isDue(model)) model.isNew = false
        if (model.isActive) model.isRedefined = false
      }
      for (const { attempts, epoch, lanes, subscription } of acquired) {
        const model = may.find(({ id }) => id === subscription)
        ensure(model !== undefined, () => `acquired ${subscription}, of ${show(may.map(({ id }) => id))}`)
        const set = [...new Set(model.rows.flatMap(({ lane }) => (lane === undefined ? [] : [lane])))]
        expectSame(
          [attempts, lanes.map(({ lane }) => lane).toSorted()],
          [model.attempts, set.toSorted()],
          `attempts and lanes of ${model.name}`
        )
        const before = lost.filter(({ lease }) => lease.subscription === subscription && lease.epoch >= epoch)
        expectSame(before, [], `the epoch ${epoch} was used before`)
        model.holder = { worker, lease: { subscription, epoch } }
        model.isNew = false
      }
    }),
    deliver: Effect.fnUntraced(function* () {
      const held = models.filter(({ holder }) => holder !== undefined)
      if (held.length === 0) return
      const model = yield* pick(held)
      const { lease, worker } = model.holder!
      const rows = yield* Random.nextIntBetween(1, 12)
      const busy = yield* some([0, 1, 2])
      const [perLane, limits] = [yield* Random.nextIntBetween(1, 3), { rows, bytes: 1_000_000 }]
      const want = { ...lease, limits, except: [], busy, perLane }
      const [taken] = yield* worker.store.take(worker.owner, [want])
      expectSame(taken === undefined, !model.isActive, `${model.name} is not in the answer to a take`)
      const given = taken?.deliveries ?? []
      const expected = model.isWaiting ? { lanes: [], inOrder: [] } : due(model, busy)
      const all = expected.lanes.map(([lane, of]) => of.slice(0, perLane).map((one) => `${one}@${lane}`))
      const total = all.flat().length + expected.inOrder.length
      const count = Math.min(rows, total)
      if (model.isActive)
        expectSame([given.length, taken?.more], [count, count < total], `${model.name} is given, of more`)
      const tail = texts(given.filter(({ lane }) => lane === undefined))
      expectSame(tail, expected.inOrder.slice(0, tail.length), `what ${model.name} is given in order`)
      for (const lane of all) {
        const found = texts(given).filter((one) => lane.includes(one))
        expectSame(found, lane.slice(0, tail.length > 0 ? lane.length : found.length), `a lane of ${model.name}`)
      }
      const settled = yield* Effect.forEach(yield* some(given), outcome)
      const [wait] = yield* some([
        { delay: hour, attempts: model.attempts + 1 },
        { delay: Duration.zero, attempts: 0 }
      ])
      const isWait = (yield* Random.nextIntBetween(0, 3)) === 0
      expectSame(
        yield* worker.store.settle(worker.owner, [{ lease, settled, wait: isWait ? wait : undefined }]),
        [],
        "lost"
      )
      for (const one of settled) settle(model, one, given)
      if (!isWait || wait === undefined) return
      if (model.isWaiting) model.isNew = true
      model.isWaiting = wait.attempts > 0
      model.attempts = wait.attempts
    }),
    "use a lost lease": Effect.fnUntraced(function* () {
      if (lost.length === 0) return
      const { lease, owner } = yield* pick(lost)
      const other = yield* pick(stores)
      const answer = yield* other.settle(owner, [{ lease, settled: [acknowledged({ position: 1 })] }])
      expectSame(answer, [lease.subscription], "leases that are lost")
      yield* other.release(owner, [lease])
    }),
    release: Effect.fnUntraced(function* () {
      const held = yield* some(models.filter(({ holder }) => holder !== undefined))
      for (const model of held) {
        yield* model.holder!.worker.store.release(model.holder!.worker.owner, [model.holder!.lease])
        free(model)
      }
    }),
    "leave or die": Effect.fnUntraced(function* () {
      const worker = yield* pick(workers)
      workers.splice(workers.indexOf(worker), 1, yield* hire)
      if (yield* Random.nextBoolean) {
        yield* worker.leave
      } else {
        yield* worker.die
        yield* sleep(Worker.pastShort)
        // The claim of another has its leases free.
        yield* workers[0]!.claim([], 0)
        for (const model of models.filter(({ holder }) => holder?.worker === workers[0])) {
          if (isDue(model)) model.isNew = false
          if (model.isActive) model.isRedefined = false
        }
      }
      for (const model of models) if (model.holder?.worker === worker) free(model)
    }),
    pause: Effect.fnUntraced(function* () {
      const model = yield* pick(models)
      model.isActive = (yield* Random.nextIntBetween(0, 2)) > 0
      yield* store.setState({ exchange, name: model.name }, model.isActive ? "active" : "paused", undefined)
      Object.assign(model, { isWaiting: false, attempts: 0, isNew: true })
    }),
    "replay and purge": Effect.fnUntraced(function* () {
      const model = yield* pick(models)
      const all = yield* store.deadLetters(model.id, { limit: 100_000 })
      const [one, ...others] = yield* some(all)
      if (one === undefined) return
      const isReplay = yield* Random.nextBoolean
      const count = yield* store[isReplay ? "replay" : "purge"](model.id, [one.position, ...positions(others)])
      const gone = texts([one, ...others])
      expectSame(count, gone.length, "how many were replayed or purged")
      model.letters = model.letters.filter((text) => !gone.includes(text))
      if (!isReplay) return
      model.rows = [...model.rows, ...gone.map((text) => ({ text, lane: undefined }))]
      model.isNew = true
    }),
    resend: Effect.fnUntraced(function* () {
      const model = yield* pick(models)
      const isPending = new Set(model.rows.map(({ text }) => text))
      const asked = (yield* some(events.slice(-20))).filter(({ text }) => !isPending.has(text)).toReversed()
      const [one, ...others] = asked
      if (one === undefined) return
      const count = yield* store.resend(model.id, [one.position, ...positions(others)])
      const found = asked.filter(({ text }) => isRetained || model.letters.includes(text)).map(({ text }) => text)
      expectSame(count, found.length, "how many were resent")
      model.letters = model.letters.filter((text) => !found.includes(text))
      model.rows = [...model.rows, ...found.map((text) => ({ text, lane: undefined }))]
      model.isNew ||= found.length > 0
    }),
    "define and drop": Effect.fnUntraced(function* () {
      const model = yield* pick(models)
      const topics = yield* pick(["*", "a"] as const)
      if (topics !== model.topics && model.holder !== undefined) model.isRedefined = true
      model.topics = topics
      expectSame(
        yield* define(store, { name: model.name, topics: [model.topics] }),
        model.id,
        "the id of one that is there"
      )
      if ((yield* Random.nextIntBetween(0, 3)) > 0) return
      expectSame(yield* store.drop({ exchange, name: model.name }), model.rows.length, "how many were pending")
      free(model)
      models.splice(models.indexOf(model), 1)
      yield* add(model.name)
    })
  }

  /** Expects that what is stored is what should be. */
  const check = Effect.fnUntraced(function* (model: Model) {
    const figures = yield* store.figures(model.id)
    const bytes = model.rows.reduce((sum, { text }) => sum + text.length, 0)
    const { length: deadLetters } = model.letters
    const expected = { pending: model.rows.length, bytes, deadLetters, owner: model.holder?.worker.owner.name }
    expectSame(figures, expected, `the figures of ${model.name}`)
    expectSame((yield* store.bounds([model.id])).length, model.rows.length > 0 ? 1 : 0, `bounds of ${model.name}`)
    const letters = texts(yield* store.deadLetters(model.id, { limit: 100_000 }))
    expectSame(letters.toSorted(), model.letters.toSorted(), `the dead letters of ${model.name}`)
  })

  for (const name of ["x", "y", "z"]) yield* add(name)
  for (let n = 0; n < 3; n++) workers.push(yield* hire)
  const kinds = Object.keys(operations)
  const history: Array<string> = []
  for (let step = 1; step <= steps; step++) {
    const kind = yield* pick([...kinds, "publish", "claim", "claim", "deliver", "deliver", "deliver", "deliver"])
    history.push(kind)
    yield* Effect.andThen(operations[kind]!(), Effect.forEach(models, check, { discard: true })).pipe(
      Effect.catchDefect((defect) => {
        ensure(
          !(defect instanceof Error),
          () => `step ${step}, after ${history.slice(-8).join(", ")}: ${show(defect)} ${String(defect)}`
        )
        return Effect.die(defect)
      })
    )
  }
})

// internals

const outcome = (delivery: Delivery): Effect.Effect<Settled> =>
  Effect.map(Random.nextIntBetween(0, 9), (n) => {
    const lane = delivery.lane ?? n % 3
    if (n < 2) return again(delivery, lane, n === 0 ? hour : Duration.zero)
    if (n < 4) return aside(delivery, lane)
    return n < 6 ? dead(delivery) : acknowledged(delivery)
  })

/** What becomes of a delivery, in the model. */
const settle = (model: Model, settled: Settled, given: ReadonlyArray<Delivery>): void => {
  const one = text(given.find(({ position }) => position === settled.position)!)
  const row = model.rows.find((row) => row.text === one)!
  const firstOf = (lane: number | undefined) => model.rows.find((row) => row.lane === lane)
  if (settled._tag === "Again" || settled._tag === "Aside") {
    if (settled._tag === "Aside" && row.lane === settled.lane) return
    row.lane = settled.lane
    if (firstOf(settled.lane) !== row) return
    const isLate = settled._tag === "Again" && Duration.toMillis(settled.delay) > 0
    if (isLate) model.late.add(settled.lane)
    else model.late.delete(settled.lane)
    model.isNew ||= !isLate
    return
  }
  const { lane } = row
  const isFirst = firstOf(lane) === row
  model.rows = model.rows.filter((other) => other !== row)
  if (lane !== undefined && isFirst) {
    model.late.delete(lane)
    model.isNew ||= firstOf(lane) !== undefined
  }
  if (settled._tag === "DeadLettered") model.letters = [...model.letters, one]
}
