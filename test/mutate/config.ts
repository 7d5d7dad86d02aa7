/** What is mutated, and which tests judge it. A name or a glob that matches nothing is passed over. */
import { existsSync } from "node:fs"
import { matchesGlob } from "node:path"

/** Without arguments: the core's modules that hold state or carry events. */
export const targets = ["src/*.ts", "src/internal/**/*.ts"]
export const excluded = [
  "src/{index,Dropped,ExponentialBackoff,SinkGraph}.ts",
  "src/internal/{context,failureLog,interop,options,stamp}.ts",
  "src/internal/{durable,envelope,http}/**"
]

/** For tests that hold for the whole core. */
const all = "options SinkGraph goEvents responsive lateWriters layers regressions conservation"

/**
 * Names of files in test/, without `.test.ts`, in the order in which they run: the likeliest and the cheapest first. The
 * first glob that matches a source file counts. `SinkLaws:x` are the laws of the sinks with x in their names, but for
 * the broken sinks, which prove the laws, and for most of the many sizes.
 */
const judges: Readonly<Record<string, string>> = {
  "src/{Breaker,RetryStrategy,RetryingSink}.ts": `RetryingSink RetryingSink.strategies Breaker Breaker.verdicts Breaker.options RetryStrategy ExponentialBackoff ${all} SinkLaws:retry`,
  "src/{Broadcaster,internal/broadcaster/*}.ts": `internal/broadcaster/topic Broadcaster Broadcaster.filter Broadcaster.membership broadcastSharing ${all} SinkLaws:broadcast`,
  "src/{EventQueue,internal/queue/*}.ts": `internal/queue/buffer internal/queue/buffer.model EventQueue EventQueue.keys EventQueue.outside EventQueue.weights ${all} SinkLaws:queue`,
  "src/internal/admission.ts": `admission EventChannel EventChannel.readers EventQueue ${all} SinkLaws:event`,
  "src/EventChannel.ts": `EventChannel EventChannel.readers ${all} SinkLaws:channel`,
  "src/**":
    "internal/pages internal/ages EventSink EventSink.batches EventFilter RateLimitedSink ConcurrencyLimitedSink EventChannel SinkGraph RetryingSink Breaker RetryStrategy " +
    `broadcastSharing Broadcaster EventQueue EventQueue.keys ${all} SinkLaws:`
}

export interface TestFile {
  readonly path: string
  readonly pattern: RegExp | undefined
}

/** The test file of the same name goes before the others. */
export const testsOf = (source: string): ReadonlyArray<TestFile> => {
  const own = source.replace(/^.*\/|\.ts$/g, "")
  const [, others = ""] = Object.entries(judges).find(([glob]) => matchesGlob(source, glob)) ?? []
  return [...new Set([own, ...others.split(" ")])]
    .map((test) => test.split(":") as [string, string?]) // a split has a first part
    .map(([name, word]) => ({
      path: `test/${name}.test.ts`,
      pattern:
        word === undefined
          ? undefined
          : new RegExp(`^${name} > (?!catches|.* made by hand|EventQueue of [12])[^>]*${word}`, "i")
    }))
    .filter(({ path }) => existsSync(path))
}

/** So that a mutant has the same fate in every run, and a random search takes a second. */
export const environment = { EFFECT_EVENTS_SEED: "1", EFFECT_EVENTS_RUNS: "200" }
