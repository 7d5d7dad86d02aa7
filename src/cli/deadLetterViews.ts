/** Dead letters, as JSON and as text. */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import type { StoredDeadLetter } from "../durable/EventStore.ts"
import { decodeExactly } from "../internal/encoding/utf8.ts"
import type { Json } from "./rootCommand.ts"
import { ageOf, firstLine, isoOf, printable, printableLines, type Style, table } from "./table.ts"

/** With its payload only where that is asked for. */
export const deadLetterView = (
  {
    attempts,
    cause,
    contentType,
    deadLetteredAt,
    payload,
    position,
    reason,
    topic,
    trace,
    writtenAt
  }: StoredDeadLetter,
  hasPayload: boolean
): Json => ({
  position,
  deadLetteredAt: isoOf(deadLetteredAt),
  writtenAt: isoOf(writtenAt),
  reason,
  attempts,
  topic,
  cause,
  contentType,
  trace,
  ...(hasPayload ? { payload: payloadView(payload) } : {})
})

export const deadLetterTable = (
  deadLetters: ReadonlyArray<StoredDeadLetter>,
  hasPayload: boolean,
  style: Style
): string =>
  table(
    [
      { title: "POSITION", of: ({ position }) => position, isNumber: true },
      { title: "AGE", of: ({ deadLetteredAt }) => ageOf(deadLetteredAt, style.now), isNumber: true },
      { title: "REASON", of: ({ reason }) => reason },
      { title: "ATTEMPTS", of: ({ attempts }) => attempts, isNumber: true },
      { title: "TOPIC", of: ({ topic }) => topic || undefined },
      { title: "CAUSE", of: ({ cause }) => firstLine(cause) },
      ...(hasPayload ? [{ title: "PAYLOAD", of: ({ payload }: StoredDeadLetter) => firstLine(textOf(payload)) }] : [])
    ],
    deadLetters,
    style
  )

export const deadLetterText = (one: StoredDeadLetter, hasPayload: boolean, { now }: Style): string => {
  const { attempts, cause, contentType, deadLetteredAt, payload, position, reason, topic, trace, writtenAt } = one
  const at = (time: number) => `${isoOf(time)} (${ageOf(time, now)} ago)`
  const fields = [
    ["position", position],
    ["topic", topic],
    ["written", at(writtenAt)],
    ["dead-lettered", at(deadLetteredAt)],
    ["reason", reason],
    ["attempts", attempts],
    ["content type", contentType],
    ["trace", trace]
  ] as const
  return [
    ...fields.flatMap(([name, value]) =>
      value === undefined || value === "" ? [] : [`${`${name}:`.padEnd(14)} ${printable(String(value))}`]
    ),
    "cause:",
    printableLines(cause),
    ...(hasPayload ? ["payload:", printableLines(textOf(payload))] : [])
  ].join("\n")
}

// internals

/** Its text, where it is one. */
const decoded = (payload: Uint8Array): string | undefined => Result.getOrUndefined(decodeExactly(payload))

const payloadView = (payload: Uint8Array): Json => {
  const text = decoded(payload)
  return text === undefined ? { encoding: "base64", data: Base64.encode(payload) } : { encoding: "utf8", data: text }
}

const textOf = (payload: Uint8Array): string => decoded(payload) ?? `base64: ${Base64.encode(payload)}`
