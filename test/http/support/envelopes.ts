/** The two smallest envelopes: one event a request, and many. */
import { Effect } from "effect"
import { type Envelope, EnvelopeError } from "../../../src/http/Envelope.ts"

export interface Note {
  readonly id: string
  readonly text: string
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const refused = new EnvelopeError({ direction: "encode", message: "the text is unspeakable" })

const encode = ({ text }: Note) =>
  text === "unspeakable" ? Effect.fail(refused) : Effect.succeed({ body: bytes(text), headers: {} })

const nothing = () => Effect.succeed([])

export const one: Envelope<Note> = {
  contentType: "text/plain; charset=utf-8",
  join: undefined,
  id: ({ id }) => id,
  encode,
  decode: nothing
}

/** `[a,b,c]`: two bytes around all, and one between two. */
export const many: Envelope<Note> = {
  ...one,
  contentType: "text/list",
  join: { prefix: bytes("["), separator: bytes(","), suffix: bytes("]") }
}

let n = 0
export const note = (text: string, id = `note-${++n}`): Note => ({ id, text })
export const notes = (...texts: ReadonlyArray<string>): [Note, ...Array<Note>] =>
  texts.map((text, i) => note(text, `id-${i}`)) as [Note, ...Array<Note>]

/** Counts how often each event is encoded. */
export const counted = (envelope: Envelope<Note>) => {
  const encoded = new Map<Note, number>()
  return {
    encoded,
    envelope: {
      ...envelope,
      encode: (event: Note) => {
        encoded.set(event, (encoded.get(event) ?? 0) + 1)
        return envelope.encode(event)
      }
    }
  }
}
