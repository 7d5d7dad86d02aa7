import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Broadcaster, EventQueue, EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
import { sourceTree } from "./house/sourceTree.ts"
import { settle, withLogs } from "./support/virtual.ts"

/** A line of the log as a row of the table: what is not the same in each line of its kind is "…". */
interface Line {
  readonly message: string
  readonly level: string
  /** Besides `sink` and `kind`. */
  readonly annotations: string
  readonly kinds: string
}

const writer = "internal/failureLog"

/** The kinds whose lines a module writes. */
const kindsOf: Readonly<Record<string, ReadonlyArray<string>>> = {
  RetryingSink: ["RetryingSink"],
  "dashboard/internal/access": ["SinkDashboard"],
  "dashboard/internal/handlers": ["any"],
  "dashboard/internal/jobs": ["any"],
  "durable/internal/durableLog": ["DurableQueue", "Subscription", "WebhookEndpoints"],
  "durable/internal/loops": ["EventStore"],
  "durable/internal/unserved": ["DurableBroadcaster"],
  "http/internal/endpoint/endpointState": ["Endpoint"],
  "http/internal/ingress/ingressLog": ["EventIngress"],
  "http/internal/signature/webhookSecret": ["WebhookSignature"],
  "internal/broadcaster/makeBroadcaster": ["Broadcaster"],
  "internal/combinators": ["any"],
  "internal/fallback/makeFallback": ["FallbackSink"],
  "internal/report": ["DurableQueue", "EventChannel", "EventQueue", "Subscription"],
  "internal/writes": ["EventRouter", "EventSink", "FallbackSink", "RetryingSink"],
  "webhooks/internal/layerHttpApi": ["WebhookApi"],
  "webhooks/internal/health": ["WebhookEndpoints"],
  "webhooks/internal/webhookLog": ["WebhookEndpoints"]
}

/** The end of a string or template that begins at `from`. */
const endOfText = (code: string, from: number): number => {
  const quote = code[from]
  let at = from + 1
  while (code[at] !== quote) {
    if (code[at] === "\\") at++
    else if (quote === "`" && code.startsWith("${", at)) at = endOfGroup(code, at + 1)
    at++
  }
  return at
}

/** The end of a pair of brackets that opens at `from`. */
const endOfGroup = (code: string, from: number): number => {
  let depth = 0
  for (let at = from; at < code.length; at++) {
    const char = code[at]!
    if (`"'\``.includes(char)) at = endOfText(code, at)
    else if ("([{".includes(char)) depth++
    else if (")]}".includes(char) && --depth === 0) return at
  }
  throw new Error(`brackets that do not close: ${code.slice(from, from + 80)}`)
}

/** The parts of a text between the commas that are in no brackets and no string. */
const splitAtCommas = (code: string): ReadonlyArray<string> => {
  const parts: Array<string> = []
  let start = 0
  for (let at = 0; at < code.length; at++) {
    const char = code[at]!
    if (`"'\``.includes(char)) at = endOfText(code, at)
    else if ("([{".includes(char)) at = endOfGroup(code, at)
    else if (char === ",") {
      parts.push(code.slice(start, at).trim())
      start = at + 1
    }
  }
  return [...parts, code.slice(start).trim()].filter((part) => part !== "")
}

/** A literal as its text, with "…" for what a template fills in. */
const textOf = (literal: string): string | undefined => {
  if (!/^["`]/.test(literal) || endOfText(literal, 0) !== literal.length - 1) return undefined
  let text = ""
  for (let at = 1; at < literal.length - 1; at++) {
    if (literal[0] === "`" && literal.startsWith("${", at)) {
      at = endOfGroup(literal, at + 1)
      if (!text.endsWith("…")) text += "…"
    } else text += literal[at]
  }
  return text
}

const keysOf = (object: string): ReadonlyArray<string> | undefined =>
  object.startsWith("{") ? splitAtCommas(object.slice(1, -1)).map((part) => /^\w+/.exec(part)?.[0] ?? part) : undefined

const merged = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> => {
  const found = new Map<string, Line>()
  for (const line of lines) {
    const key = [line.level, line.message, line.annotations].join()
    const kinds = [...new Set([...(found.get(key)?.kinds.split(", ") ?? []), ...line.kinds.split(", ")])]
    found.set(key, { ...line, kinds: kinds.toSorted().join(", ") })
  }
  return [...found.values()].toSorted((a, b) => (`${a.message} ${a.level}` < `${b.message} ${b.level}` ? -1 : 1))
}

/** The lines that the source of a module writes. */
const linesIn = (name: string, code: string): ReadonlyArray<Line> =>
  [...code.matchAll(/\blogLine\(/g)].map(({ index }) => {
    const open = index + "logLine".length
    const [, level = "", what = "", counts = "{}"] = splitAtCommas(code.slice(open + 1, endOfGroup(code, open)))
    const message = textOf(what)
    const annotations = keysOf(counts)
    const where = `${name}: ${code.slice(index, index + 120)}`
    assert.isDefined(message, `the message is no literal: ${where}`)
    assert.isDefined(annotations, `the annotations are no literal: ${where}`)
    assert.isDefined(kindsOf[name], `no kind is given for ${name}`)
    return {
      message: message!,
      level: textOf(level) ?? level,
      annotations: annotations!.toSorted().join(", "),
      kinds: kindsOf[name]!.join(", ")
    }
  })

const written = (): ReadonlyArray<Line> =>
  merged(
    [...sourceTree.values()].filter(({ name }) => name !== writer).flatMap(({ code, name }) => linesIn(name, code))
  )

const namesIn = (cell: string): string => (cell.match(/\w+/g) ?? []).toSorted().join(", ")

/** The rows of the guide's table: line, level, annotations, kinds, when. */
const documented = (): ReadonlyArray<Line> => {
  const guide = readFileSync(join(import.meta.dirname, "..", "docs", "guide", "logs.md"), "utf8")
  return merged(
    [...guide.matchAll(/^\| `([^|]+)` +\| (Info|Warn|Error) +\| ([^|]*)\| ([^|]*)\|.*\|$/gm)].map(
      ([, message = "", level = "", annotations = "", kinds = ""]) => ({
        message,
        level,
        annotations: namesIn(annotations),
        kinds: namesIn(kinds)
      })
    )
  )
}

describe("the log", () => {
  it("every line is in the guide's table, with its level and its annotations, and no other row is", () => {
    const withoutKinds = (lines: ReadonlyArray<Line>) => lines.map(({ kinds: _, ...line }) => line)
    assert.deepStrictEqual(withoutKinds(documented()), withoutKinds(written()))
    assert.isAbove(written().length, 30)
  })

  it("the kinds of a row are some of those whose lines its module writes", () => {
    const lines = written()
    const wrong = documented().filter((row, i) => {
      const kinds = lines[i]?.kinds.split(", ") ?? []
      return row.kinds === "" || row.kinds.split(", ").some((kind) => !kinds.includes(kind))
    })
    assert.deepStrictEqual(wrong, [])
  })

  it("one function writes all lines", () => {
    const others = [...sourceTree.values()].filter(
      ({ code, name }) =>
        name !== writer && /\bEffect\.(?:log\w*|annotateLogs)\b|\bconsole\.|\blogWithLevel\b/.test(code)
    )
    assert.deepStrictEqual(
      others.map(({ name }) => name),
      []
    )
  })

  it("what reads the sources sees a line of several rows, a template within a template, and what is no literal", () => {
    const code = [
      "logLine(",
      "  node,",
      '  "Warn",',
      '  `a ${n === 1 ? "b" : `${n} c, d`} e ("${x}")`,',
      "  { events: n, ids }",
      ")",
      'logLine(node, "Info", "plain")'
    ].join("\n")
    assert.deepStrictEqual(
      linesIn("RetryingSink", code).map(({ annotations, level, message }) => [level, message, annotations]),
      [
        ["Warn", 'a … e ("…")', "events, ids"],
        ["Info", "plain", ""]
      ]
    )
    assert.throws(() => linesIn("RetryingSink", 'logLine(node, "Info", text)'), "no literal")
    assert.throws(() => linesIn("RetryingSink", 'logLine(node, "Info", "text", counts)'), "no literal")
    assert.throws(() => linesIn("elsewhere", 'logLine(node, "Info", "text")'), "no kind")
  })

  it.effect("lines of several parts have the same annotations: sink and kind, and figures where there are some", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        let attempts = 0
        const queue = yield* EventSink.make(
          ({ id }: { readonly id: string }) => (id === "a" && ++attempts < 3 ? Effect.fail("no") : Effect.void),
          { name: "receiver" }
        ).pipe(
          RetryingSink.make(ExponentialBackoff.make({ base: "1 second", factor: 0 }), { name: "retrier" }),
          EventQueue.make({ name: "queue" })
        )
        yield* queue.write({ id: "a" })
        yield* TestClock.adjust("1 minute")
        const dying = yield* EventQueue.make(
          EventSink.make((_: { readonly id: string }) => Effect.die(new Error("broken"))),
          { name: "dying" }
        )
        const broadcaster = yield* Broadcaster.make([dying], { name: "orders" })
        yield* broadcaster.write({ id: "b" })
        yield* settle
        const lines = logs.map(({ line }) => JSON.parse(line))
        assert.deepStrictEqual(
          lines.map(({ annotations }) => annotations),
          [
            { sink: "retrier", kind: "RetryingSink", attempt: 1, failures: 1 },
            { sink: "retrier", kind: "RetryingSink", attempt: 2, failures: 2 },
            { sink: "retrier", kind: "RetryingSink", failures: 2 },
            { sink: "dying", kind: "EventQueue", events: 1, ids: "b" }
          ]
        )
        assert.deepStrictEqual(
          lines.map(({ message }) => [message].flat()[0]),
          [
            'RetryingSink "retrier" failed at attempt 1 of a write to "receiver"',
            'RetryingSink "retrier" failed at attempt 2 of a write to "receiver", with 2 failures in a row',
            'RetryingSink "retrier" delivers again, after 2 failed attempts',
            'EventQueue "dying" dropped an event'
          ]
        )
      })
    )
  )
})
