/**
 * A repository whose operations are notified once they have succeeded: distribution's `notifications/listener.go`. A
 * notification that cannot be written fails no operation, and is in the log.
 */
import { Effect } from "effect"
import type { EventSink } from "effect-events"
import type { Bridge, Caller, Descriptor, Manifest } from "./Bridge.ts"

/** What of a registry's repository is notified. */
export interface Repository<out E, out R = never> {
  readonly name: string
  readonly putManifest: (manifest: Manifest, tag?: string) => Effect.Effect<void, E, R>
  readonly getManifest: (digest: string, tag?: string) => Effect.Effect<Manifest, E, R>
  readonly deleteManifest: (digest: string) => Effect.Effect<void, E, R>
  readonly putBlob: (blob: Descriptor) => Effect.Effect<void, E, R>
  readonly getBlob: (digest: string) => Effect.Effect<Descriptor, E, R>
  readonly mountBlob: (blob: Descriptor, fromRepository: string) => Effect.Effect<void, E, R>
  readonly deleteBlob: (digest: string) => Effect.Effect<void, E, R>
  readonly untag: (tag: string) => Effect.Effect<void, E, R>
  readonly remove: Effect.Effect<void, E, R>
}

export const listen = <E, R>(repository: Repository<E, R>, bridge: Bridge): Repository<E, R | Caller> => {
  const { name } = repository
  return {
    name,
    putManifest: (manifest, tag) =>
      Effect.andThen(repository.putManifest(manifest, tag), notify(bridge.manifestPushed(name, manifest, tag))),
    getManifest: (digest, tag) =>
      Effect.tap(repository.getManifest(digest, tag), (found) => notify(bridge.manifestPulled(name, found, tag))),
    deleteManifest: (digest) =>
      Effect.andThen(repository.deleteManifest(digest), notify(bridge.manifestDeleted(name, digest))),
    putBlob: (blob) => Effect.andThen(repository.putBlob(blob), notify(bridge.blobPushed(name, blob))),
    getBlob: (digest) => Effect.tap(repository.getBlob(digest), (found) => notify(bridge.blobPulled(name, found))),
    mountBlob: (blob, from) =>
      Effect.andThen(repository.mountBlob(blob, from), notify(bridge.blobMounted(name, blob, from))),
    deleteBlob: (digest) => Effect.andThen(repository.deleteBlob(digest), notify(bridge.blobDeleted(name, digest))),
    untag: (tag) => Effect.andThen(repository.untag(tag), notify(bridge.tagDeleted(name, tag))),
    remove: Effect.andThen(repository.remove, notify(bridge.repositoryDeleted(name)))
  }
}

const notify = (written: Effect.Effect<void, EventSink.SinkClosed, Caller>) =>
  Effect.catchTag(written, "SinkClosed", (closed) => Effect.logError("a notification was not written", closed))
