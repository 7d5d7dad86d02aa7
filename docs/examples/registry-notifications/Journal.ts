/**
 * How far a run of the demonstration is, in a folder, so that one that was killed is gone on with: the line of the input
 * whose events are committed, beside them the events themselves, and what the receivers have written down.
 */
import { Context, Effect, FileSystem, Option, Path, type PlatformError, Schema } from "effect"
import { createHash } from "node:crypto"
import { tmpdir } from "node:os"
import { Problem } from "./Problem.ts"

/** Of which input, and up to which of its lines, counted from 1. */
const Position = Schema.fromJsonString(Schema.Struct({ of: Schema.String, line: Schema.Int }))
const Ids = Schema.fromJsonString(Schema.Array(Schema.String))

/** The options of a run. The same file, unchanged, and the same seed are the same run. */
export interface Run {
  readonly input: string
  readonly seed: number
  /** Where the journal is: a folder among the system's temporary files by default. */
  readonly folder: Option.Option<string>
}

type Failing<A> = Effect.Effect<A, PlatformError.PlatformError>

export class Journal extends Context.Service<
  Journal,
  {
    readonly folder: string
    /** The file of the events. */
    readonly database: string
    /** The line that an earlier run came to, when one was interrupted. */
    readonly begun: Option.Option<number>
    /** The events of this line are committed, and of all before it. */
    readonly committed: (line: number) => Failing<void>
    /** What a receiver has written down, in this run and in earlier ones. */
    readonly kept: (receiver: string) => Failing<ReadonlyArray<string>>
    readonly keep: (receiver: string, ids: ReadonlyArray<string>) => Failing<void>
    /** The run has ended well: the next one begins anew. */
    readonly remove: Failing<void>
  }
>()("registry-notifications/Journal") {}

/** Names a run, and distinguishes it from those of other users in a shared folder. */
const nameOf = Effect.fnUntraced(function* ({ input, seed }: Run) {
  const { mtime, size } = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.stat(input))
  const parts = [input, seed, size, Option.map(mtime, Number), process.getuid?.()]
  return createHash("sha256").update(parts.map(String).join("\0")).digest("hex").slice(0, 16)
})

export const open = Effect.fnUntraced(function* (run: Run) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const of = yield* nameOf(run)
  const folder = Option.getOrElse(run.folder, () => path.join(tmpdir(), `registry-notifications-${of}`))
  const database = path.join(folder, "events.db")
  const position = path.join(folder, "position.json")
  const idsOf = (receiver: string) => path.join(folder, `${receiver}.ids`)

  yield* fs.makeDirectory(folder, { recursive: true })
  const text = (yield* fs.exists(position)) ? Option.some(yield* fs.readFileString(position)) : Option.none()
  const begun = Option.flatMap(text, Schema.decodeOption(Position))
  if (Option.isSome(text) && Option.getOrUndefined(begun)?.of !== of) {
    return yield* new Problem({ message: `${folder} has the interrupted run of another file, or of another seed` })
  }

  const committed = Effect.fnUntraced(function* (line: number) {
    // A process that is killed meanwhile leaves the old file or the new one.
    yield* fs.writeFileString(`${position}.new`, Schema.encodeSync(Position)({ of, line }))
    yield* fs.rename(`${position}.new`, position)
  })
  if (Option.isNone(begun)) yield* committed(0)

  return Journal.of({
    folder,
    database,
    begun: Option.map(begun, ({ line }) => line),
    committed,
    kept: Effect.fnUntraced(function* (receiver) {
      if (!(yield* fs.exists(idsOf(receiver)))) return []
      const lines = (yield* fs.readFileString(idsOf(receiver))).split("\n").slice(0, -1)
      return lines.flatMap((line) => Schema.decodeSync(Ids)(line))
    }),
    keep: (receiver, ids) => fs.writeFileString(idsOf(receiver), `${Schema.encodeSync(Ids)(ids)}\n`, { flag: "a" }),
    remove: Effect.gen(function* () {
      // The position first: a process that is killed meanwhile begins anew.
      yield* fs.remove(position)
      const own = /^(events\.db.*|position\.json\.new|.*\.ids)$/
      for (const name of yield* fs.readDirectory(folder)) if (own.test(name)) yield* fs.remove(path.join(folder, name))
      // Not more than its own files: the folder may have been there before.
      if ((yield* fs.readDirectory(folder)).length === 0) yield* fs.remove(folder, { recursive: true })
    })
  })
})
