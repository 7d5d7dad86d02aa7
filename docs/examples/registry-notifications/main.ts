/**
 * The command. Without `--listen` it sends the events of a file to four receivers of its own, of which two are in trouble
 * and one does not exist, and shows that nothing was lost silently. With it, it is a relay for a live registry.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Option, Path, Runtime } from "effect"
import { Argument, Command, Flag, GlobalFlag } from "effect/cli"
import * as Dashboard from "./Dashboard.ts"
import * as Demonstration from "./Demonstration.ts"
import * as Relay from "./Relay.ts"
import { Problem } from "./Problem.ts"
import { defaultMaxBytes, parseEndpoints, parseListen, parseMaxBytes } from "./RelayOptions.ts"
import * as Screen from "./Screen.ts"

const file = Argument.String("file").pipe(
  Argument.withDescription("NDJSON: one envelope on a line; 60 real ones by default"),
  Argument.optional
)
const seed = Flag.Int("seed").pipe(
  Flag.withDescription("Makes the flaky receiver fail other requests; 42 by default"),
  Flag.optional
)
const listen = Flag.String("listen").pipe(
  Flag.withDescription("PORT or HOST:PORT, at 127.0.0.1 by default: be a relay for a registry, until interrupted"),
  Flag.optional
)
const endpoint = Flag.String("endpoint").pipe(
  Flag.withDescription(
    "URL or v2=URL, with the version of notifications that the receiver takes: where the relay posts to; may be given several times"
  ),
  Flag.atLeast(0)
)
const maxBytes = Flag.Int("max-bytes").pipe(
  Flag.withDescription(
    "How many bytes a notification may have; 33554432 by default, of which a manifest of 4 MiB is a part"
  ),
  Flag.optional
)
const data = Flag.String("data").pipe(
  Flag.withDescription(
    "The folder in which events are kept: ./registry-notifications.data by default for a relay, a temporary one without"
  ),
  Flag.optional
)

const dashboard = Flag.Int("dashboard").pipe(
  Flag.withDescription("PORT: serve a page on this machine that shows the graph, and stay until interrupted"),
  Flag.optional
)

const command = Command.make(
  "registry-notifications",
  { file, seed, listen, endpoint, maxBytes, data, dashboard },
  Effect.fnUntraced(function* ({ dashboard, data, endpoint, file, listen, maxBytes, seed }) {
    const path = yield* Path.Path
    // npm starts scripts in the folder of the package, and says where it was called itself.
    const resolve = (name: string) => path.resolve(process.env["INIT_CWD"] ?? process.cwd(), name)
    // The demonstration shows on purpose what its log would report.
    const level = Option.getOrElse(yield* GlobalFlag.LogLevel, () => (Option.isSome(listen) ? "Error" : "Fatal"))
    const keptBack: Screen.KeptBack = { lines: 0 }
    const port = Option.isNone(dashboard) ? undefined : yield* Dashboard.parsePort(dashboard.value)

    const relay = Effect.fnUntraced(function* (listen: string) {
      if (Option.isSome(file) || Option.isSome(seed)) {
        return yield* new Problem({ message: "a relay takes no file and no --seed" })
      }
      return yield* Relay.run({
        listen: yield* parseListen(listen),
        targets: yield* parseEndpoints(endpoint),
        maxBytes: yield* parseMaxBytes(Option.getOrElse(maxBytes, () => defaultMaxBytes)),
        dashboard: port,
        folder: resolve(Option.getOrElse(data, () => "registry-notifications.data"))
      })
    })
    const demonstration = Effect.gen(function* () {
      if (endpoint.length > 0 || Option.isSome(maxBytes)) {
        const option = endpoint.length > 0 ? "--endpoint" : "--max-bytes"
        return yield* new Problem({ message: `${option} is for a relay: give it a --listen` })
      }
      const input = Option.match(file, {
        onNone: () => path.join(import.meta.dirname, "notifications.ndjson"),
        onSome: resolve
      })
      const folder = Option.map(data, resolve)
      return yield* Demonstration.run({ input, seed: Option.getOrElse(seed, () => 42), folder, dashboard: port })
    })

    yield* Option.match(listen, { onNone: () => demonstration, onSome: relay }).pipe(
      Effect.ensuring(
        Effect.suspend(() =>
          keptBack.lines === 0
            ? Effect.void
            : Screen.print(`${keptBack.lines} lines of the log are not shown: see them with --log-level info`)
        )
      ),
      Effect.scoped,
      Effect.provide(Screen.logger(level, keptBack))
    )
  })
).pipe(Command.withDescription("Sends the notifications of a registry on, and loses none of them silently"))

// A program that was ended by a signal says so by its code: 128 and the number of the signal.
let terminated = false
process.once("SIGTERM", () => (terminated = true))

command.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain({
    teardown: (exit, onExit) => Runtime.defaultTeardown(exit, (code) => onExit(code === 130 && terminated ? 143 : code))
  })
)
