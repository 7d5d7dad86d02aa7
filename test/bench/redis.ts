/** A Redis server that syncs each write, which says its port, and ends when its input does. */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const directory = mkdtempSync(join(tmpdir(), "effect-events-bench-"))
const port = await new Promise<number>((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
  })
})
const settings = ["--bind", "127.0.0.1", "--dir", directory, "--appendonly", "yes", "--appendfsync", "always"]
const server = spawn("redis-server", ["--port", String(port), ...settings, "--save", ""], {
  stdio: ["ignore", "pipe", "inherit"]
})
server.on("error", (error) => {
  console.log(`not installed: ${error.message}`)
  process.exit(0)
})
server.stdout.on("data", (said) => {
  if (String(said).includes("Ready to accept")) console.log(port)
})
server.on("exit", () => rmSync(directory, { recursive: true, force: true }))
process.stdin.resume().on("end", () => server.kill())
