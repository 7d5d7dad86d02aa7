import { readFileSync } from "node:fs"
import { join, matchesGlob } from "node:path"
import { describe, expect, it } from "vitest"
import { figures } from "./house/figures.ts"
import { type Import, sourceTree } from "./house/sourceTree.ts"

/**
 * The floors of `src`, from the ground up: a module imports only from floors below its own. The modules of a folder share
 * one floor, and import each other in one direction. `index.ts` stands beside the table.
 */
const floors: ReadonlyArray<string> = [
  "Dropped",
  "internal/**",
  "{EventSink,RetryStrategy}",
  "{EventQueue,BatchingSink,Broadcaster,EventChannel,EventFilter,EventRouter,FallbackSink,RetryingSink,Breaker,ExponentialBackoff,RateLimitedSink,ConcurrencyLimitedSink,SinkMetrics}",
  "{SinkGraph,Interop}",
  "http/internal/{envelope,signature,address}/*",
  "http/{Classification,EndpointMetrics,HealthRoutes,RegistryEvent,WebhookSignature,AddressPolicy}",
  "http/Envelope",
  "http/{CloudEvent,HttpSinkError}",
  "http/internal/{sink/*,ingress/*,guard,boundedBody}",
  "http/{HttpSink,EventIngress,GuardedHttpClient}",
  "http/internal/endpoint/*",
  "http/Endpoint",
  "durable/internal/port/*",
  "durable/{EventStore,Redelivery}",
  "durable/internal/{*,memory/*,sqlite/*,postgres/*}",
  "durable/{Administration,DurableQueue,DurableBroadcaster,MemoryStore,SqliteStore,PostgresStore}",
  "webhooks/internal/*",
  "webhooks/WebhookApi",
  "webhooks/WebhookEndpoints",
  "dashboard/internal/{*,page/*}",
  "dashboard/SinkDashboard",
  "testing/internal/{standstill,testError}",
  "testing/TestSink",
  "testing/internal/laws/*",
  "testing/{SinkLaws,StoreLaws}",
  "cli/*"
]

/**
 * Modules that need more than `effect`, and what that is. The public ones are entries of their own and in no index: only
 * an import of one needs its platform, which is Node itself or an optional peer dependency.
 */
const platforms: Readonly<Record<string, ReadonlyArray<string>>> = {
  "cli/main": ["@effect/platform-node", "node:fs"],
  "cli/openPostgres": ["@effect/sql-pg"],
  "cli/openSqlite": ["node:fs", "node:sqlite"],
  "durable/SqliteStore": ["node:path"],
  "durable/internal/sqlite/database": ["node:fs", "node:path", "node:sqlite"],
  "durable/internal/sqlite/files": ["node:fs", "node:path"],
  "durable/internal/sqlite/generation": ["node:fs", "node:sqlite", "node:url"],
  "durable/internal/sqlite/ownerLocks": ["node:fs", "node:sqlite"],
  "durable/internal/sqlite/prepared": ["node:sqlite"],
  "durable/internal/sqlite/sqliteSchema": ["node:sqlite"],
  "http/GuardedHttpClient": [
    "@effect/platform-node/NodeHttpClient",
    "@effect/platform-node/NodeDns",
    "@effect/platform-node/Undici"
  ]
}

const maxLines = 450
/** How many modules a chain of imports may have, in all and from a module of the core on. */
const maxChain = 10
const maxChainOfCore = 7
/** How much of the code of `src` one folder may have. */
const maxShare = 0.42

const root = join(import.meta.dirname, "..")
const read = (path: string): string => readFileSync(join(root, path), "utf8")

const modules = [...sourceTree.keys()]
const inTable = modules.filter((module) => !/^(?:\w+\/)?index$/.test(module))
/** The command line is a program for Node, and no module of it can be imported from outside. */
const isProgram = (module: string): boolean => module.startsWith("cli/")
const publicModules = inTable.filter((module) => !/(^|\/)internal\//.test(module) && !isProgram(module))
const floorOf = (module: string): number => floors.findIndex((floor) => matchesGlob(module, floor))
const roomOf = (module: string): string => module.split("/")[0]!

/** The last floor that must keep to the stable part of `effect`. */
const stableUpTo = floorOf("EventQueue")

/** Modules of the main `effect` entry that are allowed only above that floor. */
const unstable = ["Graph", "RateLimiter"]

const neighboursOf = (module: string): ReadonlyArray<string> => sourceTree.get(module)?.neighbours ?? []

describe("architecture", () => {
  it("every module stands on exactly one floor", () => {
    const floorsOf = (module: string) => floors.filter((floor) => matchesGlob(module, floor))
    expect(inTable.filter((module) => floorsOf(module).length !== 1)).toEqual([])
    expect(floors.filter((floor) => !inTable.some((module) => matchesGlob(module, floor)))).toEqual([])
  })

  it("no module imports itself by way of others", () => {
    const seen = new Map<string, "open" | "done">()
    const visit = (module: string, path: ReadonlyArray<string>): void => {
      expect(seen.get(module) === "open" ? [...path, module] : []).toEqual([])
      if (seen.has(module)) return
      seen.set(module, "open")
      for (const next of neighboursOf(module)) visit(next, [...path, module])
      seen.set(module, "done")
    }
    for (const module of modules) visit(module, [])
  })

  it(`no chain of imports has more than ${maxChain} modules, and none of the core more than ${maxChainOfCore}`, () => {
    const { longestChain, longestChainOfCore } = figures
    expect(longestChain.length, `${longestChain}`).toBeLessThanOrEqual(maxChain)
    expect(longestChainOfCore.length, `${longestChainOfCore}`).toBeLessThanOrEqual(maxChainOfCore)
  })

  it(`no folder has more than ${maxShare} of the code`, () => {
    expect(figures.folders.filter(({ share }) => share > maxShare)).toEqual([])
  })

  it("http and durable import nothing of each other", () => {
    expect(figures.crossings).toEqual([])
  })

  describe.each(inTable)("%s", (module) => {
    const imports = sourceTree.get(module)?.imports ?? []

    it("imports only from the floors below, or internals of its own", () => {
      const isInternal = module.includes("/internal/") || module.startsWith("internal/") || isProgram(module)
      const upwards = neighboursOf(module).filter(
        (path) =>
          floorOf(path) > floorOf(module) ||
          (floorOf(path) === floorOf(module) && !isInternal) ||
          (platforms[path] !== undefined && publicModules.includes(path) && !isProgram(module))
      )
      expect(upwards).toEqual([])
    })

    it("belongs to http or to durable, and imports nothing of the other", () => {
      const rooms = new Set([module, ...neighboursOf(module)].map(roomOf))
      expect(rooms.has("http") && rooms.has("durable") && !/^(?:testing|webhooks)\//.test(module)).toBe(false)
    })

    it("imports no package but effect, on the lower floors its stable part only, and a platform only if for it", () => {
      const outside = imports.filter(({ from }) => !from.startsWith("."))
      const isAllowed = ({ clause, from }: Import): boolean => {
        if (platforms[module]?.includes(from) === true) return true
        if (floorOf(module) > stableUpTo) {
          return /^effect(\/|$)/.test(from) && (!from.startsWith("effect/testing") || module.startsWith("testing/"))
        }
        const names = new Set(`${clause} ${from}`.match(/\w+/g))
        return /^effect(\/[A-Z]\w*)?$/.test(from) && !unstable.some((name) => names.has(name))
      }
      expect(outside.filter((one) => !isAllowed(one))).toEqual([])
    })

    it(`has at most ${maxLines} lines`, () => {
      expect(read(`src/${module}.ts`).split("\n").length).toBeLessThanOrEqual(maxLines)
    })
  })

  it.each(["", "durable/", "http/", "webhooks/"])(
    "%sindex.ts exports every public module beside it that needs no platform, and nothing else",
    (room) => {
      const lines = publicModules
        .filter((module) => module.startsWith(room) && !module.slice(room.length).includes("/"))
        .filter((module) => platforms[module] === undefined)
        .map((module) => module.slice(room.length))
        .map((module) => `export * as ${module} from "./${module}.ts"`)
      const code = read(`src/${room}index.ts`).replaceAll(/\/\*[\s\S]*?\*\//g, "")
      const statements = code.split("\n").filter((line) => line.trim() !== "")
      expect(statements.toSorted()).toEqual(lines.toSorted())
    }
  )

  it("only what a module for Node needs is a peer dependency beside effect, and that is optional", () => {
    const { peerDependencies, peerDependenciesMeta } = JSON.parse(read("package.json"))
    expect(Object.keys(peerDependencies)).toEqual(["@effect/platform-node", "@effect/sql-pg", "effect"])
    expect(peerDependenciesMeta).toEqual({
      "@effect/platform-node": { optional: true },
      "@effect/sql-pg": { optional: true }
    })
  })

  it("package.json names the program", () => {
    expect(JSON.parse(read("package.json")).bin).toEqual({ "effect-events": "./dist/cli/main.js" })
    expect(read("src/cli/main.ts")).toMatch(/^#!\/usr\/bin\/env node\n/)
  })

  it("package.json exports every public module, and nothing else", () => {
    const entry = (module: string) => ({
      "@effect-events/source": `./src/${module}.ts`,
      types: `./dist/${module}.d.ts`,
      default: `./dist/${module}.js`
    })
    expect(JSON.parse(read("package.json")).exports).toEqual({
      ".": entry("index"),
      "./durable": entry("durable/index"),
      "./http": entry("http/index"),
      "./webhooks": entry("webhooks/index"),
      ...Object.fromEntries(publicModules.map((module) => [`./${module}`, entry(module)])),
      "./internal/*": null,
      "./package.json": "./package.json"
    })
  })
})
