/** What a dashboard costs a process whose graph has 1,000 nodes that all change each second. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as EventSink from "effect-events/EventSink"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { spawn } from "node:child_process"
import { createServer } from "node:http"
import { fileURLToPath } from "node:url"
import { collect, event, stopwatch, times } from "../measure.ts"
import { type Metric, type Row, type Sample, type Side, valueAtMost } from "../model.ts"

/** The graph is measured without the dashboard and with it, for so long each. */
const length = "20 seconds"
/** What is compiled and what the first look makes is not what a second costs. */
const settling = "5 seconds"

/** A sink that writes to so many others each second that all nodes change, at little cost of their own. */
const graph = (nodes: number) =>
  Effect.gen(function* () {
    const sinks: Array<EventSink.EventSink<string>> = []
    for (let i = 1; i < nodes; i++) sinks.push(yield* EventSink.sync<string>(() => {}, { name: `sink ${i}` }))
    const root = yield* EventSink.make((event: string) => times(sinks.length, (i) => sinks[i]!.write(event)), {
      name: "root",
      downstream: sinks.map((sink) => ({ sink, acknowledges: true }))
    })
    yield* Effect.forkScoped(Effect.repeat(root.write(event), Schedule.fixed("1 second")))
    return root
  })

/** The dashboard of a graph on a server of this process; answers with its address. */
const served = (root: EventSink.EventSink<string>) =>
  HttpRouter.serve(SinkDashboard.layer({ path: "/events", roots: [root], readOnly: true }), {
    disableLogger: true,
    disableListenLog: true
  }).pipe(
    Layer.provideMerge(
      Layer.effect(HttpServer.HttpServer, NodeHttpServer.make(createServer, { port: 0, host: "127.0.0.1" }))
    ),
    Layer.build,
    Effect.flatMap((context) => Effect.provideContext(HttpServer.HttpServer, context)),
    Effect.map(({ address }) => `${HttpServer.formatAddress(address)}/events`)
  )

/** A viewer asks what the page asks, from a process of its own. */
const viewer = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [fileURLToPath(new URL("../viewer.ts", import.meta.url)), url], {
        stdio: ["pipe", "ignore", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.stdin.end())
  )

/** The share of a core that this process uses. */
const share = Effect.gen(function* () {
  yield* Effect.sleep(settling)
  collect()
  const watch = stopwatch()
  yield* Effect.sleep(length)
  const { cpu, wall } = watch()
  return (100 * cpu) / wall
})

const cpu: Metric = { key: "cpu", label: "CPU of the dashboard, of one core", unit: "percent" }
const without: Metric = { key: "without", label: "CPU of the graph without it", unit: "percent" }

const side = (label: string, viewers: number, goal: number): Side => ({
  label,
  goals: { cpu: valueAtMost(goal) },
  run: (load) =>
    Effect.gen(function* () {
      const root = yield* graph(load.n)
      const sample: Sample = Effect.gen(function* () {
        const before = yield* share
        const after = yield* Effect.scoped(
          Effect.gen(function* () {
            const url = yield* served(root)
            for (let i = 0; i < viewers; i++) yield* viewer(url)
            return yield* share
          })
        )
        return { cpu: after - before, without: before }
      }).pipe(Effect.orDie)
      return sample
    }).pipe(Effect.orDie)
})

export const dashboard: ReadonlyArray<Row> = [
  {
    name: "dashboard",
    question: "A dashboard over a graph of 1,000 nodes that all change each second, over 20 seconds",
    n: 1000,
    metrics: [cpu, without],
    cold: true,
    note: "CPU is what the process takes more than in the 20 seconds before, without a dashboard. A viewer is a process of its own, which asks once a second for what has changed.",
    sides: [side("ours, no viewer", 0, 0.5), side("ours, one viewer", 1, 2)]
  }
]
