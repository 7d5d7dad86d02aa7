import { readdirSync, readFileSync } from "node:fs"
import { join, normalize } from "node:path"
import { describe, expect, it } from "vitest"

/**
 * The floors of `src`, from the ground up. A module imports only from floors below its own, which also rules out
 * cycles. `index.ts` stands beside the table: it imports the public modules, and nobody imports it.
 */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  [
    "Dropped",
    "internal/ages",
    "internal/deadline",
    "internal/eager",
    "internal/failureLog",
    "internal/node",
    "internal/options",
    "internal/pages",
    "internal/turns"
  ],
  ["internal/context", "internal/report", "internal/shutdown", "internal/sink", "internal/writes"],
  [
    "internal/admission",
    "internal/broadcaster/lag",
    "internal/broadcaster/topic",
    "internal/combinators",
    "internal/drainer",
    "internal/leaf",
    "internal/stamp"
  ],
  ["internal/broadcaster/delivery", "internal/interop", "internal/queue/buffer"],
  ["internal/broadcaster/member", "internal/queue/makeQueue"],
  ["internal/broadcaster/makeBroadcaster"],
  ["EventSink", "RetryStrategy"],
  ["Breaker", "Broadcaster", "EventChannel", "EventFilter", "EventQueue", "ExponentialBackoff", "RetryingSink"],
  ["SinkGraph"],
  ["durable/internal/draining", "durable/internal/feed"],
  ["durable/internal/backlog", "durable/internal/drainer"],
  ["durable/internal/lanes"],
  ["internal/durable/listeners"],
  ["internal/durable/memory"],
  ["internal/durable/memoryStore"],
  [
    "durable/DurableQueueStore",
    "http/Classification",
    "http/EndpointMetrics",
    "internal/envelope/error",
    "internal/envelope/headers",
    "internal/envelope/json",
    "internal/envelope/timestamp",
    "internal/envelope/utf8",
    "internal/http/dispatched",
    "internal/http/forbiddenAddress",
    "internal/http/ingressLog",
    "internal/http/refused",
    "internal/http/repeats",
    "internal/http/webhookSecret",
    "internal/http/webhookSignatureError"
  ],
  ["internal/durable/answering", "internal/durable/turns"],
  [
    "internal/durable/sqlite/files",
    "internal/durable/sqlite/leases",
    "internal/durable/sqlite/problems",
    "internal/durable/sqlite/schema"
  ],
  ["internal/durable/sqlite/generation", "internal/durable/sqlite/statements"],
  ["internal/durable/sqlite/database"],
  ["internal/durable/sqlite/transactions"],
  ["durable/SqliteStore"],
  [
    "http/RegistryEvent",
    "internal/envelope/codec",
    "internal/envelope/mediaType",
    "internal/http/commit",
    "internal/http/dispatchedAnswer",
    "internal/http/handshake",
    "internal/http/refusalLog",
    "internal/http/requestBody",
    "internal/http/specialRanges"
  ],
  [
    "internal/durable/postgres/head",
    "internal/durable/postgres/names",
    "internal/durable/postgres/problem",
    "internal/durable/postgres/room",
    "internal/durable/postgres/rows"
  ],
  ["internal/durable/postgres/runner", "internal/durable/postgres/statements"],
  ["internal/durable/postgres/changes", "internal/durable/postgres/operations", "internal/durable/postgres/schema"],
  ["durable/PostgresStore"],
  [
    "http/AddressPolicy",
    "http/UndiciClient",
    "internal/envelope/attributes",
    "internal/envelope/body",
    "internal/envelope/cloudEventData",
    "internal/envelope/registryVersion",
    "internal/http/take"
  ],
  ["http/Envelope", "http/WebhookSignature", "internal/http/guard"],
  [
    "http/CloudEvent",
    "http/GuardedHttpClient",
    "http/HttpSinkError",
    "internal/http/authenticate",
    "internal/http/choose",
    "internal/http/identify",
    "internal/http/onRefused"
  ],
  [
    "internal/durable/codec",
    "internal/durable/error",
    "internal/durable/guarded",
    "internal/durable/log",
    "internal/durable/ownership",
    "internal/durable/parking",
    "internal/durable/settings"
  ],
  ["internal/durable/acknowledger", "internal/durable/hand"],
  ["internal/durable/account", "internal/durable/committer", "internal/durable/letters", "internal/durable/reader"],
  ["internal/durable/consumer"],
  ["internal/durable/delivery", "internal/durable/trimmer", "internal/durable/writing"],
  ["internal/durable/queue"],
  ["durable/DurableQueue"],
  [
    "internal/http/answer",
    "internal/http/deadlines",
    "internal/http/dedupe",
    "internal/http/switch",
    "internal/http/target"
  ],
  ["http/EventIngress", "internal/http/exchange", "internal/http/fill", "internal/http/hold"],
  ["internal/http/settings", "internal/http/signer"],
  ["http/HttpSink"],
  ["internal/http/counts"],
  ["internal/http/assembly"],
  ["http/Endpoint"],
  ["testing/TestSink"],
  ["testing/laws/receiver"],
  ["testing/laws/subject"],
  ["testing/laws/world"],
  ["testing/laws/run"],
  ["testing/laws/law"],
  [
    "testing/laws/account",
    "testing/laws/admission",
    "testing/laws/closing",
    "testing/laws/delivery",
    "testing/laws/release"
  ],
  ["testing/SinkLaws"],
  ["testing/laws/store/subject"],
  ["testing/laws/store/scene"],
  ["testing/laws/store/law"],
  [
    "testing/laws/store/handles",
    "testing/laws/store/leases",
    "testing/laws/store/letters",
    "testing/laws/store/line",
    "testing/laws/store/room"
  ],
  ["testing/StoreLaws"]
]

/**
 * Modules that need more than `effect`, and what that is. The public ones are entries of their own and in no index: only
 * who imports one needs its platform, which is Node itself or an optional peer dependency.
 */
const platforms: Readonly<Record<string, ReadonlyArray<string>>> = {
  "durable/SqliteStore": ["node:path"],
  "internal/durable/sqlite/database": ["node:fs", "node:path", "node:sqlite"],
  "internal/durable/sqlite/files": ["node:fs", "node:path"],
  "internal/durable/sqlite/generation": ["node:fs", "node:sqlite", "node:url"],
  "internal/durable/sqlite/schema": ["node:sqlite"],
  "internal/durable/sqlite/statements": ["node:sqlite"],
  "http/GuardedHttpClient": [
    "@effect/platform-node/NodeHttpClient",
    "@effect/platform-node/NodeDns",
    "@effect/platform-node/Undici"
  ]
}

const maxLines = 450

const root = join(import.meta.dirname, "..")
const read = (path: string): string => readFileSync(join(root, path), "utf8")

const modules = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".ts"))
  .map((path) => path.slice(0, -".ts".length))
  .toSorted()
const inTable = modules.filter((module) => module !== "index" && module !== "http/index" && module !== "durable/index")
const publicModules = inTable.filter(
  (module) => !/(^|\/)internal\//.test(module) && !module.startsWith("testing/laws/")
)
const floorOf = (module: string): number => floors.findIndex((floor) => floor.includes(module))

/** The last floor that must keep to the stable part of `effect`. */
const stableUpTo = floorOf("EventQueue")

/** Modules of the main `effect` entry that are allowed only above that floor. */
const unstable = ["Graph", "RateLimiter"]

interface Import {
  readonly clause: string
  readonly from: string
}

/** Every import, export-from and import type; type-only ones count as much as any other. */
const importsOf = (module: string): ReadonlyArray<Import> => {
  const code = read(`src/${module}.ts`).replaceAll(/\/\*[\s\S]*?\*\//g, "")
  return [
    ...code.matchAll(/^(?:import|export)\s+((?:type\s+)?[\w$*,\s]*(?:\{[^}]*\})?)\s*from\s+"([^"]+)"/gm),
    ...code.matchAll(/^import()\s+"([^"]+)"/gm),
    ...code.matchAll(/\bimport()\(\s*"([^"]+)"/g)
  ].map(([, clause = "", from = ""]) => ({ clause, from }))
}

/** The path within `src` that a relative import means, without its extension. */
const target = (module: string, from: string): string =>
  normalize(join(module, "..", from))
    .replaceAll("\\", "/")
    .replace(/\.ts$/, "")

describe("architecture", () => {
  it("every module stands on exactly one floor", () => {
    expect(floors.flat().toSorted()).toEqual(inTable)
  })

  describe.each(inTable)("%s", (module) => {
    const imports = importsOf(module)

    it("imports only from the floors below", () => {
      const upwards = imports
        .filter(({ from }) => from.startsWith("."))
        .map(({ from }) => target(module, from))
        .filter(
          (path) =>
            floorOf(path) === -1 ||
            floorOf(path) >= floorOf(module) ||
            (platforms[path] !== undefined && publicModules.includes(path))
        )
      expect(upwards).toEqual([])
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

  it.each(["", "durable/", "http/"])(
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
      ...Object.fromEntries(publicModules.map((module) => [`./${module}`, entry(module)])),
      "./internal/*": null,
      "./package.json": "./package.json"
    })
  })
})
