import { describe, expect, it } from "vitest"
import { problemsOf } from "./words.ts"

const wordsOf = (file: string, text: string) => problemsOf(file, text).map(({ line, word }) => `${line} ${word}`)

describe("lint:words", () => {
  it.each([
    [
      "a.ts",
      "// Whoever holds it\n/** A group of\n * events that nobody has. */",
      ["1 Whoever", "2 group", "3 nobody"]
    ],
    ["a.ts", 'it("tells who waits", () => log("stands by"))', ["1 stands by", "1 who"]],
    ["a.ts", "const size = queue.groupSize", ["1 groupSize"]],
    ["a.ts", "const text = `${Kept} in ${n} lanes`", ["1 Kept", "1 lanes"]],
    ["a.ts", "// in hand, in vain, at the end of the line", ["1 in hand", "1 end of the line", "1 in vain"]],
    ["a.ts", "const quote = /[\"']/ // he waits", ["1 he"]],
    [
      "a.md",
      "The event is parked, and told to the log.\n\n```ts\n// a feed\nfeeds()\n```",
      ["1 parked", "1 told", "4 feed"]
    ],
    ["a.md", "Its letters are repeats of `unsure` writes.", ["1 unsure", "1 letters"]],
    ["src/durable/SqliteStore.ts", '// "nobody" waits for him', ["1 him"]],
    ["src/EventQueue.ts", "// A lane of the queue", ["1 lane"]]
  ])("finds in %s: %s", (file, text, words) => {
    expect(wordsOf(file, text).toSorted()).toEqual([...words].toSorted())
  })

  it.each([
    [
      "a.ts",
      "// On the other hand, group commit is a line of the log, by hand: the dead letters look like the dead-letter table."
    ],
    ["a.ts", "const group = who(lane) // told apart"],
    ["a.ts", 'const pattern = /who|"/, other = 1 / 2'],
    ["a.md", '> A sender who repeats\n\nThe text says "whoever", and `who` is a name.\n\n```ts\nconst nobody = 1\n```'],
    ["test/durable/support/postgresServer.ts", 'const users = ["postgres", "nobody"]'],
    ["src/durable/internal/sqlite/takeDeliveries.ts", "// Lanes come first: a lane is in order."]
  ])("leaves alone in %s: %s", (file, text) => {
    expect(wordsOf(file, text)).toEqual([])
  })
})
