import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, describe, expect, inject, it } from "vitest"
import { root } from "./support/fences.ts"
import { command, compilerOptions, env, install, manifest } from "./support/install.ts"

// docs/quick-start.md to the letter, in one shell and an empty folder: its files, its commands, and each line that it says is
// printed. Only two things differ: the package is the packed one, and the two ports are free ones.

/** Longer than npm, a restart or a retry takes on a busy machine. */
const timeLimit = 120_000

interface Block {
  readonly language: string
  readonly body: string
  /** The text between the block above and this one. */
  readonly above: string
}

const blocksOf = (page: string): ReadonlyArray<Block> => {
  const found: Array<Block> = []
  let from = 0
  for (const match of page.matchAll(/^```(\w+).*\n([\s\S]*?)^```$/gm)) {
    const [all, language = "", body = ""] = match
    found.push({ language, body, above: page.slice(from, match.index) })
    from = match.index + all.length
  }
  return found
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      // the address of a TCP server is an object
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

const until = async (what: string, isSo: () => boolean | Promise<boolean>, state: () => string): Promise<void> => {
  const end = Date.now() + timeLimit
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${timeLimit} ms\n${state()}`)
    await sleep(50)
  }
}

/** One shell that runs blocks of commands one by one, as a reader pastes them. */
const openShell = (cwd: string) => {
  const path = [dirname(process.execPath), env["PATH"]].join(delimiter)
  const quiet = { npm_config_audit: "false", npm_config_fund: "false", npm_config_prefer_offline: "true" }
  const shell = spawn("bash", [], { cwd, env: { ...env, ...quiet, PATH: path }, detached: true, stdio: "pipe" })
  let output = ""
  let blocks = 0
  shell.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk))
  shell.stderr.setEncoding("utf8").on("data", (chunk: string) => (output += chunk))
  return {
    output: () => output,
    /** Runs a block, and answers where in the output that begins. */
    run: async (commands: string): Promise<number> => {
      const from = output.length
      const file = join(cwd, `block-${++blocks}.sh`)
      writeFileSync(file, commands)
      const done = `block ${blocks} ended`
      shell.stdin.write(`. "${file}" </dev/null; echo "${done}"\n`)
      await until(
        commands,
        () => output.includes(done, from),
        () => output
      )
      return from
    },
    close: () => {
      try {
        // by its negative id, with the processes that a failed test has left
        if (shell.pid !== undefined) process.kill(-shell.pid, "SIGKILL")
      } catch (error) {
        // it has ended, and all of its processes with it
        if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error
      }
    }
  }
}

describe("docs/quick-start.md", () => {
  const folder = mkdtempSync(join(tmpdir(), "effect-events-quick-start-"))
  const shell = openShell(folder)

  afterAll(() => {
    shell.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it("leads from an empty folder to a webhook that survives kill -9", { timeout: 4 * timeLimit }, async () => {
    const page = await adapted(readFileSync(join(root, "docs", "quick-start.md"), "utf8"))
    const project = join(folder, "shop")
    const files: Array<string> = []
    const commands: Array<string> = []
    let from = 0
    for (const { above, body, language } of blocksOf(page)) {
      for (const [, url = ""] of above.matchAll(/<(http[^>]+)>/g)) await opens(url)
      if (language === "ts") {
        const name = nameOf(above)
        writeFileSync(join(project, name), body)
        files.push(name)
      } else if (language === "sh") {
        from = await shell.run(body)
        commands.push(body)
      } else {
        for (const line of body.split("\n").filter((line) => line !== "")) {
          await until(line, () => shell.output().includes(line, from), shell.output)
        }
      }
    }
    // what the page is about has been done, whatever becomes of its text
    expect(commands.join("")).toContain("kill -9")
    expect(files).toEqual(["service.ts", "receiver.ts"])
    expect(readFileSync(join(project, "audit.log"), "utf8").trim().split("\n").length).toBeGreaterThan(0)

    await until("both processes end", async () => (await isClosed("3000")) && (await isClosed("3001")), shell.output)

    await answersFromTheFirst(project)

    // and it compiles with the declarations of the package; those of Effect and Node do not go together without skipLibCheck
    install(project, ...["typescript", "@types/node"].map((name) => `${name}@${manifest.devDependencies[name]}`))
    command(
      project,
      join(project, "node_modules", ".bin", "tsc"),
      ...compilerOptions,
      "--skipLibCheck",
      "--types",
      "node",
      ...files
    )
  })
})

// internals

/** The page with the packed package in place of the registry's, and other ports. */
const adapted = async (page: string): Promise<string> => {
  for (const port of ["3000", "3001"]) ports.set(port, String(await freePort()))
  const withPorts = page.replaceAll(/\b300[01]\b/g, (port) => ports.get(port) ?? port)
  const installed = withPorts.replace(/^(npm install .*?)\beffect-events\b/m, `$1${inject("tarball")}`)
  expect(installed, "the page installs the package").not.toBe(withPorts)
  return installed
}

const ports = new Map<string, string>()

/** The file whose text follows is the last one that is named above it. */
const nameOf = (above: string): string => {
  const [, name] = [...above.matchAll(/`([\w-]+\.ts)`/g)].at(-1) ?? []
  if (name === undefined) throw new Error(`no file is named in: ${above}`)
  return name
}

const opens = async (url: string): Promise<void> => {
  const answer = await fetch(url, { headers: { connection: "close" } })
  expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"])
  const graph = await fetch(`${url}/api/graph`, { headers: { connection: "close" } })
  const { nodes } = (await graph.json()) as { readonly nodes: ReadonlyArray<{ readonly name: string }> }
  expect(nodes.map(({ name }) => name)).toEqual(expect.arrayContaining(["orders", "webhook", "audit"]))
}

/** Each request that the starting server accepts is answered: requests are made until each of five has one answer. */
const answersFromTheFirst = async (project: string): Promise<void> => {
  const service = spawn(process.execPath, ["--env-file=.env", "service.ts"], { cwd: project, env, stdio: "ignore" })
  const ask = async (): Promise<void> => {
    const end = Date.now() + timeLimit
    for (;;) {
      const outcome = await fetch(`http://127.0.0.1:${ports.get("3000")}/events`, {
        headers: { connection: "close" },
        signal: AbortSignal.timeout(timeLimit)
      }).catch((error: unknown) => {
        const isAccepted = error instanceof Error && error.name === "TimeoutError"
        if (isAccepted || Date.now() > end) throw error
      })
      if (outcome !== undefined) return
    }
  }
  try {
    await Promise.all(Array.from({ length: 5 }, ask))
  } finally {
    service.kill("SIGKILL")
  }
}

const isClosed = (port: string): Promise<boolean> =>
  fetch(`http://127.0.0.1:${ports.get(port)}/`).then(
    () => false,
    () => true
  )
