/** The relay behind a real registry that puts what a manifest refers to into its events. */
import { describe, it } from "@effect/vitest"
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect } from "vitest"
import { isInstalled, pushBlob, pushManifest, registry } from "../support/registry.ts"
import { endAll, receiver, relay, until } from "../support/relay.ts"

const mediaType = "application/vnd.oci.image.manifest.v1+json"
const layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

interface Reference {
  readonly mediaType?: string
  readonly size?: number
  readonly annotations?: Readonly<Record<string, string>>
}

interface Event {
  readonly target: {
    readonly digest: string
    readonly size: number
    readonly tag?: string
    readonly references?: ReadonlyArray<Reference>
  }
}

const hasRegistry = isInstalled("docker-registry")

describe.skipIf(!hasRegistry)(
  `the relay of a registry with references${hasRegistry ? "" : " (skipped: docker-registry not installed)"}`,
  { timeout: 300_000 },
  () => {
    let folder = ""
    beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "effect-events-relay-"))))
    afterEach(async () => {
      await endAll()
      rmSync(folder, { recursive: true, force: true })
    })

    /** A registry, its relay and a receiver, to which an artifact was pushed whose config is empty. */
    const pushing = async (
      layers: (layer: { readonly digest: string; readonly size: number }) => ReadonlyArray<object>
    ) => {
      const only = await receiver()
      const one = await relay(folder, "0", "--endpoint", only.url)
      const { host } = await registry(folder, one.url, { includereferences: true, timeout: "10s" })
      const repository = "team/app"
      const config = {
        mediaType: "application/vnd.acme.config",
        ...(await pushBlob(host, repository, Buffer.alloc(0)))
      }
      const layer = await pushBlob(host, repository, Buffer.from("hello world"))
      const manifest = { schemaVersion: 2, mediaType, config, layers: layers(layer) }
      const pushed = await pushManifest(host, repository, "v1", manifest)
      // What is behind it comes too.
      const small = await pushManifest(host, repository, "v2", { ...manifest, layers: [] })
      const events = () => only.bodies.map((body) => (JSON.parse(body) as { readonly events: [Event] }).events[0])
      await until(
        () => `the receiver has ${events().map(({ target }) => target.tag ?? target.digest)}: ${one.said.stdout}`,
        () => only.bodies.length > 0 && events().some(({ target }) => target.tag === "v2"),
        120
      )
      const quarantine = join(folder, "registry-notifications.data", "quarantine")
      expect(existsSync(quarantine) ? readdirSync(quarantine) : []).toEqual([])
      const [found, last] = ["v1", "v2"].map((tag) => events().find(({ target }) => target.tag === tag))
      expect(last?.target).toMatchObject(small)
      expect(found?.target).toMatchObject(pushed)
      const references = found?.target.references ?? []
      // The registry leaves a size of zero out.
      expect(references[0]).toEqual({ mediaType: config.mediaType, digest: config.digest })
      return { size: pushed.size, references: references.slice(1) }
    }

    it("passes on a manifest of 800 KB of an artifact whose config is empty", async () => {
      const { references, size } = await pushing((layer) =>
        Array.from({ length: 5400 }, () => ({ mediaType: layerType, ...layer }))
      )
      expect(size).toBeGreaterThan(800_000)
      expect(references).toHaveLength(5400)
    })

    it("passes on the largest manifest that a registry takes, of which JSON makes six times as much", async () => {
      const text = "&".repeat(4 * 1024 * 1024 - 1024)
      const { references } = await pushing((layer) => [{ mediaType: layerType, ...layer, annotations: { text } }])
      expect(references[0]?.annotations?.["text"]?.length).toBe(text.length)
    })
  }
)
