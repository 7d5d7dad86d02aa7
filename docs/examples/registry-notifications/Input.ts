/** The file of envelopes, one on a line, read as a stream: it may be larger than the memory. */
import { Data, Effect, FileSystem, type PlatformError, Stream } from "effect"
import { Envelope, RegistryEvent } from "effect-events/http"
import { CliError } from "effect/cli"

/** The file cannot be read. */
export class InputError extends Data.TaggedError("InputError")<{ readonly path: string; readonly reason: string }> {
  override get message(): string {
    return `cannot read ${this.path}: ${this.reason}`
  }
  // What the command prints.
  override get [CliError.userMessage](): string {
    return this.message
  }
}

/** What a line, counted from 1, turned out to be. A malformed one is a value and not an error: it must not end the stream. */
export type Line = Data.TaggedEnum<{
  Read: { readonly number: number; readonly events: ReadonlyArray<RegistryEvent.RegistryEvent> }
  Malformed: { readonly number: number; readonly reason: string }
}>
export const Line = Data.taggedEnum<Line>()

const headers = { "content-type": RegistryEvent.mediaType }

/** Decodes one line as if it had come as the body of a request; `index` counts from 0, line numbers count from 1. */
export const decodeLine = (text: string, index: number): Effect.Effect<Line> =>
  Effect.match(Envelope.registry.decode({ headers, body: new TextEncoder().encode(text) }), {
    onSuccess: (events) => Line.Read({ number: index + 1, events }),
    onFailure: ({ message }) => Line.Malformed({ number: index + 1, reason: message.replaceAll(/\s+/g, " ") })
  })

const failed = (path: string) => (error: PlatformError.PlatformError) =>
  new InputError({ path, reason: error.reason._tag === "NotFound" ? "there is no such file" : error.message })

/** Opens the file, so that a wrong name fails at once, and answers with its lines. Empty lines are left out. */
export const open = Effect.fnUntraced(function* (path: string) {
  const fs = yield* FileSystem.FileSystem
  const { type } = yield* Effect.mapError(fs.stat(path), failed(path))
  if (type === "Directory") return yield* new InputError({ path, reason: "it is a directory" })
  return fs.stream(path).pipe(
    Stream.mapError(failed(path)),
    Stream.decodeText,
    Stream.splitLines,
    Stream.zipWithIndex,
    Stream.filter(([text]) => text.trim() !== ""),
    Stream.mapEffect(([text, index]) => decodeLine(text, index))
  )
})
