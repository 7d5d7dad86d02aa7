import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

/** Runs the garbage collector, for tests of what is released. */
export const collector = (): (() => void) => {
  setFlagsFromString("--expose-gc")
  return runInNewContext("gc")
}
