/**
 * The words of the field in comments, texts and names, and sentences without a person as their subject: what
 * `npm run lint:words` reports. A word that is right in its place is an exception, with its reason.
 */

/** The folders and files that keep to the words. */
export const clean: ReadonlyArray<string> = [
  "src",
  "test",
  "docs",
  "README.md",
  "AGENTS.md",
  "CONTRIBUTING.md",
  "SECURITY.md"
]

/** A file within them that is made by a program, or that spells the words as patterns. */
export const isLeftOut = (file: string): boolean =>
  file === "docs/performance.md" || file.startsWith("docs/reference/") || file.startsWith("test/lint/")

interface Rule {
  readonly pattern: RegExp
  readonly instead: string
}

/** A text in which a rule does not count, in one file or folder or, without `file`, in all. */
interface Exception {
  readonly file?: string
  readonly text: string
  readonly reason: string
}

const exceptions: ReadonlyArray<Exception> = [
  { file: "test/mutate/judge.ts", text: "process group", reason: "processes that one signal ends" },
  { file: "test/bench/api.ts", text: '"makeGroup"', reason: "the name in checkouts before it was `makeBatch`" },
  { file: "test/durable/support/postgresServer.ts", text: "nobody", reason: "a user of Unix" },
  { file: "test/slow/durable/PostgresStore.faults.test.ts", text: "nobody", reason: "a user of Postgres" },
  { text: "line feed", reason: "a character" },
  { text: "GROUP BY", reason: "of SQL" },
  { file: "src/http/internal/envelope/attributes.ts", text: "letters", reason: "those of a name of an attribute" },
  // The port's name for a row of deliveries that are set aside in a store, in order: a queue's partitions are in memory.
  ...[
    "src/durable/",
    "src/testing/internal/laws/",
    "test/durable/",
    "test/slow/durable/",
    "test/broken/stores.ts"
  ].flatMap((file) => ["lane", "Lane"].map((text) => ({ file, text, reason: "of the port of stores" })))
]

/** In comments, texts and Markdown. Patterns leave ordinary English alone: "on the other hand", "a line of the log". */
const words: ReadonlyArray<Rule> = [
  { pattern: /\bgroup(s|ed)?\b(?! commit)/i, instead: "batch" },
  { pattern: /\b(in|from|out of) ((the|its|a|one|each|\w+'s) )?hands?\b(?! of\b)/i, instead: "in flight, taken" },
  { pattern: /\blanes?\b/i, instead: "partition" },
  { pattern: /\blettings?\b|\blets? (it |them )?go\b/i, instead: "release, evict" },
  { pattern: /\bfeeds?\b/i, instead: "queue, topic, page" },
  { pattern: /\bpatien(t|ce)\b/i, instead: "cache TTL, acknowledge delay" },
  { pattern: /(?<!\bdead[ -])\bletters\b/i, instead: "dead letters" },
  { pattern: /\bpark(s|ing)?\b/i, instead: "dead-letter" },
  { pattern: /\bin line\b|\bqueue's line\b|\blines? (stops?|stopped|moves?|ends?)\b/i, instead: "queue, delivery" },
  {
    pattern: /\b(end|head|front|beginning) of (the|its) line\b|\bstop(s|ped)? (the|its) line\b/i,
    instead: "queue, paused"
  },
  { pattern: /\blook(s|ed|ing)? (every|again|for (it|him)self|for changes|whether)\b|"look"/i, instead: "poll" },
  { pattern: /\btold\b(?! apart)|\btells? (of|the log)\b/i, instead: "reported, notified, logged" },
  { pattern: /\bbelieved\b/i, instead: "cached" },
  { pattern: /\bin vain\b/i, instead: "failed attempts" },
  { pattern: /\bstands? by\b/i, instead: "standby" },
  { pattern: /\b(a|an|no|of|for|the) repeats?\b|\brepeats (are|were)\b/i, instead: "duplicate, redelivery" },
  { pattern: /\benters? (alone|the queue|the store)\b/i, instead: "is accepted, offered" },
  { pattern: /\bgives? (it|the lease|a lease) back\b|\bgives? back (the|its|a) lease\b/i, instead: "release" }
]

/** In code, texts and Markdown alike. */
const identifiers: ReadonlyArray<Rule> = [
  { pattern: /\b(groupSize|makeGroup|GroupSink|groupEvents|groupBytes)\b/, instead: "batchSize, makeBatch, BatchSink" },
  { pattern: /\blookInterval\b/, instead: "pollInterval" },
  { pattern: /\blayer(Sqlite|Postgres|Memory|MemoryOver)\b/, instead: "layer, layerOver" },
  { pattern: /\bunsure\b/, instead: "maybeCommitted" },
  { pattern: /\b(isP|P|p)arked(At)?\b|\bParkReason\b|\bparked_at\b/, instead: "DeadLettered, deadLetteredAt" },
  { pattern: /\b(StoredLetter|Letters|makeLetters|lettersOf|letterOf)\b/, instead: "deadLetters" },
  { pattern: /\bKept\b/, instead: "Remaining" },
  { pattern: /\bdedupe\w*|\bDedupe\w*/, instead: "deduplicate" },
  { pattern: /\bDurableQueueStore\w*|\bDurableQueueError\b/, instead: "EventStore, DurableWriteError" },
  { pattern: /\b(Hand|HandLine|inHand|Lanes?|newLane|Feed|lettings|gaveUp|letGo)\b/, instead: "inFlight, partitions" }
]

const person: Rule = {
  pattern: /\b(who|whoever|whom|(no|some|any|every)body|(some|any|every)one|he|him|his|she)\b/i,
  instead: "a noun of the vocabulary"
}

export interface Problem {
  readonly line: number
  readonly word: string
  readonly instead: string
}

/** The problems of a file, which is TypeScript or Markdown by its name. */
export const problemsOf = (file: string, content: string): ReadonlyArray<Problem> => {
  const allowed = exceptions.filter((exception) => file.startsWith(exception.file ?? ""))
  const lines = content.split("\n")
  const prose = (file.endsWith(".md") ? markdown(lines) : proseOf(content)).split("\n")
  return lines.flatMap((whole, i) => {
    const without = (text: string) => allowed.reduce((rest, { text: right }) => rest.replaceAll(right, ""), text)
    const text = without(prose[i] ?? "")
    const found = (rules: ReadonlyArray<Rule>, where: string) =>
      rules.flatMap(({ instead, pattern }) => {
        const [word] = pattern.exec(where) ?? []
        return word === undefined ? [] : [{ line: i + 1, word, instead }]
      })
    // names in backquotes are not words, and a quotation keeps those of its author
    const own = text.replaceAll(/`[^`]*`/g, "``")
    const withoutQuotes = own.replaceAll(/"[^"]*"/g, '""')
    return [...found(identifiers, without(whole)), ...found(words, own), ...found([person], withoutQuotes)]
  })
}

/** Markdown without the quoted texts of specifications, and of its code only comments and texts. */
const markdown = (lines: ReadonlyArray<string>): string => {
  let isCode = false
  return lines
    .map((line) => {
      if (line.startsWith("```")) {
        isCode = !isCode
        return ""
      }
      return isCode ? proseOf(line) : line.startsWith(">") ? "" : line
    })
    .join("\n")
}

const opening = /\/\/|\/\*|["'`]|(?<=(^|[(,=:[!&|?;])\s*)\/(?![/*])/g

/** The comments and texts of a program: its code is blank, and the lines are the same. */
const proseOf = (code: string): string => {
  let prose = ""
  let at = 0
  const blank = (text: string) => text.replaceAll(/[^\n]/g, " ")
  while (at < code.length) {
    opening.lastIndex = at
    const match = opening.exec(code)
    if (match === null) return prose + blank(code.slice(at))
    prose += blank(code.slice(at, match.index))
    const rest = code.slice(match.index)
    const [text] = closings[match[0]]?.exec(rest) ?? [rest]
    prose += match[0] === "/" ? blank(text) : text.startsWith("/") ? text : ` ${text.slice(1, -1)} `
    at = match.index + text.length
  }
  return prose
}

/** The whole of a comment, a text or a pattern, by its beginning. */
const closings: Readonly<Record<string, RegExp>> = {
  "//": /^[^\n]*/,
  "/*": /^[\s\S]*?\*\//,
  '"': /^"(\\.|[^"\\\n])*"?/,
  "'": /^'(\\.|[^'\\\n])*'?/,
  "`": /^`(\\[\s\S]|[^`\\])*`?/,
  "/": /^\/(\\.|\[(\\.|[^\]\\\n])*\]|[^/\\\n[])*\/?/
}
