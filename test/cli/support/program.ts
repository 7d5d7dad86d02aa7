/** The command line in this process, over a store in memory, with what it prints. */
import { ConfigProvider, Console, Effect, FileSystem, Layer, Option, Path, Queue, Sink, Stdio, Terminal } from "effect"
import { ChildProcessSpawner } from "effect/process"
import type { EventStore } from "effect-events/durable"
import { run } from "../../../src/cli/program.ts"
import { StoreOpener } from "../../../src/cli/rootCommand.ts"

export interface Printed {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface Surroundings {
  readonly env?: Readonly<Record<string, string>>
  /** What is a terminal: none of the three by default. */
  readonly terminal?: { readonly stdin?: boolean; readonly stdout?: boolean; readonly stderr?: boolean }
  /** The keys that are pressed. */
  readonly keys?: string
}

type Open = StoreOpener["Service"]["open"]

/** Runs one command; `store` is what `--store` opens. */
export const cli =
  (store: EventStore.Operations | Open, { env = {}, keys = "", terminal = {} }: Surroundings = {}) =>
  (...args: ReadonlyArray<string>): Effect.Effect<Printed> =>
    Effect.suspend(() => {
      let out = ""
      let err = ""
      const console: Console.Console = {
        ...globalThis.console,
        log: (...text: ReadonlyArray<unknown>) => void (out += `${text.join(" ")}\n`),
        error: (...text: ReadonlyArray<unknown>) => void (err += `${text.join(" ")}\n`)
      }
      const collecting = (add: (text: string) => void) => () =>
        Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => add(String(chunk))))
      const is = (value = false) => Effect.succeed(value)
      const stdio = Stdio.layerTest({
        stdinIsTerminal: is(terminal.stdin),
        stdoutIsTerminal: is(terminal.stdout),
        stderrIsTerminal: is(terminal.stderr),
        stdout: collecting((text) => (out += text)),
        stderr: collecting((text) => (err += text))
      })
      const readInput = Effect.gen(function* () {
        const queue = yield* Queue.unbounded<Terminal.UserInput>()
        for (const name of keys) {
          const key = { name, ctrl: false, meta: false, shift: false }
          yield* Queue.offer(queue, { input: Option.some(name), key })
        }
        return queue
      })
      const terminalLayer = Layer.succeed(
        Terminal.Terminal,
        Terminal.make({
          columns: Effect.succeed(80),
          rows: Effect.succeed(24),
          size: Effect.die("unused"),
          readInput,
          readLine: Effect.die("unused"),
          display: (text) => Effect.sync(() => void (out += text))
        })
      )
      const spawner = ChildProcessSpawner.make(() => Effect.die("unused"))
      const environment = Layer.mergeAll(
        FileSystem.layerNoop({}),
        Path.layer,
        stdio,
        terminalLayer,
        Layer.succeed(ChildProcessSpawner.ChildProcessSpawner, spawner)
      )
      return run(args, "1.2.3").pipe(
        Effect.map((code) => ({ code, out, err })),
        Effect.provideService(StoreOpener, { open: typeof store === "function" ? store : () => Effect.succeed(store) }),
        Effect.provide(environment),
        Effect.provideService(Console.Console, console),
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromEnv({ env: { EFFECT_EVENTS_STORE: "sqlite:events.db", ...env } })
        )
      )
    })
