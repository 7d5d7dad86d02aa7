/**
 * The receivers of a fleet, a process of its own: `receivers.ts <endpoints>`. A path is an endpoint, and two ports are two
 * machines, of which the second one is down while there is trouble. It says each request, and ends when its input does.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { type Arrival, type Behaviour, kindOf, slowness } from "./world.ts"

/** How long the answer to a hold waits for the first request that is withheld, in milliseconds. */
const longestHold = 3_000

const endpoints = Number(process.argv[2])
let behaviour: Behaviour = { isTroubled: false, isHolding: false }
let held: Array<() => void> = []
let isHeld = () => {}
let orders = 0

const handle = (request: IncomingMessage, response: ServerResponse): void => {
  let body = ""
  request.setEncoding("utf8").on("data", (some: string) => (body += some))
  // A request that a dying process did not finish is no arrival.
  request.on("error", () => {})
  request.on("end", () => {
    const [, i = "", v = ""] = /^\/e(\d+)\/v(\d+)$/.exec(request.url ?? "") ?? []
    const kind = behaviour.isTroubled ? kindOf(Number(i), endpoints) : "healthy"
    const header = (name: string) => String(request.headers[name] ?? "")
    const status = kind === "failing" ? 500 : 204
    const order = orders++
    const at = Date.now()
    const answer = () => void (request.socket.writable && response.writeHead(status).end())
    response.on("close", () => {
      const arrival: Arrival = {
        i: Number(i),
        v: Number(v),
        order,
        at,
        endedAt: Date.now(),
        status: response.writableFinished ? status : 0,
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body
      }
      process.stdout.write(`${JSON.stringify(arrival)}\n`)
    })
    if (behaviour.isHolding) {
      held.push(answer)
      isHeld()
    } else if (kind === "slow") setTimeout(answer, slowness)
    else answer()
  })
}

const listen = async (port: number): Promise<Server> => {
  const server = createServer({ keepAliveTimeout: 60_000 }, handle)
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve))
  return server
}
// A server that listens on a port has an address with a port.
const portOf = (server: Server) => (server.address() as AddressInfo).port

const first = await listen(0)
let second = await listen(0)
const ports = [portOf(first), portOf(second)]
process.stdout.write(`${JSON.stringify({ ports })}\n`)

for await (const line of createInterface({ input: process.stdin })) {
  const next: Behaviour = JSON.parse(line)
  if (next.isTroubled && second.listening) {
    second.close()
    second.closeAllConnections()
  } else if (!next.isTroubled && !second.listening) second = await listen(ports[1]!)
  behaviour = next
  if (next.isHolding) await Promise.race([new Promise<void>((resolve) => (isHeld = resolve)), sleep(longestHold)])
  else {
    const answers = held
    held = []
    for (const answer of answers) answer()
  }
  process.stdout.write(`${JSON.stringify({ behaves: next })}\n`)
}
process.exit(0)
