import type { BundleSizes } from "./bundle.ts"
import type { Environment } from "./environment.ts"
import type { Effort, RowResult } from "./runner.ts"

/** What `--json` writes. */
export interface Report {
  readonly environment: Environment
  readonly effort: Effort
  readonly rows: ReadonlyArray<RowResult>
  /** The sizes, or why there are none; nothing when only some rows were run. */
  readonly bundle: BundleSizes | string | undefined
}
