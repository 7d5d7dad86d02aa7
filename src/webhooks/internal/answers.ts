/**
 * What is kept of an attempt, as one text: the status of the answer and the id of the event, and behind a line feed the first bytes
 * of the answer's body. The id is kept with the attempt, since a store keeps ids and attempts for different times.
 */
import { decodeLeniently } from "../../internal/encoding/utf8.ts"

interface Noted {
  readonly eventId: string | undefined
  readonly status: number | undefined
  readonly answer?: Uint8Array | undefined
}

interface Read {
  readonly eventId?: string
  readonly status?: number
  readonly answer?: string
}

/** What was noted of an attempt. */
export const readDetail = (detail: string | undefined): Read => {
  const [, status = "", eventId = "", answer] = /^(\d*)(?: ([^\n]*))?(?:\n(.*))?$/s.exec(detail ?? "") ?? []
  return {
    ...(eventId !== "" && { eventId }),
    ...(status !== "" && { status: Number(status) }),
    ...(answer !== undefined && { answer })
  }
}

export const detailOf = ({ answer, eventId = "", status }: Noted): string =>
  `${status ?? ""} ${eventId}${answer === undefined || answer.length === 0 ? "" : `\n${textOf(answer)}`}`

// internals

/** Some stores hold no NUL, and a page should not hold what an answer has for a terminal. */
const textOf = (bytes: Uint8Array): string => decodeLeniently(bytes).replace(/[^\P{Cc}\n\t]/gu, "\u{fffd}")
