/** What an endpoint can be asked to do beside writes, in the words of the core. */
import * as Effect from "effect/Effect"
import type { SinkControls } from "../../../internal/controls.ts"
import type { EndpointState } from "./endpointState.ts"

export const nodeControlsOf = (
  { current, disable, enable }: EndpointState,
  attempts: SinkControls["attempts"]
): SinkControls => ({
  state: Effect.sync(() => {
    const state = current()
    return state._tag === "Enabled"
      ? { state: "active", reason: undefined, since: undefined }
      : { state: "disabled", reason: state.error?.reason.message ?? "disabled by hand", since: state.since }
  }),
  disable,
  enable,
  attempts
})
