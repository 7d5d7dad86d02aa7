// Prints `tests: N passed, N failed` from the reports of Vitest given as arguments. Fails if one is missing or a
// test failed. Runs on any Node.
import { existsSync, readFileSync } from "node:fs"

let passed = 0
let failed = 0
for (const path of process.argv.slice(2)) {
  if (!existsSync(path)) {
    // Vitest did not come as far as writing it
    failed += 1
    continue
  }
  const report = JSON.parse(readFileSync(path, "utf8"))
  passed += report.numPassedTests
  failed += report.numFailedTests
  // a file that cannot be loaded, or whose beforeAll fails, fails without a failing test
  failed += report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")
  ).length
}
console.log(`tests: ${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
