/** The page docs/sizes.md: what each entry adds to a bundle. */
import type { BundleSizes } from "../bench/bundle.ts"

const kilobytes = (bytes: number): string => (bytes / 1000).toFixed(1)

export const sizesPage = ({ application, entries }: BundleSizes): string =>
  [
    "# Sizes",
    "",
    "What each entry adds to a bundle, in kB (1000 bytes), written by `npm run pages`. The bundler is Rolldown with minification; gzip is",
    "at level 9. The package has no dependency but `effect`.",
    "",
    "## Each entry, with `effect` left out",
    "",
    "An entry is measured with everything that it exports. An application that uses a part of it has less, since all modules are free",
    "of side effects. Entries share code, so the sizes of two do not add up.",
    "",
    "| Entry | Minified | Gzipped |",
    "| --- | ---: | ---: |",
    ...entries.map(({ gzipped, minified, what }) => `| \`${what}\` | ${kilobytes(minified)} | ${kilobytes(gzipped)} |`),
    "",
    "## An application with `EventSink`, `EventQueue` and `Broadcaster`",
    "",
    "| What | Minified | Gzipped |",
    "| --- | ---: | ---: |",
    ...application.map(({ gzipped, minified, what }) => `| ${what} | ${kilobytes(minified)} | ${kilobytes(gzipped)} |`),
    ""
  ].join("\n")
