/** Text as UTF-8. Ill-formed bytes are refused, since a replacement character would pass for what was sent. */
import * as Result from "effect/Result"

// The core compiles without a platform's types; every platform of effect has these classes (WHATWG Encoding).
const { TextDecoder, TextEncoder } = globalThis as unknown as {
  readonly TextEncoder: new () => {
    readonly encode: (text: string) => Uint8Array
    readonly encodeInto: (text: string, bytes: Uint8Array) => { readonly written: number }
  }
  readonly TextDecoder: new (
    label: string,
    options: { readonly fatal?: boolean; readonly ignoreBOM?: boolean }
  ) => { readonly decode: (bytes: Uint8Array) => string }
}

const encoder = new TextEncoder()
const strict = new TextDecoder("utf-8", { fatal: true })
const exact = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lenient = new TextDecoder("utf-8", { ignoreBOM: true })

export const encode = (text: string): Uint8Array => encoder.encode(text)

/** How many bytes the texts share that `encodeShared` encodes. */
const pageSize = 16 * 1024
let page = new Uint8Array()
let used = 0

/**
 * The same in a part of a buffer that other texts share, for bytes that stay within this library: 300 bytes take 0.3 us, and 3 us
 * in a buffer of their own, which costs the collector more than all the rest.
 */
export const encodeShared = (text: string): Uint8Array => {
  // A UTF-16 unit becomes three bytes at most.
  const most = 3 * text.length
  if (most > pageSize / 2) return encode(text)
  // A buffer that was transferred is empty.
  if (used + most > page.length) {
    page = new Uint8Array(pageSize)
    used = 0
  }
  const rest = page.subarray(used)
  const { written } = encoder.encodeInto(text, rest)
  used += written
  return rest.subarray(0, written)
}

/** Bytes as text, less the byte order mark that a JSON text may have in front (RFC 8259, section 8.1). */
export const decode = (bytes: Uint8Array): Result.Result<string, string> => decodeBy(strict, bytes)

/** Bytes as text, every character of it. */
export const decodeExactly = (bytes: Uint8Array): Result.Result<string, string> => decodeBy(exact, bytes)

/** Bytes as text to be looked at: what is ill-formed becomes a replacement character. */
export const decodeLeniently = (bytes: Uint8Array): string => lenient.decode(bytes)

// internals

const decodeBy = (decoder: typeof strict, bytes: Uint8Array): Result.Result<string, string> => {
  try {
    return Result.succeed(decoder.decode(bytes))
  } catch {
    // A fatal decoder throws for nothing else, and does not say where.
    return Result.fail(`not UTF-8 at byte ${fault(bytes)}`)
  }
}

/** The offset of the first ill-formed bytes: where the decoder puts a U+FFFD that the bytes do not have. */
const fault = (bytes: Uint8Array): number => {
  const replaced = encoder.encode(lenient.decode(bytes))
  let at = bytes.findIndex((byte, i) => byte !== replaced[i])
  if (at === -1) at = bytes.length
  // Ill-formed bytes may begin as those of a U+FFFD do: back to its first byte.
  while ((replaced[at]! & 0xc0) === 0x80) at--
  return at
}
