/** A filter that lets every second event through. */
import * as Effect from "effect/Effect"
import * as EventFilter from "effect-events/EventFilter"
import * as EventSink from "effect-events/EventSink"
import { Meter, throughput, times } from "../measure.ts"
import { atLeast, goSide, type Row, wallAndCpu } from "../model.ts"
import { rxjs } from "./peers.ts"

const isEven = (n: number): boolean => n % 2 === 0

export const filter: ReadonlyArray<Row> = [
  {
    name: "filter",
    question: "A filter that lets every second event through to a synchronous sink",
    n: 100_000,
    metrics: wallAndCpu,
    note: "In Go and RxJS a filter is a function call, and in Go the compiler may take even that away.",
    sides: [
      {
        label: "ours",
        run: (load) =>
          Effect.gen(function* () {
            const meter = new Meter()
            const even = EventFilter.make(isEven)(yield* EventSink.sync(meter.count))
            return throughput(load, meter.delivered(Math.ceil(load.n / 2), times(load.n, even.write)))
          })
      },
      goSide("filter", { wall: atLeast(0.3) }),
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
  }
]
