/** The pictures of the guide on choosing a part are those that its graphs draw. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { SinkGraph } from "effect-events"
import { MemoryStore } from "effect-events/durable"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { graphs } from "../../docs/examples/choosing/Graphs.ts"
import { root } from "../support/fences.ts"

/** The picture under each heading that has one. */
const pictures = (guide: string) =>
  Object.fromEntries(
    guide.split(/^## /m).flatMap((section) => {
      const [, picture] = /^```mermaid\n(.*?)^```$/ms.exec(section) ?? []
      return picture === undefined ? [] : [[section.slice(0, section.indexOf("\n")), picture]]
    })
  )

it.effect("each picture of docs/guide/choosing.md is what its graph draws", () =>
  Effect.gen(function* () {
    const sinks = yield* Effect.all(graphs)
    const drawn = Object.fromEntries(
      Object.entries(sinks).map(([name, sink]) => [name, `${SinkGraph.toMermaid(sink).trimEnd()}\n`])
    )
    assert.deepStrictEqual(pictures(readFileSync(join(root, "docs", "guide", "choosing.md"), "utf8")), drawn)
  }).pipe(Effect.provide(MemoryStore.layer))
)
