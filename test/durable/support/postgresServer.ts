/** A real Postgres server, started from the binaries that are installed. For tests and benchmarks, and free of both. */
import { PgClient } from "@effect/sql-pg"
import { spawn, spawnSync, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { chownSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

/** Debian's place; elsewhere what is on the path. The newest version comes last. */
const bin = [...(process.env["PATH"] ?? "").split(":"), ...globSync("/usr/lib/postgresql/*/bin").toSorted()].findLast(
  (folder) => ["initdb", "postgres", "psql"].every((name) => existsSync(join(folder, name)))
)

/** Postgres refuses to run as root: another user that always exists. */
const owner = (): { readonly uid: number; readonly gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined
  const users = readFileSync("/etc/passwd", "utf8").split("\n")
  const user = ["postgres", "nobody"].map((name) => users.find((line) => line.startsWith(`${name}:`))).find(Boolean)
  const [, , uid, gid] = user?.split(":") ?? []
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

/** What to say of tests that need a server: nothing, or that they are skipped, and why. */
export const skipped: string =
  bin === undefined ? " (skipped: no initdb, postgres and psql in PATH or /usr/lib/postgresql/*/bin)" : ""

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  await once(server, "close")
  if (address === null || typeof address === "string") throw new Error("no port")
  return address.port
}

export class PostgresServer {
  readonly port: number
  private readonly folder: string
  private readonly settings: ReadonlyArray<string>
  private postmaster: ChildProcess | undefined
  private log = ""

  private constructor(folder: string, port: number, settings: ReadonlyArray<string>) {
    this.folder = folder
    this.port = port
    this.settings = settings
    // a test run that ends before its time leaves no server behind
    process.on("exit", this.quit)
  }

  /** An empty database on a free port of the loopback, started. `fsync` is for tests that kill it. */
  static async start(options: { readonly fsync?: boolean; readonly settings?: ReadonlyArray<string> } = {}) {
    const folder = mkdtempSync(join(tmpdir(), "postgres-"))
    const user = owner()
    if (user !== undefined) chownSync(folder, user.uid, user.gid)
    const made = spawnSync(
      join(bin ?? "", "initdb"),
      ["-D", join(folder, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
      { ...user, cwd: folder, encoding: "utf8", env: { PATH: process.env["PATH"] } }
    )
    if (made.status !== 0) throw new Error(`initdb: ${made.stdout}${made.stderr}${String(made.error ?? "")}`)
    const fast = options.fsync === true ? [] : ["fsync=off", "full_page_writes=off"]
    const server = new PostgresServer(folder, await freePort(), [...fast, ...(options.settings ?? [])])
    await server.start()
    return server
  }

  /** Starts it again, with what it had. */
  async start(): Promise<void> {
    const data = join(this.folder, "data")
    const settings = ["listen_addresses=127.0.0.1", `unix_socket_directories=${this.folder}`, ...this.settings]
    const flags = settings.flatMap((setting) => ["-c", setting])
    for (let attempt = 0; ; attempt++) {
      this.log = ""
      const child = spawn(join(bin ?? "", "postgres"), ["-D", data, "-p", String(this.port), ...flags], {
        ...owner(),
        cwd: this.folder,
        env: { PATH: process.env["PATH"] },
        stdio: ["ignore", "pipe", "pipe"]
      })
      this.postmaster = child
      for (const output of [child.stdout, child.stderr]) output?.on("data", (some) => (this.log += String(some)))
      while (child.exitCode === null && !this.log.includes("ready to accept connections")) await sleep(10)
      if (child.exitCode === null) return
      // the children of a server that was killed may still be on their way out
      if (attempt === 100) throw new Error(`postgres did not start:\n${this.log}`)
      await sleep(100)
    }
  }

  /** Ends all sessions, and then the server: nothing that was committed is lost. */
  stop(): Promise<void> {
    return this.end("SIGINT")
  }

  /** Ends it as a crash of the machine would, but for what only the operating system has. */
  kill(): Promise<void> {
    return this.end("SIGKILL")
  }

  /** Stops it, and removes all of it. */
  async remove(): Promise<void> {
    await this.stop()
    process.off("exit", this.quit)
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10 })
  }

  /** Runs statements with `psql`, each in a transaction of its own, and answers the last one's values. */
  psql(...statements: ReadonlyArray<string>): string {
    const args = ["-h", this.folder, "-p", String(this.port), "-U", "postgres", "-AtqX", "-v", "ON_ERROR_STOP=1"]
    const result = spawnSync(join(bin ?? "", "psql"), [...args, ...statements.flatMap((one) => ["-c", one])], {
      encoding: "utf8"
    })
    if (result.status !== 0) throw new Error(result.stderr)
    return result.stdout.trim()
  }

  /** What it has logged since it was started. */
  get logged(): string {
    return this.log
  }

  /** A client of it, with settings of its own. */
  client(options: PgClient.PgPoolConfig = {}) {
    return PgClient.layer({
      host: "127.0.0.1",
      port: this.port,
      username: "postgres",
      database: "postgres",
      ...options
    })
  }

  private readonly quit = (): void => {
    this.postmaster?.kill("SIGQUIT")
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.postmaster
    this.postmaster = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, "exit")
    child.kill(signal)
    await exit
  }
}
