/** What is mutated, and which tests judge it. A name or a glob that matches nothing is passed over. */
import { existsSync } from "node:fs"
import { matchesGlob } from "node:path"

/** Without arguments: the core's modules that hold state or carry events. */
export const targets = ["src/*.ts", "src/internal/**/*.ts"]
export const excluded = [
  "src/{index,Dropped,ExponentialBackoff,SinkGraph}.ts",
  "src/internal/{captured,context,failureLog,interop,options,stamp}.ts",
  "src/internal/{durable,envelope,http}/**"
]

/**
 * Names of files in test/, without `.test.ts`, in the order in which they run: the likeliest and the cheapest first. The
 * first glob that matches a source file counts. `SinkLaws:x` are the laws of the sinks with x in their names, but for
 * the broken sinks, which prove the laws, and for most of the many sizes.
 */
const judges: Readonly<Record<string, string>> = {
  "src/{Breaker,RetryStrategy,RetryingSink,internal/retr*}.ts":
    "RetryingSink Breaker RetryStrategy ExponentialBackoff options SinkGraph goEvents regressions conservation SinkLaws:retry",
  "src/{Broadcaster,internal/{broadcast*,delivery,feed,lag,member,subscri*,topic}}{.ts,/**}":
    "feed Broadcaster broadcastSharing options SinkGraph goEvents regressions conservation SinkLaws:broadcast",
  "src/{EventQueue,internal/{backlog,buffer,lanes,partition*,queue}}{.ts,/**}":
    "lanes EventQueue options SinkGraph goEvents regressions conservation SinkLaws:queue",
  "src/internal/admission.ts": "admission EventChannel EventQueue options regressions conservation SinkLaws:event",
  "src/**":
    "EventSink EventFilter EventChannel SinkGraph feed RetryingSink Breaker RetryStrategy broadcastSharing Broadcaster " +
    "goEvents options lanes EventQueue regressions conservation SinkLaws:"
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
