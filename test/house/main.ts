/** `npm run house`: the figures of the source tree. `-- --all` names the classes and each function of a pipeline. */
import { Effect } from "effect"
import { figures } from "./figures.ts"
import { hops } from "./hops.ts"

const isFull = process.argv.includes("--all")

const { code, comments, crossings, files, folders, longestChain, longestChainOfCore, longestFile } = figures
console.log(`src: ${files} files, ${code} lines of code, ${comments} of comments`)
console.log(`Longest file: ${longestFile.name}, ${longestFile.lines} lines`)
console.log(`Longest chain of imports: ${longestChain.length}, of the core ${longestChainOfCore.length}`)
console.log(`  ${longestChain.join(" > ")}`)
console.log(`  ${longestChainOfCore.join(" > ")}`)
console.log(`Imports between http and durable: ${crossings.join(", ") || "none"}`)

console.log("\nfolder     files   code  share  chain  classes that are neither error nor service")
for (const { chain, classes, code, files, folder, share } of folders) {
  const cells = [
    [files, 5],
    [code, 5],
    [share.toFixed(2), 5],
    [chain, 5],
    [classes.length, 7]
  ] as const
  console.log(folder.padEnd(9), ...cells.map(([cell, width]) => ` ${String(cell).padStart(width)}`))
}
if (isFull) for (const name of folders.flatMap(({ classes }) => classes)) console.log(`  ${name}`)

console.log("\nOne event, from its write to the end of the flush, in src:")
for (const { calls, files, functions, pipeline, trail } of await Effect.runPromise(hops)) {
  console.log(`${pipeline}: ${files} files, ${functions} functions, ${calls} calls`)
  if (isFull) for (const line of trail) console.log(`  ${line}`)
}
