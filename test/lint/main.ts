/** `npm run lint:words`: reports words and sentences that the house does not use, and fails if there are any. */
import { globSync, readFileSync } from "node:fs"
import { join, relative } from "node:path"
import { clean, isLeftOut, problemsOf } from "./words.ts"

const root = join(import.meta.dirname, "../..")
const patterns = [...clean.map((path) => `${path}/**/*.{ts,md}`), ...clean.filter((path) => /\.\w+$/.test(path))]
const files = globSync(patterns, { cwd: root, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
  .filter((file) => !isLeftOut(file))
  .toSorted()

let count = 0
for (const file of files) {
  for (const { instead, line, word } of problemsOf(file, readFileSync(join(root, file), "utf8"))) {
    count++
    console.error(`${file}:${line} "${word}": write ${instead}`)
  }
}
if (count > 0) {
  console.error(`${count} words of ${files.length} files`)
  process.exitCode = 1
}
