/** The media types of a registry's notifications, which differ in their version only. */
import { quoted } from "../../../internal/encoding/envelopeError.ts"
import * as MediaType from "./mediaType.ts"

const of = (version: number): string => `application/vnd.docker.distribution.events.v${version}+json`

/** The versions whose events are known, and the media types of their requests. */
const latest = 2
const known: ReadonlyArray<string> = [of(1), of(latest)]

const expected = known.join(" or ")

/** The version of a media type, or nothing when it is not that of notifications. */
const versionOf = (contentType: string | undefined): number | undefined => {
  const [, digits] =
    /^application\/vnd\.docker\.distribution\.events\.v([1-9]\d{0,2})\+json$/.exec(
      contentType === undefined ? "" : MediaType.essence(contentType)
    ) ?? []
  return digits === undefined ? undefined : Number(digits)
}

type Headers = Readonly<Record<string, string | undefined>>

/** The media type that a request must have: its own, if that is one of notifications in any version. */
export const expectedOf = ({ "content-type": contentType }: Headers): string => {
  const version = versionOf(contentType)
  return version === undefined ? expected : of(version)
}

/** Which requests are notifications. A later version is accepted, since its body may well decode. */
export const accepts = {
  test: ({ "content-type": contentType }: Headers): boolean =>
    contentType !== undefined && versionOf(contentType) !== undefined && MediaType.isUtf8(contentType),
  expected,
  mediaTypes: known,
  warning: ({ "content-type": contentType }: Headers): string | undefined => {
    const version = versionOf(contentType) ?? 0
    return version > latest ? `${of(version)} is later than version ${latest}, the latest known` : undefined
  }
}

/** A media type that an option gives. Another one is a mistake in the program and a defect. */
export const checked = (where: string, mediaType: string): string => {
  if (MediaType.isMediaType(mediaType) && versionOf(mediaType) !== undefined) return mediaType
  throw new RangeError(`${where}: mediaType must be ${of(1)} or a later version, and is ${quoted(mediaType)}`)
}
