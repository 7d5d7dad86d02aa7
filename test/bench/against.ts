/**
 * Loaded before anything else by the processes that measure another checkout: `effect-events` is then the sources in the
 * folder `EFFECT_EVENTS_AGAINST`. All other packages, `effect` first, are those of this checkout, on both sides of the
 * comparison; the folder needs no packages of its own.
 */
import { registerHooks } from "node:module"
import { pathToFileURL } from "node:url"
import { join } from "node:path"

const folder = process.env["EFFECT_EVENTS_AGAINST"]
if (folder === undefined) throw new Error("EFFECT_EVENTS_AGAINST is not set")
const there = pathToFileURL(join(folder, "package.json")).href
const here = pathToFileURL(join(import.meta.dirname, "..", "..", "package.json")).href
const root = there.slice(0, -"package.json".length)

const isOurs = (specifier: string): boolean => specifier === "effect-events" || specifier.startsWith("effect-events/")
const isPackage = (specifier: string): boolean => /^[a-z@]/.test(specifier) && !/^[a-z]+:/.test(specifier)

registerHooks({
  resolve(specifier, context, next) {
    if (isOurs(specifier)) {
      const found = next(specifier, { ...context, parentURL: there })
      if (!found.url.startsWith(root)) throw new Error(`${specifier} is not in ${root}`)
      return found
    }
    const isTheirs = context.parentURL?.startsWith(root) === true
    return next(specifier, isTheirs && isPackage(specifier) ? { ...context, parentURL: here } : context)
  }
})
