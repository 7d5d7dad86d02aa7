/** The laws on a file of this process. Real time, other processes and disks that fail are in the slow suite. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import * as StoreLaws from "effect-events/testing/StoreLaws"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { spread } from "../support/runs.ts"

const subject = StoreLaws.subject({
  name: "sqlite",
  time: "virtual",
  make: Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-events-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
    ),
    (folder) => ({ layer: SqliteStore.layer({ filename: join(folder, "events.db") }) })
  )
})

describe("the laws of SqliteStore", () => {
  for (const law of spread(StoreLaws.laws, 2)) {
    it.live(`${law.number}: ${law.title}`, () =>
      Effect.gen(function* () {
        const violations = yield* StoreLaws.check(subject, { laws: [law.number] })
        assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
      })
    )
  }
})
