/** Packs the package once for all tests that install it: `inject("tarball")` is its path. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestProject } from "vitest/node"
import { command, manifest } from "./install.ts"
import { root } from "./fences.ts"

declare module "vitest" {
  interface ProvidedContext {
    readonly tarball: string
  }
}

export default ({ provide }: TestProject) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-events-pack-"))
  // packing builds first: "prepack"
  command(root, "npm", "pack", "--pack-destination", folder)
  provide("tarball", join(folder, `${manifest.name}-${manifest.version}.tgz`))
  return () => rmSync(folder, { recursive: true, force: true })
}
