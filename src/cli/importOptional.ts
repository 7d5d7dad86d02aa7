/** Packages that only some stores need. */
import * as Effect from "effect/Effect"
import { type CliFailure, failure } from "./cliFailure.ts"

/** Imports a package, and says how to install it where it is not there. Any other problem in it is a defect. */
export const importOptional = <A>(name: string, load: () => Promise<A>): Effect.Effect<A, CliFailure> =>
  Effect.catch(Effect.tryPromise(load), ({ cause }) =>
    isMissing(cause, name) ? Effect.fail(failure(missing(name))) : Effect.die(cause)
  )

export const isMissing = (error: unknown, name: string): boolean =>
  error instanceof Error &&
  "code" in error &&
  error.code === "ERR_MODULE_NOT_FOUND" &&
  error.message.includes(`'${name}'`)

export const missing = (name: string): string => `this needs the package ${name}: npm install ${name}`
