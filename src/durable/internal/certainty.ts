/**
 * Whether what was taken is for the definition that delivers it: that may be another once a claim has woken its subscription. What is
 * taken then is held until the definition was asked for after it: asked for before, a flood would keep it from ever being taken.
 */
export interface Certainty {
  /** The definition may be another. */
  readonly doubt: () => void
  readonly isInDoubt: () => boolean
  readonly isHolding: () => boolean
  /** Keeps what was taken until the definition is known which is asked for from now on. */
  readonly hold: (go: () => void) => void
  /** The definition is asked for now. Answers what says that it is the same. */
  readonly asking: () => () => void
}

export const makeCertainty = (): Certainty => {
  let [doubts, answered] = [0, 0]
  let held: { readonly at: number; readonly go: () => void } | undefined
  return {
    doubt: () => void doubts++,
    isInDoubt: () => doubts > answered,
    isHolding: () => held !== undefined,
    hold: (go) => void (held = { at: ++doubts, go }),
    asking: () => {
      const at = doubts
      return () => {
        answered = Math.max(answered, at)
        if (held === undefined || held.at > at) return
        const { go } = held
        held = undefined
        go()
      }
    }
  }
}
