/** What is kept of the answer to a request, as one text: the status, and behind a line feed the first bytes of the body. */
import { decodeLeniently } from "../../internal/encoding/utf8.ts"

interface Noted {
  readonly status: number | undefined
  readonly answer?: Uint8Array | undefined
}

/** What was noted of an attempt. */
export const readDetail = (detail: string | undefined): { readonly status?: number; readonly answer?: string } => {
  const [, status, answer] = /^(\d+)(?:\n(.*))?$/s.exec(detail ?? "") ?? []
  return {
    ...(status !== undefined && { status: Number(status) }),
    ...(answer !== undefined && { answer })
  }
}

export const detailOf = ({ answer, status }: Noted): string | undefined =>
  status === undefined
    ? undefined
    : `${status}${answer === undefined || answer.length === 0 ? "" : `\n${textOf(answer)}`}`

// internals

/** Some stores hold no NUL, and a page should not hold what an answer has for a terminal. */
const textOf = (bytes: Uint8Array): string => decodeLeniently(bytes).replace(/[^\P{Cc}\n\t]/gu, "\u{fffd}")
