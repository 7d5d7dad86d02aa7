/** Builds the Go program that measures the original, where Go and go-events are installed. */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync } from "node:fs"
import { dirname, join } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const source = join(import.meta.dirname, "go")
const binary = join(root, ".cache", "bench", process.platform === "win32" ? "go-events.exe" : "go-events")
const goEvents = join("src", "github.com", "docker", "go-events")

const run = (command: string, args: ReadonlyArray<string>, options?: object): string | undefined => {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], ...options }).trim()
  } catch {
    return undefined
  }
}

export interface Go {
  readonly binary: string
  readonly go: string
  readonly goEvents: string
}

/** The program, or why there is none. */
export const buildGo = (): Go | string => {
  const version = run("go", ["version"])
  if (version === undefined) return "not installed: Go"
  // Debian's package golang-github-docker-go-events-dev is a tree of the old kind, and so is any GOPATH.
  const places = [...(run("go", ["env", "GOPATH"]) ?? "").split(":"), "/usr/share/gocode"]
  const place = places.find((one) => existsSync(join(one, goEvents)))
  if (place === undefined) return "not installed: go-events"
  mkdirSync(dirname(binary), { recursive: true })
  try {
    execFileSync("go", ["build", "-o", binary, "."], {
      cwd: source,
      env: { ...process.env, GO111MODULE: "off", GOFLAGS: "", GOPATH: places.join(":") },
      stdio: ["ignore", "pipe", "pipe"]
    })
  } catch (error) {
    return `not built: ${String((error as { readonly stderr?: unknown }).stderr ?? error).trim()}`
  }
  const debian = run("dpkg-query", ["-W", "-f", "${Version}", "golang-github-docker-go-events-dev"])
  return { binary, go: version.replace(/^go version go/, ""), goEvents: debian ?? "of unknown version" }
}
