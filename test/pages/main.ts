/** `npm run pages`: writes docs/sizes.md, the table of docs/stability.md, and llms.txt. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { format, resolveConfig } from "prettier"
import { bundleSizes } from "../bench/bundle.ts"
import { root } from "../support/fences.ts"
import { llms } from "./llms.ts"
import { sizesPage } from "./sizes.ts"
import { stabilityTable } from "./stability.ts"
import { withTable } from "./table.ts"

const writePage = async (file: string, text: string): Promise<void> => {
  const options = await resolveConfig(join(root, file))
  writeFileSync(join(root, file), await format(text, { ...options, parser: "markdown" }))
}

const sizes = await bundleSizes()
if (typeof sizes === "string") throw new Error(sizes)
await writePage("docs/sizes.md", sizesPage(sizes))
await writePage("docs/stability.md", withTable(readFileSync(join(root, "docs/stability.md"), "utf8"), stabilityTable()))
// last, since it has the first sentence of each page
writeFileSync(join(root, "llms.txt"), llms())
