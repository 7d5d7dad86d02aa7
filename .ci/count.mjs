// Prints what failed and why, then `tests: N passed, N failed`, from the reports of Vitest given as arguments. Fails
// if one is missing or a test failed. Runs on any Node.
import { existsSync, readFileSync } from "node:fs"

let passed = 0
let failed = 0
for (const path of process.argv.slice(2)) {
  if (!existsSync(path)) {
    console.log(`=== NO REPORT: ${path}`)
    failed += 1
    continue
  }
  const report = JSON.parse(readFileSync(path, "utf8"))
  passed += report.numPassedTests
  failed += report.numFailedTests
  // a file that cannot be loaded, or whose beforeAll fails, fails without a failing test
  const broken = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")
  )
  failed += broken.length
  for (const file of broken) {
    console.log(`=== FAILED: ${file.name}\n${file.message}`)
  }
  for (const file of report.testResults) {
    for (const test of file.assertionResults.filter((test) => test.status === "failed")) {
      console.log(`=== FAILED: ${file.name} > ${test.fullName}\n${test.failureMessages.join("\n").slice(0, 3000)}`)
    }
  }
}
console.log(`tests: ${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
