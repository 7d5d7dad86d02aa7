/** A filter that lets every second event through. */
import * as Effect from "effect/Effect"
import * as EventSink from "effect-events/EventSink"
import * as Api from "../api.ts"
import { Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, goSide, type Row, type Side, speed } from "../model.ts"
import { rxjs } from "./peers.ts"

const isEven = (n: number): boolean => n % 2 === 0

type Write = (sink: EventSink.EventSink<number>, n: number) => Effect.Effect<unknown, unknown>

const ours = (write: Write): Side => ({
  label: "ours",
  before: {},
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const even = yield* Api.filter(yield* Api.sync(meter.count), isEven)
      return throughput(load, meter.delivered(Math.ceil(load.n / 2), write(even, load.n)))
    })
})

const each: Write = (sink, n) => times(n, sink.write)

const batch = Array.from({ length: 100 }, (_, i) => i)
const batches: Write = (sink, n) => times(n / batch.length, () => EventSink.writeAll(sink, batch))

const n = 100_000

export const filter: ReadonlyArray<Row> = [
  {
    name: "filter",
    question: "A filter that lets every second event through to a synchronous sink, each event by `write`",
    n,
    metrics: cpuAndWall,
    note: "In Go and RxJS a filter is a function call, and in Go the compiler may take even that away.",
    sides: [
      ours(each),
      goSide("filter", speed(0.3)),
      {
        label: "RxJS Subject and filter (synchronous, keeps no account)",
        run: (load) =>
          Effect.map(rxjs, ({ filter, Subject }) => {
            const meter = new Meter()
            const subject = new Subject<number>()
            subject.pipe(filter(isEven)).subscribe(meter.count)
            const writes = Effect.sync(() => {
              for (let i = 0; i < load.n; i++) subject.next(i)
            })
            return throughput(load, meter.delivered(Math.ceil(load.n / 2), writes))
          })
      }
    ]
  },
  {
    name: "filter-writeAll",
    question: "The same by `writeAll` of 100",
    n,
    metrics: cpuAndWall,
    note: "go-events has no batches and writes each event.",
    sides: [ours(batches), goSide("filter", speed(0.6), "go-events, Write each")]
  }
]
