import { Effect } from "effect"
import { HttpClient, HttpClientError } from "effect/http"

/** A client whose guard forbids every connection. */
export const makeForbidden = (cause: Error) =>
  HttpClient.make((request) =>
    Effect.fail(new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) }))
  )
