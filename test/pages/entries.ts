/** The entries of package.json, by the module of `src` that each is. */
import { manifest } from "../support/install.ts"

export interface Entry {
  /** What a user imports. */
  readonly specifier: string
  /** Path within `src`, without the extension. */
  readonly module: string
}

const condition = "@effect-events/source"

export const entries: ReadonlyArray<Entry> = Object.entries<Readonly<Record<string, string>> | string | null>(
  manifest.exports
).flatMap(([key, target]) =>
  typeof target === "object" && target?.[condition] !== undefined
    ? [
        {
          specifier: key.replace(/^\./, manifest.name),
          module: target[condition].replace(/^\.\/src\//, "").replace(/\.ts$/, "")
        }
      ]
    : []
)
