/** The relay as a process, receivers behind it, and a proxy in front of it that knows what it has acknowledged. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer, type Server } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const root = join(import.meta.dirname, "..", "..")
export const example = join(root, "docs", "examples", "registry-notifications")
export const mediaType = "application/vnd.docker.distribution.events.v1+json"

/** Everything that a test started, to be ended by `endAll`, last first. */
const started: Array<() => unknown> = []
export const endAll = async (): Promise<void> => {
  for (const end of started.splice(0).toReversed()) await end()
}
export const later = (end: () => unknown): void => void started.push(end)

/** Waits until something holds. It fails with what it waited for. */
export const until = async (
  what: () => string,
  holds: () => boolean | Promise<boolean>,
  seconds = 60
): Promise<void> => {
  const end = performance.now() + seconds * 1000
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${seconds} s: ${what()}`)
    await sleep(10)
  }
}

/** A child process, and what it says. */
export const run = (command: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}) => {
  const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] })
  const said = { stdout: "", stderr: "" }
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said.stdout += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said.stderr += text))
  const ended = once(child, "close").then(([code, signal]) => ({ code: code as number | null, signal, ...said }))
  // An `await` of it gets the error; a process that could not be started otherwise ends the test by its own error.
  ended.catch(() => {})
  later(() => child.kill("SIGKILL"))
  const kill = (signal: NodeJS.Signals) => {
    child.kill(signal)
    return ended
  }
  return { said, ended, kill, hasEnded: () => child.exitCode !== null || child.signalCode !== null }
}

/** Runs what `npm start` runs, as if called in `folder`. */
export const start = (folder: string, ...args: ReadonlyArray<string>) =>
  run(
    process.execPath,
    ["--conditions=@effect-events/source", "--disable-warning=ExperimentalWarning", join(example, "main.ts"), ...args],
    { INIT_CWD: folder }
  )

/** A relay that listens. */
export const relay = async (folder: string, listen: string, ...args: ReadonlyArray<string>) => {
  const process = start(folder, "--listen", listen, ...args)
  const url = () => /^listening at (\S+)$/m.exec(process.said.stdout)?.[1]
  await until(
    () => `a relay that listens: ${JSON.stringify(process.said)}`,
    () => url() !== undefined || process.hasEnded()
  )
  const found = url()
  if (found === undefined) throw new Error(`the relay ended: ${JSON.stringify(process.said)}`)
  return { ...process, url: found, port: new URL(found).port }
}

/** Hands requests to a server of one's own, on a free port or on one that was its own before. */
const listen = async (handle: Parameters<typeof createServer>[1], port = 0): Promise<Server> => {
  const server = createServer(handle)
  server.listen(port, "127.0.0.1")
  await once(server, "listening")
  return server
}

const close = async (server: Server): Promise<void> => {
  if (!server.listening) return
  server.close()
  server.closeAllConnections()
  await once(server, "close")
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port

export const idsOf = (body: string): ReadonlyArray<string> =>
  (JSON.parse(body) as { readonly events: ReadonlyArray<{ readonly id: string }> }).events.map(({ id }) => id)

/** A receiver that can be stopped and started again on its port. `answer` is its status, after as many milliseconds. */
export const receiver = async (
  answer: () => { readonly status: number; readonly after?: number } = () => ({ status: 200 })
) => {
  /** The ids that it took, in the order of arrival, repeats included. */
  const took: Array<string> = []
  const bodies: Array<string> = []
  const types: Array<string | undefined> = []
  const handle = async (body: string, type: string | undefined) => {
    const { after = 0, status } = answer()
    if (after > 0) await sleep(after)
    if (status < 300) {
      took.push(...idsOf(body))
      bodies.push(body)
      types.push(type)
    }
    return status
  }
  const serve = (port?: number) =>
    listen((request, response) => {
      let body = ""
      request.setEncoding("utf8").on("data", (text: string) => (body += text))
      // A request that a dying process did not finish is no delivery.
      request.on("error", () => {})
      request.on(
        "end",
        () => void handle(body, request.headers["content-type"]).then((status) => response.writeHead(status).end())
      )
    }, port)
  let server = await serve()
  const port = portOf(server)
  const stop = () => close(server)
  later(stop)
  return {
    took,
    bodies,
    /** The content types of the bodies. */
    types,
    url: `http://127.0.0.1:${port}/hook`,
    stop,
    start: async () => {
      server = await serve(port)
    }
  }
}

/** Without its repeats, in the order of first arrival. */
export const withoutRepeats = (ids: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(ids)]

/** Posts a body as a registry does. Without an answer there is no status. */
export const post = async (
  url: string,
  body: string,
  type = mediaType
): Promise<{ readonly status: number | undefined; readonly text: string }> => {
  try {
    const answer = await fetch(url, { method: "POST", headers: { "content-type": type }, body })
    return { status: answer.status, text: await answer.text() }
  } catch {
    // The relay is not there, or died before it answered.
    return { status: undefined, text: "" }
  }
}

/** Whether no process listens at a port. */
export const isRefused = async (port: number): Promise<boolean> => {
  const socket = connect(port, "127.0.0.1")
  const refused = await once(socket, "connect").then(
    () => false,
    () => true
  )
  socket.destroy()
  return refused
}

/** A proxy in front of `target`, which may come and go. It writes down what was acknowledged to the sender. */
export const tap = async (target: string) => {
  const acknowledged: Array<string> = []
  let requests = 0
  const server = await listen((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text: string) => (body += text))
    request.on("error", () => {})
    request.on("end", () => {
      requests++
      void post(target, body, request.headers["content-type"]).then(({ status = 502 }) => {
        // Before the answer, so that its reader finds the ids written down.
        if (status >= 200 && status < 300) acknowledged.push(...idsOf(body))
        response.writeHead(status).end()
      })
    })
  })
  later(() => close(server))
  return { url: `http://127.0.0.1:${portOf(server)}/events`, acknowledged, requests: () => requests }
}
