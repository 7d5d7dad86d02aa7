/** Text as bytes. Bytes that are no UTF-8 are refused: what replaces them would pass for what was sent. */
import * as Result from "effect/Result"

/** What is used of the platform's classes, whose types are not everywhere where they are. */
interface Decoder {
  readonly decode: (bytes: Uint8Array) => string
}
interface Platform {
  readonly TextEncoder: new () => { readonly encode: (text: string) => Uint8Array }
  readonly TextDecoder: new (
    label: string,
    options: { readonly fatal?: boolean; readonly ignoreBOM?: boolean }
  ) => Decoder
}
// Every platform that effect runs on has them (WHATWG Encoding).
const { TextDecoder, TextEncoder } = globalThis as unknown as Platform

const encoder = new TextEncoder()
const strict = new TextDecoder("utf-8", { fatal: true })
const exact = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lenient = new TextDecoder("utf-8", { ignoreBOM: true })

export const encode = (text: string): Uint8Array => encoder.encode(text)

/** Bytes as text, less the byte order mark that a JSON text may have in front (RFC 8259, section 8.1). */
export const decode = (bytes: Uint8Array): Result.Result<string, string> => run(strict, bytes)

/** Bytes as text, every character of it. */
export const decodeExactly = (bytes: Uint8Array): Result.Result<string, string> => run(exact, bytes)

const run = (decoder: Decoder, bytes: Uint8Array): Result.Result<string, string> => {
  try {
    return Result.succeed(decoder.decode(bytes))
  } catch {
    // All that a fatal decoder throws for: it does not say where.
    return Result.fail(`not UTF-8 at byte ${fault(bytes)}`)
  }
}

/** The offset of the first bytes that are no UTF-8: where the decoder puts a U+FFFD that the bytes do not have. */
const fault = (bytes: Uint8Array): number => {
  const text = lenient.decode(bytes)
  let at = 0
  let from = 0
  for (;;) {
    const next = text.indexOf("\uFFFD", from)
    if (next === -1) return bytes.length
    at += encoder.encode(text.slice(from, next)).length
    if (bytes[at] !== 0xef || bytes[at + 1] !== 0xbf || bytes[at + 2] !== 0xbd) return at
    at += 3
    from = next + 1
  }
}
