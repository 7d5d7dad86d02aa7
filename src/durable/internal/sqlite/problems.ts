/** What SQLite's result codes mean for a store. */

/** A result code of SQLite (https://www.sqlite.org/rescode.html), the extended one, with its words. */
export interface Failure {
  readonly code: number
  readonly text: string
}

/** The error if SQLite threw it; nothing otherwise. */
export const failureOf = (error: unknown): Failure | undefined =>
  error instanceof Error && "errcode" in error && typeof error.errcode === "number"
    ? { code: error.errcode, text: error.message }
    : undefined

const primary = (code: number): number => code & 0xff

const perm = 3
const busy = 5
const locked = 6
const readOnly = 8
const ioError = 10
const ioWrite = 0x30a
const corrupt = 11
const full = 13
const cantOpen = 14
const protocol = 15
const tooBig = 18
const auth = 23
const notADatabase = 26
/** The file of the shared memory cannot grow: there is no room on the disk. */
const shmSize = 0x130a

/** Another connection is in the way, and may be closed in a moment. */
export const isBusy = ({ code }: Failure): boolean => [busy, locked, protocol].includes(primary(code))

/**
 * The error came from the disk when the transaction was written already and only had to stay there. A transaction that
 * could not be written is not committed: its last page is what commits it.
 */
export const isMaybeCommitted = ({ code }: Failure): boolean => primary(code) === ioError && code !== ioWrite

/** The connection may have caused it, and a new one may do better. */
export const isBroken = ({ code }: Failure): boolean =>
  [readOnly, ioError, corrupt, cantOpen, notADatabase].includes(primary(code))

export const problemOf = ({ code }: Failure) => {
  if (code === shmSize) return "NoSpace"
  switch (primary(code)) {
    case busy:
    case locked:
    case protocol:
      return "Locked"
    case full:
      return "NoSpace"
    case perm:
    case readOnly:
    case auth:
      return "ReadOnly"
    case corrupt:
    case notADatabase:
      return "Corrupt"
    case ioError:
    case cantOpen:
      return "Disconnected"
    case tooBig:
      return "Invalid"
    default:
      return "Other"
  }
}
