/** Debian's `docker-registry` and `skopeo`, and images made by hand for them: nothing comes from the network. */
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { delimiter, join } from "node:path"
import { gzipSync } from "node:zlib"
import { run, until } from "./relay.ts"

export const isInstalled = (name: string) =>
  (process.env["PATH"] ?? "").split(delimiter).some((folder) => existsSync(join(folder, name)))

/** The programs that are not there. */
export const missing = ["docker-registry", "skopeo"].filter((name) => !isInstalled(name))

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

interface Notified {
  readonly Events: number
  readonly Pending: number
}

/** What is read of the registry's `/debug/vars`. */
interface Variables {
  readonly registry: {
    readonly notifications: { readonly endpoints: ReadonlyArray<{ readonly Metrics: Notified }> }
  }
}

/** A registry that notifies `url`. With `includereferences` its events have what a manifest refers to. */
export const registry = async (
  folder: string,
  url: string,
  { includereferences = false, timeout = "1s" }: { includereferences?: boolean; timeout?: string } = {}
) => {
  const port = await freePort()
  const debug = await freePort()
  mkdirSync(join(folder, "registry"), { recursive: true })
  const config = {
    version: "0.1",
    log: { level: "error" },
    storage: { filesystem: { rootdirectory: join(folder, "registry") }, delete: { enabled: true } },
    http: { addr: `127.0.0.1:${port}`, debug: { addr: `127.0.0.1:${debug}` } },
    // It gives nothing up: it comes again until it is answered with 2xx.
    notifications: {
      events: { includereferences },
      endpoints: [{ name: "relay", url, timeout, threshold: 3, backoff: "200ms" }]
    }
  }
  // JSON is YAML.
  writeFileSync(join(folder, "registry.yml"), JSON.stringify(config))
  const child = run("docker-registry", ["serve", join(folder, "registry.yml")])
  const host = `127.0.0.1:${port}`
  await until(
    () => `a registry: ${JSON.stringify(child.said)}`,
    async () => {
      if (child.hasEnded()) throw new Error(`the registry ended: ${JSON.stringify(child.said)}`)
      return fetch(`http://${host}/v2/`).then(
        ({ ok }) => ok,
        () => false
      )
    }
  )
  /** What it says of its notifications: how many events it had, and how many of them are not yet delivered. */
  const notifications = async (): Promise<Notified> => {
    const answer = await fetch(`http://127.0.0.1:${debug}/debug/vars`)
    const { registry } = (await answer.json()) as Variables
    const [endpoint] = registry.notifications.endpoints
    if (endpoint === undefined) throw new Error("the registry knows no endpoint")
    return endpoint.Metrics
  }
  return { ...child, host, notifications }
}

const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`

interface Descriptor {
  readonly digest: string
  readonly size: number
}

const pushed = async (answer: Response): Promise<Response> => {
  if (answer.status >= 300) throw new Error(`the registry answered ${answer.status}: ${await answer.text()}`)
  return answer
}

/** Pushes a blob into a repository of a registry. */
export const pushBlob = async (host: string, repository: string, bytes: Buffer): Promise<Descriptor> => {
  const started = await pushed(await fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: "POST" }))
  const url = new URL(started.headers.get("location") ?? "", `http://${host}`)
  const digest = digestOf(bytes)
  url.searchParams.set("digest", digest)
  await pushed(await fetch(url, { method: "PUT", body: bytes }))
  return { digest, size: bytes.length }
}

/** Pushes a manifest under a tag, and answers its digest and size. */
export const pushManifest = async (
  host: string,
  repository: string,
  tag: string,
  manifest: { readonly mediaType: string; readonly [field: string]: unknown }
): Promise<Descriptor> => {
  const bytes = Buffer.from(JSON.stringify(manifest))
  const headers = { "content-type": manifest.mediaType }
  await pushed(await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, { method: "PUT", headers, body: bytes }))
  return { digest: digestOf(bytes), size: bytes.length }
}

/** Runs skopeo to its end. */
export const skopeo = async (...args: ReadonlyArray<string>): Promise<void> => {
  const { code, stderr } = await run("skopeo", ["--insecure-policy", ...args]).ended
  if (code !== 0) throw new Error(`skopeo ${args.join(" ")}: ${stderr}`)
}

/** A tar archive of one file. */
const tar = (name: string, content: string): Buffer => {
  const header = Buffer.alloc(512)
  const octal = (n: number, length: number) => n.toString(8).padStart(length - 1, "0")
  header.write(name, 0)
  header.write(octal(0o644, 8), 100)
  header.write(octal(0, 8), 108)
  header.write(octal(0, 8), 116)
  header.write(octal(Buffer.byteLength(content), 12), 124)
  header.write(octal(0, 12), 136)
  header.write(" ".repeat(8), 148)
  header.write("0", 156)
  header.write("ustar\u000000", 257)
  header.write(
    octal(
      header.reduce((sum, byte) => sum + byte),
      7
    ),
    148
  )
  const body = Buffer.alloc(Math.ceil(Buffer.byteLength(content) / 512) * 512)
  body.write(content)
  return Buffer.concat([header, body, Buffer.alloc(1024)])
}

/** An image in a folder, as the OCI image layout has it: a configuration, a layer, a manifest and an index. */
export const image = (folder: string, content: string): string => {
  const blobs = join(folder, "blobs", "sha256")
  mkdirSync(blobs, { recursive: true })
  const blob = (mediaType: string, bytes: Buffer) => {
    const hex = createHash("sha256").update(bytes).digest("hex")
    writeFileSync(join(blobs, hex), bytes)
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length }
  }
  const json = (mediaType: string, value: unknown) => blob(mediaType, Buffer.from(JSON.stringify(value)))
  const archive = tar("content.txt", content)
  const diffId = `sha256:${createHash("sha256").update(archive).digest("hex")}`
  const config = json("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [diffId] }
  })
  const layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(archive))
  const manifest = json("application/vnd.oci.image.manifest.v1+json", { schemaVersion: 2, config, layers: [layer] })
  const index = { schemaVersion: 2, manifests: [manifest] }
  writeFileSync(join(folder, "index.json"), JSON.stringify(index))
  writeFileSync(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }))
  return folder
}
