import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schema } from "effect"
import { EventSink } from "effect-events"
import * as CloudEvent from "../../../src/http/CloudEvent.ts"
import * as Envelope from "../../../src/http/Envelope.ts"
import * as EventIngress from "../../../src/http/EventIngress.ts"
import { collector } from "../../support/collector.ts"
import { withLogs } from "../../support/virtual.ts"
import { Client, serving } from "../../http/support/ingress.ts"
import { Dice, malformed, type Malformed, maxBytes, secret, wellFormed } from "../../http/support/malformed.ts"

/** The seed of the run stands in the message of a failure. To run it again: `EFFECT_EVENTS_SEED=<seed>`. */
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 2 ** 31)

const count = 10_200
/** One that is right after so many that are not. */
const every = 10
const concurrency = 16
/** In milliseconds. Every one is answered at once, on a machine that has nothing else to do. */
const patience = 30_000

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })

const common = { maxBytes, bodyTimeout: "1 minute", deduplicate: { maxIds: 500 } } as const

/** Four routes over one sink of ids, each with its envelopes. */
const routes = (arrived: Map<string, number>, statuses: Map<number, number>) =>
  Effect.gen(function* () {
    const ids = yield* EventSink.sync((id: string) => void arrived.set(id, (arrived.get(id) ?? 0) + 1))
    const sink = EventSink.mapInput(ids, (event: { readonly id: string }) => event.id)
    const told = {
      ...common,
      onAnswer: ({ status }: EventIngress.Answer) => void statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
    const orders = [
      Envelope.json(Order, { id: ({ id }) => id }),
      Envelope.ndjson(Order, { id: ({ id }) => id })
    ] as const
    const data = CloudEvent.json(Schema.Struct({ amount: Schema.Int }))
    return Layer.mergeAll(
      EventIngress.layer(sink, { path: "/json", envelopes: orders, ...told }),
      EventIngress.layer(sink, { path: "/registry", envelopes: [Envelope.registry], ...told }),
      EventIngress.layer(sink, {
        path: "/cloud",
        envelopes: [CloudEvent.binary(data), CloudEvent.structured(data), CloudEvent.batched(data)],
        ...told
      }),
      EventIngress.layer(sink, {
        path: "/signed",
        envelopes: orders,
        verify: { secrets: [Redacted.make(secret)] },
        ...told
      })
    )
  })

/** An answer to something malformed that is not as it should be, if it is so. */
const wrong = (text: string, statuses: ReadonlyArray<number>): string | undefined => {
  const strange = statuses.find((status) => status < 400 || status > 499)
  if (strange !== undefined) return `answered ${strange}`
  for (const answer of text.split(/(?=HTTP\/1\.1 \d)/).filter((answer) => answer !== "")) {
    const [head = "", body = ""] = answer.split("\r\n\r\n")
    // Node has its own answers, which are bare and end the connection; the router's are for other paths.
    const bare =
      /^(?:0)?$/.test(body) && (/\r\nConnection: close(?:\r\n|$)/.test(head) || head.startsWith("HTTP/1.1 404"))
    const problem = /content-type: application\/problem\+json/.test(head) && JSON.parse(body).detail !== ""
    if (!bare && !problem) return `answered without a reason: ${answer}`
  }
  return undefined
}

interface Line {
  /** How many were refused in a run. */
  readonly n: number
  readonly at: number
}

/** The log's lines about refusals, by their route and by what was refused. */
const runsIn = (lines: ReadonlyArray<{ readonly message: string; readonly timestamp: string }>) => {
  const runs = new Map<string, Array<Line>>()
  for (const { message, timestamp } of lines) {
    const [, route, what, count] =
      /^EventIngress "(\S+)" (refused|did not authenticate) (a|\d+) request/.exec(message) ?? []
    assert.isDefined(what, message)
    const key = `${route} ${what}`
    runs.set(key, [...(runs.get(key) ?? []), { n: count === "a" ? 1 : Number(count), at: Date.parse(timestamp) }])
  }
  return runs
}

/** Sends one after another over connections that it keeps for as long as they are good, and notes what did not hold. */
class Sender {
  private client: Client | undefined
  private readonly port: number
  readonly violations: Array<string> = []
  readonly sent: Array<string> = []

  constructor(port: number) {
    this.port = port
  }

  private connection(): Client {
    if (this.client === undefined || this.client.closed) this.client = new Client(this.port)
    return this.client
  }

  private drop(): void {
    this.client?.destroy()
    this.client = undefined
  }

  async bad(n: number, { after, bytes, framed, what }: Malformed): Promise<void> {
    if (!framed) this.drop()
    const client = this.connection()
    client.text = ""
    client.send(...bytes)
    if (after === "destroy") return this.drop()
    if (after === "end") client.end()
    const came = await client.answers(1, patience)
    const problem = came ? wrong(client.text, client.statuses) : "no answer came"
    if (problem !== undefined) this.violations.push(`${n} (${what}): ${problem} to ${Buffer.concat(bytes)}`)
    if (!framed || client.closed || /connection: close/i.test(client.text)) this.drop()
  }

  async good(id: string, bytes: ReadonlyArray<Uint8Array>): Promise<void> {
    const client = this.connection()
    client.text = ""
    client.send(...bytes)
    await client.answers(1, patience)
    if (client.statuses.join() === "202") this.sent.push(id)
    else this.violations.push(`${id}: ${client.statuses.join()} ${client.text}`)
  }

  end(): void {
    this.drop()
  }
}

describe("malformed requests", () => {
  it.live(
    `are refused with a reason, ${count} of them, and the good ones between them arrive, EFFECT_EVENTS_SEED=${seed}`,
    () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const collect = collector()
          const arrived = new Map<string, number>()
          const statuses = new Map<number, number>()
          const { port } = yield* serving(yield* routes(arrived, statuses))
          /** The least of several samples, with the memory of buffers outside of the heap, which is released in the background. */
          const held = Effect.promise(async () => {
            let least = Number.POSITIVE_INFINITY
            for (let sample = 0; sample < 10; sample++) {
              await new Promise((resolve) => setTimeout(resolve, 50))
              collect()
              const { external, heapUsed } = process.memoryUsage()
              least = Math.min(least, heapUsed + external)
            }
            return least
          })
          const senders = Array.from({ length: concurrency }, () => new Sender(port))
          let next = 0
          const run = (until: number) =>
            Effect.promise(() =>
              Promise.all(
                senders.map(async (sender) => {
                  while (next < until) {
                    const n = next++
                    // Each of its own, so that one can be run again alone.
                    const dice = new Dice(seed + n)
                    await sender.bad(n, malformed(dice, n))
                    if (n % every === 0) await sender.good(`good-${n}`, wellFormed(dice, `good-${n}`))
                  }
                })
              )
            )
          // What is made once is not what is looked for.
          yield* run(2000)
          const before = yield* held
          yield* run(count)
          const after = yield* held
          for (const sender of senders) sender.end()

          const violations = senders.flatMap((sender) => sender.violations)
          assert.deepStrictEqual(violations.slice(0, 5), [], `${violations.length} violations with the seed ${seed}`)
          const sent = senders.flatMap((sender) => sender.sent)
          assert.strictEqual(sent.length, Math.ceil(count / every))
          assert.deepStrictEqual([...arrived.keys()].toSorted(), sent.toSorted())
          assert.deepStrictEqual(
            [...arrived.values()].filter((times) => times > 1),
            []
          )
          assert.deepStrictEqual(
            [...statuses.keys()].toSorted(),
            [202, 400, 401, 405, 413, 415],
            `answers with the seed ${seed}`
          )
          assert.isBelow(after - before, 4 * 1024 * 1024, `more bytes held after ${count - 2000} requests`)
          // Nothing died, and of each route's refusals, and of failed authentications, there is a line at doubling counts alone.
          assert.deepStrictEqual([...new Set(logs.map(({ level }) => level))], ["WARN"])
          const runs = runsIn(logs.map(({ line }) => JSON.parse(line)))
          assert.deepStrictEqual([...runs.keys()].toSorted(), [
            "/cloud refused",
            "/json refused",
            "/registry refused",
            "/signed did not authenticate",
            "/signed refused"
          ])
          for (const [what, lines] of runs) {
            lines.forEach(({ at, n }, i) => {
              const before = lines[i - 1]
              // A good request ends a run, a minute after its last line or later.
              if (n === 1) assert.isTrue(before === undefined || at - before.at >= 60_000, what)
              else assert.strictEqual(n, 2 * (before?.n ?? 0), what)
            })
          }
        })
      ),
    240_000
  )
})
