/** The dead letters of a subscription in their stored form: counted, listed, and replayed or purged in batches. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import type {
  DeadLetterFilter,
  EventStoreError,
  Operations,
  Page,
  Position,
  StoredDeadLetter,
  SubscriptionId
} from "../EventStore.ts"

/**
 * Selects dead letters: one, several by their positions, all, or all that match a filter. Of the last two it is those that there
 * are at the call.
 *
 * @category models
 * @since 0.1.0
 */
export type DeadLetterSelection =
  "all" | DeadLetterFilter | Pick<StoredDeadLetter, "position"> | ReadonlyArray<Pick<StoredDeadLetter, "position">>

/**
 * How many dead letters are done, of how many that were selected.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetterProgress {
  readonly done: number
  readonly selected: number
}

/**
 * Options of what is done to many dead letters.
 *
 * @category options
 * @since 0.1.0
 */
export interface DeadLetterOptions {
  /** Runs after each batch, of 500 at most. */
  readonly onProgress?: ((progress: DeadLetterProgress) => Effect.Effect<void>) | undefined
}

/**
 * The dead letters of a subscription in their stored form. They stay until they are replayed or purged.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredDeadLetters {
  readonly count: (filter?: DeadLetterFilter) => Effect.Effect<number, EventStoreError>
  /** A page of those that match, in the order in which they were dead-lettered: the first 100 by default. */
  readonly list: (page?: Partial<Page>) => Effect.Effect<ReadonlyArray<StoredDeadLetter>, EventStoreError>
  /** One of them, by its position; nothing where it is gone. */
  readonly get: (position: Position) => Effect.Effect<StoredDeadLetter | undefined, EventStoreError>
  /**
   * Appends dead letters to the end of the order again, in the order given or in that of their deaths, as the bytes that they are,
   * with a fresh plan: they are decoded anew at their delivery. In batches, beside deliveries that go on. Answers how many were
   * replayed. When it fails or is interrupted, some of many may have been replayed.
   */
  readonly replay: (
    selection: DeadLetterSelection,
    options?: DeadLetterOptions
  ) => Effect.Effect<number, EventStoreError>
  /** Deletes dead letters for good, in batches. Answers how many were deleted. When it fails, some of many may be gone. */
  readonly purge: (
    selection: DeadLetterSelection,
    options?: DeadLetterOptions
  ) => Effect.Effect<number, EventStoreError>
}

/** How many dead letters one step of the store is about, at most. */
const batchSize = 500

export const makeStoredDeadLetters = (
  subscription: Effect.Effect<SubscriptionId | undefined, EventStoreError>,
  store: Operations
): StoredDeadLetters => {
  type Step = Operations["replay"]
  type Progress = (done: number) => Effect.Effect<void>

  const some = Effect.fnUntraced(function* (
    id: SubscriptionId,
    positions: ReadonlyArray<Position>,
    step: Step,
    progress: Progress
  ) {
    let done = 0
    for (let from = 0; from < positions.length; from += batchSize) {
      const batch = positions.slice(from, from + batchSize)
      if (isReadonlyArrayNonEmpty(batch)) done += yield* step(id, batch)
      yield* progress(done)
    }
    return done
  })
  /** As many as match now: dead letters that come meanwhile, replayed ones among them, are behind these. */
  const matching = Effect.fnUntraced(function* (
    id: SubscriptionId,
    filter: DeadLetterFilter,
    selected: number,
    step: Step,
    progress: Progress
  ) {
    let after: Page["after"]
    let done = 0
    for (let rest = selected; rest > 0;) {
      const page: ReadonlyArray<StoredDeadLetter> = yield* store.deadLetters(id, {
        ...filter,
        after,
        limit: Math.min(rest, batchSize)
      })
      if (page.length === 0) break
      const positions = page.map(({ position }) => position)
      if (isReadonlyArrayNonEmpty(positions)) done += yield* step(id, positions)
      yield* progress(done)
      after = page.at(-1)
      rest -= page.length
    }
    return done
  })
  const select = (
    selection: DeadLetterSelection,
    { onProgress = () => Effect.void }: DeadLetterOptions = {},
    step: Step
  ): Effect.Effect<number, EventStoreError> =>
    Effect.gen(function* () {
      const id = yield* subscription
      if (id === undefined) return 0
      const { filter, listed } = selectedBy(selection)
      const selected = listed?.length ?? (yield* store.countDeadLetters(id, filter))
      const progress = (done: number) => onProgress({ done, selected })
      return yield* listed === undefined
        ? matching(id, filter, selected, step, progress)
        : some(id, listed, step, progress)
    })
  const list: StoredDeadLetters["list"] = (page = {}) =>
    Effect.flatMap(subscription, (id) =>
      id === undefined ? Effect.succeed([]) : store.deadLetters(id, { ...page, limit: page.limit ?? 100 })
    )

  return {
    count: (filter = {}) =>
      Effect.flatMap(subscription, (id) => (id === undefined ? Effect.succeed(0) : store.countDeadLetters(id, filter))),
    list,
    get: (position) => Effect.map(list({ position, limit: 1 }), ([found]) => found),
    replay: (selection, options) => select(selection, options, store.replay),
    purge: (selection, options) => select(selection, options, store.purge)
  }
}

// internals

interface Selected {
  readonly filter: DeadLetterFilter
  readonly listed?: ReadonlyArray<Position>
}

/** A dead letter itself is its position, whatever else it has; of a filter all fields must match. */
const selectedBy = (selection: DeadLetterSelection): Selected => {
  if (selection === "all") return { filter: {} }
  if (isArray(selection)) return { filter: {}, listed: selection.map(({ position }) => position) }
  const { position, ...others } = selection
  const isFilter = !("deadLetteredAt" in others) && Object.values(others).some((value) => value !== undefined)
  return position === undefined || isFilter ? { filter: selection } : { filter: {}, listed: [position] }
}

/** `Array.isArray` does not narrow a `ReadonlyArray`. */
const isArray = <A>(value: DeadLetterFilter | ReadonlyArray<A>): value is ReadonlyArray<A> => Array.isArray(value)
