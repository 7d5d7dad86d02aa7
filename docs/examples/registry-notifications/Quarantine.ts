/**
 * Requests that the relay could not take, as they came, in a folder beside the store. A registry repeats what is refused
 * for ever, and holds back what is behind it; so a request that is kept here is acknowledged. What is here is on disk, is
 * bounded in number and bytes, and stays until it is removed by hand.
 */
import {
  ByteSize,
  Context,
  Data,
  DateTime,
  Effect,
  FileSystem,
  Layer,
  Path,
  type PlatformError,
  Predicate,
  Semaphore
} from "effect"
import type { Envelope, EventIngress } from "effect-events/http"
import { createHash, randomUUID } from "node:crypto"

export interface Amount {
  readonly requests: number
  /** Of their bodies. */
  readonly bytes: number
}

/** A request is not kept, since there is no room or the folder cannot be written: it must not be acknowledged. */
export class NotKept extends Data.TaggedError("NotKept")<{
  /** Without a path: the sender is answered so. */
  readonly message: string
  readonly cause?: unknown
}> {}

/** The code of the operating system, such as `ENOSPC`, where there is one. */
const codeOf = ({ reason }: PlatformError.PlatformError): string =>
  Predicate.hasProperty(reason.cause, "code") ? String(reason.cause.code) : reason._tag

const unwritten = (cause: PlatformError.PlatformError) =>
  new NotKept({ message: `The quarantine cannot be written: ${codeOf(cause)}`, cause })

/** The bytes of a request, and beside them a file that says why they are here. */
const [bodyOf, whyOf] = [".body", ".json"]
/** What has no name of its own yet. */
const unfinishedOf = ".new"

const make = Effect.fnUntraced(function* (folder: string, limit: Amount) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  // One at a time, so that the bound holds.
  const semaphore = yield* Semaphore.make(1)

  /** A name in a folder outlives a loss of power when the folder is synced too, which Windows has no call for. */
  const syncFolder = (folder: string) =>
    process.platform === "win32"
      ? Effect.void
      : Effect.scoped(Effect.flatMap(fs.open(folder, { flag: "r" }), ({ sync }) => sync))

  const makeFolder = Effect.andThen(fs.makeDirectory(folder, { recursive: true }), syncFolder(path.dirname(folder)))

  /** The whole file is there under its name, or nothing is. */
  const write = (name: string, bytes: Uint8Array) => {
    // Another process may keep the same request at the same time.
    const [file, unfinished] = [path.join(folder, name), path.join(folder, `${name}.${randomUUID()}${unfinishedOf}`)]
    const writing = Effect.gen(function* () {
      const handle = yield* fs.open(unfinished, { flag: "w" })
      if (bytes.length > 0) yield* handle.writeAll(bytes)
      yield* handle.sync
    })
    return Effect.andThen(Effect.scoped(writing), fs.rename(unfinished, file)).pipe(
      // The error is the one that counts: on a full disk a part of a body would take the room that is left.
      Effect.tapError(() => Effect.ignore(fs.remove(unfinished, { force: true })))
    )
  }

  /** Counted anew each time: what was removed by hand makes room. */
  const count = Effect.gen(function* () {
    const names = (yield* fs.readDirectory(folder)).filter((name) => name.endsWith(bodyOf))
    const sizes = yield* Effect.forEach(names, (name) => fs.stat(path.join(folder, name)))
    return { requests: names.length, bytes: sizes.reduce((sum, { size }) => sum + ByteSize.toNumberUnsafe(size), 0) }
  })

  const keepOne = Effect.fnUntraced(function* ({ body, headers }: Envelope.Message, problem: EventIngress.Problem) {
    // The same request comes again when its sender did not get the answer.
    const name = createHash("sha256").update(body).digest("hex")
    yield* makeFolder
    const isNew = !(yield* fs.exists(path.join(folder, name + bodyOf)))
    const before = yield* count
    if (isNew) {
      if (before.requests >= limit.requests || before.bytes + body.length > limit.bytes) {
        const has = `${before.requests} requests, of at most ${limit.requests}, and ${before.bytes} bytes, of at most ${limit.bytes}`
        return yield* new NotKept({
          message: `The quarantine has no room for ${body.length} bytes: it has ${has}`
        })
      }
      const why = {
        at: DateTime.formatIso(yield* DateTime.now),
        ...problem,
        // What it takes to send the body again. Other headers may be secret.
        contentType: headers["content-type"],
        contentEncoding: headers["content-encoding"]
      }
      yield* write(name + whyOf, Buffer.from(`${JSON.stringify(why, undefined, 2)}\n`))
      yield* write(name + bodyOf, body)
    }
    yield* syncFolder(folder)
    held = isNew ? { requests: before.requests + 1, bytes: before.bytes + body.length } : before
    return isNew
  })

  yield* makeFolder
  // A process that was killed has left it, unacknowledged. Another one that is at it fails, and its sender comes again.
  yield* Effect.forEach(yield* fs.readDirectory(folder), (name) =>
    name.endsWith(unfinishedOf) ? fs.remove(path.join(folder, name), { force: true }) : Effect.void
  )
  let held: Amount = yield* count
  return {
    folder,
    /** What it holds, as of the start or of the last request that came to it. */
    held: (): Amount => held,
    /** Succeeds when the request is on disk, and answers whether it was not there before. */
    keep: (message: Envelope.Message, problem: EventIngress.Problem) =>
      // A write under way goes on when it is interrupted, so the next one must wait for its end.
      semaphore
        .withPermit(Effect.uninterruptible(keepOne(message, problem)))
        .pipe(Effect.catchTag("PlatformError", (error) => Effect.fail(unwritten(error))))
  }
})

export class Quarantine extends Context.Service<Quarantine, Effect.Success<ReturnType<typeof make>>>()(
  "registry-notifications/Quarantine"
) {
  static readonly layer = (folder: string, limit: Amount) => Layer.effect(Quarantine, make(folder, limit))
}

/** What a quarantine holds, in one line. */
export const describe = ({ folder, held }: Quarantine["Service"]): string => {
  const { bytes, requests } = held()
  return `${requests} ${requests === 1 ? "request" : "requests"} with ${bytes} bytes in ${folder}`
}
