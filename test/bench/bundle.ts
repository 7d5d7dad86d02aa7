/** What the library adds to an application's bundle: minified, and gzipped. */
import { join } from "node:path"
import { gzipSync } from "node:zlib"

export interface BundleSize {
  readonly what: string
  readonly minified: number
  readonly gzipped: number
}

const root = join(import.meta.dirname, "..", "..")

/** An application without this library, and what one with it has besides. */
const application = `import * as Effect from "effect/Effect"
Effect.runFork(Effect.scoped(Effect.log("ready")))
`
const parts = `import * as EventSink from "effect-events/EventSink"
import * as EventQueue from "effect-events/EventQueue"
import * as Broadcaster from "effect-events/Broadcaster"
export { EventSink, EventQueue, Broadcaster }
`
/** What they are built on: an application that queues and publishes by hand has these already. */
const effects = `import * as Queue from "effect/Queue"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
export { Queue, PubSub, Stream }
`

/** The sizes, or why there are none. */
export const bundleSizes = async (): Promise<ReadonlyArray<BundleSize> | string> => {
  const rolldown = await import("rolldown").catch(() => undefined)
  if (rolldown === undefined) return "not installed: rolldown"
  const size = async (code: string, external: ReadonlyArray<RegExp> = []) => {
    const bundle = await rolldown.rolldown({
      input: "entry",
      cwd: root,
      external: [...external],
      platform: "neutral",
      resolve: { conditionNames: ["@effect-events/source", "import", "default"] },
      plugins: [
        {
          name: "entry",
          resolveId: (id) => (id === "entry" ? join(root, "entry.js") : null),
          load: (id) => (id === join(root, "entry.js") ? code : null)
        }
      ]
    })
    try {
      const { output } = await bundle.generate({ format: "esm", minify: true })
      const text = output.map((chunk) => (chunk.type === "chunk" ? chunk.code : "")).join("")
      return { minified: Buffer.byteLength(text), gzipped: gzipSync(text, { level: 9 }).length }
    } finally {
      await bundle.close()
    }
  }
  const difference = async (what: string, base: string, more: string): Promise<BundleSize> => {
    const [without, together] = [await size(base), await size(base + more)]
    return {
      what,
      minified: together.minified - without.minified,
      gzipped: together.gzipped - without.gzipped
    }
  }
  return [
    { what: "its own code, with effect left out", ...(await size(parts, [/^effect(\/|$)/])) },
    await difference(
      "what it adds to an application that has Effect, Queue, PubSub and Stream",
      application + effects,
      parts
    ),
    await difference("what it adds to an application that has Effect only", application, parts)
  ]
}

export const describeBundle = (sizes: ReadonlyArray<BundleSize> | string): string =>
  typeof sizes === "string"
    ? `Bundle: ${sizes}`
    : [
        "Bundle: EventSink, EventQueue and Broadcaster, all of their functions",
        ...sizes.map(({ gzipped, minified, what }) => {
          const kilobytes = (bytes: number) => (bytes / 1000).toFixed(1)
          return `  ${kilobytes(minified)} kB minified, ${kilobytes(gzipped)} kB gzipped: ${what}`
        })
      ].join("\n")
