/**
 * What happens in a registry becomes events, as distribution's `notifications/bridge.go` makes them: each with its source, and
 * with the actor and the request that the fiber has in its context. An event has its id from here on, above every queue.
 */
import { Context, DateTime, Effect } from "effect"
import type { EventSink } from "effect-events"
import type { RegistryEvent } from "effect-events/http"
import { randomUUID } from "node:crypto"

type Event = RegistryEvent.RegistryEvent
type Part<K extends keyof Event> = NonNullable<Event[K]>

/** What a request asks for, and in which name: a handler provides it, and without one no event can be made. */
export class Caller extends Context.Service<
  Caller,
  { readonly actor: Part<"actor">; readonly request: Part<"request"> }
>()("registry/Caller") {}

export type Descriptor = { readonly mediaType: string; readonly size: number; readonly digest: string }
export type Manifest = Descriptor & { readonly references: ReadonlyArray<Descriptor> }

export interface Options {
  readonly sink: EventSink.EventSink<Event>
  readonly source: Part<"source">
  /** Where the registry is, up to `/v2/`. */
  readonly url: string
  readonly includeReferences?: boolean | undefined
}

export type Bridge = ReturnType<typeof make>

export const make = ({ includeReferences = false, sink, source, url }: Options) => {
  const write = (action: "push" | "pull" | "mount" | "delete", target: Part<"target">) =>
    Effect.gen(function* () {
      const timestamp = DateTime.formatIso(yield* DateTime.now)
      yield* sink.write({ id: randomUUID(), timestamp, action, target, source, ...(yield* Caller) })
    })
  const of = (kind: "manifests" | "blobs", repository: string, { digest, mediaType, size }: Descriptor) => ({
    mediaType,
    size,
    digest,
    length: size,
    repository,
    url: `${url}/v2/${repository}/${kind}/${digest}`
  })
  const manifest = (action: "push" | "pull") => (repository: string, manifest: Manifest, tag?: string) =>
    write(action, {
      ...of("manifests", repository, manifest),
      ...(tag !== undefined && { tag }),
      ...(includeReferences && { references: manifest.references })
    })
  const blob = (action: "push" | "pull") => (repository: string, blob: Descriptor) =>
    write(action, of("blobs", repository, blob))
  const deleted = (repository: string, digest: string) => write("delete", { repository, digest })
  return {
    manifestPushed: manifest("push"),
    manifestPulled: manifest("pull"),
    manifestDeleted: deleted,
    blobPushed: blob("push"),
    blobPulled: blob("pull"),
    blobMounted: (repository: string, blob: Descriptor, fromRepository: string) =>
      write("mount", { ...of("blobs", repository, blob), fromRepository }),
    blobDeleted: deleted,
    tagDeleted: (repository: string, tag: string) => write("delete", { repository, tag }),
    repositoryDeleted: (repository: string) => write("delete", { repository })
  }
}
