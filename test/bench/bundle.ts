/** What the library adds to an application's bundle: minified, and gzipped. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"

export interface BundleSize {
  readonly what: string
  readonly minified: number
  readonly gzipped: number
}

export interface BundleSizes {
  /** Each entry point of the package: its own code, with `effect` and the platform left out. */
  readonly entries: ReadonlyArray<BundleSize>
  /** EventSink, EventQueue and Broadcaster, with all of their functions: by themselves, and what an application grows by. */
  readonly application: ReadonlyArray<BundleSize>
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

/** The own code of entry points, by default of all of package.json; or why there are no sizes. */
export const entrySizes = async (entries = entryPoints()): Promise<ReadonlyArray<BundleSize> | string> => {
  const size = await bundler()
  if (size === undefined) return notInstalled
  const sizes: Array<BundleSize> = []
  for (const what of entries) sizes.push({ what, ...(await size(`export * from "${what}"`, outside)) })
  return sizes
}

/** The sizes of all entry points and of an application, or why there are none. */
export const bundleSizes = async (): Promise<BundleSizes | string> => {
  const size = await bundler()
  const entries = await entrySizes()
  if (size === undefined || typeof entries === "string") return notInstalled
  const difference = async (what: string, base: string, more: string): Promise<BundleSize> => {
    const [without, together] = [await size(base), await size(base + more)]
    return {
      what,
      minified: together.minified - without.minified,
      gzipped: together.gzipped - without.gzipped
    }
  }
  return {
    entries,
    application: [
      { what: "their own code, with effect left out", ...(await size(parts, outside)) },
      await difference(
        "what they add to an application that has Effect, Queue, PubSub and Stream",
        application + effects,
        parts
      ),
      await difference("what they add to an application that has Effect only", application, parts)
    ]
  }
}

export const describeBundle = (sizes: BundleSizes | string): string => {
  if (typeof sizes === "string") return `Bundle: ${sizes}`
  const line = ({ gzipped, minified, what }: BundleSize) => {
    const kilobytes = (bytes: number) => (bytes / 1000).toFixed(1).padStart(5)
    return `  ${kilobytes(minified)} kB minified, ${kilobytes(gzipped)} kB gzipped: ${what}`
  }
  return [
    "Bundle: the own code of each entry point, with effect left out",
    ...sizes.entries.map(line),
    "Bundle: EventSink, EventQueue and Broadcaster, all of their functions",
    ...sizes.application.map(line)
  ].join("\n")
}

// internals

const notInstalled = "not installed: rolldown"
const outside = [/^effect(\/|$)/, /^@effect\//, /^node:/]

const entryPoints = (): ReadonlyArray<string> => {
  const { exports, name } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  return Object.keys(exports)
    .filter((key) => !key.includes("*") && !key.endsWith(".json"))
    .map((key) => key.replace(/^\./, name))
}

/** Bundles code and answers the sizes; undefined without rolldown. */
const bundler = async () => {
  const rolldown = await import("rolldown").catch(() => undefined)
  if (rolldown === undefined) return undefined
  return async (code: string, external: ReadonlyArray<RegExp> = []) => {
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
}
