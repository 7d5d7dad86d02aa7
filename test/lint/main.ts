/** `npm run lint:words`: reports words and sentences that the house does not use, and fails if there are any. */
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { clean, generated, problemsOf } from "./words.ts"

const root = join(import.meta.dirname, "../..")
const files = globSync(
  [...clean.map((path) => `${path}/**/*.{ts,md}`), ...clean.filter((path) => /\.\w+$/.test(path))],
  {
    cwd: root
  }
)
  .map((file) => file.replaceAll("\\", "/"))
  .filter((file) => !generated.includes(file))
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
