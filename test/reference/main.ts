/** `npm run reference`: writes `docs/reference`, and fails on a public item without a sentence in its doc comment. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../support/fences.ts"
import { folder, makeReference } from "./pages.ts"

const { pages, undocumented } = await makeReference()
const directory = join(root, folder)
rmSync(directory, { recursive: true, force: true })
mkdirSync(directory, { recursive: true })
for (const [name, text] of pages) writeFileSync(join(directory, name), text)
for (const item of undocumented) console.error(`${item} has no sentence in its doc comment`)
if (undocumented.length > 0) process.exitCode = 1
